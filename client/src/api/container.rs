//! `/containers`.

use std::collections::BTreeMap;

use api_schema::container::{CreateResponse, TopResponse, WaitResponse};
use hyper::{Method, Response, body::Incoming};
use serde::Deserialize;
use serde_json::Value;

use super::nullable;
use crate::{
    Client, Error,
    http::Call,
    stream::{self, Receiver, Sender},
};

/// One container in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    pub id: String,
    #[serde(default, deserialize_with = "nullable")]
    pub names: Vec<String>,
    pub image: String,
    #[serde(rename = "ImageID")]
    pub image_id: String,
    pub command: String,
    /// Seconds since 1970.
    pub created: i64,
    #[serde(default, deserialize_with = "nullable")]
    pub ports: Vec<Port>,
    #[serde(default, deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    pub state: String,
    pub status: String,
    #[serde(default)]
    pub size_rw: u64,
    #[serde(default)]
    pub size_root_fs: u64,
    #[serde(default)]
    pub network_settings: Networks,
    #[serde(default, deserialize_with = "nullable")]
    pub mounts: Vec<Mount>,
}

/// The networks of a listed container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Networks {
    #[serde(deserialize_with = "nullable")]
    pub networks: BTreeMap<String, Value>,
}

/// A port of a listed container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Port {
    #[serde(rename = "IP", default)]
    pub ip: String,
    pub private_port: u16,
    #[serde(default)]
    pub public_port: Option<u16>,
    #[serde(rename = "Type")]
    pub protocol: String,
}

/// A mount of a listed container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mount {
    pub name: String,
    pub source: String,
    pub driver: String,
}

/// What decides how a container is attached to.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspect {
    pub id: String,
    pub config: Config,
    pub state: State,
}

/// The configuration, as far as streams need it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    #[serde(default)]
    pub tty: bool,
    #[serde(default)]
    pub open_stdin: bool,
}

/// Whether it runs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct State {
    pub running: bool,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub restarting: bool,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

/// A wait that the daemon has accepted: whatever happens from here on is seen.
#[derive(Debug)]
pub struct Waiting {
    response: Response<Incoming>,
}

impl Waiting {
    /// Returns how it ended, when it has.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn exit(self) -> Result<WaitResponse, Error> {
        use http_body_util::BodyExt as _;
        let body = self.response.into_body().collect().await.map_err(Error::Broken)?.to_bytes();
        serde_json::from_slice(&body).map_err(Error::Decode)
    }
}

/// What a list should hold.
#[derive(Debug, Default)]
pub struct List {
    pub all: bool,
    pub limit: Option<u32>,
    pub size: bool,
    /// The `filters` parameter: JSON, see [`filters`].
    pub filters: Option<String>,
}

/// What to read of a log.
#[derive(Debug, Default)]
pub struct Logs {
    pub follow: bool,
    pub timestamps: bool,
    pub details: bool,
    pub since: Option<String>,
    pub until: Option<String>,
    pub tail: Option<String>,
}

/// Which streams to attach to.
#[derive(Debug, Default)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// History first.
    pub logs: bool,
    pub detach_keys: Option<String>,
}

/// Puts `key=value` filters together as the API takes them; nothing when there are none.
pub fn filters(given: &[String]) -> Option<String> {
    let mut keys: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for filter in given {
        let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
        keys.entry(key.trim()).or_default().insert(value.trim(), true);
    }
    (!keys.is_empty()).then(|| serde_json::json!(keys).to_string())
}

