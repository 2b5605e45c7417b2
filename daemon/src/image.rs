//! Images: the service that handlers and containers call.
//!
//! ```text
//!   load ──▶ archive (spool, verify) ──┐
//!                                      ├─▶ layers (unpack, verify, name) ──▶ commit: blobs, rows, index
//!   import ──▶ changes ────────────────┘
//! ```
//!
//! An image's id is the digest of its configuration. Everything that is asked often is answered from an index in memory,
//! an immutable snapshot that each commit replaces; readers never wait for the database or for a writer. Commits are
//! made one at a time.

pub mod archive;
mod changes;
mod compression;
pub mod digest;
pub mod document;
mod error;
mod import;
mod index;
pub mod layers;
mod list;
mod load;
pub mod reference;
mod remove;
mod tar_reader;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod unpack;
pub mod view;
mod workdir;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Mutex, Semaphore};

pub use api_schema::image::ImageConfig;

use crate::clock::Timestamp;
use crate::events::{Events, Kind};
use crate::id::Id;
use crate::layout::Layout;
use crate::store::images::{self as rows, ImageRow, LayerRow, TagRow};
use crate::store::{Durability, Store, StoreError};
use crate::trash::{Trash, sync_directory};
use digest::Digest;
use document::Document;
pub use error::Error;
pub use import::ImportRequest;
use index::Index;
use layers::{Claim, Layer, LayerStore};
pub use list::ListRequest;
pub use load::{Progress, Report};
use reference::Tagged;
pub use remove::{ImageUser, Removal, RemoveRequest};

/// Archives that are read or unpacked at once; a further one waits. Each takes a thread and some buffers (arbitrary).
const ARCHIVES_AT_ONCE: usize = 16;

/// An image, as it is at one moment.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the configuration.
    pub digest: Digest,
    /// The digest as text, `sha256:…`.
    pub id: String,
    /// Digits of the topmost layer's chain id.
    pub top_layer: String,
    /// What the image asks of its containers.
    pub config: ImageConfig,
    pub document: Arc<Document>,
    /// In the order of their names.
    pub tags: Vec<Tagged>,
    pub manifest: Option<Digest>,
    /// The lowest first.
    pub layers: Vec<Layer>,
    /// Sum of the sizes of the layers, in bytes.
    pub size_bytes: u64,
    pub last_tagged: Option<Timestamp>,
}

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Images {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    events: Events,
    layout: Arc<Layout>,
    trash: Trash,
    layers: Arc<LayerStore>,
    index: RwLock<Arc<Index>>,
    /// Held by whoever changes rows, blobs and the index, so that they change together.
    commit: Mutex<()>,
    archives: Arc<Semaphore>,
}

/// An image whose layers are there, ready to be named in the database.
#[derive(Debug)]
struct Prepared {
    config: Vec<u8>,
    document: Document,
    manifest: Option<Vec<u8>>,
    /// The lowest first.
    claims: Vec<Claim>,
}

