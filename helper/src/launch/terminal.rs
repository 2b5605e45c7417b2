//! The controlling terminal of a process: a pseudo-terminal of the container's own devpts.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::detached;
use super::tree::Tree;
use crate::fault::{Call, Fault};

/// Both sides of a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
}

impl Terminal {
    /// Makes a terminal in this devpts. The other side is opened from the first one, never by name.
    pub(crate) fn open(pts: impl AsFd, size: Option<(u16, u16)>) -> Result<Self, Fault> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master =
            rustix::fs::openat(pts, "ptmx", flags, Mode::empty()).call(|| "openat(devpts, \"ptmx\")".into())?;
        rustix::pty::unlockpt(&master).call(|| "ioctl(TIOCSPTLCK)".into())?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).call(|| "ioctl(TIOCGPTPEER)".into())?;
        if let Some((rows, columns)) = size {
            resize(&master, rows, columns)?;
        }
        Ok(Self { master, slave })
    }

    /// Binds the terminal over `/dev/console`.
    pub(crate) fn bind_console(&self, tree: &Tree) -> Result<(), Fault> {
        let mount = detached::clone_of(&self.slave, false).call(|| "open_tree(terminal, OPEN_TREE_CLONE)".into())?;
        let place = tree.file("/dev/console")?;
        detached::attach(&mount, place).call(|| "move_mount(\"/dev/console\")".into())
    }

    /// Makes the terminal the controlling one of a new session, and standard input, output and error of the process.
    pub(crate) fn take(&self) -> Result<(), Fault> {
        rustix::process::setsid().call(|| "setsid()".into())?;
        rustix::process::ioctl_tiocsctty(&self.slave).call(|| "ioctl(TIOCSCTTY)".into())?;
        rustix::stdio::dup2_stdin(&self.slave).call(|| "dup2(terminal, 0)".into())?;
        rustix::stdio::dup2_stdout(&self.slave).call(|| "dup2(terminal, 1)".into())?;
        rustix::stdio::dup2_stderr(&self.slave).call(|| "dup2(terminal, 2)".into())
    }
}

/// Sets the size of a terminal, in character cells.
pub(crate) fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> Result<(), Fault> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).call(|| format!("ioctl(TIOCSWINSZ, {rows}, {columns})"))
}
