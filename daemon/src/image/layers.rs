//! The unpacked layers under the data root, each under its chain id.
//!
//! A layer directory exists because a row names it, or because a load that is under way holds a [`Claim`] on it. A load
//! claims a layer before it relies on it and lets go once the image's rows are committed, so that a delete at the same
//! time cannot take the layer away in between; the last one to let go of a layer without a row discards it.
//!
//! ```text
//!            claim: nobody has it          settle                 record
//!   (absent) ─────────────────────▶ Busy ──────────▶ Ready ───────────────▶ Ready, recorded
//!       ▲                            │ failed         │ last claim dropped       │ forget, no claims
//!       └────────────────────────────┴────────────────┴──────────────────────────┘
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::compression::decompress;
use super::digest::{Digest, HashingReader, chain_id};
use super::tar_reader::TarReader;
use super::unpack::{UnpackError, unpack};
use super::workdir::Workdir;
use crate::trash::{Trash, sync_directory};

/// A layer that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    pub chain_id: Digest,
    pub diff_id: Digest,
    pub parent: Option<Digest>,
    /// Sum of the sizes of its files.
    pub size_bytes: u64,
}

/// Why a layer could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("unexpected EOF")]
    Truncated,
    #[error("{0}")]
    Data(io::Error),
    #[error("invalid diffID for layer: expected {expected}, got {actual}")]
    DiffId { expected: Digest, actual: Digest },
    #[error("the archive is empty")]
    Empty,
    #[error("{call} {path:?}: {source}")]
    Call { call: &'static str, path: PathBuf, source: io::Error },
}

impl LayerError {
    fn call(call: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Call { call, path, source }
    }

    /// Whether the machine failed rather than the archive being wrong.
    pub(crate) fn is_internal(&self) -> bool {
        match self {
            Self::Unpack(error) => error.is_internal(),
            Self::Data(error) => error.raw_os_error().is_some(),
            Self::Call { .. } => true,
            Self::Truncated | Self::DiffId { .. } | Self::Empty => false,
        }
    }
}

#[derive(Debug)]
enum Slot {
    /// Somebody is unpacking it.
    Busy,
    Ready {
        layer: Layer,
        claims: usize,
        recorded: bool,
    },
}

/// All layers of one data root.
#[derive(Debug)]
pub(crate) struct LayerStore {
    directory: PathBuf,
    tmp: PathBuf,
    trash: Trash,
    slots: Mutex<HashMap<Digest, Slot>>,
    changed: Condvar,
}

/// What asking for a layer gives.
#[derive(Debug)]
pub(crate) enum Claimed {
    Existing(Claim),
    /// Nobody has it: the caller is to unpack it, and others wait until it did.
    Vacant(Reservation),
}

/// Keeps a layer from being discarded.
#[derive(Debug)]
pub(crate) struct Claim {
    store: Arc<LayerStore>,
    layer: Layer,
}

/// The right and the duty to make a layer.
#[derive(Debug)]
pub(crate) struct Reservation {
    store: Arc<LayerStore>,
    chain_id: Digest,
    fulfilled: bool,
}

/// A layer that has been unpacked and checked, and has no name yet.
#[derive(Debug)]
pub(crate) struct Unpacked {
    workdir: Workdir,
    pub(crate) diff_id: Digest,
    size_bytes: u64,
}

impl LayerStore {
    /// Opens the store with the layers that have rows.
    pub(crate) fn new(directory: PathBuf, tmp: PathBuf, trash: Trash, recorded: impl Iterator<Item = Layer>) -> Self {
        let slots = recorded.map(|layer| (layer.chain_id, Slot::Ready { layer, claims: 0, recorded: true })).collect();
        Self { directory, tmp, trash, slots: Mutex::new(slots), changed: Condvar::new() }
    }

