//! OCI runtimes without a daemon: a bundle with the same namespaces, mounts and limits, run by the command line.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::Result;
use crate::image::Image;
use crate::machine::{find_program, signal};

/// The runtimes that are looked for.
pub(crate) const RUNTIMES: [&str; 3] = ["crun", "runc", "youki"];

/// A `run` that takes so long hangs: youki's did when `true` had ended before it began to wait for SIGCHLD.
const PATIENCE: Duration = Duration::from_secs(2);

/// An installed runtime with its bundle.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    directory: PathBuf,
    cgroup: String,
    runs: u32,
}

impl Runtime {
    /// Prepares a bundle whose root is an overlay over the image's layers; `None` if the runtime is not installed.
    pub(crate) fn prepare(
        name: &'static str,
        directory: &Path,
        image: &Image,
        cgroup: &str,
        seccomp: Option<&Value>,
    ) -> Result<Option<Self>> {
        let Some(program) = find_program(name) else {
            return Ok(None);
        };
        let directory = directory.join(name);
        for part in ["upper", "work", "rootfs", "state"] {
            fs::create_dir_all(directory.join(part))?;
        }
        let lower: Vec<String> = image.layers.iter().map(|layer| layer.display().to_string()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            directory.join("upper").display(),
            directory.join("work").display()
        );
        mount(Some("overlay"), &directory.join("rootfs"), Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
        for file in ["hostname", "hosts", "resolv.conf"] {
            fs::write(directory.join(file), "bench\n")?;
        }
        Ok(Some(Self { name, program, directory, cgroup: format!("{cgroup}-{name}"), runs: 0 }.with_config(seccomp)?))
    }

    fn with_config(self, seccomp: Option<&Value>) -> Result<Self> {
        let config = config(&self.directory, &format!("/{}/bench", self.cgroup), seccomp);
        serde_json::to_writer(File::create(self.directory.join("config.json"))?, &config)?;
        Ok(self)
    }

    /// `run` of one container, from nothing to removed.
    pub(crate) fn run(&mut self) -> Result<Duration> {
        self.runs += 1;
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.directory.join("state")).arg("run").arg("--bundle").arg(&self.directory);
        command.arg(format!("bench-{}", self.runs)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let began = Instant::now();
        let child = command.spawn()?;
        let pid = child.id();
        let (ended, end) = mpsc::channel();
        let watchdog = thread::spawn(move || {
            // A message or a hang-up means that it ended in time.
            if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                signal(pid, Signal::SIGKILL);
            }
        });
        let output = child.wait_with_output()?;
        let took = began.elapsed();
        drop::<mpsc::Sender<()>>(ended);
        watchdog.join().map_err(|_panic| "the watchdog panicked")?;
        if took >= PATIENCE {
            return Err(format!("{} run did not end within {} s", self.name, PATIENCE.as_secs()).into());
        }
        if output.status.success() {
            Ok(took)
        } else {
            Err(format!("{} run: {}: {}", self.name, output.status, String::from_utf8_lossy(&output.stderr).trim())
                .into())
        }
    }
}

/// What Docker asks of a runtime for `run --network none`.
fn config(directory: &Path, cgroup: &str, seccomp: Option<&Value>) -> Value {
    let capabilities = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
    ];
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
    let quiet = ["nosuid", "noexec", "nodev"];
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": quiet }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] }),
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] }),
        json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] }),
        json!({ "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet }),
        json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"] }),
    ];
    for file in ["hostname", "hosts", "resolv.conf"] {
        mounts.push(json!({ "destination": format!("/etc/{file}"), "type": "bind", "source": directory.join(file), "options": ["rbind", "rprivate"] }));
    }
    let mut linux = json!({
        "cgroupsPath": cgroup,
        "namespaces": namespaces,
        "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        "maskedPaths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                        "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if let Some(seccomp) = seccomp {
        linux["seccomp"] = seccomp.clone();
    }
    json!({
        "ociVersion": "1.0.2",
        "hostname": "bench",
        "root": { "path": "rootfs" },
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=bench"],
            "cwd": "/",
            "noNewPrivileges": false,
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "mounts": mounts,
        "linux": linux,
    })
}
