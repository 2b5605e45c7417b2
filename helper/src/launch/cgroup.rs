//! The container's cgroups: made before the launch, asked and killed through while it runs, removed after it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pinnace_helper::protocol::{CgroupHierarchy, CgroupSpec, CgroupVersion, LaunchSpec, NamespaceMode};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::detached::{self, NO_SUID_DEV_EXEC};
use crate::fault::{Call, Fault};

/// How often a directory that is still busy is tried again, and how long to wait between: 200 ms in all. A killed
/// process leaves its cgroup a moment after it can be waited for.
const REMOVE_TRIES: u32 = 40;
const REMOVE_PAUSE: Duration = Duration::from_millis(5);

/// The container's directory in each hierarchy.
#[derive(Debug)]
pub(crate) struct Cgroups {
    directories: Vec<Directory>,
    joins: Vec<OwnedFd>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    fd: OwnedFd,
    version: CgroupVersion,
    controllers: Vec<String>,
}

impl Cgroups {
    /// Makes the directories and writes their settings. On failure none is left.
    pub(crate) fn create(spec: &CgroupSpec) -> Result<Self, Fault> {
        let mut cgroups = Self { directories: Vec::with_capacity(spec.hierarchies.len()), joins: Vec::new() };
        for hierarchy in &spec.hierarchies {
            if let Err(fault) = cgroups.add(hierarchy) {
                cgroups.remove();
                return Err(fault);
            }
        }
        Ok(cgroups)
    }

