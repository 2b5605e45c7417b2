//! Standard input, output and error of a process: pipes, or the terminal that the process makes itself.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;

use crate::fault::{Call, Fault, ignore};

/// How much output a process can be ahead of its reader, in bytes; 64 KiB is the kernel's default. Fewer wake-ups for
/// fast writers; memory is taken only by what is in the pipe.
const OUTPUT_PIPE_SIZE: usize = 256 * 1024;

/// Which streams a process has; the others are `/dev/null`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// The ends that the supervisor reads and writes, none of which blocks.
#[derive(Debug, Default)]
pub(crate) struct SupervisorEnds {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
}

/// The ends that the process gets: three, or none for a terminal.
#[derive(Debug, Default)]
pub(crate) struct ProcessEnds(pub(crate) Vec<OwnedFd>);

impl ProcessEnds {
    /// Returns standard input, output and error, in this order.
    pub(crate) fn all(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }
}

impl SupervisorEnds {
    /// Takes the terminal that the process made.
    pub(crate) fn set_terminal(&mut self, terminal: OwnedFd) -> Result<(), Fault> {
        set_nonblocking(&terminal)?;
        self.terminal = Some(terminal);
        Ok(())
    }
}

/// Makes the pipes of a process. A process with a terminal has none.
pub(crate) fn create(terminal: bool, wanted: Wanted) -> Result<(SupervisorEnds, ProcessEnds), Fault> {
    let mut ends = SupervisorEnds::default();
    if terminal {
        return Ok((ends, ProcessEnds::default()));
    }
    // The helper's own standard input is the host's null device, opened when it started.
    let null = || rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).call(|| "dup(/dev/null)".into());
    let mut process = Vec::with_capacity(3);
    if wanted.stdin {
        let (read, write) = pipe()?;
        set_nonblocking(&write)?;
        process.push(read);
        ends.stdin = Some(write);
    } else {
        process.push(null()?);
    }
    for (wanted, end) in [(wanted.stdout, &mut ends.stdout), (wanted.stderr, &mut ends.stderr)] {
        if wanted {
            let (read, write) = pipe()?;
            set_nonblocking(&read)?;
            // A limit on pipes is no reason not to run.
            ignore(rustix::pipe::fcntl_setpipe_size(&read, OUTPUT_PIPE_SIZE));
            process.push(write);
            *end = Some(read);
        } else {
            process.push(null()?);
        }
    }
    Ok((ends, ProcessEnds(process)))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Fault> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).call(|| "pipe2(O_CLOEXEC)".into())
}

fn set_nonblocking(fd: &OwnedFd) -> Result<(), Fault> {
    rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK).call(|| "fcntl(F_SETFL, O_NONBLOCK)".into())
}
