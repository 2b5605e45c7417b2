//! The first process of a container, made before the container is known.
//!
//! Most of what a launch costs does not depend on the container: the clone with its namespaces, and `/proc`, `/dev`
//! and `/sys` in them. A helper does that when it starts, and it starts before it is needed.

use std::os::fd::{AsFd, OwnedFd};

use pinnace_helper::protocol::{LaunchError, Namespaces};
use rustix::process::{WaitId, WaitIdOptions};

use super::{cgroup, channel, first_process, namespaces};
use crate::fault::{Call, Fault, ignore};
use crate::sys::{self, Cloned};

/// A helper's state before it was asked for anything.
#[derive(Debug)]
pub(crate) struct Nursery {
    standard: Result<FirstProcess, Fault>,
    oom_score_adj: i32,
    moves: Option<OwnedFd>,
}

/// The process that will execute the workload.
#[derive(Debug)]
pub(crate) struct FirstProcess {
    pid: i32,
    pidfd: OwnedFd,
    mounts: Option<OwnedFd>,
    pub(super) channel: OwnedFd,
}

impl Nursery {
    /// Makes the first process of a container that shares no namespace with the host.
    pub(crate) fn prepare() -> Self {
        let standard = FirstProcess::clone(&namespaces::STANDARD);
        Self { standard, oom_score_adj: protect_from_oom(), moves: cgroup::favor_moves() }
    }

    /// Returns the process for a container with these namespaces.
    pub(super) fn first_process(self, wanted: &Namespaces) -> Result<FirstProcess, Fault> {
        if namespaces::clone_flags(wanted) == namespaces::clone_flags(&namespaces::STANDARD) {
            return self.standard;
        }
        if let Ok(mut unused) = self.standard {
            unused.abort();
        }
        FirstProcess::clone(wanted)
    }

    /// Returns what keeps moves between cgroups cheap, to be kept while the container runs.
    pub(super) fn take_moves(&mut self) -> Option<OwnedFd> {
        self.moves.take()
    }

    /// Returns the adjustment that the daemon runs with, and that workloads without their own inherit.
    pub(super) fn oom_score_adj(&self) -> i32 {
        self.oom_score_adj
    }
}

impl FirstProcess {
    fn clone(namespaces: &Namespaces) -> Result<Self, Fault> {
        let (ours, theirs) = channel::pair().call(|| "socketpair(SOCK_SEQPACKET)".into())?;
        let flags = namespaces::clone_flags(namespaces);
        match sys::clone(flags, None).call(|| format!("clone3({flags:#x})"))? {
            Cloned::Parent { pid, pidfd } => Ok(Self { pid, pidfd, mounts: open_mount_namespace(pid), channel: ours }),
            Cloned::Child => {
                drop(ours);
                first_process::run(&theirs, namespaces)
            }
        }
    }

    /// Hands the process over to its supervisor: it executes the workload.
    pub(super) fn release(self) -> (i32, OwnedFd, Option<OwnedFd>) {
        (self.pid, self.pidfd, self.mounts)
    }

    /// Returns what the process said before it ended by itself, if it did.
    pub(super) fn why_it_ended(&mut self) -> Option<LaunchError> {
        self.abort();
        channel::await_exec(&self.channel).err().filter(|error| error.errno.is_some())
    }

    /// Ends the process and waits for that.
    pub(super) fn abort(&mut self) {
        kill_and_reap(&self.pidfd);
    }
}

/// Opens a reference that keeps a process's mounts after its end.
///
/// Without one the process itself unmounts everything before anyone sees that it ended, and unmounting an overlay
/// writes out every dirty page of the file system below it. `None`: the end is only seen later.
fn open_mount_namespace(pid: i32) -> Option<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(format!("/proc/{pid}/ns/mnt"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Kills a child and waits until it is gone.
pub(crate) fn kill_and_reap(pidfd: &OwnedFd) {
    // Both fail only for a process that is gone already.
    ignore(sys::send_signal(pidfd, libc::SIGKILL));
    ignore(rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED));
}

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// What a helper asks for itself: it is small, and without it a container's end is not seen.
const PROTECTED: &str = "-999";

fn protect_from_oom() -> i32 {
    let inherited = std::fs::read_to_string(OOM_SCORE_ADJ).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    // A kernel that refuses leaves the helper as killable as it was, which no container notices.
    let asked = std::fs::write(OOM_SCORE_ADJ, PROTECTED);
    drop(asked);
    inherited
}

/// Sets the calling process's adjustment through a procfs that only we can have changed.
pub(crate) fn oom_score_adjustment(proc: impl AsFd, adjustment: i32) -> Result<(), Fault> {
    use rustix::fs::{Mode, OFlags};
    let what = || format!("write(self/oom_score_adj, {adjustment})");
    let file =
        rustix::fs::openat(proc, "self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).call(what)?;
    rustix::io::write(&file, adjustment.to_string().as_bytes()).call(what).map(drop)
}
