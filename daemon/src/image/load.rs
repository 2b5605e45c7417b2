//! Loads the images of an archive.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::archive::{Archive, Candidate, Spooled};
use super::digest::{Digest, chain_id};
use super::document::Document;
use super::layers::{Claim, Claimed, LayerError, LayerStore};
use super::reference::Tagged;
use super::workdir::Workdir;
use super::{Error, Images, Prepared, join};

/// Bytes between two reports on one layer (arbitrary; a fraction of a second of work).
const REPORT_EVERY: u64 = 1 << 20;

/// Where reports go; dropping the receiver does not stop the load.
pub type Progress = mpsc::Sender<Report>;

/// What a load says while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A layer is being unpacked. Reports of this kind are dropped when nobody takes them fast enough.
    Layer { diff_id: Digest, current_bytes: u64, total_bytes: u64 },
    /// A name was another image's before.
    Renamed { tagged: Tagged, previous: Digest },
    /// An image is there and has this name.
    Loaded(Tagged),
    /// An image is there, and the archive gives it no name.
    LoadedId(Digest),
}

impl Images {
    /// Loads every image of the archive that `input` is, one after the other; those before a failure stay.
    pub async fn load<R: Read + Send + 'static>(&self, input: R, progress: Progress) -> Result<(), Error> {
        let images = self.clone();
        // Detached: what was begun is finished or undone even if the client goes away.
        join(crate::tasks::spawn("image-load", async move { images.load_all(input, progress).await }).await)
    }

    async fn load_all<R: Read + Send + 'static>(&self, input: R, progress: Progress) -> Result<(), Error> {
        let _permit = Arc::clone(&self.shared.archives).acquire_owned().await.expect("the semaphore is never closed");
        let workdir = Workdir::create(&self.shared.layout.tmp(), &self.shared.trash).map_err(Error::Workdir)?;
        let spool = tokio::task::spawn_blocking(move || {
            let archive = Archive::spool(input, workdir)?;
            let candidates = archive.candidates(crate::host::architecture())?;
            Ok((Arc::new(archive), candidates))
        });
        let (archive, candidates) = join(spool.await)?;
        let mut unnamed = Vec::new();
        let mut named = false;
        for mut candidate in candidates {
            let names = std::mem::take(&mut candidate.names);
            let (layers, archive, reports) = (Arc::clone(&self.shared.layers), Arc::clone(&archive), progress.clone());
            let prepared =
                join(tokio::task::spawn_blocking(move || prepare(&layers, &archive, candidate, &reports)).await)?;
            let (image, taken) = self.commit(prepared, &names, None).await?;
            self.publish("load", &image.id, &image.id, Some(&image));
            for (tagged, previous) in taken {
                report(&progress, Report::Renamed { tagged, previous }).await;
            }
            named |= !names.is_empty();
            for tagged in names {
                report(&progress, Report::Loaded(tagged)).await;
            }
            unnamed.push(image.digest);
        }
        // As dockerd: ids are told only if the archive has no name at all.
        if !named {
            for digest in unnamed {
                report(&progress, Report::LoadedId(digest)).await;
            }
        }
        Ok(())
    }
}

async fn report(progress: &Progress, report: Report) {
    // An error means that the client went away, which is no reason to stop.
    drop(progress.send(report).await);
}

/// Sees to it that an image's layers are there, unpacking those that are not. Blocks.
fn prepare(
    store: &Arc<LayerStore>,
    archive: &Archive,
    candidate: Candidate,
    progress: &Progress,
) -> Result<Prepared, Error> {
    let document = Document::parse(&candidate.config)?;
    let mut wanted: Vec<(Digest, Option<Spooled>)> =
        document.rootfs.diff_ids().zip(candidate.layers.iter().copied().map(Some)).collect();
    if wanted.is_empty() {
        // A container needs a lower layer: an image without any gets the empty one.
        wanted.push((Digest::of(b""), None));
    }
    let mut claims: Vec<Claim> = Vec::new();
    let mut made = Vec::new();
    let mut lowers: Vec<OwnedFd> = Vec::new();
    let mut parent = None;
    for (diff_id, member) in wanted {
        let chain = chain_id(parent.as_ref(), &diff_id);
        let path = match store.claim(chain) {
            Claimed::Existing(claim) => {
                claims.extend(store.settle(std::mem::take(&mut made))?);
                claims.push(claim);
                store.path(&chain)
            }
            Claimed::Vacant(reservation) => {
                let (source, total_bytes): (Box<dyn Read + Send>, u64) = match &member {
                    Some(member) => (Box::new(open(archive, member)?), member.size_bytes),
                    None => (Box::new(io::empty()), 0),
                };
                let source = Reported { inner: source, progress, diff_id, current_bytes: 0, reported: 0, total_bytes };
                let unpacked = store.unpack(source, Some(&diff_id), &lowers)?;
                let path = unpacked.path();
                made.push((reservation, unpacked, parent));
                path
            }
        };
        let opened = File::open(&path).map_err(|source| LayerError::Call { call: "open", path, source })?;
        lowers.insert(0, opened.into());
        parent = Some(chain);
    }
    claims.extend(store.settle(made)?);
    Ok(Prepared { config: candidate.config, document, manifest: candidate.manifest, claims })
}

fn open(archive: &Archive, member: &Spooled) -> Result<File, Error> {
    archive.open(member).map_err(|source| super::archive::ArchiveError::Spool(source).into())
}

/// Reports how much of a layer's data was read.
struct Reported<'a> {
    inner: Box<dyn Read + Send>,
    progress: &'a Progress,
    diff_id: Digest,
    current_bytes: u64,
    reported: u64,
    total_bytes: u64,
}

impl Read for Reported<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.current_bytes += count as u64;
        let last = count == 0 && self.reported < self.current_bytes;
        if last || self.current_bytes - self.reported >= REPORT_EVERY {
            self.reported = self.current_bytes;
            let report = Report::Layer {
                diff_id: self.diff_id,
                current_bytes: self.current_bytes,
                total_bytes: self.total_bytes,
            };
            // Nobody waits for a client that reads slowly.
            drop(self.progress.try_send(report));
        }
        Ok(count)
    }
}
