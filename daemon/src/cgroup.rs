//! Cgroups: which hierarchies the host has, and where a container's cgroup is in each. The helper makes and removes them.

use std::path::{Path, PathBuf};

use pinnace_helper::protocol::{CgroupHierarchy, CgroupSpec, CgroupVersion};

use crate::id::Id;

/// Controllers of cgroup v1 that every container has a cgroup in. `devices` keeps it from devices that it was not
/// given, `freezer` pauses it, `pids` bounds and counts it, `memory` tells of an OOM kill; the others cost a container
/// time at every start and are joined by what needs them.
const V1_CONTROLLERS: [&str; 4] = ["devices", "freezer", "memory", "pids"];

/// What a container may do with devices that are no device files of its own: make nodes, and use the harmless ones and
/// its terminals. Docker's list.
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

/// The hierarchies of the host.
#[derive(Debug, Clone)]
pub struct Hierarchies {
    found: Vec<Hierarchy>,
    /// Relative to every mount point.
    parent: PathBuf,
}

#[derive(Debug, Clone)]
struct Hierarchy {
    version: CgroupVersion,
    controllers: Vec<String>,
    mount_point: PathBuf,
}

/// The parent of the containers' cgroups cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("read /proc/self/mountinfo")]
    Mountinfo(#[source] std::io::Error),
    #[error("no cgroup file system is mounted")]
    NoHierarchy,
    #[error("the cgroup parent {0:?} must be a path without '..' components")]
    Parent(String),
}

impl Hierarchies {
    /// Finds the hierarchies that are mounted. `parent` is where the containers' cgroups are made.
    pub fn detect(parent: &str) -> Result<Self, CgroupError> {
        let relative = Path::new(parent.trim_start_matches('/'));
        let plain = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !plain || relative.as_os_str().is_empty() {
            return Err(CgroupError::Parent(parent.to_owned()));
        }
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").map_err(CgroupError::Mountinfo)?;
        let found = choose(parse(&mountinfo));
        if found.is_empty() {
            return Err(CgroupError::NoHierarchy);
        }
        Ok(Self { found, parent: relative.to_owned() })
    }

    /// Returns what `info` calls the version: "2" if only cgroup v2 is used.
    pub fn version(&self) -> &'static str {
        match self.found.iter().all(|hierarchy| hierarchy.version == CgroupVersion::V2) {
            true => "2",
            false => "1",
        }
    }

    /// Returns a container's cgroups, for the helper.
    pub fn spec(&self, id: &Id, all_devices: bool, pids_limit: Option<u64>) -> CgroupSpec {
        let hierarchies = self.found.iter().map(|hierarchy| CgroupHierarchy {
            version: hierarchy.version,
            controllers: hierarchy.controllers.clone(),
            mount_point: hierarchy.mount_point.clone(),
            path: self.parent.join(id.as_str()),
            settings: settings(hierarchy, all_devices, pids_limit),
        });
        CgroupSpec { hierarchies: hierarchies.collect(), mount: true }
    }

    /// Returns the directories of a container's cgroups.
    pub fn directories(&self, id: &Id) -> Vec<PathBuf> {
        self.parents().into_iter().map(|parent| parent.join(id.as_str())).collect()
    }

    /// Returns the directories that hold the containers' cgroups.
    pub fn parents(&self) -> Vec<PathBuf> {
        self.found.iter().map(|hierarchy| hierarchy.mount_point.join(&self.parent)).collect()
    }

    /// Returns the pids of a container's processes, in the daemon's pid namespace.
    pub fn pids(&self, id: &Id) -> std::io::Result<Vec<i32>> {
        let Some(directory) = self.directories(id).into_iter().next() else { return Ok(Vec::new()) };
        let text = std::fs::read_to_string(directory.join("cgroup.procs"))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }
}

fn settings(hierarchy: &Hierarchy, all_devices: bool, pids_limit: Option<u64>) -> Vec<(String, String)> {
    let has = |name: &str| hierarchy.controllers.iter().any(|controller| controller == name);
    let mut settings = Vec::new();
    let mut set = |file: &str, value: &str| settings.push((file.to_owned(), value.to_owned()));
    if hierarchy.version == CgroupVersion::V1 && has("devices") && !all_devices {
        set("devices.deny", "a");
        for rule in DEVICE_RULES {
            set("devices.allow", rule);
        }
    }
    if let Some(limit) = pids_limit
        && has("pids")
    {
        set("pids.max", &limit.to_string());
    }
    settings
}

/// Uses the v1 hierarchies where there are any, the unified one otherwise.
fn choose(mounted: Vec<Hierarchy>) -> Vec<Hierarchy> {
    let (v1, v2): (Vec<_>, Vec<_>) = mounted.into_iter().partition(|hierarchy| hierarchy.version == CgroupVersion::V1);
    let wanted: Vec<Hierarchy> = v1
        .into_iter()
        .filter(|hierarchy| hierarchy.controllers.iter().any(|name| V1_CONTROLLERS.contains(&name.as_str())))
        .collect();
    if wanted.is_empty() { v2.into_iter().take(1).collect() } else { wanted }
}

/// Finds the cgroup mounts in a mountinfo file: proc_pid_mountinfo(5).
fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = before.split(' ').collect();
        let [_, _, _, "/", mount_point, ..] = fields.as_slice() else { continue };
        let mut after = after.split(' ');
        let (kind, options) = (after.next(), after.nth(1).unwrap_or_default());
        let version = match kind {
            Some("cgroup") => CgroupVersion::V1,
            Some("cgroup2") => CgroupVersion::V2,
            _ => continue,
        };
        let mount_point = PathBuf::from(mount_point);
        let controllers: Vec<String> = match version {
            CgroupVersion::V1 => options.split(',').filter(|option| *option != "rw").map(str::to_owned).collect(),
            CgroupVersion::V2 => std::fs::read_to_string(mount_point.join("cgroup.controllers"))
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        };
        if !found.iter().any(|known| known.version == version && known.controllers == controllers) {
            found.push(Hierarchy { version, controllers, mount_point });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn the_hybrid_layout_is_used_through_its_v1_hierarchies() {
        let found = choose(parse(HYBRID));
        let names: Vec<_> = found.iter().flat_map(|hierarchy| &hierarchy.controllers).collect();
        assert_eq!(names, ["devices", "freezer"]);
    }

    #[test]
    fn without_v1_the_unified_hierarchy_is_used() {
        let only = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = choose(parse(only));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].version, CgroupVersion::V2);
    }

    #[test]
    fn a_parent_cannot_lead_out_of_the_hierarchy() {
        for parent in ["", "/", "../x", "/a/../b"] {
            assert!(matches!(Hierarchies::detect(parent), Err(CgroupError::Parent(_))), "{parent}");
        }
    }
}
