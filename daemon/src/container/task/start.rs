//! Starting: from the request to the helper that was asked to launch.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use pinnace_helper::protocol::{CONTROL_SOCKET, LaunchSpec, PhaseTime, Request, packet};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::time::Instant;

use super::{Reply, Task, answer};
use crate::clock::Timestamp;
use crate::container::error::{Error, launch_error};
use crate::container::launch::{Host, launch_spec};
use crate::container::lifecycle::{Decision, Event, Process};
use crate::helper_process::Connection;

/// A launch that the helper was asked for.
pub(super) struct Starting {
    replies: Vec<Reply<bool>>,
    begun: Instant,
    /// Ends with the start, and says how long each of its phases took.
    span: tracing::Span,
    /// How long everything before the helper's part took.
    prepared: Duration,
}

/// What the daemon makes for a launch before the helper is asked.
struct Prepared {
    spec: OwnedFd,
    listener: OwnedFd,
    helper: OwnedFd,
}

impl Task {
    pub(super) async fn on_start(&mut self, reply: Reply<bool>) {
        if !self.removal.is_empty() {
            return answer(reply, Err(Error::BeingRemoved(self.container.id.clone())));
        }
        if let Some(starting) = &mut self.starting {
            starting.replies.push(reply);
            return;
        }
        match self.step(Event::Start) {
            Err(denied) => answer(reply, Err(denied)),
            Ok(Decision::Become(lifecycle)) => {
                // Not recorded: after a crash the run directory tells whether a helper was asked.
                self.published.send_modify(|published| published.lifecycle = lifecycle);
                self.killed = false;
                let begun = Instant::now();
                let span = tracing::debug_span!(
                    parent: None,
                    "start",
                    container.id = %self.container.id,
                    prepare_us = tracing::field::Empty,
                    helper_us = tracing::field::Empty,
                    phases_us = tracing::field::Empty,
                );
                self.starting = Some(Starting { replies: vec![reply], begun, span, prepared: Duration::ZERO });
                if let Err(error) = self.launch().await {
                    self.start_failed(error).await;
                } else if let Some(starting) = &mut self.starting {
                    starting.prepared = begun.elapsed();
                }
            }
            Ok(Decision::Unchanged | Decision::Act) => answer(reply, Ok(false)),
        }
    }

    async fn launch(&mut self) -> Result<(), Error> {
        let id = &self.container.id;
        if let Some(collecting) = self.collecting.take() {
            // The last helper still removes its cgroups; a panic in that task was logged.
            drop(collecting.await);
        }
        let mut lower = self.services.images.layer_paths(&self.container.layer)?;
        lower.push(self.services.layout.base_layer());
        let services = &self.services;
        let host = Host {
            layout: &services.layout,
            cgroups: &services.cgroups,
            log: &services.container_log,
            seccomp: &services.seccomp,
        };
        let spec = launch_spec(id, &self.container.spec, lower, host)?;
        let helpers = services.helpers.clone();
        let failed = |source| Error::Io { attempt: "preparing the launch", id: id.clone(), source };
        let directory = services.layout.container(id);
        let prepared = tokio::task::spawn_blocking(move || prepare(&spec, &directory, || helpers.take()))
            .await
            .map_err(|panic| failed(io::Error::other(panic)))?
            .map_err(failed)?;
        let connection = Connection::new(prepared.helper).map_err(failed)?;
        let (attachments, streams): (Vec<_>, Vec<OwnedFd>) = self.waiting.drain(..).unzip();
        let mut fds = vec![prepared.spec.as_fd(), prepared.listener.as_fd()];
        fds.extend(streams.iter().map(|stream| stream.as_fd()));
        connection.send(&Request::Launch { attachments }, &fds).await.map_err(failed)?;
        self.connection = Some(connection);
        Ok(())
    }

    /// The helper said that the workload runs.
    pub(super) async fn on_started(&mut self, pid: i32, started_at_ns: i64, phases: &[PhaseTime]) {
        let process = Process { pid, started_at: Timestamp(started_at_ns) };
        match self.step(Event::Launched(process)) {
            Ok(Decision::Become(lifecycle)) => self.become_(lifecycle).await,
            Ok(Decision::Unchanged | Decision::Act) => {}
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a launch was not expected"),
        }
        self.event("start", []);
        if let Some(starting) = self.starting.take() {
            let total = starting.begun.elapsed();
            let helper: u64 = phases.iter().map(|phase| phase.micros).sum();
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            starting.span.record("prepare_us", micros(starting.prepared));
            starting.span.record("helper_us", helper);
            starting.span.record("phases_us", phase_list(phases));
            starting.span.in_scope(|| tracing::debug!(duration_us = micros(total), "started"));
            for reply in starting.replies {
                answer(reply, Ok(true));
            }
        }
        if !self.removal.is_empty() {
            // Asked for by force while it was being started.
            self.kill_for_removal().await;
        }
    }

    /// The launch cannot be, or the helper said that it failed.
    pub(super) async fn start_failed(&mut self, error: Error) {
        if let Ok(Decision::Become(lifecycle)) = self.step(Event::LaunchFailed(error.start_failure())) {
            self.become_(lifecycle).await;
        }
        // Streams that were handed to the helper ended with it; these were not.
        self.waiting.clear();
        self.attachments.clear();
        self.fail_pending();
        self.let_helper_go(false);
        let mut replies = self.starting.take().map(|starting| starting.replies).unwrap_or_default().into_iter();
        if self.container.spec.auto_remove || !self.removal.is_empty() {
            // As dockerd: it is gone before the error is told.
            self.begin_removal().await;
        }
        let text = error.to_string();
        let kind = crate::error::Classify::kind(&error);
        let code = error.start_failure().code;
        if let Some(first) = replies.next() {
            answer(first, Err(error));
        }
        for reply in replies {
            answer(reply, Err(Error::Start { kind, code, message: text.clone() }));
        }
    }

    pub(super) async fn on_launch_failed(&mut self, error: &pinnace_helper::protocol::LaunchError) {
        tracing::debug!(container.id = %self.container.id, ?error, "the launch failed");
        self.start_failed(launch_error(error)).await;
    }
}

fn phase_list(phases: &[PhaseTime]) -> String {
    let mut text = String::new();
    for phase in phases {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&format!("{:?}={}", phase.stage, phase.micros).to_lowercase());
    }
    text
}

/// Makes the directories and the control socket, and takes a helper. Blocks.
fn prepare(spec: &LaunchSpec, directory: &Path, take: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<Prepared> {
    let run_dir = &spec.run_dir;
    let path = run_dir.join(CONTROL_SOCKET);
    // It was made with the container; a power cut may have taken it, because it is not synced: it was empty.
    make(directory)?;
    if !make(run_dir)? {
        // Left by a run that was not cleaned up after; what it says was read when the daemon started.
        std::fs::remove_dir_all(run_dir)?;
        make(run_dir)?;
    }
    let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path)?)?;
    rustix::net::listen(&listener, 4)?;
    Ok(Prepared { spec: packet::sealed_json("pinnace-spec", spec)?, listener, helper: take()? })
}

/// Makes a private directory; false if it is there.
fn make(directory: &Path) -> io::Result<bool> {
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}
