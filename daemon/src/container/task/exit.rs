//! The end of a run.

use std::time::Duration;

use pinnace_helper::protocol::{ExitRecord, Request};

use super::{Task, answer};
use crate::clock::Timestamp;
use crate::container::exec::ExecState;
use crate::container::lifecycle::{Decision, Event, Exit, Lifecycle};
use crate::helper_process::Connection;
use crate::store::{Durability, containers as rows};

/// How long a helper may take to remove its cgroups and go (arbitrary; it needs a millisecond).
const HELPER_GOES: Duration = Duration::from_secs(5);

impl Task {
    /// The helper reported the end: everything that was written is in the log and in the streams.
    pub(super) async fn on_exited(&mut self, record: ExitRecord) {
        let exit = Exit {
            code: record.exit.code,
            oom_killed: record.oom_killed,
            started_at: Timestamp(record.started_at_ns),
            finished_at: Timestamp(record.exit.finished_at_ns),
            error: String::new(),
        };
        self.settle(exit).await;
    }

    /// The helper is gone and said nothing: so is the container, because the kernel kills it with its helper.
    pub(super) async fn on_helper_lost(&mut self, detail: &str) {
        if self.starting.is_some() {
            let error = crate::container::error::Error::Start {
                kind: crate::error::ErrorKind::Internal,
                code: 128,
                message: format!("the helper ended while it launched the container: {detail}"),
            };
            self.connection = None;
            super::super::recovery::clear(&self.services, &self.container.id).await;
            return self.start_failed(error).await;
        }
        tracing::error!(container.id = %self.container.id, detail, "the helper of a running container was lost");
        let started_at = self.state().process().map_or_else(Timestamp::now, |process| process.started_at);
        let exit = Exit {
            code: 255,
            oom_killed: false,
            started_at,
            finished_at: Timestamp::now(),
            error: "the helper of this container was lost".to_owned(),
        };
        self.connection = None;
        super::super::recovery::clear(&self.services, &self.container.id).await;
        self.settle(exit).await;
    }

    async fn settle(&mut self, exit: Exit) {
        let Ok(Decision::Become(lifecycle)) = self.step(Event::InitExited(exit.clone())) else {
            tracing::error!(container.id = %self.container.id, "an end was reported of a container that does not run");
            return;
        };
        if let Lifecycle::Starting { .. } = self.state() {
            // Reports come in order, so that a start that was not told cannot be outrun.
            tracing::warn!(container.id = %self.container.id, "it ended before its start was reported");
        }
        let duration = exit.finished_at.since(exit.started_at).as_secs();
        if exit.oom_killed {
            self.event("oom", []);
        }
        self.event("die", [("exitCode", exit.code.to_string()), ("execDuration", duration.to_string())]);
        self.end_execs(exit.finished_at);
        self.published.send_modify(|published| {
            published.lifecycle = lifecycle.clone();
            published.ended += 1;
            published.last_exit = Some(exit);
        });
        self.fail_pending();
        self.attachments.clear();
        if let Some(stopping) = self.stopping.take() {
            if stopping.event {
                self.event("stop", []);
            }
            for reply in stopping.replies {
                answer(reply, Ok(true));
            }
        }
        if self.container.spec.auto_remove || !self.removal.is_empty() {
            self.begin_removal().await;
        } else {
            self.let_helper_go(true);
        }
    }

    fn end_execs(&mut self, at: Timestamp) {
        for (_, exec) in self.execs.drain() {
            exec.state.send_replace(ExecState::Exited { code: 137, at, pid: 0 });
        }
    }

    /// Lets the helper go behind everything else; with `record`, only after the state is in the database.
    pub(super) fn let_helper_go(&mut self, record: bool) {
        let connection = self.connection.take();
        let services = self.services.clone();
        let id = self.container.id.clone();
        let lifecycle = self.state();
        let run_dir = services.layout.container_run(&id);
        self.collecting = Some(crate::tasks::spawn_for_client("collect-helper", async move {
            if record {
                let row = id.clone();
                let recorded = services
                    .store
                    .write(Durability::Relaxed, move |connection| {
                        Box::pin(async move { rows::set_lifecycle(connection, &row, &lifecycle).await })
                    })
                    .await;
                if let Err(error) = recorded {
                    // The helper leaves its record in the run directory when this connection closes.
                    tracing::error!(error = &error as &dyn std::error::Error, container.id = %id, "an end was not recorded");
                    return;
                }
            }
            if let Some(connection) = connection {
                collect(connection).await;
            }
            remove_run_dir(&run_dir);
        }));
    }
}

/// Tells the helper that nothing more is wanted of it, and waits until it is gone.
async fn collect(connection: Connection) {
    if connection.send(&Request::Collected, &[]).await.is_err() {
        return;
    }
    let gone = async { while let Ok(Some(_report)) = connection.receive().await {} };
    if tokio::time::timeout(HELPER_GOES, gone).await.is_err() {
        tracing::warn!("a helper did not go in time");
    }
}

/// Removes what is in a run directory, which is on a tmpfs usually: two unlinks at most.
pub(in crate::container) fn remove_run_dir(directory: &std::path::Path) {
    if let Err(error) = std::fs::remove_dir_all(directory)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(error = &error as &dyn std::error::Error, "removing {}", directory.display());
    }
}
