//! What daemons ask for, carried out.

use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pinnace_helper::protocol::packet;
use pinnace_helper::protocol::{Attachment, ExecSpec, NamespaceMode, Refusal, Report, Request, Target};
use rustix::event::PollFlags;
use rustix::io::Errno;

use super::control::Received;
use super::exec::Exec;
use super::{Ending, Supervisor};
use crate::fault::{Call, Fault, ignore};
use crate::launch::now_ns;
use crate::sys;

/// How long the freezer may take, and the first pause between looks at it, which doubles each time.
const FREEZE_BOUND: Duration = Duration::from_millis(500);
const FREEZE_PAUSE: Duration = Duration::from_micros(50);

/// How often the processes of a cgroup are listed and killed: each time catches those that were being born.
const KILL_ROUNDS: usize = 100;
const KILL_PAUSE: Duration = Duration::from_millis(1);

impl Supervisor {
    /// Talks to one daemon whose connection is ready.
    pub(super) fn converse(&mut self, index: usize, flags: PollFlags) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if flags.contains(PollFlags::OUT) {
            connection.flush();
        }
        if !flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        let report = match connection.receive(&mut self.buffer) {
            Received::Nothing => None,
            Received::Malformed(detail) => Some(Report::Refused { seq: 0, reason: Refusal::Malformed { detail } }),
            Received::Request(request, fds) => self.carry_out(request, fds),
        };
        if let (Some(report), Some(connection)) = (report, self.connections.get_mut(index)) {
            connection.send(&report);
        }
    }

    fn carry_out(&mut self, request: Request, fds: Vec<OwnedFd>) -> Option<Report> {
        let (seq, outcome) = match request {
            Request::Status { seq } => return Some(Report::Status(self.status(seq))),
            Request::Collected => {
                if let Ending::Reported { record } = &self.ending {
                    self.ending = Ending::Collected { record: record.clone(), since: Instant::now() };
                }
                return None;
            }
            Request::Launch { .. } => (0, Err(malformed("the container is launched already"))),
            Request::Attach { seq, attachment } => match fds.into_iter().next() {
                Some(stream) => return Some(self.attach(seq, attachment, stream)),
                None => (seq, Err(malformed("an attachment needs its stream"))),
            },
            Request::Exec { seq, exec, attachment } => match self.exec(seq, exec, attachment, fds) {
                Ok(()) => return None,
                Err(ExecError::Refused(refusal)) => (seq, Err(refusal)),
                Err(ExecError::Failed(report)) => return Some(*report),
            },
            Request::Signal { seq, target, signal } => (seq, self.signal(&target, signal)),
            Request::Resize { seq, target, rows, columns } => (seq, self.resize(&target, rows, columns)),
            Request::Pause { seq } => (seq, self.pause()),
            Request::Unpause { seq } => (seq, self.unpause()),
        };
        Some(match outcome {
            Ok(()) => Report::Done { seq },
            Err(reason) => Report::Refused { seq, reason },
        })
    }

    fn attach(&mut self, seq: u64, attachment: Attachment, stream: OwnedFd) -> Report {
        if !self.is_running() {
            return Report::Refused { seq, reason: Refusal::NotRunning };
        }
        let position = self.session.attach(attachment, stream);
        Report::Attached { seq, position }
    }

    fn exec(
        &mut self,
        seq: u64,
        id: String,
        attachment: Option<Attachment>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), ExecError> {
        let mut fds = fds.into_iter();
        let spec_fd = fds.next().ok_or_else(|| malformed("an exec needs its specification"))?;
        let attachment = match attachment {
            Some(attachment) => {
                Some((attachment, fds.next().ok_or_else(|| malformed("an attachment needs its stream"))?))
            }
            None => None,
        };
        if !self.is_running() {
            return Err(Refusal::NotRunning.into());
        }
        if self.paused {
            // Its process would freeze before it is one.
            return Err(Fault { call: "exec in a paused container".into(), errno: Some(Errno::BUSY), subject: None }
                .refusal()
                .into());
        }
        let spec = packet::read_json::<ExecSpec>(&spec_fd).map_err(|error| malformed(&error.to_string()))?;
        let exec = self.start_exec(seq, id.clone(), &spec, attachment);
        match exec {
            Ok(exec) => {
                self.execs.push(exec);
                Ok(())
            }
            Err(error) => Err(ExecError::Failed(Box::new(Report::ExecFailed { seq, exec: id, error }))),
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.ending, Ending::Running)
    }

    fn find_exec(&self, id: &str) -> Result<&Exec, Refusal> {
        self.execs.iter().find(|exec| exec.id == id).ok_or(Refusal::NoSuchExec)
    }

    fn signal(&mut self, target: &Target, signal: i32) -> Result<(), Refusal> {
        match target {
            Target::Exec(id) => send(self.find_exec(id)?.pidfd(), signal)?,
            Target::Init if self.is_running() => send(Some(&self.pidfd), signal)?,
            Target::All if self.is_running() => self.signal_all(signal)?,
            Target::Init | Target::All => return Err(Refusal::NotRunning),
        }
        if signal == libc::SIGKILL && self.paused {
            // A frozen process does not die.
            self.unpause()?;
        }
        Ok(())
    }

    fn signal_all(&mut self, signal: i32) -> Result<(), Refusal> {
        if signal == libc::SIGKILL && self.cgroups.kill_at_once() {
            return Ok(());
        }
        if self.cgroups.is_empty() {
            return send(Some(&self.pidfd), signal);
        }
        self.cgroups.pids().into_iter().try_for_each(|pid| match sys::kill(pid, signal) {
            // It has ended by itself.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            failed => failed.call(|| format!("kill({pid}, {signal})")).map_err(Fault::refusal),
        })
    }

    /// Kills what the container left behind. With a pid namespace of its own the kernel has done that.
    pub(super) fn kill_rest(&mut self) {
        if self.spec.namespaces.pid == NamespaceMode::Private {
            return;
        }
        if self.paused {
            // Nothing can be done about a freezer that refuses.
            drop(self.unpause());
        }
        for _ in 0..KILL_ROUNDS {
            let pids = self.cgroups.pids();
            if pids.is_empty() {
                return;
            }
            if !self.cgroups.kill_at_once() {
                // Those that have ended meanwhile are what is wanted.
                pids.into_iter().for_each(|pid| ignore(sys::kill(pid, libc::SIGKILL)));
            }
            self.execs.iter_mut().for_each(Exec::reap);
            sleep(KILL_PAUSE);
        }
    }

    fn resize(&self, target: &Target, rows: u16, columns: u16) -> Result<(), Refusal> {
        let session = match target {
            Target::Init if self.is_running() => &self.session,
            Target::Exec(id) => &self.find_exec(id)?.session,
            Target::Init | Target::All => return Err(Refusal::NotRunning),
        };
        session.resize(rows, columns).ok_or(Refusal::NoTerminal)?.map_err(Fault::refusal)
    }

    fn pause(&mut self) -> Result<(), Refusal> {
        if !self.is_running() {
            return Err(Refusal::NotRunning);
        }
        self.cgroups.set_frozen(true).map_err(Fault::refusal)?;
        let asked = Instant::now();
        let mut pause = FREEZE_PAUSE;
        while !self.cgroups.is_frozen().map_err(Fault::refusal)? {
            if asked.elapsed() >= FREEZE_BOUND {
                self.cgroups.set_frozen(false).map_err(Fault::refusal)?;
                let call = "freeze the container's cgroup".to_owned();
                return Err(Refusal::Failed { call, errno: Errno::TIMEDOUT.raw_os_error() });
            }
            sleep(pause);
            pause *= 2;
        }
        self.paused = true;
        Ok(())
    }

    fn unpause(&mut self) -> Result<(), Refusal> {
        self.cgroups.set_frozen(false).map_err(Fault::refusal)?;
        self.paused = false;
        Ok(())
    }
}

fn send(process: Option<&OwnedFd>, signal: i32) -> Result<(), Refusal> {
    let pidfd = process.ok_or(Refusal::NotRunning)?;
    match sys::send_signal(pidfd, signal) {
        Err(Errno::SRCH) => Err(Refusal::NotRunning),
        other => other.call(|| format!("pidfd_send_signal({signal})")).map_err(Fault::refusal),
    }
}

fn malformed(detail: &str) -> Refusal {
    Refusal::Malformed { detail: detail.to_owned() }
}

/// Why an exec did not begin.
enum ExecError {
    Refused(Refusal),
    Failed(Box<Report>),
}

impl From<Refusal> for ExecError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The time at which a process ended that could not be collected.
pub(super) fn unknown_exit() -> pinnace_helper::protocol::ProcessExit {
    pinnace_helper::protocol::ProcessExit { code: 255, signal: None, finished_at_ns: now_ns() }
}
