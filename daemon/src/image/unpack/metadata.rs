//! What an object is beside its data: owner, mode, times and attributes; and what a tree of them takes.

use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::super::tar_reader::Member;
use super::UnpackError;

/// Sets owner, mode and attributes of an opened object. In this order: a change of owner clears setuid and capabilities.
pub(super) fn describe(fd: BorrowedFd<'_>, member: &Member) -> Result<(), UnpackError> {
    let failed = |call| move |source: Errno| UnpackError::call(call, &member.path, source);
    rustix::fs::fchown(fd, Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)))
        .map_err(failed("fchown"))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(member.mode)).map_err(failed("fchmod"))?;
    for (name, value) in kept_attributes(member) {
        match rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()) {
            // A file system without them: Docker goes on as well.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(source) => return Err(failed("fsetxattr")(source)),
        }
    }
    Ok(())
}

/// Sets owner, mode (`chmod`) and times of an object that cannot be opened.
pub(super) fn describe_node(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    member: &Member,
    chmod: bool,
) -> Result<(), UnpackError> {
    let failed = |call| move |source: Errno| UnpackError::call(call, &member.path, source);
    let (uid, gid) = (Uid::from_raw(member.uid), Gid::from_raw(member.gid));
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("fchownat"))?;
    if chmod {
        // Not a link: it was made a line ago, in a directory that nobody else can reach.
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(member.mode), AtFlags::empty())
            .map_err(failed("fchmodat"))?;
    }
    let times = timestamps(member.mtime);
    rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("utimensat"))
}

/// The attributes that a layer may bring: `user.*` and file capabilities. Those of overlayfs would let a layer redirect
/// into others; the rest of `trusted.*` and `security.*` (labels, signatures) are the host's to give.
fn kept_attributes(member: &Member) -> impl Iterator<Item = (CString, &[u8])> {
    member.xattrs.iter().filter_map(|(name, value)| {
        let kept = match name.as_slice() {
            b"security.capability" => is_file_capability(value),
            name => name.starts_with(b"user.") && !name.starts_with(b"user.overlay."),
        };
        kept.then(|| CString::new(name.as_slice()).ok()).flatten().map(|name| (name, value.as_slice()))
    })
}

/// Whether this is a `vfs_cap_data` of revision 2 or 3, see capabilities(7).
fn is_file_capability(value: &[u8]) -> bool {
    matches!((value.get(3), value.len()), (Some(2), 20) | (Some(3), 24))
}

pub(super) fn set_times(fd: BorrowedFd<'_>, mtime: (i64, u32)) -> Result<(), Errno> {
    rustix::fs::futimens(fd, &timestamps(mtime))
}

fn timestamps((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Adds up what the files below a directory take, hard-linked ones once. Only for trees in which directories were
/// replaced; such trees are at most as deep as names are long, and links are not followed.
pub(super) fn measure(root: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut total = 0;
    let mut seen = HashSet::new();
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let shown = if path.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(&path) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Trees that grew through links can be deeper than a path is long; what lies there is not counted.
        let Ok(directory) = rustix::fs::openat(root, shown, flags, Mode::empty()) else { continue };
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let stat = rustix::fs::statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    pending.push(if path.is_empty() { name.to_vec() } else { [&path, &b"/"[..], name].concat() });
                }
                FileType::RegularFile if stat.st_nlink > 1 && !seen.insert(stat.st_ino) => {}
                FileType::RegularFile | FileType::Symlink => {
                    total = u64::saturating_add(total, u64::try_from(stat.st_size).unwrap_or(0));
                }
                _ => {}
            }
        }
    }
    Ok(total)
}
