//! `/info`, `/version`, `/events`, `/_ping`.

use hyper::Method;
use serde_json::Value;

use crate::{Client, Error, http::JsonLines};

impl Client {
    /// Returns whether the daemon answers.
    ///
    /// # Errors
    /// As for every call.
    pub async fn ping(&self) -> Result<(), Error> {
        self.call(Method::GET, &["_ping"]).done().await
    }

    /// Returns what the daemon says about itself and the machine.
    ///
    /// # Errors
    /// As for every call.
    pub async fn info(&self) -> Result<Value, Error> {
        self.call(Method::GET, &["info"]).fetch().await
    }

    /// Returns the daemon's versions.
    ///
    /// # Errors
    /// As for every call.
    pub async fn version(&self) -> Result<Value, Error> {
        self.call(Method::GET, &["version"]).fetch().await
    }

    /// Listens to events; with `until` in the past the answer ends.
    ///
    /// # Errors
    /// As for every call.
    pub async fn events(
        &self,
        since: Option<&str>,
        until: Option<&str>,
        filters: Option<&str>,
    ) -> Result<JsonLines, Error> {
        self.call(Method::GET, &["events"])
            .maybe("since", since)
            .maybe("until", until)
            .maybe("filters", filters)
            .lines()
            .await
    }
}
