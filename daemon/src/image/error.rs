//! What can go wrong with images, in Docker's words.

use super::archive::ArchiveError;
use super::changes::ChangeError;
use super::document::DocumentError;
use super::layers::LayerError;
use super::reference::{Lookup, ReferenceError};
use crate::error::{Classify, ErrorKind};
use crate::store::StoreError;

/// A failure of an operation on images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Holds what was asked for, with its tag.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    #[error("layer {0} is missing")]
    NoSuchLayer(String),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("make a directory for the archive")]
    Workdir(#[source] std::io::Error),
    #[error("an image without layers cannot be used")]
    NoLayers,
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Filter(String),
    #[error("store the image's configuration")]
    Blob(#[source] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a task of the daemon failed: {0}")]
    Panicked(String),
}

impl Error {
    /// Says that there is no image called `text`, adding the tag that a name without one means.
    pub fn no_such_image(text: &str) -> Self {
        Self::NoSuchImage(Lookup::parse(text).map_or_else(|_invalid| text.to_owned(), |lookup| lookup.to_string()))
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchImage(_) => ErrorKind::NotFound,
            Self::Reference(_) | Self::Document(_) | Self::Change(_) | Self::Filter(_) | Self::NoLayers => {
                ErrorKind::Invalid
            }
            Self::Archive(error) if !error.is_internal() => ErrorKind::Invalid,
            Self::Layer(error) if !error.is_internal() => ErrorKind::Invalid,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::NoSuchLayer(_)
            | Self::Archive(_)
            | Self::Layer(_)
            | Self::Workdir(_)
            | Self::Blob(_)
            | Self::Store(_)
            | Self::Panicked(_) => ErrorKind::Internal,
        }
    }
}
