//! `/images`.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use futures_util::Stream;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;

use super::nullable;
use crate::{Client, Error, http::JsonLines};

/// One image in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    pub id: String,
    #[serde(default, deserialize_with = "nullable")]
    pub repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub repo_digests: Vec<String>,
    /// Seconds since 1970.
    pub created: i64,
    pub size: u64,
    /// How many containers use it; -1 when nobody counted.
    #[serde(default)]
    pub containers: i64,
    #[serde(default, deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
}

/// One step of an image's history, newest first.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryItem {
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    #[serde(default)]
    pub created_by: String,
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    pub comment: String,
}

/// One thing that removing did.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Removal {
    Untagged(String),
    Deleted(String),
}

/// One line of a load or an import.
#[derive(Debug, Deserialize)]
pub struct Progress {
    #[serde(default)]
    pub stream: Option<String>,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub error: Option<String>,
}

/// Where an import comes from and what it becomes.
#[derive(Debug, Default)]
pub struct Import {
    /// A URL the daemon fetches, or nothing for the uploaded body.
    pub url: Option<String>,
    pub repository: String,
    pub message: String,
    pub changes: Vec<String>,
}

impl Client {
    /// Lists images.
    ///
    /// # Errors
    /// As for every call.
    pub async fn list_images(&self, all: bool, filters: Option<&str>) -> Result<Vec<Summary>, Error> {
        self.call(Method::GET, &["images", "json"]).flag("all", all).maybe("filters", filters).fetch().await
    }

    /// Returns everything the daemon says about an image.
    ///
    /// # Errors
    /// As for every call.
    pub async fn inspect_image(&self, name: &str) -> Result<Value, Error> {
        self.call(Method::GET, &["images", name, "json"]).fetch().await
    }

    /// Returns the steps an image was made by.
    ///
    /// # Errors
    /// As for every call.
    pub async fn image_history(&self, name: &str) -> Result<Vec<HistoryItem>, Error> {
        self.call(Method::GET, &["images", name, "history"]).fetch().await
    }

    /// Gives an image one more name: `repository` with an optional `tag`.
    ///
    /// # Errors
    /// As for every call.
    pub async fn tag_image(&self, name: &str, repository: &str, tag: &str) -> Result<(), Error> {
        self.call(Method::POST, &["images", name, "tag"]).query("repo", repository).query("tag", tag).done().await
    }

    /// Removes a name of an image, and the image with its last one.
    ///
    /// # Errors
    /// As for every call.
    pub async fn remove_image(&self, name: &str, force: bool, keep_parents: bool) -> Result<Vec<Removal>, Error> {
        self.call(Method::DELETE, &["images", name]).flag("force", force).flag("noprune", keep_parents).fetch().await
    }

    /// Uploads an archive of images; the answer says what was loaded.
    ///
    /// # Errors
    /// As for every call; what is wrong with the archive comes in a line.
    pub async fn load_images(
        &self,
        quiet: bool,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<JsonLines, Error> {
        let quiet = if quiet { "1" } else { "0" };
        self.call(Method::POST, &["images", "load"]).query("quiet", quiet).upload(archive).lines().await
    }

    /// Makes an image of one file system archive.
    ///
    /// # Errors
    /// As for every call.
    pub async fn import_image(
        &self,
        import: &Import,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<JsonLines, Error> {
        let mut call = self
            .call(Method::POST, &["images", "create"])
            .query("fromSrc", import.url.as_deref().unwrap_or("-"))
            .query("repo", &import.repository)
            .query("message", &import.message);
        for change in &import.changes {
            call = call.query("changes", change);
        }
        if import.url.is_none() {
            call = call.upload(archive);
        }
        call.lines().await
    }
}
