//! The kernel floor: what the kernel itself charges for one container, without a daemon, a protocol or a log.
//!
//! One line on standard input asks for one container of the shape that Pinnace makes – cgroups, namespaces, overlay,
//! the standard mounts, `pivot_root`, loopback, capabilities, seccomp, execve, wait, clean-up – and one line of JSON
//! answers with the nanoseconds of each phase. The program has one thread and does the least it can for each step.
//!
//! Nothing here is production code. Unsafe code is tolerated in this program alone beside the helper's `sys.rs`: it
//! measures system calls that have no safe wrapper.

mod child;
mod sys;

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::pipe2;

type Failure = Box<dyn Error + Send + Sync>;

/// What every container of this run has in common.
struct Shape {
    /// Directory with the overlay's layers, topmost first, joined with `:`.
    lower: String,
    /// Where each container's directories are made.
    scratch: PathBuf,
    /// Mount points of the cgroup v1 hierarchies that each container joins.
    hierarchies: Vec<PathBuf>,
    /// Name of the parent cgroup in each hierarchy.
    cgroup_parent: String,
    /// Whether the hierarchies are mounted in the container.
    cgroup_mounts: bool,
    /// Instructions in the seccomp program.
    bpf_instructions: usize,
    /// Executable and arguments.
    args: Vec<String>,
}

/// Everything that belongs to one container.
struct Container<'a> {
    shape: &'a Shape,
    directory: PathBuf,
    cgroups: Vec<PathBuf>,
}

/// Names of the phases, in order; the answer has one number for each.
const PARENT_BEFORE: [&str; 2] = ["directories made", "cgroups made"];
const PARENT_AFTER: [&str; 3] = ["exec, exit and wait", "cgroups removed", "directories removed"];

fn main() -> Result<(), Failure> {
    let shape = Shape::from_args(std::env::args().skip(1))?;
    for hierarchy in &shape.hierarchies {
        make_parent(&hierarchy.join(&shape.cgroup_parent))?;
    }
    let mut stdout = io::stdout().lock();
    for (number, line) in io::stdin().lock().lines().enumerate() {
        line?;
        let phases = Container::new(&shape, number).run()?;
        serde_json::to_writer(&mut stdout, &phases)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
    Ok(())
}

impl Shape {
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut shape = Self {
            lower: String::new(),
            scratch: PathBuf::new(),
            hierarchies: Vec::new(),
            cgroup_parent: "pinnace-floor".to_owned(),
            cgroup_mounts: false,
            bpf_instructions: 114,
            args: vec!["/true".to_owned()],
        };
        while let Some(flag) = args.next() {
            if flag == "--cgroup-mounts" {
                shape.cgroup_mounts = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--lower" => shape.lower = value,
                "--scratch" => shape.scratch = value.into(),
                "--cgroups" => {
                    shape.hierarchies = value
                        .split(',')
                        .filter(|name| !name.is_empty())
                        .map(|name| Path::new("/sys/fs/cgroup").join(name))
                        .collect();
                }
                "--cgroup-parent" => shape.cgroup_parent = value,
                "--bpf" => shape.bpf_instructions = value.parse()?,
                "--command" => shape.args = value.split(' ').map(str::to_owned).collect(),
                _ => return Err(format!("unknown flag {flag}").into()),
            }
        }
        if shape.lower.is_empty() || shape.scratch.as_os_str().is_empty() {
            return Err("--lower and --scratch are needed".into());
        }
        Ok(shape)
    }
}

/// Makes a parent cgroup; several floors share one, so that it may exist already.
fn make_parent(path: &Path) -> Result<(), Failure> {
    match fs::create_dir(path) {
        Ok(()) => adopt_cpuset(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(format!("mkdir {}: {error}", path.display()).into()),
    }
}

/// A new v1 cpuset is empty and refuses processes until it has CPUs and memory nodes: cpuset(7).
fn adopt_cpuset(path: &Path) -> Result<(), Failure> {
    if path.join("cpuset.cpus").exists() {
        let parent = path.parent().ok_or("a cgroup has a parent")?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            fs::write(path.join(file), fs::read(parent.join(file))?)?;
        }
    }
    Ok(())
}

