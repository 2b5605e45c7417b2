//! An image archive, spooled: one tar stream whose members may come in any order.
//!
//! Members go into numbered files of a private directory; their names are only keys of a map and never become paths.
//! Each member is hashed on the way, so that a blob's digest is known before anybody asks for it.

mod docker;
mod oci;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};

use serde::de::DeserializeOwned;

use super::compression::decompress;
use super::digest::{Digest, HashingReader};
use super::document::DocumentError;
use super::reference::{ReferenceError, Tagged};
use super::tar_reader::{Kind, TarError, TarReader};
use super::workdir::Workdir;

/// Most members of one archive; arbitrary, `docker save` writes three per layer.
const MAX_MEMBERS: usize = 100_000;

/// Largest manifest, index or configuration, in bytes; registries refuse larger ones.
const MAX_JSON: u64 = 4 << 20;

/// Most links that are followed to find one member; arbitrary, old `docker save` used one.
const MAX_LINKS: usize = 8;

/// Why an archive holds no images that can be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("{0}")]
    Data(io::Error),
    #[error("unexpected EOF")]
    Truncated,
    #[error("invalid archive: member {0:?} has an invalid name")]
    Name(String),
    #[error("invalid archive: member {0:?} is a sparse file")]
    Sparse(String),
    #[error("invalid archive: more than {MAX_MEMBERS} members")]
    TooManyMembers,
    #[error("invalid archive: does not contain a manifest.json or an OCI index.json")]
    NoManifest,
    #[error("invalid archive: {0:?} is missing")]
    Missing(String),
    #[error("invalid archive: {0:?} is larger than the limit of {MAX_JSON} bytes")]
    TooLarge(String),
    #[error("invalid archive: {name:?}: {source}")]
    Json { name: String, source: serde_json::Error },
    #[error("invalid archive: {name:?} has digest {actual}")]
    Digest { name: String, actual: Digest },
    #[error("invalid archive: {name:?} has {actual} bytes instead of {expected}")]
    Size { name: String, expected: u64, actual: u64 },
    #[error("invalid archive: {0}")]
    Oci(String),
    #[error("invalid manifest, layers length mismatch: expected {manifest}, got {config}")]
    LayerCount { manifest: usize, config: usize },
    #[error("invalid tag {0:?}")]
    Tag(String),
    #[error("invalid tag {name:?}: {source}")]
    Reference { name: String, source: ReferenceError },
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("spool the archive: {0}")]
    Spool(#[source] io::Error),
}

impl ArchiveError {
    /// Whether the machine failed rather than the archive being wrong.
    pub(crate) fn is_internal(&self) -> bool {
        match self {
            Self::Tar(TarError::Read(error)) | Self::Data(error) => error.raw_os_error().is_some(),
            Self::Spool(_) => true,
            _ => false,
        }
    }
}

/// An image that an archive offers. Nothing of it is verified yet except what its digests name.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) config: Vec<u8>,
    /// The manifest with its digest, when the archive has one of the registry kind.
    pub(crate) manifest: Option<Vec<u8>>,
    /// The lowest first.
    pub(crate) layers: Vec<Spooled>,
    pub(crate) names: Vec<Tagged>,
}

/// A regular member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spooled {
    number: usize,
    pub(crate) size_bytes: u64,
    digest: Digest,
}

#[derive(Debug)]
enum Entry {
    File(Spooled),
    /// Names another member.
    Link(String),
}

#[derive(Debug)]
pub(crate) struct Archive {
    workdir: Workdir,
    members: HashMap<String, Entry>,
}

