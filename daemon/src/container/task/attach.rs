//! Attaching clients, and starting execs.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pinnace_helper::protocol::{Attachment, CloseReason, ExecSpec, Request, packet};
use tokio::sync::oneshot;

use super::{Pending, Reply, Task, answer};
use crate::container::error::Error;
use crate::container::exec::{Exec, ExecState};
use crate::container::handle::{AttachWanted, Attached};
use crate::container::lifecycle::Lifecycle;

impl Task {
    pub(super) async fn on_attach(&mut self, wanted: AttachWanted, stream: OwnedFd, reply: Reply<Attached>) {
        let state = self.state();
        if let Lifecycle::Paused(_) = state {
            return answer(reply, Err(Error::AttachPaused(self.container.id.clone())));
        }
        let (attachment, closed) = self.attachment(wanted);
        self.event("attach", []);
        match state {
            Lifecycle::Created { .. } | Lifecycle::Exited(_) => {
                // Clients come and go before a start that may never be.
                self.waiting.retain(|(_, stream)| !is_hung_up(stream));
                self.waiting.push((attachment, stream));
                answer(reply, Ok(Attached { position: None, closed }));
            }
            Lifecycle::Starting { .. } | Lifecycle::Running(_) | Lifecycle::Paused(_) => {
                let pending = Pending::Attach { reply, closed };
                self.send_with(|seq| Request::Attach { seq, attachment }, &[stream.as_fd()], pending).await;
            }
        }
    }

    pub(super) async fn on_exec_start(
        &mut self,
        exec: Arc<Exec>,
        spec: ExecSpec,
        attach: Option<(AttachWanted, OwnedFd)>,
        reply: Reply<oneshot::Receiver<CloseReason>>,
    ) {
        match self.state() {
            Lifecycle::Running(_) => {}
            Lifecycle::Paused(_) => return answer(reply, Err(Error::ExecPaused(self.container.id.clone()))),
            Lifecycle::Created { .. } | Lifecycle::Starting { .. } | Lifecycle::Exited(_) => {
                return answer(reply, Err(self.not_running()));
            }
        }
        let started = match exec.state() {
            ExecState::Created => None,
            ExecState::Starting | ExecState::Running { .. } => Some(Error::ExecRunning(exec.id.clone())),
            ExecState::Exited { .. } => Some(Error::ExecHasRun(exec.id.clone())),
        };
        if let Some(error) = started {
            return answer(reply, Err(error));
        }
        let sealed = match packet::sealed_json("pinnace-exec", &spec) {
            Ok(sealed) => sealed,
            Err(source) => {
                let id = self.container.id.clone();
                return answer(reply, Err(Error::Io { attempt: "preparing an exec", id, source }));
            }
        };
        exec.state.send_replace(ExecState::Starting);
        let (attachment, stream, closed) = match attach {
            Some((wanted, stream)) => {
                let (attachment, closed) = self.attachment(wanted);
                (Some(attachment), Some(stream), closed)
            }
            None => (None, None, oneshot::channel().1),
        };
        let mut fds = vec![sealed.as_fd()];
        fds.extend(stream.as_ref().map(|stream| stream.as_fd()));
        let name = exec.id.to_string();
        let pending = Pending::Exec { exec, reply, closed };
        self.send_with(|seq| Request::Exec { seq, exec: name, attachment }, &fds, pending).await;
    }

    fn attachment(&mut self, wanted: AttachWanted) -> (Attachment, oneshot::Receiver<CloseReason>) {
        let id = self.next_seq;
        self.next_seq += 1;
        let (close, closed) = oneshot::channel();
        self.attachments.insert(id, close);
        let AttachWanted { stdin, stdout, stderr, framing, detach_keys } = wanted;
        (Attachment { id, stdin, stdout, stderr, framing, detach_keys }, closed)
    }
}

fn is_hung_up(stream: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let hung_up = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLHUP));
    poll(&mut polled, PollTimeout::ZERO).is_ok() && hung_up(&polled[0])
}
