//! Watching over a running container: one loop over everything that can happen to it.
//!
//! ```text
//!   output of the process ──▶ Session ──▶ log (supervise::log_file)
//!                                    └──▶ attached clients (supervise::fanout)
//!   clients' bytes ──▶ detach keys ──▶ standard input of the process (supervise::console)
//!   daemons' requests (supervise::control) ──▶ signals, resizes, freezer, execs (supervise::exec)
//!   end of the process ──▶ drain ──▶ exit record (supervise::exit_record)
//! ```
//!
//! The order at the end: the process has ended; every process left in its cgroup is killed; the pipes are read until
//! they are empty; clients get what is pending for them, but hold the report for at most [`FLUSH_BOUND`]; the streams
//! are shut down; `Exited` is sent; the cgroups are removed. A client that is still behind then has until
//! [`fanout::STUCK_BOUND`].

mod console;
mod control;
mod detach;
mod exec;
mod exit_record;
mod fanout;
mod log_file;
mod requests;
mod session;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pinnace_helper::protocol::{ExitRecord, LaunchSpec, ProcessExit, Report, Status, StdinMode};
use rustix::event::{PollFd, PollFlags};

use crate::launch::Running;
use crate::launch::cgroup::Cgroups;
use control::Connection;
use exec::Exec;
use log_file::LogFile;
use session::{Session, StdinEnd};

/// How much is read at once, in bytes: the capacity of the output pipes. One buffer serves everything.
const BUFFER_SIZE: usize = 256 * 1024;

/// How long clients that do not take their output can hold back the report of the exit.
const FLUSH_BOUND: Duration = Duration::from_secs(2);

/// How long the helper waits at the end for clients to take their last bytes and close their side.
const LINGER_BOUND: Duration = Duration::from_secs(2);

/// How many ended execs a daemon can still ask for: the newest ones (arbitrary).
const MAX_ENDED_EXECS: usize = 256;

/// Something that the loop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Init,
    Listener,
    Control(usize),
    Session(session::Source),
    Exec(usize),
    ExecSession(usize, session::Source),
}

/// A running container and everyone who talks to it.
struct Supervisor {
    spec: LaunchSpec,
    pid: i32,
    pidfd: OwnedFd,
    /// Kept until the exit is reported: see [`Running::mounts`].
    mounts: Option<OwnedFd>,
    started_at_ns: i64,
    cgroups: Cgroups,
    oom_score_adj: i32,
    /// Held, not used: see [`crate::launch::cgroup::favor_moves`].
    _cgroup_moves: Option<OwnedFd>,
    listener: OwnedFd,
    connections: Vec<Connection>,
    session: Session,
    execs: Vec<Exec>,
    ended_execs: VecDeque<(String, ProcessExit)>,
    /// Whether children are born in the container's pid namespace already.
    in_pid_namespace: bool,
    paused: bool,
    ending: Ending,
    buffer: Vec<u8>,
}

/// How far the end of the container has come.
#[derive(Debug)]
enum Ending {
    Running,
    /// The process has ended, its output is being passed on.
    Draining {
        record: ExitRecord,
        since: Instant,
    },
    /// `Exited` was sent; a daemon has to say that it knows.
    Reported {
        record: ExitRecord,
    },
    /// The record is where it belongs.
    Collected {
        record: ExitRecord,
        since: Instant,
    },
}