/// What Docker lets containers do with devices: make nodes, use the harmless ones and terminals.
const DEVICE_RULES: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

/// Sets what a container's cgroup needs before a process joins it; `hierarchy` is the hierarchy's mount point.
fn configure(hierarchy: &Path, cgroup: &Path) -> Result<(), Failure> {
    match hierarchy.file_name().and_then(|name| name.to_str()) {
        Some("cpuset") => adopt_cpuset(cgroup)?,
        Some("pids") => fs::write(cgroup.join("pids.max"), "4096")?,
        Some("devices") => {
            fs::write(cgroup.join("devices.deny"), "a")?;
            let mut allow = fs::OpenOptions::new().write(true).open(cgroup.join("devices.allow"))?;
            for rule in DEVICE_RULES {
                allow.write_all(rule.as_bytes())?;
            }
        }
        _ => {}
    }
    Ok(())
}

impl<'a> Container<'a> {
    fn new(shape: &'a Shape, number: usize) -> Self {
        let name = format!("f{}-{number}", std::process::id());
        Self {
            shape,
            directory: shape.scratch.join(&name),
            cgroups: shape
                .hierarchies
                .iter()
                .map(|hierarchy| hierarchy.join(&shape.cgroup_parent).join(&name))
                .collect(),
        }
    }

    /// Runs the container from nothing to nothing; returns `(phase, nanoseconds)` in order.
    fn run(&self) -> Result<Vec<(&'static str, u64)>, Failure> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let filter = sys::seccomp_program(self.shape.bpf_instructions);
        let origin = Instant::now();
        let now = || u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut stamps = Vec::with_capacity(16);

        self.make_directories()?;
        stamps.push((PARENT_BEFORE[0], now()));
        for (hierarchy, cgroup) in self.shape.hierarchies.iter().zip(&self.cgroups) {
            fs::create_dir(cgroup)?;
            configure(hierarchy, cgroup)?;
        }
        stamps.push((PARENT_BEFORE[1], now()));

        let Some(child) = sys::clone_into_namespaces()? else {
            // The child: it ends in execve, or says why not.
            let error = child::become_container(self, &filter, writer.as_fd(), &now);
            drop(writeln!(io::stderr(), "pinnace-floor: {error}"));
            std::process::exit(1);
        };
        drop(writer);
        let status = waitpid(child, None)?;
        let ended = now();
        for cgroup in &self.cgroups {
            fs::remove_dir(cgroup)?;
        }
        let cgroups_removed = now();
        fs::remove_dir_all(&self.directory)?;
        let directories_removed = now();

        let mut bytes = Vec::new();
        fs::File::from(reader).read_to_end(&mut bytes)?;
        stamps.extend(child::decode_stamps(&bytes));
        stamps.extend(PARENT_AFTER.into_iter().zip([ended, cgroups_removed, directories_removed]));
        match status {
            WaitStatus::Exited(_, 0) => Ok(durations(&stamps)),
            other => Err(format!("the container ended with {other:?}").into()),
        }
    }

    fn make_directories(&self) -> io::Result<()> {
        fs::create_dir(&self.directory)?;
        for name in ["upper", "work", "merged"] {
            fs::create_dir(self.directory.join(name))?;
        }
        for (name, content) in
            [("hostname", "floor\n"), ("hosts", "127.0.0.1\tlocalhost\n"), ("resolv.conf", "nameserver 127.0.0.11\n")]
        {
            fs::write(self.directory.join(name), content)?;
        }
        Ok(())
    }
}

/// Turns moments since the start into the time that each phase took.
fn durations(stamps: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
    let mut previous = 0;
    stamps
        .iter()
        .map(|&(name, at)| {
            let took = at.saturating_sub(previous);
            previous = at;
            (name, took)
        })
        .collect()
}
