//! The mounts of a container: the standard ones from the staging tree, and those that were asked for.
//!
//! Sources on the host are opened, and turned into detached mounts, by the helper in the host's mount namespace; the
//! first process attaches them to handles inside the container's root.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use pinnace_helper::protocol::{
    CgroupSpec, CgroupVersion, LaunchSpec, MountSource, MountSpec, NamespaceMode, Propagation,
};
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::channel::Received;
use super::detached::{self, NO_SUID_DEV_EXEC};
use super::etc_files;
use super::staging::Staging;
use super::tree::{Tree, normalized};
use crate::fault::{Call, Fault};
use crate::sys::{self, MountChange};

/// The destinations in `/proc` that may be bound over, because they only show what the container may use.
const PROC_FILES: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Opens the sources of all binds as detached mounts, in the order of the specification, and the host's `/dev/shm`
/// last if the container shares it.
pub(crate) fn open_sources(spec: &LaunchSpec) -> Result<Vec<OwnedFd>, Fault> {
    let mut mounts = Vec::new();
    for mount in &spec.mounts {
        if let MountSource::Bind { path, recursive, propagation, create } = &mount.source {
            let source = open_source(path, *recursive, *create)?;
            let (propagation, all) = propagation_flags(*propagation);
            let change = |set, propagation, recursive| {
                sys::mount_setattr(&source, MountChange { set, propagation, recursive })
                    .call(|| format!("mount_setattr({path:?}, {set:?}, {propagation:#x})"))
            };
            change(attributes(mount), 0, *recursive && mount.readonly)?;
            change(MountAttrFlags::empty(), propagation, all)?;
            mounts.push(source);
        }
    }
    if shares_shm(spec) {
        mounts.push(open_source(Path::new("/dev/shm"), false, false)?);
    }
    Ok(mounts)
}

fn open_source(path: &Path, recursive: bool, create: bool) -> Result<OwnedFd, Fault> {
    let open = || detached::clone_at(CWD, path, recursive);
    let opened = match open() {
        Err(Errno::NOENT) if create => {
            let mut directories = std::fs::DirBuilder::new();
            directories.recursive(true).mode(0o755).create(path).call(|| format!("mkdir({path:?})"))?;
            open()
        }
        other => other,
    };
    opened.call(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))
}

fn propagation_flags(propagation: Propagation) -> (u64, bool) {
    match propagation {
        Propagation::Private => (libc::MS_PRIVATE, false),
        Propagation::RecursivePrivate => (libc::MS_PRIVATE, true),
        Propagation::Slave => (libc::MS_SLAVE, false),
        Propagation::RecursiveSlave => (libc::MS_SLAVE, true),
        Propagation::Shared => (libc::MS_SHARED, false),
        Propagation::RecursiveShared => (libc::MS_SHARED, true),
    }
}

