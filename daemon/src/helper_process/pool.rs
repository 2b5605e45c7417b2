//! Helpers that are spawned before they are needed, from a sealed copy of the executable.
//!
//! Spawning costs a fork and an exec, about a millisecond that a start need not wait for. A helper that was spawned and
//! not used waits in `recvmsg`, and ends by itself when its socket closes: that is, with the daemon.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags};
use tokio::io::Interest;

/// Helpers kept waiting. Refilled behind each start, so that it must only cover a burst (measured with `make bench`).
const IDLE: usize = 8;

/// The helper executable cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("open the helper executable {path:?}")]
    Open { path: PathBuf, source: io::Error },
    #[error("copy the helper executable into a sealed memfd")]
    Seal(#[source] io::Error),
}

/// The pool. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Helpers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    executable: OwnedFd,
    /// The one that waits longest is first: a young one may still be preparing.
    idle: Mutex<VecDeque<OwnedFd>>,
    /// Whether a task fills the pool: one is enough.
    filling: AtomicBool,
}

impl Helpers {
    /// Copies the executable and begins to fill the pool.
    pub fn open(executable: &Path) -> Result<Self, PoolError> {
        let open_error = |source| PoolError::Open { path: executable.to_owned(), source };
        let mut file = std::fs::File::open(executable).map_err(open_error)?;
        let executable = seal(&mut file).map_err(PoolError::Seal)?;
        let pool = Self {
            shared: Arc::new(Shared { executable, idle: Mutex::new(VecDeque::new()), filling: AtomicBool::new(false) }),
        };
        pool.refill();
        Ok(pool)
    }

    /// Returns the daemon's end of a waiting helper's socket. Blocks for a spawn if none waits.
    pub fn take(&self) -> io::Result<OwnedFd> {
        let idle = self.lock().pop_front();
        let taken = match idle {
            Some(socket) => Ok(socket),
            None => self.spawn(),
        };
        self.refill();
        taken
    }

    /// Spawns helpers in the background until [`IDLE`] wait.
    fn refill(&self) {
        if self.lock().len() >= IDLE || self.shared.filling.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = self.clone();
        tokio::task::spawn_blocking(move || {
            while pool.lock().len() < IDLE {
                match pool.spawn() {
                    Ok(socket) => pool.lock().push_back(socket),
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "a helper could not be spawned");
                        break;
                    }
                }
            }
            // One that is taken just now is missed, and made up for when the next is taken.
            pool.shared.filling.store(false, Ordering::Release);
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<OwnedFd>> {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spawns one helper. Nothing here keeps the standard library from `posix_spawn`, which does not copy the
    /// daemon's page tables.
    fn spawn(&self) -> io::Result<OwnedFd> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let program = format!("/proc/self/fd/{}", self.shared.executable.as_raw_fd());
        let child = Command::new(program)
            .arg0("pinnace-helper")
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        reap(child);
        Ok(ours)
    }
}

/// Waits for a helper's end behind everything else, so that it leaves no zombie.
fn reap(mut child: Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pid.map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK));
    let Some(Ok(pidfd)) = pidfd else {
        tracing::warn!(pid = child.id(), "a helper cannot be waited for");
        return;
    };
    crate::tasks::spawn("helper-reaper", async move {
        let exited = match sys::watch(pidfd, Interest::READABLE) {
            Ok(pidfd) => pidfd.readable().await.map(|_guard| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = exited.and_then(|()| child.wait().map(|_status| ())) {
            tracing::warn!(error = &error as &dyn std::error::Error, "waiting for a helper failed");
        }
    });
}

/// Copies an executable into a memfd that nobody can change any more: no container can reach the file on disk
/// (CVE-2019-5736), and replacing the file does not change what runs.
fn seal(file: &mut std::fs::File) -> io::Result<OwnedFd> {
    let base = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let executable = rustix::fs::memfd_create("pinnace-helper", base | MemfdFlags::EXEC)
        // MFD_EXEC came with Linux 6.3; before, every memfd could be executed.
        .or_else(|_older| rustix::fs::memfd_create("pinnace-helper", base))?;
    let mut copy = std::fs::File::from(executable);
    io::copy(file, &mut copy)?;
    let executable = OwnedFd::from(copy);
    rustix::fs::fcntl_add_seals(&executable, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(reopen_read_only(&executable)?)
}

/// The writable descriptor would keep execve from running the file (ETXTBSY).
fn reopen_read_only(executable: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", executable.as_raw_fd());
    rustix::fs::open(path, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
}
