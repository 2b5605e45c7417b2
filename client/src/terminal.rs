//! The terminal we run in: raw mode that always ends, and its size.

use std::io::{self, IsTerminal as _};

use pinnace_client::stream::Size;
use rustix::{
    io::Errno,
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};

use crate::output;

/// Says whether stdin is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Returns the size of the terminal, if there is one and it has a size.
pub(crate) fn size() -> Option<Size> {
    [rustix::stdio::stdout(), rustix::stdio::stdin()]
        .into_iter()
        .filter_map(|fd| tcgetwinsize(fd).ok())
        .map(|size| Size { width: size.ws_col, height: size.ws_row })
        .find(|size| size.width > 0 && size.height > 0)
}

/// Raw mode of the terminal on stdin, for as long as this lives: dropping it, also by a panic, restores what was.
pub(crate) struct RawMode {
    saved: Termios,
}

impl RawMode {
    /// Enters raw mode if stdin is a terminal.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        if !stdin_is_terminal() {
            return Ok(None);
        }
        let saved = tcgetattr(rustix::stdio::stdin())?;
        let mut raw = saved.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { saved }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Err(errno) = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.saved)
            && errno != Errno::IO
        {
            // EIO is a terminal that has hung up: it has no modes to restore.
            output::complain(&format!("cannot restore the terminal: {errno}"));
        }
    }
}
