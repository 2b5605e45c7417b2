//! Facts about the machine and the programs on it, and the clean-up of what a run may have left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::Result;

/// Finds a program on `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}

/// The first line of `program --version`.
pub(crate) fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
}

/// What the figures depend on.
pub(crate) fn facts() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let memory = read("/proc/meminfo").lines().next().unwrap_or_default().replace("MemTotal:", "");
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "cpu": model.trim_start_matches([':', ' ', '\t']),
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "memory": memory.trim(),
        "load": read("/proc/loadavg").trim(),
    })
}

/// Moves this thread, and those that it starts, into a mount namespace without the cgroup2 hierarchy.
///
/// crun refuses a v1 machine whose cgroup2 hierarchy has controllers too. The other peers do not use it. Mounts that
/// peers leave behind vanish with the namespace.
pub(crate) fn hide_cgroup2() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let unified = Path::new("/sys/fs/cgroup/unified");
    if unified.exists() && Path::new("/sys/fs/cgroup/freezer").exists() {
        umount2(unified, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

/// Lets what the last contender left to the kernel be done: its dirty pages, its journal, its dead namespaces.
///
/// Without this the floor pays for what dockerd wrote: its clean-up took 16 ms instead of 0.7.
pub(crate) fn settle() {
    nix::unistd::sync();
    sleep(Duration::from_millis(50));
}

/// Unmounts what is mounted below `directory` in this mount namespace, the last mount first.
fn unmount_below(directory: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().rev().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    for point in points.filter(|point| point.starts_with(directory)) {
        // What stays mounted is named by the failure to remove the directory.
        drop(umount2(point, MntFlags::MNT_DETACH).map_err(std::io::Error::from));
    }
}

/// Kills processes that were started with a path below `directory` and are still there (shims, monitors), unmounts
/// what is mounted there, and removes the cgroups whose name starts with `cgroup`.
pub(crate) fn sweep(directory: &Path, cgroup: &str) {
    let marker = directory.as_os_str().as_encoded_bytes();
    for pid in processes() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if pid != std::process::id() && line.windows(marker.len()).any(|window| window == marker) {
            signal(pid, Signal::SIGKILL);
        }
    }
    unmount_below(directory);
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        for group in fs::read_dir(hierarchy.path()).into_iter().flatten().flatten() {
            if group.file_name().as_encoded_bytes().starts_with(cgroup.as_bytes()) {
                remove_cgroup(&group.path());
            }
        }
    }
}

/// Signals a process that may have ended by itself.
pub(crate) fn signal(pid: u32, signal: Signal) {
    match kill(Pid::from_raw(pid.cast_signed()), signal) {
        Ok(()) | Err(_) => {}
    }
}

/// Kills what is in a cgroup and removes it with those below it.
///
/// Where the cgroup2 hierarchy is hidden, podman and crun write plain files into its mount point's directory.
fn remove_cgroup(path: &Path) {
    if statfs(path).is_ok_and(|facts| facts.filesystem_type() == TMPFS_MAGIC) {
        // What is left is harmless, and hidden below the cgroup2 mount again.
        drop(fs::remove_dir_all(path));
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        remove_cgroup(&entry.path());
    }
    for _ in 0..100 {
        for pid in
            fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|pid| pid.parse().ok())
        {
            signal(pid, Signal::SIGKILL);
        }
        if fs::remove_dir(path).is_ok() || !path.exists() {
            return;
        }
        sleep(Duration::from_millis(10));
    }
}

/// All process ids.
pub(crate) fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The parent of a process.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    status_field(pid, "PPid:")?.parse().ok()
}

/// A field of `/proc/PID/status`.
pub(crate) fn status_field(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// Proportional set size in KiB: proc(5), `smaps_rollup`.
pub(crate) fn pss(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .and_then(|value| value.trim().strip_suffix("kB")?.trim().parse().ok())
}
