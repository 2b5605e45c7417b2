//! What every container's tree consists of beside its image, made before the container is known.
//!
//! The process leaves the host's tree at once: its root is a small tmpfs of its own, so that a process that waits for
//! its container holds no mount of the host, and nothing of the host is in reach when the image's tree appears. On it
//! are mounted `proc`, `sys` and `dev` (with `pts` and `mqueue`), to be moved into the container's root; it also holds
//! the files that are bound over the image's (see [`super::etc_files`]) and over what is masked.

use std::os::fd::OwnedFd;

use pinnace_helper::protocol::{NamespaceMode, Namespaces};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::MountAttrFlags;

use super::detached::{self, NO_SUID_DEV_EXEC};
use super::{devices, rootfs};
use crate::fault::{Call, Fault};
use crate::sys::{self, MountChange};

/// An empty read-only file, bound over masked files.
const MASK_FILE: &str = "mask-file";
/// An empty read-only directory, bound over masked directories.
const MASK_DIRECTORY: &str = "mask-directory";

/// The process's own tree, until it has the container's.
#[derive(Debug)]
pub(crate) struct Staging {
    /// The staging tmpfs's root directory.
    pub(crate) files: OwnedFd,
    pub(crate) proc: OwnedFd,
    pub(crate) sys: OwnedFd,
    pub(crate) dev: OwnedFd,
    pub(crate) pts: OwnedFd,
    pub(crate) mqueue: OwnedFd,
    pub(crate) mask_file: OwnedFd,
    pub(crate) mask_directory: OwnedFd,
}

impl Staging {
    /// Makes it, in namespaces that are the caller's own.
    pub(crate) fn prepare(namespaces: &Namespaces) -> Result<Self, Fault> {
        leave_propagation()?;
        let files = detached::filesystem(
            "tmpfs",
            &[("size", "16m"), ("mode", "755")],
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        )?;
        let anywhere = open("/proc")?;
        detached::attach(&files, &anywhere).call(|| "move_mount(staging)".into())?;
        rootfs::leave_host(&files)?;

        for name in ["proc", "sys", "dev", MASK_DIRECTORY] {
            rustix::fs::mkdirat(&files, name, Mode::from_raw_mode(0o755))
                .call(|| format!("mkdirat(staging, {name:?})"))?;
        }
        rustix::fs::mknodat(&files, MASK_FILE, FileType::RegularFile, Mode::from_raw_mode(0o444), 0)
            .call(|| format!("mknodat(staging, {MASK_FILE:?})"))?;

        let proc = detached::filesystem("proc", &[], NO_SUID_DEV_EXEC)?;
        let sys = detached::filesystem("sysfs", &[], NO_SUID_DEV_EXEC)?;
        let (dev, pts, mqueue) = devices::standard()?;
        for (name, mount) in [("proc", &proc), ("sys", &sys), ("dev", &dev)] {
            detached::attach(mount, open(name)?).call(|| format!("move_mount({name:?})"))?;
        }
        for (name, mount) in [("dev/pts", &pts), ("dev/mqueue", &mqueue)] {
            detached::attach(mount, open(name)?).call(|| format!("move_mount({name:?})"))?;
        }
        if namespaces.network == NamespaceMode::Private {
            sys::loopback_up().call(|| "ioctl(SIOCSIFFLAGS, lo, IFF_UP)".into())?;
        }
        sys::new_session_keyring().call(|| "keyctl(KEYCTL_JOIN_SESSION_KEYRING)".into())?;
        let mask = |name| read_only_on_itself(&files, name);
        Ok(Self {
            mask_file: mask(MASK_FILE)?,
            mask_directory: mask(MASK_DIRECTORY)?,
            files,
            proc,
            sys,
            dev,
            pts,
            mqueue,
        })
    }
}

/// Cuts every tie of propagation between the host's mounts and our copies of them.
fn leave_propagation() -> Result<(), Fault> {
    let change = MountChange { set: MountAttrFlags::empty(), propagation: libc::MS_PRIVATE, recursive: true };
    sys::mount_setattr(open("/")?, change).call(|| "mount_setattr(\"/\", AT_RECURSIVE, MS_PRIVATE)".into())
}

/// A mount cannot be cloned from a detached tree on older kernels, so that masks are attached, and cloned from there.
fn read_only_on_itself(files: &OwnedFd, name: &str) -> Result<OwnedFd, Fault> {
    let mount =
        detached::clone_at(files, name, false).call(|| format!("open_tree(staging, {name:?}, OPEN_TREE_CLONE)"))?;
    detached::set(&mount, MountAttrFlags::MOUNT_ATTR_RDONLY | NO_SUID_DEV_EXEC, false)?;
    detached::attach(&mount, open(name)?).call(|| format!("move_mount({name:?})"))?;
    Ok(mount)
}

/// Opens a path in a tree that holds nothing but what we put there.
fn open(path: &str) -> Result<OwnedFd, Fault> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?}, O_PATH)"))
}
