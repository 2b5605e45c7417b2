//! Execs: further processes in a running container, forked by the helper itself.
//!
//! The helper enters the container's pid namespace for its children once, so that an exec's process is born in it.
//! The process joins the cgroups and the other namespaces, and goes on as the container's first process did
//! ([`crate::launch::workload`]). The loop does not wait for it: its channel is one more thing to poll.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pinnace_helper::protocol::{
    Attachment, ExecSpec, LaunchError, NamespaceMode, Namespaces, ProcessExit, ProcessSpec, Report, Stage,
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::thread::ThreadNameSpaceType;

use super::exit_record;
use super::session::{Session, StdinEnd};
use super::{Supervisor, requests};
use crate::fault::{Call, Fault};
use crate::launch::channel::{self, Ready, Step};
use crate::launch::terminal::Terminal;
use crate::launch::tree::Tree;
use crate::launch::workload::{self, Workload};
use crate::launch::{Clock, Wanted, cgroup, create_stdio, namespaces, oom_score_adjustment, take_pipes};
use crate::sys::{self, Cloned};

/// Magic number of a devpts file system: statfs(2).
const DEVPTS: i64 = 0x1cd1;

/// One exec.
#[derive(Debug)]
pub(super) struct Exec {
    pub(super) id: String,
    pub(super) pid: i32,
    pub(super) session: Session,
    pidfd: OwnedFd,
    state: State,
    /// Connected when the process runs: until then not a byte is written to it.
    attachment: Option<(Attachment, OwnedFd)>,
    seq: u64,
}

#[derive(Debug)]
enum State {
    /// On its way to its execve.
    Starting {
        channel: OwnedFd,
        ready: Option<Ready>,
    },
    Running,
    Ended(ProcessExit),
    /// Failed, and told.
    Void,
}

impl Exec {
    /// Returns what to wait for: the channel of a process that starts, the process itself later.
    pub(super) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Starting { channel, .. } => Some(channel.as_fd()),
            State::Running => Some(self.pidfd.as_fd()),
            State::Ended(_) | State::Void => None,
        }
    }

    /// Returns whether the process is on its way to its execve, with its client not connected yet.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    /// Returns the process, while it runs.
    pub(super) fn pidfd(&self) -> Option<&OwnedFd> {
        matches!(self.state, State::Running).then_some(&self.pidfd)
    }

    /// Acts on what was waited for, and returns what the daemon is told.
    pub(super) fn go_on(&mut self) -> Option<Report> {
        let State::Starting { channel, ready } = &mut self.state else {
            self.reap();
            return None;
        };
        match channel::step(channel, ready) {
            Step::Waiting => None,
            Step::Executed(ready) => {
                if let Some(terminal) = ready.terminal {
                    super::control::make_nonblocking(&terminal);
                    self.session.set_terminal(terminal);
                }
                if let Some((attachment, stream)) = self.attachment.take() {
                    self.session.attach(attachment, stream);
                }
                self.state = State::Running;
                Some(Report::ExecStarted { seq: self.seq, exec: self.id.clone(), pid: self.pid })
            }
            Step::Failed(error) => {
                crate::launch::kill_and_reap(&self.pidfd);
                self.state = State::Void;
                self.attachment = None;
                Some(Report::ExecFailed { seq: self.seq, exec: self.id.clone(), error })
            }
        }
    }

    /// Collects the process if it has ended.
    pub(super) fn reap(&mut self) {
        if matches!(self.state, State::Running)
            && let Some(exit) = exit_record::reap(&self.pidfd)
        {
            self.session.process_ended();
            self.state = State::Ended(exit);
        }
    }

    /// Returns how it ended, when all that it wrote has been passed on.
    pub(super) fn finished(&self) -> Option<ProcessExit> {
        match self.state {
            State::Ended(exit) if self.session.is_delivered() => Some(exit),
            _ => None,
        }
    }

    /// Returns whether it never ran.
    pub(super) fn is_void(&self) -> bool {
        matches!(self.state, State::Void)
    }
}

