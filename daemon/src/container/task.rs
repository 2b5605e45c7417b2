//! The task of one container: the only writer of its state.
//!
//! It waits for requests, for reports of the helper and for the deadline of a stop, all at once, and never blocks on one
//! of them: what a request asked for is answered when the report comes. The order of a transition is: decide
//! ([`step`]), act, publish and record, reply. A state that the helper can tell again after a crash is recorded behind
//! the reply; the helper is let go only when its exit record is in the database.

mod attach;
mod exit;
mod removal;
mod reports;
mod start;

pub(super) use exit::remove_run_dir;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pinnace_helper::protocol::{self, CloseReason};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Services;
use super::error::Error;
use super::exec::Exec;
use super::handle::{Attached, Container, Published, Reply, Request};
use super::lifecycle::{Decision, Denied, Event, Lifecycle, step};
use crate::events::Kind;
use crate::helper_process::Connection;
use crate::id::Id;
use crate::signal::Signal;
use crate::store::containers as rows;

/// How long a container has to end by itself before it is killed, in seconds: Docker's default.
const STOP_TIMEOUT: i64 = 10;

pub(super) struct Task {
    container: Arc<Container>,
    services: Services,
    published: watch::Sender<Published>,
    requests: mpsc::Receiver<Request>,
    connection: Option<Connection>,
    next_seq: u64,
    /// What the helper was asked and has not answered.
    pending: HashMap<u64, Pending>,
    /// Attachments that the helper has or will get.
    attachments: HashMap<u64, oneshot::Sender<CloseReason>>,
    /// Attachments of a container that does not run yet.
    waiting: Vec<(protocol::Attachment, std::os::fd::OwnedFd)>,
    execs: HashMap<Id, Arc<Exec>>,
    starting: Option<start::Starting>,
    stopping: Option<Stopping>,
    /// SIGKILL was sent to this run's first process.
    killed: bool,
    removal: Vec<Reply<()>>,
    /// Lets the last helper go; a new one waits for it.
    collecting: Option<JoinHandle<()>>,
}

/// A request to the helper that is not answered yet.
enum Pending {
    Unit(Reply<()>),
    Pause(Reply<()>),
    Unpause(Reply<()>),
    Resize {
        reply: Reply<()>,
        exec: bool,
        rows: u16,
        columns: u16,
    },
    Attach {
        reply: Reply<Attached>,
        closed: oneshot::Receiver<CloseReason>,
    },
    Exec {
        exec: Arc<Exec>,
        reply: Reply<oneshot::Receiver<CloseReason>>,
        closed: oneshot::Receiver<CloseReason>,
    },
    /// Nobody waits.
    Nobody,
}

/// A stop under way.
struct Stopping {
    /// When SIGKILL follows. `None`: never, or already sent.
    deadline: Option<Instant>,
    replies: Vec<Reply<bool>>,
    /// Whether a `stop` event follows the end; not so if it was a forced removal.
    event: bool,
}

/// What woke the task.
enum Wake {
    Request(Option<Request>),
    Report(std::io::Result<Option<protocol::Report>>),
    StopDeadline,
}

impl Task {
    pub(super) fn new(
        container: Arc<Container>,
        services: Services,
        published: watch::Sender<Published>,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        Self {
            container,
            services,
            published,
            requests,
            connection: None,
            next_seq: 1,
            pending: HashMap::new(),
            attachments: HashMap::new(),
            waiting: Vec::new(),
            execs: HashMap::new(),
            starting: None,
            stopping: None,
            killed: false,
            removal: Vec::new(),
            collecting: None,
        }
    }

    /// Goes on with a helper that an earlier daemon started.
    pub(super) fn adopt(mut self, connection: Connection) -> Self {
        self.connection = Some(connection);
        self
    }

