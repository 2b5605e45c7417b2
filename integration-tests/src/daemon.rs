//! A daemon of the test's own, on directories, a socket and a cgroup that no other daemon has.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::command::{self, Finished};
use crate::{Api, PATIENCE, image, traces, wait_until};

/// A running daemon. Dropping it removes its containers, stops it, and fails the test if anything is left behind.
#[derive(Debug)]
pub struct Daemon {
    api: Api,
    /// `None` if the daemon was there before the test.
    own: Option<Own>,
    /// The containers that the test made.
    containers: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Own {
    child: Option<Child>,
    directory: TempDir,
    cgroup: String,
    arguments: Vec<String>,
    /// Whether the data root is a small file system of its own.
    disk: bool,
}

static STARTED: AtomicU32 = AtomicU32::new(0);

/// The directory of the binaries under test.
pub fn binaries() -> PathBuf {
    std::env::var_os("PINNACE_TEST_BIN").map_or_else(|| repository().join("target/staged"), PathBuf::from)
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

impl Daemon {
    /// Starts a daemon that has the busybox image.
    pub fn start() -> Daemon {
        let daemon = Daemon::start_empty(&[]);
        let images = daemon.api.get("/images/busybox/json");
        if images.status == 404 {
            daemon.load(&image::busybox_archive());
        }
        daemon
    }

    /// Starts a daemon without images, with more arguments.
    pub fn start_empty(arguments: &[&str]) -> Daemon {
        Daemon::start_with(arguments, None)
    }

    /// Starts a daemon without images whose data root is a file system of this size, as mount(8) writes it.
    pub fn start_on_small_disk(size: &str) -> Daemon {
        Daemon::start_with(&[], Some(size))
    }

    fn start_with(arguments: &[&str], disk: Option<&str>) -> Daemon {
        if let Ok(host) = std::env::var("PINNACE_TEST_HOST") {
            return Daemon::adopt(&host);
        }
        let directory = tempfile::Builder::new().prefix("pinnace-test-").tempdir().expect("a directory");
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let own = Own {
            child: None,
            cgroup: format!("/pinnace-test-{}-{number}", std::process::id()),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            directory,
            disk: disk.is_some(),
        };
        if let Some(size) = disk {
            let data = own.directory.path().join("data");
            fs::create_dir(&data).expect("mkdir");
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "pinnace-test"]).arg(&data);
            command::run(&mut mount, b"").ok();
        }
        let api = Api::new(&own.directory.path().join("api.sock"));
        let mut daemon = Daemon { api, own: Some(own), containers: Mutex::default() };
        daemon.start_again();
        daemon
    }

    /// Uses a daemon that is there, after removing all its containers.
    fn adopt(host: &str) -> Daemon {
        let socket = host.strip_prefix("unix://").expect("PINNACE_TEST_HOST is unix:///path");
        let daemon = Daemon { api: Api::new(Path::new(socket)), own: None, containers: Mutex::default() };
        daemon.remove_all();
        daemon
    }

    fn remove_all(&self) {
        for container in self.api.get("/containers/json?all=1").expect(200).json().as_array().expect("a list") {
            let id = container["Id"].as_str().expect("an id");
            self.api.delete(&format!("/containers/{id}?force=1"));
        }
        let none_is_left = || self.api.get("/containers/json?all=1").json().as_array()?.is_empty().then_some(());
        wait_until("the removal of every container", none_is_left);
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("this test needs a daemon of its own: run it without PINNACE_TEST_HOST")
    }

    fn own_mut(&mut self) -> &mut Own {
        self.own.as_mut().expect("this test needs a daemon of its own: run it without PINNACE_TEST_HOST")
    }

