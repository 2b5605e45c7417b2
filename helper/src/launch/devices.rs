//! `/dev`: Docker's standard nodes and links on a tmpfs of the container's own, and the nodes that were asked for.

use std::os::fd::OwnedFd;

use pinnace_helper::protocol::DeviceNode;
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, makedev};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::detached::{self, NO_SUID_DEV_EXEC};
use super::tree::Tree;
use crate::fault::{Call, Fault};

/// Name, major and minor number of the nodes in every container.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Makes the three file systems of `/dev`, detached: itself, `pts` and `mqueue`.
pub(crate) fn standard() -> Result<(OwnedFd, OwnedFd, OwnedFd), Fault> {
    let dev = detached::filesystem(
        "tmpfs",
        &[("mode", "755"), ("size", "65536k")],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME,
    )?;
    for (name, major, minor) in NODES {
        let device = makedev(major, minor);
        rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)
            .call(|| format!("mknodat(dev, {name:?}, S_IFCHR, {major}:{minor})"))?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &dev, name).call(|| format!("symlinkat({target:?}, dev, {name:?})"))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755)).call(|| format!("mkdirat(dev, {name:?})"))?;
    }
    let pts = detached::filesystem(
        "devpts",
        &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    let mqueue = detached::filesystem("mqueue", &[], NO_SUID_DEV_EXEC)?;
    Ok((dev, pts, mqueue))
}

/// Makes a node that was asked for, in place of what the image has there.
pub(crate) fn make(tree: &Tree, node: &DeviceNode) -> Result<(), Fault> {
    let kind = match node.kind {
        'c' => FileType::CharacterDevice,
        'b' => FileType::BlockDevice,
        'p' => FileType::Fifo,
        other => return Err(Fault::rule(format!("{:?} is no kind of device: {other:?}", node.path))),
    };
    let (parent, name) = tree.parent(&node.path)?;
    let mode = Mode::from_raw_mode(node.mode & 0o7777);
    let device = makedev(node.major, node.minor);
    let make = || rustix::fs::mknodat(&parent, name, kind, mode, device);
    let made = match make() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(&parent, name, AtFlags::empty()).call(|| format!("unlinkat({:?})", node.path))?;
            make()
        }
        other => other,
    };
    made.call(|| format!("mknodat({:?}, {}, {}:{})", node.path, node.kind, node.major, node.minor))?;
    if (node.uid, node.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .call(|| format!("fchownat({:?}, {}, {})", node.path, node.uid, node.gid))?;
    }
    Ok(())
}
