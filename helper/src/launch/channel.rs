//! What the helper and a process that it is about to execute say to each other, over a socket that closes on execve.
//!
//! A successful execve is the end of file after [`Ready`]; anything else is a failure.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pinnace_helper::protocol::packet::{self, MAX_FDS};
use pinnace_helper::protocol::{LaunchError, PhaseTime, Stage};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::fault::{Call, Fault};

/// Makes the two ends.
pub(crate) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Everything that the first process of a container is given.
#[derive(Debug)]
pub(crate) struct HandOver<'a> {
    pub(crate) spec: &'a OwnedFd,
    /// The assembled, detached root mount.
    pub(crate) root: &'a OwnedFd,
    /// Standard input, output and error; nothing for a terminal.
    pub(crate) stdio: Vec<BorrowedFd<'a>>,
    /// `cgroup.procs` of each cgroup to join.
    pub(crate) joins: &'a [OwnedFd],
    /// Detached mounts of those cgroups.
    pub(crate) cgroup_mounts: &'a [OwnedFd],
    /// Detached mounts, in the order in which the specification's mounts need them.
    pub(crate) binds: &'a [OwnedFd],
    pub(crate) oom_score_adj: i32,
}

/// What was handed over, at the other end.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) spec: OwnedFd,
    pub(crate) root: OwnedFd,
    pub(crate) stdio: Vec<OwnedFd>,
    pub(crate) joins: Vec<OwnedFd>,
    pub(crate) cgroup_mounts: Vec<OwnedFd>,
    pub(crate) binds: Vec<OwnedFd>,
    pub(crate) oom_score_adj: i32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    stdio: usize,
    joins: usize,
    cgroup_mounts: usize,
    binds: usize,
    oom_score_adj: i32,
}

impl HandOver<'_> {
    /// Sends it: the counts, then the descriptors in as many packets as they need.
    pub(crate) fn send(&self, channel: &OwnedFd) -> io::Result<()> {
        let header = Header {
            stdio: self.stdio.len(),
            joins: self.joins.len(),
            cgroup_mounts: self.cgroup_mounts.len(),
            binds: self.binds.len(),
            oom_score_adj: self.oom_score_adj,
        };
        let fds: Vec<BorrowedFd<'_>> = [self.spec, self.root]
            .into_iter()
            .map(AsFd::as_fd)
            .chain(self.stdio.iter().copied())
            .chain([self.joins, self.cgroup_mounts, self.binds].into_iter().flatten().map(AsFd::as_fd))
            .collect();
        for chunk in fds.chunks(MAX_FDS) {
            packet::send(channel, &header, chunk)?;
        }
        Ok(())
    }
}

impl Received {
    /// Waits for the hand-over. `None`: the helper has no use for this process.
    pub(crate) fn wait(channel: &OwnedFd) -> io::Result<Option<Self>> {
        let Some((header, mut fds)) = packet::receive::<Header>(channel)? else {
            return Ok(None);
        };
        let expected = 2 + header.stdio + header.joins + header.cgroup_mounts + header.binds;
        while fds.len() < expected {
            let Some((_, more)) = packet::receive::<Header>(channel)? else {
                return Ok(None);
            };
            fds.extend(more);
        }
        let mut fds = fds.into_iter();
        let (Some(spec), Some(root)) = (fds.next(), fds.next()) else {
            return Ok(None);
        };
        let mut take = |count| fds.by_ref().take(count).collect();
        Ok(Some(Self {
            spec,
            root,
            stdio: take(header.stdio),
            joins: take(header.joins),
            cgroup_mounts: take(header.cgroup_mounts),
            binds: take(header.binds),
            oom_score_adj: header.oom_score_adj,
        }))
    }
}

/// What the process says.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    /// Everything but the execve is done. With the terminal's descriptor, if it has one.
    Ready(Vec<PhaseTime>),
    Failed(LaunchError),
}

/// What is known of a process that executes its program.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) phases: Vec<PhaseTime>,
    pub(crate) terminal: Option<OwnedFd>,
}

/// Says that only the execve is left.
pub(crate) fn say_ready(channel: &OwnedFd, phases: Vec<PhaseTime>, terminal: Option<&OwnedFd>) -> Result<(), Fault> {
    let fds: Vec<_> = terminal.into_iter().map(AsFd::as_fd).collect();
    packet::send(channel, &Said::Ready(phases), &fds).call(|| "sendmsg(helper)".into())
}

/// Says why the process does not execute its program. A helper that cannot be told has gone.
pub(crate) fn say_failed(channel: &OwnedFd, error: LaunchError) -> io::Result<()> {
    packet::send(channel, &Said::Failed(error), &[])
}

/// What one packet, or the end of file, says about a process.
#[derive(Debug)]
pub(crate) enum Step {
    /// The execve is next.
    Waiting,
    Executed(Ready),
    Failed(LaunchError),
}

/// Reads one packet. `ready` keeps what an earlier one said.
pub(crate) fn step(channel: &OwnedFd, ready: &mut Option<Ready>) -> Step {
    match packet::receive::<Said>(channel).call(|| "recvmsg(process)".into()) {
        Ok(Some((Said::Failed(error), _))) => Step::Failed(error),
        Ok(Some((Said::Ready(phases), fds))) => {
            *ready = Some(Ready { phases, terminal: fds.into_iter().next() });
            Step::Waiting
        }
        Ok(None) => match ready.take() {
            Some(ready) => Step::Executed(ready),
            None => Step::Failed(Fault::rule("the process ended before its execve").at(Stage::Clone)),
        },
        Err(fault) => Step::Failed(fault.at(Stage::Clone)),
    }
}

/// Waits until the process has executed its program.
pub(crate) fn await_exec(channel: &OwnedFd) -> Result<Ready, LaunchError> {
    let mut ready = None;
    loop {
        match step(channel, &mut ready) {
            Step::Waiting => {}
            Step::Executed(ready) => return Ok(ready),
            Step::Failed(error) => return Err(error),
        }
    }
}
