//! Operations on containers through the Docker API, as every contender understands them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;
use crate::daemon::Daemon;
use crate::http::Connection;
use crate::image;

/// An API version that every contender speaks.
const API: &str = "/v1.41";

/// A connection to a daemon, with its containers' common settings.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    daemon: &'a Daemon,
    connection: Connection,
}

/// How long each step of one container's life took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    pub(crate) create: Duration,
    pub(crate) start: Duration,
    pub(crate) wait: Duration,
    pub(crate) remove: Duration,
}

impl Steps {
    pub(crate) fn total(&self) -> Duration {
        self.create + self.start + self.wait + self.remove
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(daemon: &'a Daemon) -> Self {
        Self { daemon, connection: daemon.connect() }
    }

    pub(crate) fn daemon(&self) -> &'a Daemon {
        self.daemon
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Value> {
        self.connection.get(&format!("{API}{path}"))?.json()
    }

    /// Asks and throws the answer away, once its status was one of success.
    pub(crate) fn ask(&mut self, path: &str) -> Result<()> {
        self.connection.get(&format!("{API}{path}"))?.success()?;
        Ok(())
    }

    pub(crate) fn post(&mut self, path: &str, body: Option<&Value>) -> Result<crate::http::Response> {
        let answer = self.connection.request("POST", &format!("{API}{path}"), body)?;
        answer.success().map_err(|error| format!("POST {path}: {error}"))?;
        Ok(answer)
    }

    pub(crate) fn load_image(&mut self, archive: &[u8]) -> Result<()> {
        let answer =
            self.connection.exchange("POST", &format!("{API}/images/load?quiet=1"), "application/x-tar", archive)?;
        let text = String::from_utf8_lossy(&answer.success()?.body).into_owned();
        if text.contains("\"error\"") { Err(text.into()) } else { Ok(()) }
    }

    pub(crate) fn create(&mut self, command: &[&str], auto_remove: bool) -> Result<String> {
        let mut host_config = self.daemon.host_config();
        if auto_remove {
            host_config["AutoRemove"] = true.into();
        }
        let body = json!({ "Image": image::NAME, "Cmd": command, "HostConfig": host_config });
        let created = self.post("/containers/create", Some(&body))?.json()?;
        Ok(created["Id"].as_str().ok_or("create gave no id")?.to_owned())
    }

    pub(crate) fn start(&mut self, id: &str) -> Result<()> {
        self.post(&format!("/containers/{id}/start"), None).map(drop)
    }

    pub(crate) fn wait(&mut self, id: &str) -> Result<i64> {
        let answer = self.post(&format!("/containers/{id}/wait"), None)?.json()?;
        Ok(answer["StatusCode"].as_i64().ok_or("wait gave no status")?)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Result<()> {
        self.connection.request("DELETE", &format!("{API}/containers/{id}?force=1&v=1"), None)?.success()?;
        Ok(())
    }

    /// One whole life of `true`.
    pub(crate) fn life(&mut self) -> Result<Steps> {
        let began = Instant::now();
        let id = self.create(&["/true"], false)?;
        let created = Instant::now();
        self.start(&id)?;
        let started = Instant::now();
        let status = self.wait(&id)?;
        let ended = Instant::now();
        self.remove(&id)?;
        let removed = Instant::now();
        if status != 0 {
            return Err(format!("true ended with {status}").into());
        }
        Ok(Steps { create: created - began, start: started - created, wait: ended - started, remove: removed - ended })
    }

    /// One whole life with AutoRemove: as the docker CLI does, the wait for the removal is asked before the start, on
    /// a connection of its own.
    pub(crate) fn auto_removed_life(&mut self) -> Result<Duration> {
        let socket = self.daemon.socket.clone();
        let began = Instant::now();
        let id = self.create(&["/true"], true)?;
        let path = format!("{API}/containers/{id}/wait?condition=removed");
        let mut waiter = crate::http::PendingAnswer::ask(&socket, &path)?;
        self.start(&id)?;
        waiter.finish()?.success()?;
        Ok(began.elapsed())
    }
}

/// The path of an API call with the version that every contender speaks.
pub(crate) fn versioned(path: &str) -> String {
    format!("{API}{path}")
}