impl Supervisor {
    /// Forks the process of an exec.
    pub(super) fn start_exec(
        &mut self,
        seq: u64,
        id: String,
        spec: &ExecSpec,
        attachment: Option<(Attachment, OwnedFd)>,
    ) -> Result<Exec, LaunchError> {
        let fault_at = |stage| move |fault: Fault| fault.at(stage);
        self.enter_pid_namespace().map_err(fault_at(Stage::Namespaces))?;
        let wanted = Wanted { stdin: spec.stdin, stdout: spec.stdout, stderr: spec.stderr };
        let (ends, process_ends) = create_stdio(spec.process.terminal, wanted).map_err(fault_at(Stage::Terminal))?;
        let (ours, theirs) =
            channel::pair().call(|| "socketpair(SOCK_SEQPACKET)".into()).map_err(fault_at(Stage::Clone))?;
        let unified = self.cgroups.unified();
        let cloned = sys::clone(0, unified.map(AsFd::as_fd)).call(|| "clone3(CLONE_PIDFD)".into());
        match cloned.map_err(fault_at(Stage::Clone))? {
            Cloned::Parent { pid, pidfd } => Ok(Exec {
                id,
                pid,
                session: Session::new(ends, None, if spec.stdin { StdinEnd::WithClient } else { StdinEnd::AtOnce }),
                pidfd,
                state: State::Starting { channel: ours, ready: None },
                attachment,
                seq,
            }),
            Cloned::Child => {
                let container = Container {
                    init: &self.pidfd,
                    namespaces: &self.spec.namespaces,
                    joins: if unified.is_some() { &[] } else { self.cgroups.joins() },
                    oom_score_adj: spec.process.oom_score_adj.unwrap_or(self.oom_score_adj),
                };
                run(&container, &spec.process, &process_ends.0, &theirs)
            }
        }
    }

    fn enter_pid_namespace(&mut self) -> Result<(), Fault> {
        if self.in_pid_namespace || self.spec.namespaces.pid == NamespaceMode::Host {
            return Ok(());
        }
        rustix::thread::move_into_thread_name_spaces(self.pidfd.as_fd(), ThreadNameSpaceType::PROCESS_ID)
            .call(|| "setns(init, CLONE_NEWPID)".into())?;
        self.in_pid_namespace = true;
        Ok(())
    }
}

struct Container<'a> {
    init: &'a OwnedFd,
    namespaces: &'a Namespaces,
    joins: &'a [OwnedFd],
    oom_score_adj: i32,
}

/// The process of an exec, from its clone to its execve.
fn run(container: &Container<'_>, process: &ProcessSpec, pipes: &[OwnedFd], channel: &OwnedFd) -> ! {
    let mut clock = Clock::start();
    let error = match become_ready(&mut clock, container, process, pipes, channel) {
        Ok((workload, terminal)) => workload.execute(clock, channel, terminal.as_ref()),
        Err(error) => error,
    };
    // A helper that cannot be told has gone, and then this process ends as well.
    drop(channel::say_failed(channel, error));
    std::process::exit(requests::unknown_exit().code)
}

fn become_ready(
    clock: &mut Clock,
    container: &Container<'_>,
    process: &ProcessSpec,
    pipes: &[OwnedFd],
    channel: &OwnedFd,
) -> Result<(Workload, Option<OwnedFd>), LaunchError> {
    let kept = [container.init, channel].into_iter().chain(container.joins).chain(pipes).map(AsFd::as_fd);
    let closed = sys::close_all_but(&kept.collect::<Vec<_>>()).call(|| "close_range(3, all but those needed)".into());
    clock.stage(Stage::Clone, closed)?;
    clock.stage(Stage::Clone, workload::die_with_helper())?;
    clock.stage(Stage::Cgroup, cgroup::join(container.joins))?;
    clock.stage(Stage::Rlimits, adjust_oom_score(container.oom_score_adj))?;
    clock.stage(Stage::Namespaces, enter(container))?;
    let tree = clock.stage(Stage::Rootfs, open("/").map(Tree::new))?;
    let terminal = clock.stage(Stage::Terminal, take_stdio(process, pipes))?;
    let workload = Workload::prepare(clock, &tree, process)?;
    Ok((workload, terminal))
}

/// Still in the host's mount namespace, whose `/proc` is the host's.
fn adjust_oom_score(adjustment: i32) -> Result<(), Fault> {
    oom_score_adjustment(open("/proc")?, adjustment)
}

fn enter(container: &Container<'_>) -> Result<(), Fault> {
    let namespaces = namespaces::to_enter(container.namespaces);
    rustix::thread::move_into_thread_name_spaces(container.init.as_fd(), namespaces)
        .call(|| format!("setns(init, {:#x})", namespaces.bits()))?;
    sys::new_session_keyring().call(|| "keyctl(KEYCTL_JOIN_SESSION_KEYRING)".into())
}

fn take_stdio(process: &ProcessSpec, pipes: &[OwnedFd]) -> Result<Option<OwnedFd>, Fault> {
    if !process.terminal {
        take_pipes(pipes)?;
        rustix::process::setsid().call(|| "setsid()".into())?;
        return Ok(None);
    }
    // The container may have changed what is mounted there.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let pts = openat2(CWD, "/dev/pts", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        .call(|| "openat2(\"/dev/pts\")".into())?;
    let file_system = rustix::fs::fstatfs(&pts).call(|| "fstatfs(\"/dev/pts\")".into())?.f_type;
    if file_system != DEVPTS {
        return Err(Fault::rule("/dev/pts is no devpts"));
    }
    let terminal = Terminal::open(&pts, process.terminal_size)?;
    terminal.take()?;
    Ok(Some(terminal.master))
}

fn open(path: &str) -> Result<OwnedFd, Fault> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?}, O_PATH)"))
}
