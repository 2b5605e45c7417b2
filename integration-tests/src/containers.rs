//! What tests do with containers again and again.

use std::fmt;

use serde_json::{Value, json};

use crate::frames;
use crate::{Daemon, Stream};

/// What a process wrote, and how it ended.
#[derive(Default, PartialEq, Eq)]
pub struct Output {
    pub code: i64,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}, stdout {:?}, stderr {:?}", self.code, self.out(), self.err())
    }
}

/// Returns `base` with the members of `more`, recursively.
pub fn merged(mut base: Value, more: &Value) -> Value {
    match (base.as_object_mut(), more.as_object()) {
        (Some(object), Some(more)) => {
            for (key, value) in more {
                let merged = merged(object.get(key).cloned().unwrap_or(Value::Null), value);
                object.insert(key.clone(), merged);
            }
            base
        }
        _ => more.clone(),
    }
}

impl Daemon {
    /// Creates a container of the busybox image without a network and returns its id.
    pub fn create(&self, command: &[&str], more: Value) -> String {
        self.create_named(None, command, more)
    }

    pub fn create_named(&self, name: Option<&str>, command: &[&str], more: Value) -> String {
        let base = json!({"Image": "busybox", "Cmd": command, "HostConfig": {"NetworkMode": "none"}});
        let query = name.map(|name| format!("?name={name}")).unwrap_or_default();
        let answer =
            self.api().post_json(&format!("/containers/create{query}"), &merged(base, &more)).expect(201).json();
        let id = answer["Id"].as_str().expect("an id").to_owned();
        assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        self.remember(&id);
        id
    }

    pub fn start_container(&self, id: &str) {
        self.api().post(&format!("/containers/{id}/start")).expect(204);
    }

    /// Creates and starts.
    pub fn run(&self, command: &[&str], more: Value) -> String {
        let id = self.create(command, more);
        self.start_container(&id);
        id
    }

    /// Runs a shell script in a container.
    pub fn run_sh(&self, script: &str) -> String {
        self.run(&["sh", "-c", script], json!({}))
    }

    /// A container that does nothing and stops at once when it is told to.
    pub fn run_idle(&self) -> String {
        let id = self.run_sh(IDLE);
        self.wait_for_trap(&id, 15);
        id
    }

    /// Waits until a container's first process handles a signal: before, it is lost on the first process of a namespace.
    pub fn wait_for_trap(&self, id: &str, signal: u32) {
        let pid = self.inspect(id)["State"]["Pid"].as_i64().expect("a pid");
        crate::wait_until("the trap", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).expect("SigCgt");
            (u64::from_str_radix(caught, 16).expect("a mask") & 1 << (signal - 1) != 0).then_some(())
        });
    }

    /// Waits until it does not run and returns its exit code.
    pub fn wait(&self, id: &str) -> i64 {
        let answer = self.api().post(&format!("/containers/{id}/wait")).expect(200).json();
        answer["StatusCode"].as_i64().expect("a status code")
    }

    pub fn inspect(&self, id: &str) -> Value {
        self.api().get(&format!("/containers/{id}/json")).expect(200).json()
    }

    pub fn status(&self, id: &str) -> String {
        self.inspect(id)["State"]["Status"].as_str().expect("a status").to_owned()
    }

    pub fn remove(&self, id: &str) {
        self.api().delete(&format!("/containers/{id}?force=1")).expect(204);
    }

    /// Returns all that a container without a terminal has written so far.
    pub fn logs(&self, id: &str) -> Output {
        let path = format!("/containers/{id}/logs?stdout=1&stderr=1");
        frames::read_output(&mut self.api().open("GET", &path, &[], b""))
    }

    /// Attaches to all streams of a container, live.
    pub fn attach(&self, id: &str) -> Stream {
        self.api().hijack(&format!("/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1"), None)
    }

    /// Runs a command to its end, attached from before its start, and removes the container.
    pub fn output_of(&self, command: &[&str], more: Value) -> Output {
        let id = self.create(command, more);
        let mut attached = self.attach(&id);
        self.start_container(&id);
        let mut output = frames::read_output(&mut attached);
        output.code = self.wait(&id);
        self.remove(&id);
        output
    }

    /// Runs a shell script to its end.
    pub fn sh(&self, script: &str, more: Value) -> Output {
        self.output_of(&["sh", "-c", script], more)
    }

    /// Makes an exec in a container and returns its id.
    pub fn exec_create(&self, container: &str, command: &[&str], more: Value) -> String {
        let base = json!({"Cmd": command, "AttachStdout": true, "AttachStderr": true});
        let answer = self.api().post_json(&format!("/containers/{container}/exec"), &merged(base, &more)).expect(201);
        answer.json()["Id"].as_str().expect("an id").to_owned()
    }

    /// Starts an exec on a hijacked connection.
    pub fn exec_start(&self, exec: &str, more: Value) -> Stream {
        let body = merged(json!({"Detach": false, "Tty": false}), &more);
        self.api().hijack(&format!("/exec/{exec}/start"), Some(&body))
    }

    pub fn exec_inspect(&self, exec: &str) -> Value {
        self.api().get(&format!("/exec/{exec}/json")).expect(200).json()
    }

    /// Runs a command in a running container to its end.
    pub fn exec(&self, container: &str, command: &[&str], more: Value) -> Output {
        let exec = self.exec_create(container, command, more);
        let mut output = frames::read_output(&mut self.exec_start(&exec, json!({})));
        output.code = self.exec_inspect(&exec)["ExitCode"].as_i64().expect("an exit code once the stream has ended");
        output
    }

    /// Waits until a container's log contains some text.
    pub fn wait_for_log(&self, id: &str, text: &str) {
        crate::wait_until(&format!("{text:?} in the log"), || self.logs(id).out().contains(text).then_some(()));
    }
}

/// Sleeps until it is told to stop, in short steps, since a shell runs its traps only between commands.
pub const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
