//! How a process ended, and the record of it that survives the helper.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use pinnace_helper::protocol::{EXIT_FILE, ExitRecord, ProcessExit};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{WaitId, WaitIdOptions};

use crate::launch::now_ns;

/// Collects a child that has ended. `None`: it has not.
pub(super) fn reap(pidfd: &OwnedFd) -> Option<ProcessExit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options).ok()??;
    let signal = status.terminating_signal();
    let code = signal.map_or_else(|| status.exit_status().unwrap_or(0), |signal| 128 + signal);
    Some(ProcessExit { code, signal, finished_at_ns: now_ns() })
}

/// Writes the record where the next daemon looks for it: complete or not at all.
pub(super) fn write(run_dir: &Path, record: &ExitRecord) -> io::Result<()> {
    let directory =
        rustix::fs::openat(CWD, run_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let temporary = format!(".{EXIT_FILE}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory, &temporary, flags, Mode::from_raw_mode(0o600))?;
    io::Write::write_all(&mut std::fs::File::from(file), &serde_json::to_vec(record)?)?;
    rustix::fs::renameat(&directory, &temporary, &directory, EXIT_FILE)?;
    Ok(())
}
