//! Removal: the row goes first, then the directory is renamed into the trash and deleted behind the answer.

use super::{Reply, Stopping, Task, answer};
use crate::container::error::Error;
use crate::container::lifecycle::{Event, Lifecycle};
use crate::signal::Signal;
use crate::store::{Durability, containers as rows};

impl Task {
    pub(super) async fn on_remove(&mut self, force: bool, reply: Reply<()>) {
        if !self.removal.is_empty() {
            return answer(reply, Err(Error::RemovalInProgress(self.container.id.clone())));
        }
        if let Err(denied) = self.step(Event::Remove { force }) {
            return answer(reply, Err(denied));
        }
        self.removal.push(reply);
        match self.state() {
            Lifecycle::Created { .. } | Lifecycle::Exited(_) => self.begin_removal().await,
            // It goes on when the start or its failure is reported.
            Lifecycle::Starting { .. } => {}
            Lifecycle::Running(_) | Lifecycle::Paused(_) => self.kill_for_removal().await,
        }
    }

    /// The removal goes on when the end is reported.
    pub(super) async fn kill_for_removal(&mut self) {
        self.stopping.get_or_insert_with(|| Stopping { deadline: None, replies: Vec::new(), event: false });
        self.signal_init(Signal::KILL, super::Pending::Nobody).await;
    }

    /// Removes a container that does not run. An error is told to whoever asked and leaves it as it was.
    pub(super) async fn begin_removal(&mut self) {
        let id = self.container.id.clone();
        let durability = if self.container.spec.auto_remove { Durability::Relaxed } else { Durability::Durable };
        let deleted = self
            .services
            .store
            .write(durability, {
                let id = id.clone();
                move |connection| Box::pin(async move { rows::delete(connection, &id).await })
            })
            .await;
        let replies = std::mem::take(&mut self.removal);
        if let Err(error) = deleted {
            tracing::error!(error = &error as &dyn std::error::Error, container.id = %id, "removing failed");
            let text = crate::error::chain(&error);
            self.published.send_modify(|published| published.removal_error = Some(text.clone()));
            for reply in replies {
                answer(reply, Err(Error::Store(crate::store::StoreError::Commit(text.clone()))));
            }
            self.let_helper_go(true);
            return;
        }
        self.services.registry.forget(&self.container);
        self.let_helper_go(false);
        self.bury();
        self.event("destroy", []);
        self.published.send_modify(|published| published.removed = true);
        for reply in replies {
            answer(reply, Ok(()));
        }
    }

    /// Deletes the files behind the answer, and the layers if this was the last that kept a deleted image's.
    fn bury(&self) {
        self.services.trash.take_or_log(&self.services.layout.container(&self.container.id));
        if self.services.images.resolve(&self.container.image_id).is_err() {
            let images = self.services.images.clone();
            let layer = self.container.layer.clone();
            crate::tasks::spawn("release-layers", async move {
                if let Err(error) = images.release_layers(&layer).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "layers of a deleted image were not released"
                    );
                }
            });
        }
    }
}