    /// Runs until the container is removed or the daemon lets go of it.
    pub(super) async fn run(mut self) {
        // An exit that recovery found may have removal due.
        if self.container.spec.auto_remove && matches!(self.state(), Lifecycle::Exited(_)) {
            self.begin_removal().await;
        }
        while !self.published.borrow().removed {
            match self.wake().await {
                Wake::Request(Some(request)) => self.on_request(request).await,
                Wake::Request(None) => return,
                Wake::Report(Ok(Some(report))) => self.on_report(report).await,
                Wake::Report(Ok(None)) => self.on_helper_lost("it ended without a report").await,
                Wake::Report(Err(error)) => self.on_helper_lost(&error.to_string()).await,
                Wake::StopDeadline => self.on_stop_deadline().await,
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let deadline = self.stopping.as_ref().and_then(|stopping| stopping.deadline);
        let connection = self.connection.as_ref();
        tokio::select! {
            // Reports first: a request must not see a container run that has ended.
            biased;
            report = async { connection.expect("only polled if there is one").receive().await }, if connection.is_some() => Wake::Report(report),
            request = self.requests.recv() => Wake::Request(request),
            () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => Wake::StopDeadline,
        }
    }

    async fn on_request(&mut self, request: Request) {
        match request {
            Request::Start { reply } => self.on_start(reply).await,
            Request::Stop { signal, timeout, reply } => self.on_stop(signal, timeout, reply).await,
            Request::Kill { signal, reply } => self.on_kill(signal, reply).await,
            Request::Pause { reply } => self.on_freeze(Event::Pause, reply).await,
            Request::Unpause { reply } => self.on_freeze(Event::Unpause, reply).await,
            Request::Remove { force, reply } => self.on_remove(force, reply).await,
            Request::Attach { wanted, stream, reply } => self.on_attach(wanted, stream, reply).await,
            Request::ExecStart { exec, spec, attach, reply } => self.on_exec_start(exec, *spec, attach, reply).await,
            Request::Resize { exec, rows, columns, reply } => self.on_resize(exec, rows, columns, reply).await,
        }
    }

    async fn on_stop(&mut self, signal: Option<Signal>, timeout: Option<i64>, reply: Reply<bool>) {
        match self.step(Event::Stop) {
            Err(denied) => return answer(reply, Err(denied)),
            Ok(Decision::Unchanged | Decision::Become(_)) => return answer(reply, Ok(false)),
            Ok(Decision::Act) => {}
        }
        let timeout = timeout.or(self.container.spec.stop_timeout).unwrap_or(STOP_TIMEOUT);
        let wait = u64::try_from(timeout).ok().map(std::time::Duration::from_secs);
        let deadline = wait.and_then(|wait| Instant::now().checked_add(wait));
        let stopping = self.stopping.get_or_insert_with(|| Stopping { deadline, replies: Vec::new(), event: true });
        stopping.event = true;
        // A later stop that is less patient wins.
        stopping.deadline = match (stopping.deadline, deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        stopping.replies.push(reply);
        let signal = signal.unwrap_or_else(|| self.container.spec.stop_signal());
        self.signal_init(signal, Pending::Nobody).await;
        if matches!(self.state(), Lifecycle::Paused(_)) {
            // A frozen process takes no signal; dockerd thaws what it stops. Nobody waits for this answer.
            let (reply, _nobody) = oneshot::channel();
            self.send(|seq| protocol::Request::Unpause { seq }, Pending::Unpause(reply)).await;
        }
    }

    async fn on_stop_deadline(&mut self) {
        if let Some(stopping) = &mut self.stopping {
            stopping.deadline = None;
            tracing::debug!(container.id = %self.container.id, "it did not stop in time; killing it");
            self.signal_init(Signal::KILL, Pending::Nobody).await;
        }
    }

    async fn on_kill(&mut self, signal: Signal, reply: Reply<()>) {
        match self.step(Event::Signal) {
            Ok(_) => self.signal_init(signal, Pending::Unit(reply)).await,
            Err(denied) => answer(reply, Err(denied)),
        }
    }

    async fn on_freeze(&mut self, event: Event, reply: Reply<()>) {
        let pause = event == Event::Pause;
        // A process that is frozen before it has died of its signal would never die.
        if pause && self.killed {
            return answer(reply, Err(self.not_running()));
        }
        match self.step(event) {
            Ok(_) if pause => self.send(|seq| protocol::Request::Pause { seq }, Pending::Pause(reply)).await,
            Ok(_) => self.send(|seq| protocol::Request::Unpause { seq }, Pending::Unpause(reply)).await,
            Err(denied) => answer(reply, Err(denied)),
        }
    }

    async fn on_resize(&mut self, exec: Option<Id>, rows: u16, columns: u16, reply: Reply<()>) {
        if let Err(denied) = self.step(Event::Signal) {
            return answer(reply, Err(denied));
        }
        let is_exec = exec.is_some();
        let target = exec.map_or(protocol::Target::Init, |id| protocol::Target::Exec(id.to_string()));
        let pending = Pending::Resize { reply, exec: is_exec, rows, columns };
        self.send(|seq| protocol::Request::Resize { seq, target, rows, columns }, pending).await;
    }

    /// Sends a signal to the first process, with Docker's event. The helper thaws a frozen one that is killed.
    async fn signal_init(&mut self, signal: Signal, pending: Pending) {
        self.killed |= signal == Signal::KILL;
        self.event("kill", [("signal", signal.number().to_string())]);
        let number = i32::from(signal.number());
        let target = protocol::Target::Init;
        self.send(|seq| protocol::Request::Signal { seq, target, signal: number }, pending).await;
    }

    /// Asks the helper; if that cannot be, whoever waits is told.
    async fn send(&mut self, request: impl FnOnce(u64) -> protocol::Request, pending: Pending) {
        self.send_with(request, &[], pending).await;
    }

    async fn send_with(
        &mut self,
        request: impl FnOnce(u64) -> protocol::Request,
        fds: &[std::os::fd::BorrowedFd<'_>],
        pending: Pending,
    ) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let sent = match &self.connection {
            Some(connection) => connection.send(&request(seq), fds).await,
            None => Err(std::io::ErrorKind::NotConnected.into()),
        };
        match sent {
            Ok(()) => drop(self.pending.insert(seq, pending)),
            // The end of the connection is met by `wake`, which settles the state.
            Err(source) => {
                let id = self.container.id.clone();
                pending.fail(Error::Io { attempt: "talking to the helper", id, source });
            }
        }
    }

    /// Tells whoever waits for the helper that there is none any more.
    fn fail_pending(&mut self) {
        for pending in std::mem::take(&mut self.pending).into_values() {
            pending.fail(self.not_running());
        }
    }

    fn not_running(&self) -> Error {
        Denied::NotRunning(self.container.id.clone()).into()
    }

    fn state(&self) -> Lifecycle {
        self.published.borrow().lifecycle.clone()
    }

    fn step(&self, event: Event) -> Result<Decision, Error> {
        Ok(step(&self.container.id, &self.container.name(), &self.published.borrow().lifecycle, event)?)
    }

    /// Publishes a state, and queues its record.
    async fn become_(&self, lifecycle: Lifecycle) {
        self.published.send_modify(|published| published.lifecycle = lifecycle.clone());
        let id = self.container.id.clone();
        self.services
            .store
            .enqueue(move |connection| Box::pin(async move { rows::set_lifecycle(connection, &id, &lifecycle).await }))
            .await;
    }

    /// Publishes an event of this container, with its labels, image and name.
    fn event<'a>(&self, action: impl Into<String>, more: impl IntoIterator<Item = (&'a str, String)>) {
        let mut attributes = self.container.event_attributes();
        attributes.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
        self.services.events.publish(Kind::Container, action, self.container.id.as_str(), attributes);
    }
}

impl Container {
    /// Returns what every event of this container carries.
    pub fn event_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.spec.labels.clone();
        attributes.insert("image".to_owned(), self.spec.image.clone());
        attributes.insert("name".to_owned(), self.name().to_string());
        attributes
    }
}

impl Pending {
    fn fail(self, error: Error) {
        match self {
            Self::Unit(reply) | Self::Pause(reply) | Self::Unpause(reply) | Self::Resize { reply, .. } => {
                answer(reply, Err(error));
            }
            Self::Attach { reply, .. } => answer(reply, Err(error)),
            Self::Exec { exec, reply, .. } => {
                exec.state.send_replace(super::exec::ExecState::Exited {
                    code: 128,
                    at: crate::clock::Timestamp::now(),
                    pid: 0,
                });
                answer(reply, Err(error));
            }
            Self::Nobody => {}
        }
    }
}

/// Answers a request; an asker that went away does not want its answer.
fn answer<T>(reply: Reply<T>, result: Result<T, Error>) {
    drop(reply.send(result));
}