    /// Whether the daemon under test is Pinnace.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.api.socket.display())
    }

    /// The test's directory; the daemon's are `data` and `run` in it, its socket is `api.sock`.
    pub fn directory(&self) -> &Path {
        self.own().directory.path()
    }

    pub fn cgroup(&self) -> &str {
        &self.own().cgroup
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.own().child.as_ref().expect("running").id()).expect("a pid")
    }

    /// Has the oracle look for what is left of this container.
    pub fn remember(&self, container: &str) {
        self.containers.lock().expect("not poisoned").push(container.to_owned());
    }

    /// The command that starts a daemon on the same directories.
    pub fn command(&self) -> Command {
        let own = self.own();
        let directory = own.directory.path();
        let mut command = Command::new(binaries().join("pinnaced"));
        command.arg("--data-root").arg(directory.join("data")).arg("--run-dir").arg(directory.join("run"));
        command.args(["-H", &self.host(), "--cgroup-parent", &own.cgroup]).args(&own.arguments);
        command.stdin(Stdio::null());
        command
    }

    /// Starts the daemon after [`Daemon::kill`] or [`Daemon::terminate`].
    pub fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(self.directory().join("log")).expect("a log");
        let mut command = self.command();
        command.stdout(log.try_clone().expect("dup")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; was `make stage` run?"));
        self.own_mut().child = Some(child);
        let begun = Instant::now();
        // A connection that a killed daemon's socket still took is reset, so that being accepted is not enough.
        while self.api.raw(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").map_or(0, |answer| answer.status) != 200 {
            let ended = self.own_mut().child.as_mut().expect("running").try_wait().expect("wait");
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "no daemon ({ended:?}): {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills the daemon with SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.own_mut().child.take().expect("running");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Ends the daemon with SIGTERM and returns how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).expect("kill");
        let mut child = self.own_mut().child.take().expect("running");
        wait_until("the daemon's end after SIGTERM", || child.try_wait().expect("wait"))
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory().join("log")).unwrap_or_default()
    }

    /// Loads an archive and returns what the daemon said.
    pub fn load(&self, archive: &[u8]) -> String {
        let answer = self.api.request("POST", "/images/load", &[("Content-Type", "application/x-tar")], archive);
        let lines = answer.expect(200).json_lines();
        lines.iter().map(|line| line["stream"].as_str().unwrap_or_else(|| panic!("{line}"))).collect()
    }

    /// Runs the docker client against this daemon.
    pub fn docker(&self, arguments: &[&str]) -> Finished {
        self.docker_with(arguments, b"")
    }

    pub fn docker_with(&self, arguments: &[&str], input: &[u8]) -> Finished {
        command::run(self.docker_command().args(arguments), input)
    }

    pub fn docker_command(&self) -> Command {
        let unpacked = repository().join("target/docker-cli/docker");
        let mut command = Command::new(if unpacked.exists() { unpacked } else { "docker".into() });
        // An empty configuration: no contexts and no plugins of the person who runs the tests.
        command.arg("--config").arg(repository().join("target/docker-config")).args(["-H", &self.host()]);
        command
    }

    /// Runs `pinnace` against this daemon.
    pub fn pinnace(&self, arguments: &[&str]) -> Finished {
        self.pinnace_with(arguments, b"")
    }

    pub fn pinnace_with(&self, arguments: &[&str], input: &[u8]) -> Finished {
        command::run(self.pinnace_command().args(arguments), input)
    }

    pub fn pinnace_command(&self) -> Command {
        let mut command = Command::new(binaries().join("pinnace"));
        command.args(["-H", &self.host()]);
        command
    }

    /// Runs a Python program that has the clients which others wrote, with `DOCKER_HOST` naming this daemon.
    pub fn python(&self, program: &str) -> Finished {
        let python = repository().join("target/venv/bin/python");
        assert!(python.exists(), "{} is missing: run .ci/install-deps", python.display());
        command::run(Command::new(python).env("DOCKER_HOST", self.host()).args(["-c", program]), b"")
    }

    /// Returns what the daemon left, once its containers are removed and it has been stopped.
    fn finish(&mut self) -> Vec<String> {
        if self.own().child.is_none() {
            self.start_again();
        }
        self.remove_all();
        let status = self.terminate();
        let mut left = if status.success() { Vec::new() } else { vec![format!("it ended with {status}")] };
        if self.api.socket.exists() {
            left.push("its socket".to_owned());
        }
        // Directories are deleted, and helpers end, behind the answer.
        let begun = Instant::now();
        loop {
            self.unmount();
            let containers = self.containers.lock().expect("not poisoned").clone();
            let found = traces::left_behind(self.directory(), self.cgroup(), &containers);
            if found.is_empty() || begun.elapsed() > Duration::from_secs(5) {
                left.extend(found);
                return left;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn unmount(&mut self) {
        let Some(own) = &mut self.own else { return };
        if own.disk && command::run(Command::new("umount").arg(own.directory.path().join("data")), b"").code == 0 {
            own.disk = false;
        }
    }

    /// Ends whatever still runs, whatever state the daemon is in.
    fn sweep(&mut self) {
        let Some(own) = &mut self.own else { return };
        if let Some(mut child) = own.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        for _ in 0..100 {
            let left = traces::processes(own.directory.path(), &own.cgroup);
            for (pid, _) in &left {
                // It may have ended in the meantime.
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            for hierarchy in ["freezer", "unified"] {
                for cgroup in traces::cgroups(&own.cgroup).iter().filter(|path| path.contains(hierarchy)) {
                    drop(fs::write(Path::new(cgroup).join("freezer.state"), "THAWED"));
                    drop(fs::write(Path::new(cgroup).join("cgroup.freeze"), "0"));
                }
            }
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for _ in 0..100 {
            traces::remove_cgroups(&own.cgroup);
            if traces::cgroups(&own.cgroup).is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.unmount();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.own.is_none() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
            self.sweep();
            return;
        }
        let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.finish()));
        let log = self.log();
        self.sweep();
        match left {
            Ok(left) => assert!(left.is_empty(), "the daemon left {left:#?}\nits log:\n{log}"),
            Err(panic) => {
                eprintln!("the daemon's log:\n{log}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}
