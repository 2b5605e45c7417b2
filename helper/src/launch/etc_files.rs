//! `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`: files on the staging tmpfs, bound over the image's.

use pinnace_helper::protocol::EtcFiles;
use rustix::fs::{Mode, OFlags};

use super::detached::{self, NO_SUID_DEV_EXEC};
use super::staging::Staging;
use super::tree::Tree;
use crate::fault::{Call, Fault};

/// Binds the files that are given, except over destinations that a mount of the container's own replaces.
pub(crate) fn bind(
    staging: &Staging,
    tree: &Tree,
    files: &EtcFiles,
    replaced: impl Fn(&str) -> bool,
) -> Result<(), Fault> {
    let files = [("hostname", &files.hostname), ("hosts", &files.hosts), ("resolv.conf", &files.resolv_conf)];
    for (name, content) in files {
        let path = format!("/etc/{name}");
        let Some(content) = content else { continue };
        if replaced(&path) {
            continue;
        }
        write(staging, name, content.as_bytes())?;
        let mount = detached::clone_at(&staging.files, name, false).call(|| format!("open_tree(staging, {name:?})"))?;
        detached::set(&mount, NO_SUID_DEV_EXEC, false)?;
        detached::attach(&mount, tree.file(&path)?).call(|| format!("move_mount({path:?})"))?;
    }
    Ok(())
}

fn write(staging: &Staging, name: &str, mut content: &[u8]) -> Result<(), Fault> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let what = || format!("write(staging, {name:?})");
    let file = rustix::fs::openat(&staging.files, name, flags, Mode::from_raw_mode(0o644)).call(what)?;
    while !content.is_empty() {
        let written = rustix::io::write(&file, content).call(what)?;
        content = &content[written..];
    }
    Ok(())
}