/// Watches over the container until it has ended and its exit is recorded.
pub(crate) fn supervise(running: Running, control: OwnedFd) -> ExitCode {
    let log = running.spec.log.as_ref().map(LogFile::open);
    let stdin_end = match running.spec.stdin {
        StdinMode::Closed => StdinEnd::AtOnce,
        StdinMode::Open => StdinEnd::WithProcess,
        StdinMode::OpenOnce => StdinEnd::WithClient,
    };
    let mut session = Session::new(running.stdio, log, stdin_end);
    for (attachment, stream) in running.attachments {
        session.attach(attachment, stream);
    }
    let mut supervisor = Supervisor {
        spec: running.spec,
        pid: running.pid,
        pidfd: running.pidfd,
        mounts: running.mounts,
        started_at_ns: running.started_at_ns,
        cgroups: running.cgroups,
        oom_score_adj: running.oom_score_adj,
        _cgroup_moves: running.cgroup_moves,
        listener: running.listener,
        connections: Vec::new(),
        session,
        execs: Vec::new(),
        ended_execs: VecDeque::new(),
        in_pid_namespace: false,
        paused: false,
        ending: Ending::Running,
        buffer: vec![0; BUFFER_SIZE],
    };
    supervisor.prepare(control);
    while !supervisor.is_done() {
        supervisor.turn();
    }
    ExitCode::SUCCESS
}

impl Supervisor {
    fn prepare(&mut self, control: OwnedFd) {
        self.connections.extend(Connection::new(control));
        control::make_nonblocking(&self.listener);
    }

    /// Waits for something to happen and acts on it.
    fn turn(&mut self) {
        let now = Instant::now();
        let (ready, sources) = {
            let mut sources = Vec::with_capacity(16);
            let mut fds = Vec::with_capacity(16);
            self.interests(|source, fd, flags| {
                sources.push(source);
                fds.push(PollFd::from_borrowed_fd(fd, flags));
            });
            let timeout = self.next_deadline().map(|deadline| timespec(deadline.saturating_duration_since(now)));
            // Interrupted or out of memory: the next turn asks again.
            let polled = rustix::event::poll(&mut fds, timeout.as_ref());
            let ready: Vec<PollFlags> =
                if polled.is_ok() { fds.iter().map(PollFd::revents).collect() } else { Vec::new() };
            (ready, sources)
        };
        // Nothing is removed before `advance`, so that the indexes hold.
        for (source, flags) in sources.into_iter().zip(ready).filter(|(_, flags)| !flags.is_empty()) {
            self.act(source, flags);
        }
        self.advance(Instant::now());
    }

    fn interests<'a>(&'a self, mut add: impl FnMut(Source, BorrowedFd<'a>, PollFlags)) {
        if matches!(self.ending, Ending::Running) {
            add(Source::Init, self.pidfd.as_fd(), PollFlags::IN);
        }
        add(Source::Listener, self.listener.as_fd(), PollFlags::IN);
        for (index, connection) in self.connections.iter().enumerate() {
            add(Source::Control(index), connection.socket.as_fd(), connection.interest());
        }
        self.session.interests(|source, fd, flags| add(Source::Session(source), fd, flags));
        for (index, exec) in self.execs.iter().enumerate() {
            if let Some(fd) = exec.waits_for() {
                add(Source::Exec(index), fd, PollFlags::IN);
            }
            if !exec.is_starting() {
                exec.session.interests(|source, fd, flags| add(Source::ExecSession(index, source), fd, flags));
            }
        }
    }

