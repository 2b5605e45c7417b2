//! What the rest of the daemon holds of a container: its facts, its published state, and a way to ask its task.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use pinnace_helper::protocol::{CloseReason, ExecSpec, Framing, log::Position};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::Error;
use super::exec::Exec;
use super::lifecycle::{Exit, Lifecycle};
use super::spec::ContainerSpec;
use crate::clock::Timestamp;
use crate::id::Id;
use crate::signal::Signal;

/// The answer to a request.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What a container's task is asked.
#[derive(Debug)]
pub(super) enum Request {
    /// Answered with false if it ran already.
    Start {
        reply: Reply<bool>,
    },
    /// Answered when it has ended; with false if it did not run.
    Stop {
        signal: Option<Signal>,
        timeout: Option<i64>,
        reply: Reply<bool>,
    },
    Kill {
        signal: Signal,
        reply: Reply<()>,
    },
    Pause {
        reply: Reply<()>,
    },
    Unpause {
        reply: Reply<()>,
    },
    Remove {
        force: bool,
        reply: Reply<()>,
    },
    Attach {
        wanted: AttachWanted,
        stream: OwnedFd,
        reply: Reply<Attached>,
    },
    ExecStart {
        exec: Arc<Exec>,
        spec: Box<ExecSpec>,
        attach: Option<(AttachWanted, OwnedFd)>,
        reply: Reply<oneshot::Receiver<CloseReason>>,
    },
    Resize {
        exec: Option<Id>,
        rows: u16,
        columns: u16,
        reply: Reply<()>,
    },
}

/// What of a process's stdio a client wants.
#[derive(Debug, Clone)]
pub struct AttachWanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub framing: Framing,
    pub detach_keys: Vec<u8>,
}

/// An attachment that was made.
#[derive(Debug)]
pub(super) struct Attached {
    /// The log holds what came before; the stream brings what comes after. `None`: the container does not run yet.
    pub(super) position: Option<Position>,
    /// Resolves when the helper ends the attachment; fails if it never does, because the helper is gone.
    pub(super) closed: oneshot::Receiver<CloseReason>,
}

/// A client's side of an attachment.
#[derive(Debug)]
pub struct Session {
    /// Output comes from here, framed as asked; what is written here goes to stdin.
    pub stream: UnixStream,
    /// Where the log ends and the stream begins. `None`: the container does not run yet.
    pub position: Option<Position>,
    /// Why the stream ended, once it has.
    pub closed: oneshot::Receiver<CloseReason>,
}

/// What everybody may know of a container's state.
#[derive(Debug, Clone)]
pub struct Published {
    pub lifecycle: Lifecycle,
    /// How many of its runs have ended since this daemon knows it.
    pub ended: u64,
    /// The last run that ended.
    pub last_exit: Option<Exit>,
    /// It is no more.
    pub removed: bool,
    /// Why it was not removed, although that was due.
    pub removal_error: Option<String>,
}

/// A container.
#[derive(Debug)]
pub struct Container {
    pub id: Id,
    pub created: Timestamp,
    pub spec: ContainerSpec,
    /// `sha256:…`, as the image was when the container was made.
    pub image_id: String,
    /// Chain id of the topmost layer.
    pub layer: String,
    name: RwLock<Arc<str>>,
    pub(super) execs: Mutex<BTreeMap<Id, Arc<Exec>>>,
    state: watch::Receiver<Published>,
    requests: mpsc::Sender<Request>,
}

impl Container {
    pub(super) fn new(
        row: crate::store::containers::StoredContainer,
        state: watch::Receiver<Published>,
        requests: mpsc::Sender<Request>,
    ) -> Self {
        Self {
            id: row.id,
            created: row.created,
            spec: row.spec,
            image_id: row.image_id,
            layer: row.layer,
            name: RwLock::new(row.name.into()),
            execs: Mutex::new(BTreeMap::new()),
            state,
            requests,
        }
    }

