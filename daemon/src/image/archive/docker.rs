//! Docker's archives: `manifest.json` says which members are an image's configuration and layers.

use serde::Deserialize;

use super::super::document::Document;
use super::super::reference::{Reference, Tagged};
use super::{Archive, ArchiveError, Candidate};
use api_schema::container::null_default;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default, deserialize_with = "null_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_default")]
    layers: Vec<String>,
}

pub(super) fn candidates(archive: &Archive) -> Result<Vec<Candidate>, ArchiveError> {
    let items: Vec<Item> = archive.json("manifest.json")?;
    items.into_iter().map(|item| candidate(archive, &item)).collect()
}

fn candidate(archive: &Archive, item: &Item) -> Result<Candidate, ArchiveError> {
    let config = archive.small(&item.config)?;
    let expected = Document::parse(&config)?.rootfs.diff_ids().len();
    if expected != item.layers.len() {
        return Err(ArchiveError::LayerCount { manifest: item.layers.len(), config: expected });
    }
    Ok(Candidate {
        config,
        manifest: None,
        layers: item.layers.iter().map(|name| archive.required(name)).collect::<Result<_, _>>()?,
        names: item.repo_tags.iter().map(|name| tagged(name)).collect::<Result<_, _>>()?,
    })
}

fn tagged(name: &str) -> Result<Tagged, ArchiveError> {
    let reference =
        Reference::parse(name).map_err(|source| ArchiveError::Reference { name: name.to_owned(), source })?;
    if reference.tag.is_none() || reference.digest.is_some() {
        return Err(ArchiveError::Tag(name.to_owned()));
    }
    Ok(reference.tagged())
}