impl Client {
    fn on_container(&self, method: Method, id: &str, verb: &str) -> Call<'_> {
        self.call(method, &["containers", id, verb])
    }

    /// Creates a container.
    ///
    /// # Errors
    /// As for every call: no connection, or the daemon's refusal.
    pub async fn create_container(&self, name: Option<&str>, body: &Value) -> Result<CreateResponse, Error> {
        self.call(Method::POST, &["containers", "create"]).maybe("name", name).json(body)?.fetch().await
    }

    /// Lists containers.
    ///
    /// # Errors
    /// As for every call.
    pub async fn list_containers(&self, list: &List) -> Result<Vec<Summary>, Error> {
        let limit = list.limit.map(|limit| limit.to_string());
        self.call(Method::GET, &["containers", "json"])
            .flag("all", list.all)
            .flag("size", list.size)
            .maybe("limit", limit.as_deref())
            .maybe("filters", list.filters.as_deref())
            .fetch()
            .await
    }

    /// Returns everything the daemon says about a container.
    ///
    /// # Errors
    /// As for every call.
    pub async fn inspect_container(&self, id: &str, size: bool) -> Result<Value, Error> {
        self.on_container(Method::GET, id, "json").flag("size", size).fetch().await
    }

    /// Returns what decides how a container is attached to.
    ///
    /// # Errors
    /// As for every call.
    pub async fn container(&self, id: &str) -> Result<Inspect, Error> {
        self.on_container(Method::GET, id, "json").fetch().await
    }

    /// Starts a container; one that runs already is a success.
    ///
    /// # Errors
    /// As for every call.
    pub async fn start_container(&self, id: &str, detach_keys: Option<&str>) -> Result<(), Error> {
        self.on_container(Method::POST, id, "start").maybe("detachKeys", detach_keys).done().await
    }

    /// Stops a container (`verb` "stop") or stops and starts it ("restart"); `seconds` of grace, -1 for any.
    ///
    /// # Errors
    /// As for every call.
    pub async fn stop_container(
        &self,
        verb: &str,
        id: &str,
        seconds: Option<i64>,
        signal: Option<&str>,
    ) -> Result<(), Error> {
        let seconds = seconds.map(|seconds| seconds.to_string());
        self.on_container(Method::POST, id, verb).maybe("t", seconds.as_deref()).maybe("signal", signal).done().await
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    /// As for every call.
    pub async fn kill_container(&self, id: &str, signal: Option<&str>) -> Result<(), Error> {
        self.on_container(Method::POST, id, "kill").maybe("signal", signal).done().await
    }

    /// Freezes or thaws: `verb` is "pause" or "unpause".
    ///
    /// # Errors
    /// As for every call.
    pub async fn pause_container(&self, verb: &str, id: &str) -> Result<(), Error> {
        self.on_container(Method::POST, id, verb).done().await
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// As for every call.
    pub async fn rename_container(&self, id: &str, name: &str) -> Result<(), Error> {
        self.on_container(Method::POST, id, "rename").query("name", name).done().await
    }

    /// Removes a container.
    ///
    /// # Errors
    /// As for every call.
    pub async fn remove_container(&self, id: &str, force: bool, volumes: bool) -> Result<(), Error> {
        self.call(Method::DELETE, &["containers", id]).flag("force", force).flag("v", volumes).done().await
    }

    /// Lists a container's processes.
    ///
    /// # Errors
    /// As for every call.
    pub async fn top_container(&self, id: &str, ps_args: Option<&str>) -> Result<TopResponse, Error> {
        self.on_container(Method::GET, id, "top").maybe("ps_args", ps_args).fetch().await
    }

    /// Begins to wait; returns once the daemon watches.
    ///
    /// # Errors
    /// As for every call.
    pub async fn wait_container(&self, id: &str, condition: Condition) -> Result<Waiting, Error> {
        let condition = match condition {
            Condition::NotRunning => "not-running",
            Condition::NextExit => "next-exit",
            Condition::Removed => "removed",
        };
        let response = self.on_container(Method::POST, id, "wait").query("condition", condition).stream().await?;
        Ok(Waiting { response })
    }

    /// Opens a container's log; the body is multiplexed unless the container has a terminal.
    ///
    /// # Errors
    /// As for every call.
    pub async fn container_logs(&self, id: &str, logs: &Logs) -> Result<Incoming, Error> {
        let response = self
            .on_container(Method::GET, id, "logs")
            .query("stdout", "1")
            .query("stderr", "1")
            .flag("follow", logs.follow)
            .flag("timestamps", logs.timestamps)
            .flag("details", logs.details)
            .maybe("since", logs.since.as_deref())
            .maybe("until", logs.until.as_deref())
            .maybe("tail", logs.tail.as_deref())
            .stream()
            .await?;
        Ok(response.into_body())
    }

    /// Attaches to a container; when this returns, no output is missed any more.
    ///
    /// # Errors
    /// As for every call, and when the daemon is not Pinnace's.
    pub async fn attach_container(&self, id: &str, attach: &Attach) -> Result<(Receiver, Sender), Error> {
        let call = self
            .call(Method::GET, &["containers", id, "attach", "ws"])
            .query("stream", "1")
            .flag("stdin", attach.stdin)
            .flag("stdout", attach.stdout)
            .flag("stderr", attach.stderr)
            .flag("logs", attach.logs)
            .maybe("detachKeys", attach.detach_keys.as_deref());
        stream::open(call).await
    }
}

#[cfg(test)]
mod tests {
    use super::filters;

    #[test]
    fn filters_with_one_key_are_grouped() {
        let given = ["label=a=b", "label=c", "status=running"].map(str::to_owned);
        let expected = r#"{"label":{"a=b":true,"c":true},"status":{"running":true}}"#;
        assert_eq!(filters(&given).as_deref(), Some(expected));
        assert_eq!(filters(&[]), None);
    }
}