    /// Returns the name, without the slash that answers put before it.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.name.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_name(&self, name: &str) {
        *self.name.write().unwrap_or_else(PoisonError::into_inner) = name.into();
    }

    /// Returns the state as it is now.
    pub fn published(&self) -> Published {
        self.state.borrow().clone()
    }

    /// Returns the lifecycle as it is now.
    pub fn lifecycle(&self) -> Lifecycle {
        self.state.borrow().lifecycle.clone()
    }

    /// Returns a receiver of the state.
    pub fn follow(&self) -> watch::Receiver<Published> {
        self.state.clone()
    }

    /// Returns its execs that are remembered, by id.
    pub fn execs(&self) -> Vec<Arc<Exec>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Starts it; false if it ran already.
    pub async fn start(&self) -> Result<bool, Error> {
        self.ask(|reply| Request::Start { reply }).await
    }

    /// Stops it and waits for its end; false if it did not run. `timeout` in seconds, negative waits for ever.
    pub async fn stop(&self, signal: Option<Signal>, timeout: Option<i64>) -> Result<bool, Error> {
        self.ask(|reply| Request::Stop { signal, timeout, reply }).await
    }

    /// Stops it if it runs and starts it.
    pub async fn restart(&self, signal: Option<Signal>, timeout: Option<i64>) -> Result<(), Error> {
        self.stop(signal, timeout).await?;
        self.start().await?;
        Ok(())
    }

    /// Sends a signal to its first process.
    pub async fn kill(&self, signal: Signal) -> Result<(), Error> {
        let sent = self.ask(|reply| Request::Kill { signal, reply }).await;
        sent.map_err(|error| Error::Kill { name: self.id.to_string(), source: Box::new(error) })
    }

    /// Freezes its processes.
    pub async fn pause(&self) -> Result<(), Error> {
        self.ask(|reply| Request::Pause { reply }).await
    }

    /// Undoes `pause`.
    pub async fn unpause(&self) -> Result<(), Error> {
        self.ask(|reply| Request::Unpause { reply }).await
    }

    /// Removes it; what runs is killed first if `force`.
    pub async fn remove(&self, force: bool) -> Result<(), Error> {
        self.ask(|reply| Request::Remove { force, reply }).await
    }

    /// Sets the size of its terminal, or of an exec's.
    pub async fn resize(&self, exec: Option<Id>, rows: u16, columns: u16) -> Result<(), Error> {
        self.ask(|reply| Request::Resize { exec, rows, columns, reply }).await
    }

    /// Connects a client to its stdio. A container that does not run is attached to when it starts.
    pub async fn attach(&self, wanted: AttachWanted) -> Result<Session, Error> {
        let (stream, theirs) = self.stream_pair()?;
        let attached = self.ask(|reply| Request::Attach { wanted, stream: theirs, reply }).await?;
        Ok(Session { stream, position: attached.position, closed: attached.closed })
    }

    /// Runs an exec, attached if asked for.
    pub(super) async fn exec_start(
        &self,
        exec: Arc<Exec>,
        spec: ExecSpec,
        wanted: Option<AttachWanted>,
    ) -> Result<Option<Session>, Error> {
        let (ours, attach) = match wanted {
            Some(wanted) => {
                let (stream, theirs) = self.stream_pair()?;
                (Some(stream), Some((wanted, theirs)))
            }
            None => (None, None),
        };
        let spec = Box::new(spec);
        let closed = self.ask(|reply| Request::ExecStart { exec, spec, attach, reply }).await?;
        Ok(ours.map(|stream| Session { stream, position: None, closed }))
    }

    fn stream_pair(&self) -> Result<(UnixStream, OwnedFd), Error> {
        let failed = |source| Error::Io { attempt: "making a stream", id: self.id.clone(), source };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        theirs.set_nonblocking(true).map_err(failed)?;
        Ok((UnixStream::from_std(ours).map_err(failed)?, OwnedFd::from(theirs)))
    }

    /// Asks the container's task. The task carries the request out even if the asker goes away.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        let (reply, mut answer) = oneshot::channel();
        let gone = || Error::Gone(self.id.clone());
        self.requests.send(request(reply)).await.map_err(|_ended| gone())?;
        tokio::select! {
            biased;
            answered = &mut answer => answered.unwrap_or_else(|_ended| Err(gone())),
            // A request that was queued while the task ended stays in the queue, which this sender keeps alive.
            () = self.requests.closed() => answer.try_recv().unwrap_or_else(|_unanswered| Err(gone())),
        }
    }
}
