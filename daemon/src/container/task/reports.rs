//! What the helper reports.

use pinnace_helper::protocol::{CloseReason, ProcessExit, Report, Stage};

use super::{Pending, Task, answer};
use crate::clock::Timestamp;
use crate::container::error::{Error, launch_error};
use crate::container::exec::ExecState;
use crate::container::handle::Attached;
use crate::container::lifecycle::{Decision, Event};
use crate::id::Id;

impl Task {
    pub(super) async fn on_report(&mut self, report: Report) {
        match report {
            Report::Hello { version, helper_pid } => {
                tracing::debug!(container.id = %self.container.id, version, helper_pid, "adopted a helper");
            }
            Report::Started { pid, started_at_ns, phases } => self.on_started(pid, started_at_ns, &phases).await,
            Report::Failed(error) => self.on_launch_failed(&error).await,
            Report::Done { seq } => self.on_done(seq).await,
            Report::Refused { seq, reason } => {
                if let Some(pending) = self.pending.remove(&seq) {
                    pending.fail(Error::refused(&self.container.id, reason));
                }
            }
            Report::Attached { seq, position } => {
                if let Some(Pending::Attach { reply, closed }) = self.pending.remove(&seq) {
                    answer(reply, Ok(Attached { position: Some(position), closed }));
                }
            }
            Report::AttachmentClosed { id, reason } => self.on_attachment_closed(id, reason),
            Report::ExecStarted { seq, exec: _, pid } => {
                if let Some(Pending::Exec { exec, reply, closed }) = self.pending.remove(&seq) {
                    exec.state.send_replace(ExecState::Running { pid });
                    self.event(format!("exec_start: {}", exec.args.join(" ")), [("execID", exec.id.to_string())]);
                    self.execs.insert(exec.id.clone(), exec);
                    answer(reply, Ok(closed));
                }
            }
            Report::ExecFailed { seq, exec: _, error } => {
                if let Some(Pending::Exec { exec, reply, .. }) = self.pending.remove(&seq) {
                    // Killed before it could execute anything, or nothing left to enter: the container ends.
                    let ended = match error.stage {
                        // What clone3 says of a pid namespace whose first process is gone: clone(2).
                        Stage::Clone => matches!(error.errno, None | Some(libc::ENOMEM)),
                        Stage::Namespaces | Stage::Cgroup => {
                            matches!(error.errno, Some(libc::ESRCH | libc::ENOENT | libc::ENODEV))
                        }
                        _ => false,
                    };
                    let error = if ended { self.not_running() } else { launch_error(&error) };
                    let code = error.start_failure().code;
                    exec.state.send_replace(ExecState::Exited { code, at: Timestamp::now(), pid: 0 });
                    answer(reply, Err(error));
                }
            }
            Report::ExecExited { exec, exit } => self.on_exec_exited(&exec, exit),
            Report::Status(status) => {
                for (exec, exit) in status.ended_execs {
                    self.on_exec_exited(&exec, exit);
                }
                if let Some(record) = status.exited {
                    self.on_exited(record).await;
                }
            }
            Report::Exited(record) => self.on_exited(record).await,
        }
    }

    async fn on_done(&mut self, seq: u64) {
        match self.pending.remove(&seq) {
            Some(Pending::Unit(reply)) => answer(reply, Ok(())),
            Some(Pending::Pause(reply)) => {
                self.apply(Event::Pause).await;
                self.event("pause", []);
                answer(reply, Ok(()));
            }
            Some(Pending::Unpause(reply)) => {
                self.apply(Event::Unpause).await;
                self.event("unpause", []);
                answer(reply, Ok(()));
            }
            Some(Pending::Resize { reply, exec, rows, columns }) => {
                if !exec {
                    self.event("resize", [("height", rows.to_string()), ("width", columns.to_string())]);
                }
                answer(reply, Ok(()));
            }
            Some(Pending::Nobody | Pending::Attach { .. } | Pending::Exec { .. }) | None => {}
        }
    }

    async fn apply(&self, event: Event) {
        if let Ok(Decision::Become(lifecycle)) = self.step(event) {
            self.become_(lifecycle).await;
        }
    }

    fn on_attachment_closed(&mut self, id: u64, reason: CloseReason) {
        match reason {
            CloseReason::Detached => self.event("detach", []),
            CloseReason::TooSlow => {
                tracing::warn!(container.id = %self.container.id, attachment = id, "a client was too slow and was dropped");
            }
            CloseReason::ProcessExited | CloseReason::ClientGone => {}
        }
        if let Some(closed) = self.attachments.remove(&id) {
            // A client that has gone does not ask why.
            crate::error::ignore(closed.send(reason));
        }
    }

    fn on_exec_exited(&mut self, exec: &str, exit: ProcessExit) {
        let Some(exec) = Id::parse(exec).and_then(|id| self.execs.remove(&id)) else { return };
        let pid = match exec.state() {
            ExecState::Running { pid } => pid,
            ExecState::Created | ExecState::Starting | ExecState::Exited { .. } => 0,
        };
        exec.state.send_replace(ExecState::Exited { code: exit.code, at: Timestamp(exit.finished_at_ns), pid });
        self.event("exec_die", [("execID", exec.id.to_string()), ("exitCode", exit.code.to_string())]);
    }
}