impl Images {
    /// Takes up the images that the database names, and throws away whatever else is in their directories.
    ///
    /// To be called before anything uses the directory for work in progress.
    pub async fn open(store: Store, events: Events, layout: Arc<Layout>, trash: Trash) -> Result<Self, StoreError> {
        let mut reader = store.read().await?;
        let layer_rows = rows::layers(&mut reader).await?;
        let image_rows = rows::images(&mut reader).await?;
        let tag_rows = rows::tags(&mut reader).await?;
        drop(reader);

        let named: Vec<PathBuf> = image_rows
            .iter()
            .flat_map(|image| std::iter::once(image.id).chain(image.manifest))
            .map(|blob| layout.blobs().join(blob.hex()))
            .chain(layer_rows.iter().map(|layer| layout.layers().join(layer.chain_id.hex())))
            .collect();
        sweep(&layout, &trash, &named.into_iter().collect());

        let recorded = layer_rows.iter().map(|row| Layer {
            chain_id: row.chain_id,
            diff_id: row.diff_id,
            parent: row.parent,
            size_bytes: row.size_bytes,
        });
        let layers = Arc::new(LayerStore::new(layout.layers(), layout.tmp(), trash.clone(), recorded));
        let mut index = Index::default();
        for row in image_rows {
            match read_image(&row, &layout, &layers) {
                Ok(image) => index.insert(image),
                // One broken image never stops the daemon; its rows stay for a person to look at.
                Err(error) => tracing::error!(image.id = %row.id, error = %error, "an image cannot be used"),
            }
        }
        for tag in tag_rows {
            index.tag(tag.tagged, tag.image_id, None);
        }
        let shared = Shared {
            store,
            events,
            layout,
            trash,
            layers,
            index: RwLock::new(Arc::new(index)),
            commit: Mutex::new(()),
            archives: Arc::new(Semaphore::new(ARCHIVES_AT_ONCE)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Finds an image by name, by id or by the beginning of an id.
    pub fn resolve(&self, text: &str) -> Result<Arc<Image>, Error> {
        self.index().resolve(text)
    }

    /// Returns where the layers of the chain that ends in `top_layer` are, the topmost first.
    pub fn layer_paths(&self, top_layer: &str) -> Result<Vec<PathBuf>, Error> {
        let missing = || Error::NoSuchLayer(top_layer.to_owned());
        let top = Digest::from_hex(top_layer).map_err(|_not_ours| missing())?;
        let chain = self.shared.layers.chain(&top).ok_or_else(missing)?;
        Ok(chain.iter().rev().map(|layer| self.shared.layers.path(&layer.chain_id)).collect())
    }

    /// Returns how many images there are.
    pub fn count(&self) -> usize {
        self.index().len()
    }

    /// Names an image.
    pub async fn tag(&self, image: &str, tagged: Tagged) -> Result<(), Error> {
        // Detached: a client that goes away must not leave rows and index in disagreement.
        let (images, text) = (self.clone(), image.to_owned());
        let task = async move {
            let _commit = images.shared.commit.lock().await;
            let image = images.resolve(&text)?;
            images.put_tag(&image, tagged.clone(), Some(Timestamp::now())).await?;
            images.publish("tag", &image.id, &tagged.to_string(), Some(&image));
            Ok(())
        };
        join(crate::tasks::spawn("image-tag", task).await)
    }

    /// Discards a layer that nothing needs any more, and those below it. For whoever stops using an image's layers.
    pub async fn release_layers(&self, top_layer: &str) -> Result<(), Error> {
        let Ok(top) = Digest::from_hex(top_layer) else { return Ok(()) };
        if self.index().uses_layer(&top) {
            return Ok(());
        }
        let _commit = self.shared.commit.lock().await;
        let chain = self.shared.layers.chain(&top).unwrap_or_default();
        let chain: Vec<Digest> = chain.iter().map(|layer| layer.chain_id).collect();
        let deleted = self
            .shared
            .store
            .write(Durability::Durable, move |connection| {
                Box::pin(async move { rows::delete_unused_layers(connection, &chain).await })
            })
            .await?;
        for layer in &deleted {
            self.shared.layers.forget(layer);
        }
        Ok(())
    }

    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.shared.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_index(&self, change: impl FnOnce(&mut Index)) {
        let mut guard = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut guard));
    }

    /// Publishes an event with the image's labels. `name` is what the event calls it.
    fn publish(&self, action: &str, id: &str, name: &str, image: Option<&Image>) {
        let mut attributes: BTreeMap<_, _> = image.map(|image| image.config.labels.clone()).unwrap_or_default();
        attributes.insert("name".to_owned(), name.to_owned());
        self.shared.events.publish(Kind::Image, action, id, attributes);
    }

    /// Writes a prepared image and its names to the database and the index; returns the image, and which names were
    /// another's before. The caller must not be dropped half-way: it runs in a task.
    async fn commit(
        &self,
        prepared: Prepared,
        names: &[Tagged],
        asked: Option<Timestamp>,
    ) -> Result<(Arc<Image>, Vec<(Tagged, Digest)>), Error> {
        let _commit = self.shared.commit.lock().await;
        let digest = Digest::of(&prepared.config);
        let manifest = prepared.manifest.as_deref().map(Digest::of);
        let now = Timestamp::now();

        let layout = Arc::clone(&self.shared.layout);
        let Prepared { config, document, manifest: manifest_bytes, claims } = prepared;
        let written = tokio::task::spawn_blocking(move || {
            let mut blobs = vec![(digest, config)];
            blobs.extend(manifest.zip(manifest_bytes));
            write_blobs(&layout, &blobs)
        });
        join(written.await.map(|written| written.map_err(Error::Blob)))?;

        let layers: Vec<Layer> = claims.iter().map(Claim::layer).collect();
        let Some(top) = layers.last() else { return Err(Error::NoLayers) };
        let row = ImageRow { id: digest, layer: top.chain_id, manifest, created_ns: now.0, last_tagged_ns: None };
        let layer_rows: Vec<LayerRow> = layers.iter().map(|layer| layer_row(layer, now)).collect();
        let tag_rows: Vec<TagRow> =
            names.iter().map(|tagged| TagRow { tagged: tagged.clone(), image_id: digest }).collect();
        self.shared
            .store
            .write(Durability::Durable, move |connection| {
                Box::pin(async move {
                    for layer in &layer_rows {
                        rows::insert_layer(connection, layer).await?;
                    }
                    rows::insert_image(connection, &row).await?;
                    for tag in &tag_rows {
                        rows::put_tag(connection, tag, asked.map(|time| time.0)).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        for claim in &claims {
            claim.record();
        }
        let image = Image::new(digest, document, manifest, layers, None);
        let before = self.index();
        let taken = names.iter().filter_map(|name| Some((name.clone(), before.tagged(name)?)));
        let taken = taken.filter(|(_, owner)| *owner != digest).collect();
        self.change_index(|index| {
            index.insert(image);
            for name in names {
                index.tag(name.clone(), digest, asked);
            }
        });
        let image = self.index().get(&digest).ok_or_else(|| Error::no_such_image(&digest.to_string()))?;
        Ok((image, taken))
    }

    /// Writes a name to the database and the index. The caller holds the commit lock.
    async fn put_tag(&self, image: &Image, tagged: Tagged, asked: Option<Timestamp>) -> Result<(), Error> {
        let row = TagRow { tagged: tagged.clone(), image_id: image.digest };
        self.shared
            .store
            .write(Durability::Durable, move |connection| {
                Box::pin(async move { rows::put_tag(connection, &row, asked.map(|time| time.0)).await })
            })
            .await?;
        self.change_index(|index| index.tag(tagged, image.digest, asked));
        Ok(())
    }
}

impl Image {
    fn new(
        digest: Digest,
        document: Document,
        manifest: Option<Digest>,
        layers: Vec<Layer>,
        last_tagged: Option<Timestamp>,
    ) -> Self {
        Self {
            digest,
            id: digest.to_string(),
            top_layer: layers.last().map(|layer| layer.chain_id.hex()).unwrap_or_default(),
            config: document.config.clone(),
            document: Arc::new(document),
            tags: Vec::new(),
            manifest,
            size_bytes: layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size_bytes)),
            layers,
            last_tagged,
        }
    }
}

fn layer_row(layer: &Layer, now: Timestamp) -> LayerRow {
    LayerRow {
        chain_id: layer.chain_id,
        diff_id: layer.diff_id,
        parent: layer.parent,
        size_bytes: layer.size_bytes,
        created_ns: now.0,
    }
}

/// Returns what a background task returned; a panic in it is this operation's failure and nothing more.
fn join<T>(result: Result<Result<T, Error>, tokio::task::JoinError>) -> Result<T, Error> {
    result.unwrap_or_else(|error| Err(Error::Panicked(error.to_string())))
}

/// Writes blobs under the names of their digests, durably.
fn write_blobs(layout: &Layout, blobs: &[(Digest, Vec<u8>)]) -> std::io::Result<()> {
    for (digest, bytes) in blobs {
        let temporary = layout.tmp().join(Id::random().as_str());
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, layout.blobs().join(digest.hex()))?;
    }
    sync_directory(&layout.blobs())
}

fn read_image(row: &ImageRow, layout: &Layout, layers: &LayerStore) -> Result<Image, String> {
    let path = layout.blobs().join(row.id.hex());
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if Digest::of(&bytes) != row.id {
        return Err(format!("{} has other content than its name says", path.display()));
    }
    let document = Document::parse(&bytes).map_err(|error| error.to_string())?;
    let chain = layers.chain(&row.layer).ok_or("a layer has no row")?;
    if let Some(lost) = chain.iter().find(|layer| !layers.path(&layer.chain_id).is_dir()) {
        return Err(format!("layer {} has no directory", lost.chain_id));
    }
    Ok(Image::new(row.id, document, row.manifest, chain, row.last_tagged_ns.map(Timestamp)))
}

/// Throws away work that a daemon left behind, and blobs and layers that no row names.
fn sweep(layout: &Layout, trash: &Trash, named: &std::collections::HashSet<PathBuf>) {
    let contents = |directory: &Path| -> Vec<PathBuf> {
        match std::fs::read_dir(directory) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(error) => {
                tracing::warn!(path = %directory.display(), error = %error, "cannot look for what was left behind");
                Vec::new()
            }
        }
    };
    for directory in [layout.tmp(), layout.layers(), layout.blobs()] {
        for path in contents(&directory) {
            if !named.contains(&path) {
                trash.take_or_log(&path);
            }
        }
    }
}
