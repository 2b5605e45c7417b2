//! Mounts as descriptors: made detached, changed while nobody sees them, then attached to an opened place.

use std::os::fd::{AsFd, OwnedFd};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::fault::{Call, Fault};
use crate::sys::{self, MountChange};

/// What a mount of kernel objects never needs.
pub(crate) const NO_SUID_DEV_EXEC: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Makes a file system and its first mount. An option with an empty value is a flag.
pub(crate) fn filesystem(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<OwnedFd, Fault> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).call(|| format!("fsopen({kind:?})"))?;
    // What is shown as the device.
    fsconfig_set_string(&context, "source", kind).call(|| format!("fsconfig({kind}, \"source\")"))?;
    for (key, value) in options {
        let set = if value.is_empty() {
            fsconfig_set_flag(&context, *key)
        } else {
            fsconfig_set_string(&context, *key, *value)
        };
        set.call(|| format!("fsconfig({kind}, {key:?}, {value:?})"))?;
    }
    mount(&context, kind, attributes)
}

/// Makes the mount of a configured file system.
pub(crate) fn mount(context: &OwnedFd, kind: &str, attributes: MountAttrFlags) -> Result<OwnedFd, Fault> {
    fsconfig_create(context).call(|| format!("fsconfig({kind}, FSCONFIG_CMD_CREATE)"))?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .call(|| format!("fsmount({kind}, {:#x})", attributes.bits()))
}

/// Clones the mount that an opened file or directory is in, from there down.
pub(crate) fn clone_of(place: impl AsFd, recursive: bool) -> rustix::io::Result<OwnedFd> {
    clone_at(place, "", recursive)
}

/// Clones the mount that `path` is in, from there down.
pub(crate) fn clone_at(
    directory: impl AsFd,
    path: impl rustix::path::Arg,
    recursive: bool,
) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(directory, path, flags)
}

/// Attaches a detached mount, or moves an attached one, to an opened place. Neither end is a path.
pub(crate) fn attach(mount: impl AsFd, place: impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags)
}

/// Sets attributes of one mount.
pub(crate) fn set(mount: impl AsFd, attributes: MountAttrFlags, recursive: bool) -> Result<(), Fault> {
    let change = MountChange { set: attributes, propagation: 0, recursive };
    sys::mount_setattr(mount, change).call(|| format!("mount_setattr({:#x})", attributes.bits()))
}