    fn act(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Init => self.init_ended(),
            Source::Listener => self.connections.extend(control::accept(&self.listener).map(|mut connection| {
                connection.greet(self.status(0));
                connection
            })),
            Source::Control(index) => self.converse(index, flags),
            Source::Session(source) => self.session.act(source, flags, &mut self.buffer),
            Source::Exec(index) => {
                let report = self.execs.get_mut(index).and_then(Exec::go_on);
                report.iter().for_each(|report| self.tell_all(report));
            }
            Source::ExecSession(index, source) => {
                if let Some(exec) = self.execs.get_mut(index) {
                    exec.session.act(source, flags, &mut self.buffer);
                }
            }
        }
    }

    /// Does what has become possible: tells of closed attachments and ended execs, and goes on towards the end.
    fn advance(&mut self, now: Instant) {
        let mut reports = Vec::new();
        self.session.advance(now, &mut self.buffer, &mut reports);
        for exec in &mut self.execs {
            exec.session.advance(now, &mut self.buffer, &mut reports);
        }
        for mut exec in self.execs.extract_if(.., |exec| exec.is_void() || exec.finished().is_some()) {
            let Some(exit) = exec.finished() else { continue };
            self.session.linger_for(&mut exec.session);
            // Kept even if a daemon is told, because it may be killed before it reads that.
            if self.ended_execs.len() == MAX_ENDED_EXECS {
                self.ended_execs.pop_front();
            }
            self.ended_execs.push_back((exec.id.clone(), exit));
            reports.push(Report::ExecExited { exec: exec.id, exit });
        }
        reports.iter().for_each(|report| self.tell_all(report));
        self.advance_ending(now);
        self.connections.retain(|connection| !connection.is_broken());
    }

    fn init_ended(&mut self) {
        let Some(exit) = exit_record::reap(&self.pidfd) else { return };
        let record = ExitRecord {
            container: self.spec.container.clone(),
            pid: self.pid,
            started_at_ns: self.started_at_ns,
            exit,
            oom_killed: self.cgroups.was_oom_killed(),
        };
        self.kill_rest();
        self.session.process_ended();
        self.ending = Ending::Draining { record, since: Instant::now() };
    }

    fn advance_ending(&mut self, now: Instant) {
        match &self.ending {
            Ending::Running | Ending::Collected { .. } => return,
            Ending::Draining { record, since } => {
                let late = now.duration_since(*since) >= FLUSH_BOUND;
                let delivered = self.session.is_delivered() && self.execs.is_empty();
                if !late && !delivered {
                    return;
                }
                let record = record.clone();
                self.tell_all(&Report::Exited(record.clone()));
                self.mounts = None;
                self.cgroups.remove();
                self.ending = Ending::Reported { record };
            }
            Ending::Reported { .. } => {}
        }
        if let Ending::Reported { record } = &self.ending
            && self.connections.iter().all(Connection::is_broken)
        {
            // A directory that cannot be written has nobody who reads it either.
            drop(exit_record::write(&self.spec.run_dir, record));
            self.ending = Ending::Collected { record: record.clone(), since: now };
        }
    }

    fn is_done(&self) -> bool {
        match self.ending {
            Ending::Collected { since, .. } => {
                self.session.is_closed() && self.execs.is_empty() || since.elapsed() >= self.end_bound()
            }
            _ => false,
        }
    }

    /// Returns how long streams that are still open may hold the helper at the end.
    fn end_bound(&self) -> Duration {
        if self.session.is_delivered() && self.execs.is_empty() { LINGER_BOUND } else { fanout::STUCK_BOUND }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let ending = match &self.ending {
            Ending::Running | Ending::Reported { .. } => None,
            Ending::Draining { since, .. } => Some(*since + FLUSH_BOUND),
            Ending::Collected { since, .. } => Some(*since + self.end_bound()),
        };
        let sessions = self.execs.iter().map(|exec| &exec.session).chain([&self.session]);
        sessions.filter_map(Session::next_deadline).chain(ending).min()
    }

    fn tell_all(&mut self, report: &Report) {
        self.connections.iter_mut().for_each(|connection| connection.send(report));
    }

    fn status(&self, seq: u64) -> Status {
        Status {
            seq,
            container: self.spec.container.clone(),
            pid: self.pid,
            started_at_ns: self.started_at_ns,
            paused: self.paused,
            execs: self.execs.iter().map(|exec| (exec.id.clone(), exec.pid)).collect(),
            ended_execs: self.ended_execs.iter().cloned().collect(),
            attachments: self.session.attachments(),
            exited: match &self.ending {
                Ending::Reported { record } | Ending::Collected { record, .. } => Some(record.clone()),
                Ending::Running | Ending::Draining { .. } => None,
            },
        }
    }
}

fn timespec(duration: Duration) -> rustix::event::Timespec {
    rustix::event::Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
