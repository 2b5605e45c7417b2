//! Makes an image of one layer from a file system's tar.

use std::io::Read;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::digest::Digest;
use super::document::Document;
use super::layers::Claimed;
use super::reference::Tagged;
use super::{Error, Image, ImageConfig, Images, Prepared, changes, join};
use crate::clock::Timestamp;
use crate::host;

/// What the image is to be beside its files.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    pub tagged: Option<Tagged>,
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// The machine's if it is not given.
    pub architecture: Option<String>,
    pub variant: String,
}

/// The configuration of an imported image, in the order in which dockerd writes it.
#[derive(Serialize)]
struct Configuration<'a> {
    architecture: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    comment: &'a str,
    config: &'a ImageConfig,
    created: &'a str,
    history: [Step<'a>; 1],
    os: &'a str,
    rootfs: RootFs,
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
}

#[derive(Serialize)]
struct Step<'a> {
    created: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    comment: &'a str,
}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: [String; 1],
}

impl Images {
    /// Imports the tar that `input` is, compressed or not.
    pub async fn import<R: Read + Send + 'static>(
        &self,
        input: R,
        request: ImportRequest,
    ) -> Result<Arc<Image>, Error> {
        // Before the body is read: a mistake in the request should not cost an upload.
        let config = changes::apply(&request.changes)?;
        let images = self.clone();
        // Detached: what was begun is finished or undone even if the client goes away.
        let task = crate::tasks::spawn("image-import", async move { images.import_one(input, request, config).await });
        join(task.await)
    }

    async fn import_one<R: Read + Send + 'static>(
        &self,
        input: R,
        request: ImportRequest,
        config: ImageConfig,
    ) -> Result<Arc<Image>, Error> {
        let permit = Arc::clone(&self.shared.archives).acquire_owned().await.expect("the semaphore is never closed");
        let (images, comment) = (self.clone(), request.message.clone());
        let (architecture_asked, variant) = (request.architecture.clone(), request.variant.clone());
        let prepared = tokio::task::spawn_blocking(move || {
            let _permit: OwnedSemaphorePermit = permit;
            let layers = &images.shared.layers;
            let unpacked = layers.unpack(input, None, &[])?;
            let created = Timestamp::now().rfc3339();
            let configuration = Configuration {
                architecture: architecture_asked.as_deref().unwrap_or(host::architecture()),
                comment: &comment,
                config: &config,
                created: &created,
                history: [Step { created: &created, comment: &comment }],
                os: "linux",
                rootfs: RootFs { kind: "layers", diff_ids: [unpacked.diff_id.to_string()] },
                variant: &variant,
            };
            let config = serde_json::to_vec(&configuration).expect("text and maps of text are JSON");
            let document = Document::parse(&config)?;
            let claims = match layers.claim(unpacked.as_lowest()) {
                Claimed::Existing(claim) => vec![claim],
                Claimed::Vacant(reservation) => layers.settle(vec![(reservation, unpacked, None)])?,
            };
            Ok(Prepared { config, document, manifest: None, claims })
        });
        let prepared = join(prepared.await)?;
        let names: Vec<Tagged> = request.tagged.into_iter().collect();
        let (image, _taken): (_, Vec<(Tagged, Digest)>) = self.commit(prepared, &names, Some(Timestamp::now())).await?;
        for name in &names {
            self.publish("tag", &image.id, &name.to_string(), Some(&image));
        }
        self.publish("import", &image.id, &image.id, Some(&image));
        Ok(image)
    }
}
