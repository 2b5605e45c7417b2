//! The launch of one container, in the helper: the ordered list of its stages.
//!
//! ```text
//!   helper                                     first process (launch::first_process)
//!   clone3, before anything is asked      -->  its namespaces; pivots from the host's tree to a staging
//!                                              tmpfs with /proc, /dev and /sys (launch::staging)
//!   Launch arrives: specification
//!   cgroup directories and settings
//!   overlay, assembled detached
//!   sources of binds, detached
//!   pipes
//!   HandOver: specification, descriptors  -->  joins the cgroups, attaches root and mounts, enters the root,
//!                                              becomes the user
//!                                         <--  Ready: phases, terminal          (or Failed)
//!   end of file: the execve succeeded          execve
//! ```
//!
//! A container that shares one of the host's namespaces cannot use the process that was made ahead: that one is
//! killed and another is cloned, which then does exactly the same.

mod capabilities;
pub(crate) mod cgroup;
pub(crate) mod channel;
mod clock;
mod detached;
mod devices;
mod etc_files;
mod first_process;
mod masks;
mod mounts;
pub(crate) mod namespaces;
mod nursery;
pub(crate) mod rlimits;
mod rootfs;
mod seccomp;
mod staging;
mod stdio;
mod sysctls;
pub(crate) mod terminal;
pub(crate) mod tree;
mod user;
pub(crate) mod workload;

use std::os::fd::OwnedFd;
use std::time::SystemTime;

use pinnace_helper::protocol::packet;
use pinnace_helper::protocol::{Attachment, LaunchError, LaunchSpec, PhaseTime, Report, Request, Stage, StdinMode};

use crate::fault::{Call, Fault};
use cgroup::Cgroups;
use channel::HandOver;
pub(crate) use clock::Clock;
pub(crate) use first_process::take_pipes;
pub(crate) use nursery::{Nursery, kill_and_reap, oom_score_adjustment};
pub(crate) use stdio::{SupervisorEnds, Wanted, create as create_stdio};

/// What the daemon asked to launch.
#[derive(Debug)]
pub(crate) struct Order {
    spec_fd: OwnedFd,
    spec: LaunchSpec,
    listener: OwnedFd,
    attachments: Vec<(Attachment, OwnedFd)>,
    clock: Clock,
}

/// A container that runs, with everything its supervisor needs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) spec: LaunchSpec,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// Keeps the container's mounts until its end is reported: unmounting can take long.
    pub(crate) mounts: Option<OwnedFd>,
    pub(crate) started_at_ns: i64,
    pub(crate) cgroups: Cgroups,
    pub(crate) stdio: SupervisorEnds,
    pub(crate) listener: OwnedFd,
    pub(crate) attachments: Vec<(Attachment, OwnedFd)>,
    /// What a process gets that asks for no adjustment of its own.
    pub(crate) oom_score_adj: i32,
    /// See [`cgroup::favor_moves`].
    pub(crate) cgroup_moves: Option<OwnedFd>,
    phases: Vec<PhaseTime>,
}

impl Running {
    /// Returns what the daemon is told.
    pub(crate) fn started(&self) -> Report {
        Report::Started { pid: self.pid, started_at_ns: self.started_at_ns, phases: self.phases.clone() }
    }
}

/// Waits for the one request that a new helper understands. `None`: the daemon has no use for it.
pub(crate) fn receive(control: &OwnedFd) -> Result<Option<Order>, LaunchError> {
    let spec_fault = |fault: Fault| fault.at(Stage::Spec);
    let received = packet::receive::<Request>(control).call(|| "recvmsg(control)".into()).map_err(spec_fault)?;
    let Some((request, fds)) = received else {
        return Ok(None);
    };
    let mut clock = Clock::start();
    let mut fds = fds.into_iter();
    let (Request::Launch { attachments }, Some(spec_fd), Some(listener)) = (request, fds.next(), fds.next()) else {
        return Err(spec_fault(Fault::rule("the first request must be a launch with its descriptors")));
    };
    if attachments.len() != fds.len() {
        return Err(spec_fault(Fault::rule("a launch needs one stream for each attachment")));
    }
    let attachments = attachments.into_iter().zip(fds).collect();
    let spec = packet::read_json::<LaunchSpec>(&spec_fd).call(|| "read(specification)".into());
    let spec = clock.stage(Stage::Spec, spec)?;
    Ok(Some(Order { spec_fd, spec, listener, attachments, clock }))
}

/// Launches the container. On failure everything that was made is undone.
pub(crate) fn launch(mut nursery: Nursery, mut order: Order) -> Result<Running, LaunchError> {
    let cgroup_moves = nursery.take_moves();
    let clock = &mut order.clock;
    let cgroups = clock.stage(Stage::Cgroup, Cgroups::create(&order.spec.cgroup))?;
    match launch_in(&cgroups, nursery, &order.spec, &order.spec_fd, clock) {
        Ok(launched) => Ok(Running {
            pid: launched.pid,
            pidfd: launched.pidfd,
            mounts: launched.mounts,
            started_at_ns: now_ns(),
            cgroups,
            stdio: launched.stdio,
            listener: order.listener,
            attachments: order.attachments,
            oom_score_adj: launched.oom_score_adj,
            cgroup_moves,
            phases: order.clock.into_phases(),
            spec: order.spec,
        }),
        Err(error) => {
            cgroups.remove();
            Err(error)
        }
    }
}

struct Launched {
    pid: i32,
    pidfd: OwnedFd,
    mounts: Option<OwnedFd>,
    stdio: SupervisorEnds,
    oom_score_adj: i32,
}

fn launch_in(
    cgroups: &Cgroups,
    nursery: Nursery,
    spec: &LaunchSpec,
    spec_fd: &OwnedFd,
    clock: &mut Clock,
) -> Result<Launched, LaunchError> {
    let oom_score_adj = nursery.oom_score_adj();
    let root = clock.stage(Stage::Rootfs, rootfs::assemble(&spec.rootfs))?;
    let binds = clock.stage(Stage::Mounts, mounts::open_sources(spec))?;
    let cgroup_mounts = clock.stage(Stage::Mounts, cgroups.mounts(spec))?;
    let wanted = Wanted { stdin: spec.stdin != StdinMode::Closed, stdout: true, stderr: true };
    let (mut stdio, process_ends) = clock.stage(Stage::Terminal, stdio::create(spec.process.terminal, wanted))?;
    let mut first = clock.stage(Stage::Clone, nursery.first_process(&spec.namespaces))?;
    let handed = HandOver {
        spec: spec_fd,
        root: &root,
        stdio: process_ends.all(),
        joins: cgroups.joins(),
        cgroup_mounts: &cgroup_mounts,
        binds: &binds,
        oom_score_adj,
    };
    let sent = handed.send(&first.channel).call(|| "sendmsg(first process)".into());
    drop((root, binds, cgroup_mounts, process_ends));
    let ready = match sent {
        Ok(()) => channel::await_exec(&first.channel),
        Err(fault) => Err(first.why_it_ended().unwrap_or_else(|| fault.at(Stage::Clone))),
    };
    let running = ready.and_then(|ready| {
        clock.extend(ready.phases);
        ready.terminal.map_or(Ok(()), |terminal| clock.stage(Stage::Terminal, stdio.set_terminal(terminal)))
    });
    if let Err(error) = running {
        first.abort();
        return Err(error);
    }
    let (pid, pidfd, mounts) = first.release();
    Ok(Launched { pid, pidfd, mounts, stdio, oom_score_adj })
}

/// Returns the wall clock in nanoseconds since the epoch; 0 for a clock before it.
pub(crate) fn now_ns() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