fn attributes(mount: &MountSpec) -> MountAttrFlags {
    [
        (mount.readonly, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (mount.nosuid, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (mount.nodev, MountAttrFlags::MOUNT_ATTR_NODEV),
        (mount.noexec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ]
    .into_iter()
    .filter(|(wanted, _)| *wanted)
    .fold(MountAttrFlags::empty(), |flags, (_, flag)| flags | flag)
}

fn shares_shm(spec: &LaunchSpec) -> bool {
    spec.namespaces.ipc == NamespaceMode::Host
        && !spec.mounts.iter().any(|mount| normalized(&mount.destination) == "/dev/shm")
}

/// Attaches every mount of the container below its root.
pub(crate) fn attach_all(staging: &Staging, tree: &Tree, spec: &LaunchSpec, handed: &Received) -> Result<(), Fault> {
    let mut container = Container { tree, asked: asked_for(spec, &handed.binds)? };

    container.attach_standard("/proc", &staging.proc)?;
    if container.attach_standard("/dev", &staging.dev)? == Origin::Asked {
        container.attach_standard("/dev/pts", &staging.pts)?;
        container.attach_standard("/dev/mqueue", &staging.mqueue)?;
    }
    if !container.replaces("/dev/shm") {
        let shm = match handed.binds.last() {
            Some(host) if shares_shm(spec) => host.as_fd().try_clone_to_owned().call(|| "dup(/dev/shm)".into())?,
            _ => detached::filesystem(
                "tmpfs",
                &[("mode", "1777"), ("size", &spec.shm_size.to_string())],
                NO_SUID_DEV_EXEC,
            )?,
        };
        container.attach_standard("/dev/shm", &shm)?;
    }
    if !spec.writable_system {
        detached::set(&staging.sys, MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
    }
    container.attach_standard("/sys", &staging.sys)?;
    if spec.cgroup.mount && !container.replaces("/sys/fs/cgroup") {
        attach_cgroups(tree, &spec.cgroup, &handed.cgroup_mounts, spec.writable_system)?;
    }
    etc_files::bind(staging, tree, &spec.etc, |path| container.replaces(path))?;
    container.attach_rest()
}

/// A mount that was asked for, made and not attached yet.
struct Asked {
    destination: String,
    mount: OwnedFd,
    attached: bool,
}

fn asked_for(spec: &LaunchSpec, binds: &[OwnedFd]) -> Result<Vec<Asked>, Fault> {
    let mut binds = binds.iter();
    spec.mounts
        .iter()
        .map(|mount| {
            let destination = normalized(&mount.destination);
            if destination == "/" {
                return Err(Fault::rule("a mount on / would replace the container's root").about("/"));
            }
            let made = match &mount.source {
                MountSource::Bind { .. } => {
                    let bind = binds.next().ok_or_else(|| Fault::rule("a bind without its descriptor"))?;
                    bind.as_fd().try_clone_to_owned().call(|| "dup(bind)".into())?
                }
                MountSource::Tmpfs(tmpfs) => {
                    let options: Vec<_> =
                        tmpfs.options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                    detached::filesystem("tmpfs", &options, attributes(mount))?
                }
            };
            Ok(Asked { destination, mount: made, attached: false })
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Origin {
    Standard,
    Asked,
}

struct Container<'a> {
    tree: &'a Tree,
    asked: Vec<Asked>,
}

impl Container<'_> {
    fn replaces(&self, destination: &str) -> bool {
        self.asked.iter().any(|asked| asked.destination == destination)
    }

    /// Attaches a standard mount, or what was asked for in its place.
    fn attach_standard(&mut self, destination: &str, mount: &OwnedFd) -> Result<Origin, Fault> {
        let Some(asked) = self.asked.iter_mut().find(|asked| asked.destination == destination) else {
            let place = self.tree.directory(destination)?;
            detached::attach(mount, place).call(|| format!("move_mount({destination:?})"))?;
            return Ok(Origin::Standard);
        };
        attach_asked(self.tree, asked)?;
        Ok(Origin::Asked)
    }

    fn attach_rest(&mut self) -> Result<(), Fault> {
        let tree = self.tree;
        self.asked.iter_mut().filter(|asked| !asked.attached).try_for_each(|asked| attach_asked(tree, asked))
    }
}

fn attach_asked(tree: &Tree, asked: &mut Asked) -> Result<(), Fault> {
    let destination = asked.destination.as_str();
    let about = |fault: Fault| fault.about(destination);
    let kind = rustix::fs::fstat(&asked.mount).call(|| "fstat(mount)".into())?.st_mode;
    if destination == "/proc" || destination.starts_with("/proc/") && !PROC_FILES.contains(&destination) {
        return Err(about(Fault::rule(format!("a mount at {destination:?} would be inside /proc"))));
    }
    let place = match FileType::from_raw_mode(kind) {
        FileType::Directory => tree.directory(destination),
        _ => tree.file(destination),
    }
    .map_err(about)?;
    // The text said nothing about where the image's links lead.
    let file_system = rustix::fs::fstatfs(&place).call(|| format!("fstatfs({destination:?})"))?.f_type;
    if file_system == libc::PROC_SUPER_MAGIC && !PROC_FILES.contains(&destination) {
        return Err(about(Fault::rule(format!("{destination:?} leads into /proc"))));
    }
    detached::attach(&asked.mount, place).call(|| format!("move_mount({destination:?})")).map_err(about)?;
    asked.attached = true;
    Ok(())
}

fn attach_cgroups(tree: &Tree, spec: &CgroupSpec, mounts: &[OwnedFd], writable: bool) -> Result<(), Fault> {
    const PLACE: &str = "/sys/fs/cgroup";
    let place = tree.handle(PLACE).call(|| format!("openat2(root, {PLACE:?})"))?;
    if let ([hierarchy], [mount]) = (spec.hierarchies.as_slice(), mounts)
        && hierarchy.version == CgroupVersion::V2
    {
        return detached::attach(mount, place).call(|| format!("move_mount({PLACE:?})"));
    }
    let directory = detached::filesystem("tmpfs", &[("mode", "755")], NO_SUID_DEV_EXEC)?;
    detached::attach(&directory, place).call(|| format!("move_mount({PLACE:?})"))?;
    for (hierarchy, mount) in spec.hierarchies.iter().zip(mounts) {
        let name = hierarchy.mount_point.file_name().unwrap_or(hierarchy.mount_point.as_os_str());
        let what = || format!("mount cgroup {name:?}");
        rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)).call(what)?;
        let place =
            rustix::fs::openat(&directory, name, rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, Mode::empty())
                .call(what)?;
        detached::attach(mount, place).call(what)?;
        if hierarchy.controllers.len() > 1 {
            for controller in hierarchy.controllers.iter().filter(|controller| name != controller.as_str()) {
                rustix::fs::symlinkat(name, &directory, controller.as_str()).call(what)?;
            }
        }
    }
    if writable { Ok(()) } else { detached::set(&directory, MountAttrFlags::MOUNT_ATTR_RDONLY, false) }
}