impl Archive {
    /// Reads an archive, compressed or not, to its end. Blocks.
    pub(crate) fn spool<R: Read + Send>(input: R, workdir: Workdir) -> Result<Self, ArchiveError> {
        let mut tar = TarReader::new(decompress(input).map_err(data_error)?);
        let mut archive = Self { workdir, members: HashMap::new() };
        let mut number = 0;
        while let Some(member) = tar.next_member()? {
            if archive.members.len() >= MAX_MEMBERS {
                return Err(ArchiveError::TooManyMembers);
            }
            let shown = || String::from_utf8_lossy(&member.path).into_owned();
            // Tools write UTF-8 names; others can be named by nothing that matters.
            let Ok(path) = std::str::from_utf8(&member.path) else { continue };
            let name = resolve("", path).ok_or_else(|| ArchiveError::Name(shown()))?;
            let link = || std::str::from_utf8(&member.link).ok();
            let entry = match member.kind {
                Kind::File if member.regions.is_some() => return Err(ArchiveError::Sparse(shown())),
                Kind::File => {
                    let mut file = File::create_new(archive.path(number)).map_err(ArchiveError::Spool)?;
                    let mut content = HashingReader::new(&mut tar);
                    copy(&mut content, &mut file)?;
                    let (digest, size_bytes) = content.finish().map_err(data_error)?;
                    number += 1;
                    Entry::File(Spooled { number: number - 1, size_bytes, digest })
                }
                Kind::Symlink => {
                    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                    match link().and_then(|link| resolve(directory, link)) {
                        Some(target) => Entry::Link(target),
                        None => return Err(ArchiveError::Name(shown())),
                    }
                }
                Kind::HardLink => match link().and_then(|link| resolve("", link)) {
                    Some(target) => Entry::Link(target),
                    None => return Err(ArchiveError::Name(shown())),
                },
                Kind::Directory | Kind::Character | Kind::Block | Kind::Fifo => continue,
            };
            archive.members.insert(name, entry);
        }
        if !tar.saw_end() {
            return Err(ArchiveError::Truncated);
        }
        // A stream that was cut off after the archive, or whose checksum is wrong, is no better than a cut archive.
        copy(&mut tar.into_inner(), &mut io::sink())?;
        Ok(archive)
    }

    /// Returns the images in the archive, in its order.
    pub(crate) fn candidates(&self, architecture: &str) -> Result<Vec<Candidate>, ArchiveError> {
        // `docker save` writes both kinds into one archive; dockerd reads manifest.json then.
        if self.find("manifest.json").is_some() {
            docker::candidates(self)
        } else if self.find("index.json").is_some() && self.find("oci-layout").is_some() {
            oci::candidates(self, architecture)
        } else {
            Err(ArchiveError::NoManifest)
        }
    }

    /// Opens a member for reading.
    pub(crate) fn open(&self, member: &Spooled) -> io::Result<File> {
        File::open(self.path(member.number))
    }

    fn path(&self, number: usize) -> std::path::PathBuf {
        self.workdir.path().join(number.to_string())
    }

    fn find(&self, name: &str) -> Option<Spooled> {
        let mut name = resolve("", name)?;
        for _ in 0..=MAX_LINKS {
            match self.members.get(&name)? {
                Entry::File(spooled) => return Some(*spooled),
                Entry::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    fn required(&self, name: &str) -> Result<Spooled, ArchiveError> {
        self.find(name).ok_or_else(|| ArchiveError::Missing(name.to_owned()))
    }

    fn small(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        let member = self.required(name)?;
        if member.size_bytes > MAX_JSON {
            return Err(ArchiveError::TooLarge(name.to_owned()));
        }
        std::fs::read(self.path(member.number)).map_err(ArchiveError::Spool)
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, ArchiveError> {
        parse(name, &self.small(name)?)
    }

    /// Returns the blob with this digest, having compared it with what was read.
    fn blob(&self, digest: &Digest, size_bytes: u64) -> Result<(String, Spooled), ArchiveError> {
        let name = format!("blobs/sha256/{}", digest.hex());
        let member = self.required(&name)?;
        if member.digest != *digest {
            return Err(ArchiveError::Digest { name, actual: member.digest });
        }
        if member.size_bytes != size_bytes {
            return Err(ArchiveError::Size { name, expected: size_bytes, actual: member.size_bytes });
        }
        Ok((name, member))
    }
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|source| ArchiveError::Json { name: name.to_owned(), source })
}

fn data_error(error: io::Error) -> ArchiveError {
    if error.kind() == io::ErrorKind::UnexpectedEof { ArchiveError::Truncated } else { ArchiveError::Data(error) }
}

/// Copies, telling a source that is wrong from a disk that is full.
fn copy(source: &mut impl Read, target: &mut impl io::Write) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(data_error(error)),
        };
        target.write_all(&buffer[..count]).map_err(ArchiveError::Spool)?;
    }
}

/// Joins a name to a directory of the archive; `None` if it leads out of the archive or names nothing.
fn resolve(directory: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    let directory = if name.starts_with('/') { "" } else { directory };
    for part in directory.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_archive() {
        assert_eq!(resolve("", "./a//b"), Some("a/b".to_owned()));
        assert_eq!(resolve("a", "../b/layer.tar"), Some("b/layer.tar".to_owned()));
        assert_eq!(resolve("a", "/b"), Some("b".to_owned()));
        assert_eq!(resolve("a", "../../b"), None);
        assert_eq!(resolve("", ".."), None);
    }
}
