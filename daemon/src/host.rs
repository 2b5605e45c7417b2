//! Facts about the host, read once: the kernel's version, capabilities, memory, devices.

use std::path::Path;
use std::sync::LazyLock;

use pinnace_helper::protocol::DeviceNode;

use crate::capability::CapabilitySet;

/// Returns the capabilities that this daemon may give away: its bounding set.
pub fn capabilities() -> CapabilitySet {
    static BOUNDING: LazyLock<CapabilitySet> = LazyLock::new(|| {
        std::fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|status| CapabilitySet::bounding_from_status(&status))
            .unwrap_or(CapabilitySet::EMPTY)
    });
    *BOUNDING
}

/// Returns the host's name as it is now.
pub fn hostname() -> String {
    nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Returns the kernel's release, such as `6.1.0-13-amd64`.
pub fn kernel_release() -> &'static str {
    static RELEASE: LazyLock<String> =
        LazyLock::new(|| rustix::system::uname().release().to_string_lossy().into_owned());
    &RELEASE
}

/// Returns the kernel's version as numbers, such as (6, 1).
pub fn kernel_version() -> (u32, u32) {
    let mut parts = kernel_release().split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || parts.next().and_then(Result::ok).unwrap_or(0);
    (next(), next())
}

/// Returns the machine's architecture as `uname -m` has it.
pub fn machine() -> &'static str {
    static MACHINE: LazyLock<String> =
        LazyLock::new(|| rustix::system::uname().machine().to_string_lossy().into_owned());
    &MACHINE
}

/// Returns the architecture as images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Returns the memory of the machine, in bytes.
pub fn memory_total() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// Returns the distribution's name.
pub fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// Returns the device nodes under `/dev`, for a privileged container: what belongs to one container is left out.
pub fn devices() -> Vec<DeviceNode> {
    let mut found = Vec::new();
    collect_devices(Path::new("/dev"), &mut found);
    found
}

fn collect_devices(directory: &Path, found: &mut Vec<DeviceNode>) {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    const OWN: [&str; 8] = ["pts", "shm", "fd", "mqueue", "console", "ptmx", "tty", ".udev"];
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { continue };
        if OWN.iter().any(|own| entry.file_name() == *own) && directory == Path::new("/dev") {
            continue;
        }
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => {
                collect_devices(&path, found);
                continue;
            }
            kind if kind.is_char_device() => 'c',
            kind if kind.is_block_device() => 'b',
            _ => continue,
        };
        let Some(path) = path.to_str() else { continue };
        found.push(DeviceNode {
            path: path.to_owned(),
            kind,
            major: nix::sys::stat::major(metadata.rdev()) as u32,
            minor: nix::sys::stat::minor(metadata.rdev()) as u32,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        });
    }
}