    fn add(&mut self, hierarchy: &CgroupHierarchy) -> Result<(), Fault> {
        let path = hierarchy.mount_point.join(&hierarchy.path);
        make_directory(hierarchy, &path)?;
        let fd = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .call(|| format!("open({path:?}, O_PATH)"));
        let fd = match fd {
            Ok(fd) => fd,
            Err(fault) => {
                remove_directory(&path);
                return Err(fault);
            }
        };
        // From here on the directory is removed with the others.
        self.directories.push(Directory {
            path,
            fd,
            version: hierarchy.version,
            controllers: hierarchy.controllers.clone(),
        });
        let Some(directory) = self.directories.last() else { return Ok(()) };
        if hierarchy.version == CgroupVersion::V1 && hierarchy.controllers.iter().any(|name| name == "cpuset") {
            inherit_cpuset(&directory.path)?;
        }
        for (file, value) in &hierarchy.settings {
            match directory.write(file, value) {
                Err(fault) if fault.errno == Some(Errno::NOENT) && hierarchy.version == CgroupVersion::V2 => {
                    enable_controllers(hierarchy)?;
                    directory.write(file, value)?;
                }
                other => other?,
            }
        }
        let procs = rustix::fs::openat(&directory.fd, "cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .call(|| format!("open({:?}/cgroup.procs)", directory.path))?;
        self.joins.push(procs);
        Ok(())
    }

    /// Returns `cgroup.procs` of each directory, opened for writing.
    pub(crate) fn joins(&self) -> &[OwnedFd] {
        &self.joins
    }

    /// Returns detached mounts of the directories, as the container sees them in its cgroup namespace.
    pub(crate) fn mounts(&self, spec: &LaunchSpec) -> Result<Vec<OwnedFd>, Fault> {
        if !spec.cgroup.mount {
            return Ok(Vec::new());
        }
        let mut attributes = NO_SUID_DEV_EXEC;
        if !spec.writable_system {
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        let shared = spec.namespaces.cgroup == NamespaceMode::Host;
        self.directories
            .iter()
            .zip(&spec.cgroup.hierarchies)
            .map(|(directory, hierarchy)| {
                let mount = if shared {
                    detached::clone_at(CWD, &hierarchy.mount_point, false)
                } else {
                    detached::clone_of(&directory.fd, false)
                };
                let mount = mount.call(|| format!("open_tree({:?}, OPEN_TREE_CLONE)", directory.path))?;
                detached::set(&mount, attributes, false)?;
                Ok(mount)
            })
            .collect()
    }

    /// Returns the directory of the unified hierarchy, if that is what the container's processes are born in.
    pub(crate) fn unified(&self) -> Option<&OwnedFd> {
        match self.directories.as_slice() {
            [only] if only.version == CgroupVersion::V2 => Some(&only.fd),
            _ => None,
        }
    }

    /// Returns the pids of every process in the container, as the helper's pid namespace numbers them.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let Some(directory) = self.freezer().or(self.directories.first()) else {
            return Vec::new();
        };
        directory
            .read("cgroup.procs")
            .map_or_else(|_gone| Vec::new(), |text| text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Returns whether the container has a cgroup at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    /// Kills every process with one write, on kernels and hierarchies that can. Returns whether that was done.
    pub(crate) fn kill_at_once(&self) -> bool {
        self.freezer().is_some_and(|directory| {
            directory.version == CgroupVersion::V2 && directory.write("cgroup.kill", "1").is_ok()
        })
    }

    /// Asks the kernel to freeze or thaw every process.
    pub(crate) fn set_frozen(&self, frozen: bool) -> Result<(), Fault> {
        let directory = self.freezer().ok_or_else(|| Fault::rule("the container has no freezer cgroup"))?;
        match directory.version {
            CgroupVersion::V1 => directory.write("freezer.state", if frozen { "FROZEN" } else { "THAWED" }),
            CgroupVersion::V2 => directory.write("cgroup.freeze", if frozen { "1" } else { "0" }),
        }
    }

    /// Returns whether every process is frozen.
    pub(crate) fn is_frozen(&self) -> Result<bool, Fault> {
        let directory = self.freezer().ok_or_else(|| Fault::rule("the container has no freezer cgroup"))?;
        Ok(match directory.version {
            CgroupVersion::V1 => directory.read("freezer.state")?.trim() == "FROZEN",
            CgroupVersion::V2 => directory.read("cgroup.events")?.lines().any(|line| line == "frozen 1"),
        })
    }

    fn freezer(&self) -> Option<&Directory> {
        self.having("freezer")
            .or_else(|| self.directories.iter().find(|directory| directory.version == CgroupVersion::V2))
    }

    fn having(&self, controller: &str) -> Option<&Directory> {
        self.directories.iter().find(|directory| directory.controllers.iter().any(|name| name == controller))
    }

    /// Returns whether the kernel killed a process of the container for lack of memory.
    pub(crate) fn was_oom_killed(&self) -> bool {
        let Some(directory) = self.having("memory") else {
            return false;
        };
        let file = match directory.version {
            CgroupVersion::V1 => "memory.oom_control",
            CgroupVersion::V2 => "memory.events",
        };
        directory.read(file).is_ok_and(|text| {
            text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
        })
    }

    /// Removes the directories. One that stays busy is left for the daemon's sweep.
    pub(crate) fn remove(&self) {
        self.directories.iter().for_each(|directory| remove_directory(&directory.path));
    }
}

impl Directory {
    fn write(&self, file: &str, value: &str) -> Result<(), Fault> {
        let what = || format!("write({:?}/{file}, {value:?})", self.path);
        let opened =
            rustix::fs::openat(&self.fd, file, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        rustix::io::write(opened.call(what)?, value.as_bytes()).call(what).map(drop)
    }

    fn read(&self, file: &str) -> Result<String, Fault> {
        let what = || format!("read({:?}/{file})", self.path);
        let opened =
            rustix::fs::openat(&self.fd, file, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        std::io::read_to_string(std::fs::File::from(opened.call(what)?)).call(what)
    }
}

fn make_directory(hierarchy: &CgroupHierarchy, path: &Path) -> Result<(), Fault> {
    let make = |path: &Path| rustix::fs::mkdir(path, Mode::from_raw_mode(0o755));
    match make(path) {
        Err(Errno::NOENT) => {
            let mut parent = hierarchy.mount_point.clone();
            for component in hierarchy.path.parent().unwrap_or(Path::new("")).components() {
                parent.push(component);
                match make(&parent) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    failed => failed.call(|| format!("mkdir({parent:?})"))?,
                }
                if hierarchy.version == CgroupVersion::V1 && hierarchy.controllers.iter().any(|name| name == "cpuset") {
                    inherit_cpuset(&parent)?;
                    // Children made from now on copy the sets by themselves.
                    write_file(&parent.join("cgroup.clone_children"), "1")?;
                }
            }
            if hierarchy.version == CgroupVersion::V2 {
                enable_controllers(hierarchy)?;
            }
            make(path)
        }
        other => other,
    }
    .call(|| format!("mkdir({path:?})"))
}

/// Makes the hierarchy's controllers available in the container's directory, from the root down (cgroup v2).
fn enable_controllers(hierarchy: &CgroupHierarchy) -> Result<(), Fault> {
    let value = hierarchy.controllers.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    if value.is_empty() {
        return Ok(());
    }
    let mut directory = hierarchy.mount_point.clone();
    write_file(&directory.join("cgroup.subtree_control"), &value)?;
    for component in hierarchy.path.parent().unwrap_or(Path::new("")).components() {
        directory.push(component);
        write_file(&directory.join("cgroup.subtree_control"), &value)?;
    }
    Ok(())
}

/// Gives a cpuset its parent's processors and memory nodes if it has none: nothing can join it without (cgroup v1).
fn inherit_cpuset(directory: &Path) -> Result<(), Fault> {
    let Some(parent) = directory.parent() else { return Ok(()) };
    for file in ["cpuset.mems", "cpuset.cpus"] {
        let own = directory.join(file);
        let present = std::fs::read_to_string(&own).call(|| format!("read({own:?})"))?;
        if !present.trim().is_empty() {
            // Both are set together, so that the other need not be looked at.
            return Ok(());
        }
        let inherited = std::fs::read_to_string(parent.join(file)).call(|| format!("read({parent:?}/{file})"))?;
        write_file(&own, inherited.trim())?;
    }
    Ok(())
}

fn write_file(path: &Path, value: &str) -> Result<(), Fault> {
    let what = || format!("write({path:?}, {value:?})");
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).call(what)?;
    rustix::io::write(&file, value.as_bytes()).call(what).map(drop)
}

fn remove_directory(path: &Path) {
    for _ in 0..REMOVE_TRIES {
        match rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR) {
            Err(Errno::BUSY) => std::thread::sleep(REMOVE_PAUSE),
            Ok(()) | Err(_) => return,
        }
    }
}

/// Makes moves between cgroups cheap for as long as the result is kept.
///
/// By default the kernel waits for an RCU grace period, 6 ms and more, before it moves the first process after a while;
/// a launch and an exec would each pay that. A hierarchy mounted with `favordynmods` turns the wait off for the whole
/// host, at a small price for every fork. This one has no controllers, is attached nowhere and is shared by all
/// helpers. `None`: a kernel before 6.0, or one without named hierarchies, is only slower. A host whose only hierarchy
/// is the unified one keeps it so: tools there take any named one for the hybrid layout.
pub(crate) fn favor_moves() -> Option<OwnedFd> {
    /// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
    const UNIFIED: i64 = 0x6367_7270;
    if rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|stat| stat.f_type == UNIFIED) {
        return None;
    }
    let options = [("none", ""), ("name", "pinnace"), ("favordynmods", "")];
    detached::filesystem("cgroup", &options, NO_SUID_DEV_EXEC).ok()
}

/// Moves the calling process into each cgroup.
pub(crate) fn join(joins: &[impl AsFd]) -> Result<(), Fault> {
    joins.iter().try_for_each(|procs| rustix::io::write(procs, b"0").call(|| "write(cgroup.procs, 0)".into()).map(drop))
}
