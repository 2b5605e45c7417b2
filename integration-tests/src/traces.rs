//! The leak oracle: what a daemon that is gone has left on the machine.
//!
//! Everything that a test's daemon makes carries the test's directory or its cgroup's name, so that daemons of other
//! tests that run at the same time do not disturb the answer.

use std::fs;
use std::path::Path;

/// Returns a line for everything that is still there: mounts, cgroups, processes, sockets, and files named after one of
/// these containers.
pub fn left_behind(directory: &Path, cgroup: &str, containers: &[String]) -> Vec<String> {
    let mut found = mounts(directory);
    found.extend(cgroups(cgroup).into_iter().map(|path| format!("cgroup {path}")));
    found.extend(processes(directory, cgroup).into_iter().map(|(pid, why)| format!("process {pid}: {why}")));
    found.extend(sockets(directory).into_iter().map(|path| format!("socket {path}")));
    found.extend(files_of(directory, containers).into_iter().map(|path| format!("file {path}")));
    found
}

/// Returns the host's mounts under a directory.
pub fn mounts(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().expect("UTF-8");
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    table.lines().filter(|line| line.contains(directory)).map(|line| format!("mount {line}")).collect()
}

/// Returns the cgroups below the one of a test, in every hierarchy, the deepest first.
pub fn cgroups(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        below(Path::new(&format!("{hierarchy}{name}")), &mut found);
    }
    found
}

fn hierarchies() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    table
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| Some(line.split(' ').nth(4)?.to_owned()))
        .collect()
}

fn below(cgroup: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), found);
            found.push(entry.path().display().to_string());
        }
    }
}

/// Removes the cgroups of a test, its own included, as far as they are empty.
pub fn remove_cgroups(name: &str) {
    for cgroup in cgroups(name) {
        drop(fs::remove_dir(cgroup));
    }
    for hierarchy in hierarchies() {
        drop(fs::remove_dir(format!("{hierarchy}{name}")));
    }
}

/// Returns the processes that are in the cgroup of a test, or that hold something under its directory, with the reason.
pub fn processes(directory: &Path, cgroup: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    let own = i32::try_from(std::process::id()).expect("a pid");
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if pid == own {
            continue;
        }
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let cgroups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if cgroups.contains(&format!("{cgroup}/")) || cgroups.lines().any(|line| line.ends_with(cgroup)) {
            found.push((pid, format!("{command}is in cgroup {cgroup}")));
            continue;
        }
        let links = ["cwd", "root", "exe"].map(|link| entry.path().join(link));
        let descriptors = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten().map(|fd| fd.path());
        let held = links.into_iter().chain(descriptors).filter_map(|link| fs::read_link(link).ok());
        if let Some(path) = held.into_iter().find(|path| path.starts_with(directory)) {
            found.push((pid, format!("{command}holds {}", path.display())));
        }
    }
    found
}

/// Returns the unix sockets that are bound under a directory; a helper listens on one.
fn sockets(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().expect("UTF-8");
    let table = fs::read_to_string("/proc/net/unix").expect("/proc/net/unix");
    table
        .lines()
        .filter_map(|line| line.split(' ').next_back())
        .filter(|path| path.starts_with(directory))
        .map(str::to_owned)
        .collect()
}

/// Returns the files and directories whose names begin with a container's short id.
fn files_of(directory: &Path, containers: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if containers.iter().any(|id| name.starts_with(&id[..12])) {
                found.push(entry.path().display().to_string());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            }
        }
    }
    found
}
