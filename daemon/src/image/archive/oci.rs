//! OCI image layouts: `index.json` names manifests, or indexes of manifests for several platforms, by digest.

use std::collections::{BTreeMap, HashSet};

use api_schema::container::null_default;
use serde::Deserialize;

use super::super::digest::Digest;
use super::super::document::Document;
use super::super::reference::{Reference, Tagged};
use super::{Archive, ArchiveError, Candidate, parse};

/// Deepest nesting of indexes; builders write one inside `index.json`.
const MAX_DEPTH: usize = 3;

/// Most descriptors that are looked at; arbitrary, far above the number of platforms and images in use.
const MAX_DESCRIPTORS: usize = 4096;

const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Media types of layers without the compression, which the data itself tells.
const LAYERS: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default, deserialize_with = "null_default")]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, deserialize_with = "null_default")]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Platform {
    #[serde(deserialize_with = "null_default")]
    architecture: String,
    #[serde(deserialize_with = "null_default")]
    os: String,
}

/// A manifest or an index: which of the two is decided by what is there, and both is neither (CVE-2021-41190).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(default, deserialize_with = "null_default")]
    media_type: String,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

struct Search<'a> {
    archive: &'a Archive,
    architecture: &'a str,
    /// Digests of indexes that were followed: none leads to an image that another did not.
    visited: HashSet<Digest>,
    looked_at: usize,
    found: Vec<Candidate>,
}

pub(super) fn candidates(archive: &Archive, architecture: &str) -> Result<Vec<Candidate>, ArchiveError> {
    let node: Node = archive.json("index.json")?;
    let Some(descriptors) = node.manifests else { return Err(ArchiveError::Oci("index.json has no manifests".into())) };
    if node.layers.is_some() || node.config.is_some() {
        return Err(ambiguous("index.json"));
    }
    let mut search = Search { archive, architecture, visited: HashSet::new(), looked_at: 0, found: Vec::new() };
    // At the top each descriptor is an image of its own, unless the platforms of one image are listed there.
    for descriptor in search.usable(&descriptors)? {
        let names = names(&descriptor)?;
        search.follow(&descriptor, &names, MAX_DEPTH)?;
    }
    if search.found.is_empty() {
        return Err(search.no_match());
    }
    Ok(search.found)
}

impl Search<'_> {
    /// Keeps the descriptors that can be of use on this machine.
    fn usable(&mut self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, ArchiveError> {
        self.looked_at += descriptors.len();
        if self.looked_at > MAX_DESCRIPTORS {
            return Err(ArchiveError::Oci(format!("more than {MAX_DESCRIPTORS} descriptors")));
        }
        let usable = |descriptor: &&Descriptor| match &descriptor.platform {
            // Attestations say unknown/unknown.
            Some(platform) => platform.os == "linux" && platform.architecture == self.architecture,
            None => true,
        };
        Ok(descriptors.iter().filter(usable).cloned().collect())
    }

    fn follow(&mut self, descriptor: &Descriptor, names: &[Tagged], depth: usize) -> Result<(), ArchiveError> {
        let digest = digest(descriptor)?;
        let media_type = descriptor.media_type.as_str();
        if !media_type.is_empty() && !INDEXES.contains(&media_type) && !MANIFESTS.contains(&media_type) {
            return Err(ArchiveError::Oci(format!("{digest} has media type {media_type:?}, which is no image")));
        }
        let (name, member) = self.archive.blob(&digest, descriptor.size)?;
        let bytes = self.archive.small(&name)?;
        debug_assert_eq!(bytes.len() as u64, member.size_bytes, "the spool is ours");
        let node: Node = parse(&name, &bytes)?;
        if !node.media_type.is_empty() && !media_type.is_empty() && node.media_type != media_type {
            return Err(ambiguous(&name));
        }
        match (node.manifests, node.config, node.layers) {
            (Some(descriptors), None, None) if !MANIFESTS.contains(&media_type) => {
                if depth == 0 {
                    return Err(ArchiveError::Oci("indexes are nested too deeply".into()));
                }
                if !self.visited.insert(digest) {
                    return Ok(());
                }
                // The first one for this platform is meant, as in a registry.
                match self.usable(&descriptors)?.first() {
                    Some(first) => self.follow(first, names, depth - 1),
                    None => Err(self.no_match()),
                }
            }
            (None, Some(config), Some(layers)) if !INDEXES.contains(&media_type) => {
                let candidate = self.candidate(&config, &layers, bytes, names)?;
                self.found.push(candidate);
                Ok(())
            }
            _ => Err(ambiguous(&name)),
        }
    }

    fn candidate(
        &self,
        config: &Descriptor,
        layers: &[Descriptor],
        manifest: Vec<u8>,
        names: &[Tagged],
    ) -> Result<Candidate, ArchiveError> {
        if !config.media_type.is_empty() && !CONFIGS.contains(&config.media_type.as_str()) {
            let media_type = &config.media_type;
            return Err(ArchiveError::Oci(format!("configuration has media type {media_type:?}, which is no image's")));
        }
        let (name, _) = self.archive.blob(&digest(config)?, config.size)?;
        let config = self.archive.small(&name)?;
        let expected = Document::parse(&config)?.rootfs.diff_ids().len();
        if expected != layers.len() {
            return Err(ArchiveError::LayerCount { manifest: layers.len(), config: expected });
        }
        let layers = layers.iter().map(|layer| {
            let plain = layer.media_type.trim_end_matches("+gzip").trim_end_matches("+zstd").trim_end_matches(".gzip");
            if !plain.is_empty() && !LAYERS.contains(&plain) {
                return Err(ArchiveError::Oci(format!("layer has media type {:?}", layer.media_type)));
            }
            // URLs that a descriptor may have are ignored: content comes from the archive or not at all.
            Ok(self.archive.blob(&digest(layer)?, layer.size)?.1)
        });
        Ok(Candidate {
            config,
            manifest: Some(manifest),
            layers: layers.collect::<Result<_, _>>()?,
            names: names.to_vec(),
        })
    }

    fn no_match(&self) -> ArchiveError {
        ArchiveError::Oci(format!("no image for platform linux/{} found in it", self.architecture))
    }
}

fn ambiguous(name: &str) -> ArchiveError {
    ArchiveError::Oci(format!("{name} is neither a manifest nor an index"))
}

fn digest(descriptor: &Descriptor) -> Result<Digest, ArchiveError> {
    Digest::parse(&descriptor.digest).map_err(|error| ArchiveError::Oci(format!("{:?}: {error}", descriptor.digest)))
}

/// Returns what the image is to be called. An annotation that is a bare tag, as the layout specification has it, names
/// no repository and so no image here.
fn names(descriptor: &Descriptor) -> Result<Vec<Tagged>, ArchiveError> {
    let name = match descriptor.annotations.get("io.containerd.image.name") {
        Some(name) => name,
        None => match descriptor.annotations.get("org.opencontainers.image.ref.name") {
            Some(name) if name.contains([':', '/']) => name,
            _ => return Ok(Vec::new()),
        },
    };
    let reference = Reference::parse(name).map_err(|source| ArchiveError::Reference { name: name.clone(), source })?;
    Ok(if reference.digest.is_some() { Vec::new() } else { vec![reference.tagged()] })
}
