//! Drives the program that measures the kernel floor: one line to it is one container.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Result;
use crate::image::Image;

/// The shape of the containers that the floor makes.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// cgroup v1 hierarchies that a container joins, by the name of their directory.
    pub(crate) cgroups: Vec<String>,
    /// Whether they are mounted in the container.
    pub(crate) cgroup_mounts: bool,
    /// Where `cgroups` and `cgroup_mounts` come from, for the report.
    pub(crate) origin: &'static str,
}

impl Default for Shape {
    fn default() -> Self {
        let cgroups = ["devices", "freezer", "memory", "pids"];
        Self { cgroups: cgroups.map(str::to_owned).to_vec(), cgroup_mounts: true, origin: "assumed" }
    }
}

/// A running floor program.
#[derive(Debug)]
pub(crate) struct Floor {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The phases of one container, in order.
pub(crate) type Phases = Vec<(String, Duration)>;

impl Floor {
    pub(crate) fn start(binaries: &Path, scratch: &Path, image: &Image, shape: &Shape, cgroup: &str) -> Result<Self> {
        std::fs::create_dir_all(scratch)?;
        let lower: Vec<String> = image.layers.iter().map(|layer| layer.display().to_string()).collect();
        let mut command = Command::new(binaries.join("pinnace-floor"));
        command.args([
            "--lower",
            &lower.join(":"),
            "--cgroups",
            &shape.cgroups.join(","),
            "--cgroup-parent",
            &format!("{cgroup}-floor"),
        ]);
        command.arg("--scratch").arg(scratch);
        if shape.cgroup_mounts {
            command.arg("--cgroup-mounts");
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = process.stdin.take().ok_or("stdin is a pipe")?;
        let answers = BufReader::new(process.stdout.take().ok_or("stdout is a pipe")?);
        Ok(Self { process, requests, answers })
    }

    pub(crate) fn run(&mut self) -> Result<Phases> {
        self.requests.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let phases: Vec<(String, u64)> =
            serde_json::from_str(&line).map_err(|error| format!("the floor failed: {error}"))?;
        Ok(phases.into_iter().map(|(name, nanoseconds)| (name, Duration::from_nanos(nanoseconds))).collect())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Between two containers it only waits for the next line; nothing is left behind.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
