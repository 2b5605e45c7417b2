//! Removes names and images: what dockerd allows, and when it asks for force.

use std::sync::Arc;

use super::digest::Digest;
use super::layers::Layer;
use super::reference::{Reference, Tagged, id_prefix};
use super::{Error, Image, Images, join};
use crate::store::Durability;
use crate::store::images as rows;

/// A container made from an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    pub container_id: String,
    pub running: bool,
}

/// What is to be removed.
#[derive(Debug, Clone)]
pub struct RemoveRequest {
    /// As the client wrote it.
    pub name: String,
    pub force: bool,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    Untagged(Tagged),
    DeletedImage(Digest),
    /// Holds the chain id.
    DeletedLayer(Digest),
}

/// Why an image stays.
enum Obstacle {
    Running(String),
    Stopped(String),
    Names,
}

impl Obstacle {
    fn error(&self, image: &Image) -> Error {
        let (must, because) = match self {
            Self::Running(id) => {
                ("cannot be forced", format!("image is being used by running container {}", short(id)))
            }
            Self::Stopped(id) => ("must be forced", format!("image is being used by stopped container {}", short(id))),
            Self::Names => ("must be forced", "image is referenced in multiple repositories".to_owned()),
        };
        Error::Conflict(format!("conflict: unable to delete {} ({must}) - {because}", image.digest.short()))
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

impl Images {
    /// Removes a name, and the image with its last name; or an image by its id. `users` tells who was made from it.
    pub async fn remove<U>(&self, request: RemoveRequest, users: U) -> Result<Vec<Removal>, Error>
    where
        U: Fn(&Digest) -> Vec<ImageUser> + Send + Sync + 'static,
    {
        let images = self.clone();
        // Detached: rows, index and directories change together or not at all.
        let task = crate::tasks::spawn("image-remove", async move {
            let _commit = images.shared.commit.lock().await;
            images.remove_locked(&request, &users).await
        });
        join(task.await)
    }

    /// Removes the images that have no users and for which `wanted` holds; returns what was done and the bytes freed.
    pub async fn prune<W, U>(&self, wanted: W, users: U) -> Result<(Vec<Removal>, u64), Error>
    where
        W: Fn(&Image) -> bool + Send + Sync + 'static,
        U: Fn(&Digest) -> Vec<ImageUser> + Send + Sync + 'static,
    {
        let images = self.clone();
        let task = crate::tasks::spawn("image-prune", async move {
            let _commit = images.shared.commit.lock().await;
            let mut done = Vec::new();
            let mut freed_bytes = 0;
            for image in images.index().all() {
                if wanted(image) && users(&image.digest).is_empty() {
                    let deleted = images.delete(image, &mut done).await?;
                    freed_bytes =
                        deleted.iter().fold(freed_bytes, |sum: u64, layer| sum.saturating_add(layer.size_bytes));
                }
            }
            Ok((done, freed_bytes))
        });
        join(task.await)
    }

    async fn remove_locked(
        &self,
        request: &RemoveRequest,
        users: &(impl Fn(&Digest) -> Vec<ImageUser> + Send + Sync),
    ) -> Result<Vec<Removal>, Error> {
        let image = self.resolve(&request.name)?;
        let users = users(&image.digest);
        let by_id = id_prefix(&request.name).is_some_and(|prefix| image.digest.hex().starts_with(prefix));
        let mut done = Vec::new();
        if by_id {
            // One name goes with the image; several are more than the client may know of.
            let names_stay = image.tags.len() > 1 && !request.force;
            let obstacle = match obstacle(&users, request.force) {
                Some(Obstacle::Stopped(_)) | None if names_stay => Some(Obstacle::Names),
                other => other,
            };
            if let Some(obstacle) = obstacle {
                return Err(obstacle.error(&image));
            }
        } else {
            if !request.force
                && image.tags.len() <= 1
                && let Some(user) = users.first()
            {
                return Err(Error::Conflict(format!(
                    "conflict: unable to remove repository reference {:?} (must force) - container {} is using its referenced image {}",
                    request.name,
                    short(&user.container_id),
                    image.digest.short()
                )));
            }
            let reference = Reference::parse(&request.name)?;
            let named = reference.tagged();
            let own = |tagged: &&Tagged| match reference.digest {
                Some(_) => tagged.repository == named.repository,
                None => **tagged == named,
            };
            let tagged = image.tags.iter().find(own).ok_or_else(|| Error::no_such_image(&request.name))?;
            self.untag(&image, tagged, &mut done).await?;
            // Whoever uses the image keeps it; a client that took only its name away is not refused for that.
            if image.tags.len() > 1 || obstacle(&users, request.force).is_some() {
                return Ok(done);
            }
        }
        let image = self.index().get(&image.digest).ok_or_else(|| Error::no_such_image(&request.name))?;
        self.delete(&image, &mut done).await?;
        Ok(done)
    }

    async fn untag(&self, image: &Arc<Image>, tagged: &Tagged, done: &mut Vec<Removal>) -> Result<(), Error> {
        let row = tagged.clone();
        self.shared
            .store
            .write(Durability::Durable, move |connection| {
                Box::pin(async move { rows::delete_tag(connection, &row).await })
            })
            .await?;
        self.change_index(|index| {
            index.untag(tagged);
        });
        self.publish("untag", &image.id, &image.id, Some(image));
        done.push(Removal::Untagged(tagged.clone()));
        Ok(())
    }

    /// Deletes an image with its names, and the layers that nothing else needs.
    async fn delete(&self, image: &Arc<Image>, done: &mut Vec<Removal>) -> Result<Vec<Layer>, Error> {
        let digest = image.digest;
        let chain: Vec<Digest> = image.layers.iter().map(|layer| layer.chain_id).collect();
        let deleted = self
            .shared
            .store
            .write(Durability::Durable, move |connection| {
                Box::pin(async move {
                    rows::delete_image(connection, &digest).await?;
                    rows::delete_unused_layers(connection, &chain).await
                })
            })
            .await?;
        self.change_index(|index| index.remove(&digest));
        for layer in &deleted {
            self.shared.layers.forget(layer);
        }
        let blobs = self.shared.layout.blobs();
        for blob in std::iter::once(digest).chain(image.manifest) {
            self.shared.trash.take_or_log(&blobs.join(blob.hex()));
        }
        for tagged in &image.tags {
            self.publish("untag", &image.id, &image.id, Some(image));
            done.push(Removal::Untagged(tagged.clone()));
        }
        self.publish("delete", &image.id, &image.id, None);
        done.push(Removal::DeletedImage(digest));
        done.extend(deleted.iter().copied().map(Removal::DeletedLayer));
        Ok(image.layers.iter().filter(|layer| deleted.contains(&layer.chain_id)).copied().collect())
    }
}

/// Finds what keeps an image from being deleted: a running container always, a stopped one unless forced.
fn obstacle(users: &[ImageUser], force: bool) -> Option<Obstacle> {
    let running = users.iter().find(|user| user.running);
    let stopped = if force { None } else { users.first() };
    running
        .map(|user| Obstacle::Running(user.container_id.clone()))
        .or_else(|| stopped.map(|user| Obstacle::Stopped(user.container_id.clone())))
}
