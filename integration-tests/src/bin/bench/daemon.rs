//! The daemons that are compared: how each is started in directories of its own, and stopped again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::Result;
use crate::http::Connection;

/// A kind of daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pinnace,
    Dockerd,
    Podman,
}

/// A running daemon that speaks the Docker API.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) kind: Kind,
    pub(crate) socket: PathBuf,
    pub(crate) version: String,
    /// `HostConfig` of every container that is created.
    host_config: Value,
    log: PathBuf,
    process: Child,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Pinnace, Self::Dockerd, Self::Podman];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pinnace => "pinnace",
            Self::Dockerd => "dockerd",
            Self::Podman => "podman (API)",
        }
    }

    /// The program on `PATH`, or among Pinnace's own binaries.
    fn program(self, binaries: &Path) -> Option<PathBuf> {
        match self {
            Self::Pinnace => Some(binaries.join("pinnaced")).filter(|path| path.exists()),
            Self::Dockerd => crate::machine::find_program("dockerd"),
            Self::Podman => crate::machine::find_program("podman"),
        }
    }
}

impl Daemon {
    /// Starts a daemon in `directory`, below the cgroup `cgroup` where it can be told; `None` if it is not installed.
    pub(crate) fn start(kind: Kind, binaries: &Path, directory: &Path, cgroup: &str) -> Result<Option<Self>> {
        let Some(program) = kind.program(binaries) else {
            return Ok(None);
        };
        let directory = directory.join(kind.name().split(' ').next().unwrap_or_default());
        fs::create_dir_all(&directory)?;
        let socket = directory.join("api.sock");
        let address = format!("unix://{}", socket.display());
        let cgroup_parent = format!("/{cgroup}-{}", kind.name().split(' ').next().unwrap_or_default());
        let path = |name: &str| directory.join(name).into_os_string();
        let mut host_config = json!({ "NetworkMode": "none" });
        let mut command = Command::new(program);
        match kind {
            Kind::Pinnace => {
                command.arg("--data-root").arg(path("data")).arg("--run-dir").arg(path("run")).args([
                    "-H",
                    &address,
                    "--cgroup-parent",
                    &cgroup_parent,
                ]);
            }
            Kind::Dockerd => {
                command
                    .arg("--data-root")
                    .arg(path("data"))
                    .arg("--exec-root")
                    .arg(path("run"))
                    .arg("--pidfile")
                    .arg(path("pid"));
                command.args([
                    "-H",
                    &address,
                    "--bridge=none",
                    "--iptables=false",
                    "--ip6tables=false",
                    "--storage-driver=overlay2",
                ]);
                command.args(["--userland-proxy=false", "--cgroup-parent", &cgroup_parent]);
            }
            Kind::Podman => {
                command
                    .arg("--root")
                    .arg(path("data"))
                    .arg("--runroot")
                    .arg(path("run"))
                    .arg("--tmpdir")
                    .arg(path("tmp"));
                command.args([
                    "--cgroup-manager=cgroupfs",
                    "--storage-driver=overlay",
                    "system",
                    "service",
                    "--time=0",
                    &address,
                ]);
                host_config["CgroupParent"] = cgroup_parent.into();
                // Podman asks for 1048576 files by default, which a machine without CAP_SYS_RESOURCE refuses.
                host_config["Ulimits"] = json!([
                    { "Name": "nofile", "Soft": 1024, "Hard": 4096 },
                    { "Name": "nproc", "Soft": 4096, "Hard": 4096 },
                ]);
            }
        }
        let log = directory.join("log");
        let output = File::create(&log)?;
        let process = command.stdin(std::process::Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
        let mut daemon = Self { kind, socket, version: String::new(), host_config, log, process };
        daemon.version = daemon.wait_until_ready()?;
        Ok(Some(daemon))
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::new(&self.socket)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn host_config(&self) -> Value {
        self.host_config.clone()
    }

    /// The end of what the daemon logged, for an error message.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    fn wait_until_ready(&mut self) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(version) = self.connect().get("/version").and_then(|answer| answer.json()) {
                return Ok(version["Version"].as_str().unwrap_or_default().to_owned());
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("{} ended with {status}: {}", self.kind.name(), self.log_tail()).into());
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not answer: {}", self.kind.name(), self.log_tail()).into());
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Removes whatever containers are left, best effort.
    fn remove_containers(&self) {
        let mut connection = self.connect();
        let Ok(list) = connection.get("/v1.41/containers/json?all=1").and_then(|answer| answer.json()) else {
            return;
        };
        for id in list.as_array().into_iter().flatten().filter_map(|container| container["Id"].as_str()) {
            // A container that resists is swept with the processes and cgroups of the run.
            drop(connection.request("DELETE", &format!("/v1.41/containers/{id}?force=1"), None));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.remove_containers();
        crate::machine::signal(self.process.id(), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(15);
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                drop(self.process.kill());
                drop(self.process.wait());
                break;
            }
            sleep(Duration::from_millis(20));
        }
    }
}
