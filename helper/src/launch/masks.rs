//! Paths of the kernel's file systems that a container must not see or must not change.
//!
//! A path that does not exist needs no mask. Any other failure aborts the launch.

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::detached;
use super::staging::Staging;
use super::tree::Tree;
use crate::fault::{Call, Fault};

/// Hides each path under an empty read-only file or directory.
pub(crate) fn mask(staging: &Staging, tree: &Tree, paths: &[String]) -> Result<(), Fault> {
    for path in paths {
        let place = match tree.handle(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            other => other.call(|| format!("openat2(root, {path:?})"))?,
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&place).call(|| format!("fstat({path:?})"))?.st_mode);
        let empty = if kind == FileType::Directory { &staging.mask_directory } else { &staging.mask_file };
        let mount = detached::clone_of(empty, false).call(|| "open_tree(mask, OPEN_TREE_CLONE)".into())?;
        detached::attach(&mount, &place).call(|| format!("move_mount(mask, {path:?})"))?;
    }
    Ok(())
}

/// Makes each path, and what is mounted below it, read-only.
pub(crate) fn make_readonly(tree: &Tree, paths: &[String]) -> Result<(), Fault> {
    for path in paths {
        let place = match tree.handle(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            other => other.call(|| format!("openat2(root, {path:?})"))?,
        };
        let mount = detached::clone_of(&place, true).call(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))?;
        detached::set(&mount, MountAttrFlags::MOUNT_ATTR_RDONLY, true)?;
        detached::attach(&mount, &place).call(|| format!("move_mount(read-only, {path:?})"))?;
    }
    Ok(())
}
