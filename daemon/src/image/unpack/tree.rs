//! The directory that a layer is unpacked into, reached only through descriptors.
//!
//! Directories are opened with `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)`, so that a link inside the layer leads
//! wherever it would in a container and never out of it; everything else is done to single names in an opened
//! directory, on objects that were made exclusively. Nobody else can reach the tree while it is being made.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags};
use rustix::io::Errno;

use super::UnpackError;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What a directory gets that no entry describes and that no layer below has; Docker's choice.
const IMPLIED_MODE: u32 = 0o755;

#[derive(Debug)]
pub(super) struct Tree<'a> {
    root: OwnedFd,
    /// The layers below, topmost first: where implied directories take their owner and mode from.
    lowers: &'a [OwnedFd],
    /// Takes whole directories that an entry replaces, by rename, for the caller to delete.
    discard: OwnedFd,
    discarded: u64,
    /// Directories made that no entry asked for.
    implied: u64,
    last: Option<(Vec<u8>, OwnedFd)>,
}

/// How an object came to be where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Directory,
    Whiteout,
    Other { size_bytes: u64 },
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: OwnedFd, discard: OwnedFd, lowers: &'a [OwnedFd]) -> Self {
        Self { root, lowers, discard, discarded: 0, implied: 0, last: None }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Number of directories made that no entry asked for.
    pub(super) fn implied(&self) -> u64 {
        self.implied
    }

    /// Whether whole directories were replaced, so that running totals are no longer right.
    pub(super) fn discarded_directories(&self) -> bool {
        self.discarded > 0
    }

    /// Opens a directory, making those on the way that are missing.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        if let Some((last, directory)) = &self.last
            && last == path
        {
            return directory.try_clone().map_err(|source| UnpackError::call("dup", path, source));
        }
        let directory = match open_in_root(self.root(), path) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_directories(path)?,
            opened => opened.map_err(|source| UnpackError::call("openat2", path, source))?,
        };
        let kept = directory.try_clone().map_err(|source| UnpackError::call("dup", path, source))?;
        self.last = Some((path.to_vec(), kept));
        Ok(directory)
    }

    /// Opens a directory only if it is there.
    pub(super) fn existing_directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        open_in_root(self.root(), path)
    }

    fn make_directories(&mut self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let fail = |call, prefix: &[u8], source: Errno| UnpackError::call(call, prefix, source);
        let ends = || path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(index, _)| index);
        let existing =
            ends().rev().find_map(|end| open_in_root(self.root(), &path[..end]).ok().map(|fd| (end + 1, fd)));
        let (mut start, mut parent) = match existing {
            Some(existing) => existing,
            None => (0, self.root.try_clone().map_err(|source| UnpackError::call("dup", path, source))?),
        };
        while start < path.len() {
            let end = ends().find(|&end| end > start).unwrap_or(path.len());
            let (prefix, name) = (&path[..end], OsStr::from_bytes(&path[start..end]));
            let over_whiteout = match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(IMPLIED_MODE)) {
                Ok(()) => false,
                Err(Errno::EXIST) if matches!(look(parent.as_fd(), name), Ok(Found::Whiteout)) => {
                    self.replace_whiteout(parent.as_fd(), name).map_err(|source| fail("mkdirat", prefix, source))?;
                    true
                }
                // A file or a link to nowhere is in the way.
                Err(Errno::EXIST) => return Err(fail("mkdirat", prefix, Errno::NOTDIR)),
                Err(source) => return Err(fail("mkdirat", prefix, source)),
            };
            self.implied += 1;
            let made = rustix::fs::openat(&parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
                .map_err(|source| fail("openat", prefix, source))?;
            let (mode, owner) = self.inherited(prefix);
            if let Some((uid, gid)) = owner {
                rustix::fs::fchown(&made, Some(uid), Some(gid)).map_err(|source| fail("fchown", prefix, source))?;
            }
            rustix::fs::fchmod(&made, mode).map_err(|source| fail("fchmod", prefix, source))?;
            if over_whiteout {
                set_opaque(made.as_fd()).map_err(|source| fail("fsetxattr", prefix, source))?;
            }
            parent = made;
            start = end + 1;
        }
        Ok(parent)
    }

    /// Returns mode and owner of the directory that the layers below show at `path`, as a copy-up would keep them.
    fn inherited(&self, path: &[u8]) -> (Mode, Option<(rustix::fs::Uid, rustix::fs::Gid)>) {
        for lower in self.lowers {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            let found = rustix::fs::openat2(lower, OsStr::from_bytes(path), flags, Mode::empty(), resolve)
                .and_then(|object| rustix::fs::fstat(&object));
            match found {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    let owner = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
                    return (Mode::from_raw_mode(stat.st_mode & 0o7777), Some(owner));
                }
                Err(Errno::NOENT) => {}
                Ok(_) | Err(_) => break,
            }
        }
        (Mode::from_raw_mode(IMPLIED_MODE), None)
    }

    /// Puts an empty opaque directory where a whiteout was: what was hidden below stays hidden.
    pub(super) fn replace_whiteout(&mut self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(IMPLIED_MODE))?;
        let made = rustix::fs::openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        set_opaque(made.as_fd())
    }

    /// Removes whatever has this name, directories with all they hold.
    pub(super) fn clear(&mut self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<Found, Errno> {
        // A cached directory may be, or lie behind, what is removed.
        self.last = None;
        let found = look(parent, name)?;
        match found {
            Found::Nothing => {}
            Found::Directory => {
                rustix::fs::renameat(parent, name, &self.discard, self.discarded.to_string())?;
                self.discarded += 1;
            }
            Found::Whiteout | Found::Other { .. } => rustix::fs::unlinkat(parent, name, AtFlags::empty())?,
        }
        Ok(found)
    }
}

/// Opens a directory for reading; no link on the way leads out of `root`.
fn open_in_root(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(path) };
    rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Makes the union mount show nothing of what the layers below have in this directory.
pub(super) fn set_opaque(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fsetxattr(directory, c"trusted.overlay.opaque", b"y", XattrFlags::empty())
}

/// Says what has this name, without following it.
pub(super) fn look(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Found, Errno> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(describe(&stat)),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

fn describe(stat: &Stat) -> Found {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Directory,
        FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
        FileType::RegularFile if stat.st_nlink > 1 => Found::Other { size_bytes: 0 },
        FileType::RegularFile | FileType::Symlink => {
            Found::Other { size_bytes: u64::try_from(stat.st_size).unwrap_or(0) }
        }
        _ => Found::Other { size_bytes: 0 },
    }
}