    /// Returns where the layer's files are.
    pub(crate) fn path(&self, chain_id: &Digest) -> PathBuf {
        self.directory.join(chain_id.hex())
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Digest, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the layers that the chain ending in `top` is made of, the lowest first; `None` if one is not there.
    pub(crate) fn chain(&self, top: &Digest) -> Option<Vec<Layer>> {
        let slots = self.slots();
        let mut chain = Vec::new();
        let mut next = Some(*top);
        while let Some(chain_id) = next {
            let Some(Slot::Ready { layer, .. }) = slots.get(&chain_id) else { return None };
            chain.push(*layer);
            next = layer.parent;
        }
        chain.reverse();
        Some(chain)
    }

    /// Asks for a layer, waiting while somebody else unpacks it. Blocks.
    pub(crate) fn claim(self: &Arc<Self>, chain_id: Digest) -> Claimed {
        let mut slots = self.slots();
        loop {
            match slots.get_mut(&chain_id) {
                None => {
                    slots.insert(chain_id, Slot::Busy);
                    return Claimed::Vacant(Reservation { store: Arc::clone(self), chain_id, fulfilled: false });
                }
                Some(Slot::Ready { layer, claims, .. }) => {
                    *claims += 1;
                    return Claimed::Existing(Claim { store: Arc::clone(self), layer: *layer });
                }
                Some(Slot::Busy) => slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Unpacks a layer, compressed or not, below a temporary name; `lowers` are the layers below, topmost first. Blocks.
    pub(crate) fn unpack<R: Read + Send>(
        &self,
        source: R,
        expected: Option<&Digest>,
        lowers: &[OwnedFd],
    ) -> Result<Unpacked, LayerError> {
        let workdir = Workdir::create(&self.tmp, &self.trash).map_err(LayerError::call("mkdir", &self.tmp))?;
        let root = workdir.make("layer").map_err(LayerError::call("mkdir", workdir.path()))?;
        let discard = workdir.make("discard").map_err(LayerError::call("mkdir", workdir.path()))?;
        let mut tar = TarReader::new(HashingReader::new(decompress(source).map_err(data_error)?));
        let size_bytes = unpack(&mut tar, root, discard, lowers)?;
        let complete = tar.saw_end();
        let (diff_id, length) = tar.into_inner().finish().map_err(data_error)?;
        match expected {
            Some(expected) if *expected != diff_id => {
                return Err(LayerError::DiffId { expected: *expected, actual: diff_id });
            }
            Some(_) => {}
            // Nothing else would tell a layer that was cut off between two members.
            None if length == 0 => return Err(LayerError::Empty),
            None if !complete => return Err(LayerError::Truncated),
            None => {}
        }
        Ok(Unpacked { workdir, diff_id, size_bytes })
    }

    /// Makes unpacked layers durable, the lowest first, and gives them their names. Blocks.
    pub(crate) fn settle(&self, made: Vec<(Reservation, Unpacked, Option<Digest>)>) -> Result<Vec<Claim>, LayerError> {
        let Some((_, first, _)) = made.first() else { return Ok(Vec::new()) };
        // One flush of the file system instead of one for every file.
        File::open(first.workdir.path())
            .and_then(|directory| Ok(rustix::fs::syncfs(&directory)?))
            .map_err(LayerError::call("syncfs", first.workdir.path()))?;
        let mut claims = Vec::with_capacity(made.len());
        let mut reservations = Vec::with_capacity(made.len());
        for (reservation, unpacked, parent) in made {
            let from = unpacked.workdir.path().join("layer");
            let to = self.path(&reservation.chain_id);
            std::fs::rename(&from, &to).map_err(LayerError::call("rename", &to))?;
            let layer = Layer {
                chain_id: reservation.chain_id,
                diff_id: unpacked.diff_id,
                parent,
                size_bytes: unpacked.size_bytes,
            };
            reservations.push((reservation, layer));
        }
        let synced = sync_directory(&self.directory).map_err(LayerError::call("fsync", &self.directory));
        for (mut reservation, layer) in reservations {
            // A layer that could not be synced is claimed as well: dropping the claim discards it.
            reservation.fulfilled = true;
            let slot = Slot::Ready { layer, claims: 1, recorded: false };
            self.slots().insert(layer.chain_id, slot);
            self.changed.notify_all();
            claims.push(Claim { store: Arc::clone(&reservation.store), layer });
        }
        synced.map(|()| claims)
    }

    /// Says that no row names the layer any more.
    pub(crate) fn forget(&self, chain_id: &Digest) {
        let mut slots = self.slots();
        if let Some(Slot::Ready { recorded, claims, .. }) = slots.get_mut(chain_id) {
            *recorded = false;
            if *claims == 0 {
                self.discard(&mut slots, chain_id);
            }
        }
    }

    fn discard(&self, slots: &mut HashMap<Digest, Slot>, chain_id: &Digest) {
        // The lock is held over the rename: a load that wants the layer next must not find the old directory.
        self.trash.take_or_log(&self.path(chain_id));
        slots.remove(chain_id);
    }
}

fn data_error(error: io::Error) -> LayerError {
    if error.kind() == io::ErrorKind::UnexpectedEof { LayerError::Truncated } else { LayerError::Data(error) }
}

impl Unpacked {
    /// Returns where the files are until the layer is settled.
    pub(crate) fn path(&self) -> PathBuf {
        self.workdir.path().join("layer")
    }

    /// Returns the chain id of this layer alone.
    pub(crate) fn as_lowest(&self) -> Digest {
        chain_id(None, &self.diff_id)
    }
}

impl Claim {
    pub(crate) fn layer(&self) -> Layer {
        self.layer
    }

    /// Says that a row names the layer now.
    pub(crate) fn record(&self) {
        if let Some(Slot::Ready { recorded, .. }) = self.store.slots().get_mut(&self.layer.chain_id) {
            *recorded = true;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut slots = self.store.slots();
        if let Some(Slot::Ready { claims, recorded, .. }) = slots.get_mut(&self.layer.chain_id) {
            *claims -= 1;
            if *claims == 0 && !*recorded {
                self.store.discard(&mut slots, &self.layer.chain_id);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.fulfilled {
            // The directory may have its name already, if a later step of settling failed.
            self.store.discard(&mut self.store.slots(), &self.chain_id);
            self.store.changed.notify_all();
        }
    }
}
