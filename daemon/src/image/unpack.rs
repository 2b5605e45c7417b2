//! Unpacks the tar stream of one layer into a directory, ready to be a lower layer of overlayfs.
//!
//! The stream is hostile until its digest was compared, which is after the last byte. What holds meanwhile: nothing is
//! reached by a path string that the kernel could lead out of the layer (see [`tree`]), nothing that exists is ever
//! written to, and what is kept in memory is bounded. Whiteouts become what overlayfs understands: `.wh.x` a character
//! device 0:0 called `x`, `.wh..wh..opq` the attribute `trusted.overlay.opaque` of its directory.

mod metadata;
mod path;
#[cfg(test)]
mod tests;
mod tree;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use self::metadata::{describe, describe_node, measure, set_times};
use self::path::{PathError, Place};
use self::tree::{Found, Tree, look, set_opaque};
use super::tar_reader::{Kind, Member, TarError, TarReader};

/// Most objects in one layer; arbitrary, the largest images in use have half a million files.
const MAX_ENTRIES: u64 = 1 << 22;

/// Most memory for the directories whose times are set last, in bytes.
const MAX_DIRECTORY_PATHS: usize = 256 << 20;

const BUFFER: usize = 128 << 10;

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("invalid path {path:?}: {source}")]
    Path { path: String, source: PathError },
    #[error("invalid hard link {path:?} to {target:?}: the target is not a file of this layer")]
    HardLink { path: String, target: String },
    #[error("invalid device {path:?}: character device 0:0 has a meaning of its own")]
    ReservedDevice { path: String },
    #[error("invalid path {path:?}: the root of a layer is a directory")]
    Root { path: String },
    #[error("the layer has more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    #[error("the names of the layer's directories take more than {MAX_DIRECTORY_PATHS} bytes")]
    TooManyDirectories,
    #[error("{call} {path:?}: {source}")]
    Call { call: &'static str, path: String, source: io::Error },
}

impl UnpackError {
    fn call(call: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Call { call, path: printable(path), source: source.into() }
    }

    /// Whether the machine failed rather than the archive being wrong.
    pub(crate) fn is_internal(&self) -> bool {
        match self {
            Self::Tar(TarError::Read(error)) => error.raw_os_error().is_some(),
            Self::Call { source, .. } => !matches!(
                source.raw_os_error().map(Errno::from_raw_os_error),
                Some(Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::EXIST | Errno::INVAL | Errno::FBIG)
            ),
            _ => false,
        }
    }
}

/// Unpacks what `tar` holds into the empty directory `root`; returns the bytes that its files take.
///
/// Directories that an entry replaces end up in `discard`. `lowers` are the layers below, topmost first. Does not make
/// anything durable.
pub(crate) fn unpack<R: Read>(
    tar: &mut TarReader<R>,
    root: OwnedFd,
    discard: OwnedFd,
    lowers: &[OwnedFd],
) -> Result<u64, UnpackError> {
    let mut unpacker = Unpacker {
        tree: Tree::new(root, discard, lowers),
        size_bytes: 0,
        directories: Vec::new(),
        directory_bytes: 0,
        buffer: vec![0; BUFFER].into_boxed_slice(),
    };
    let mut entries = 0;
    while let Some(member) = tar.next_member()? {
        entries += 1;
        if entries + unpacker.tree.implied() > MAX_ENTRIES {
            return Err(UnpackError::TooManyEntries);
        }
        unpacker.entry(&member, tar)?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    tree: Tree<'a>,
    size_bytes: u64,
    /// Directories with entries of their own: making things in them would change their times again.
    directories: Vec<UnpackedDirectory>,
    directory_bytes: usize,
    buffer: Box<[u8]>,
}

struct UnpackedDirectory {
    path: Vec<u8>,
    inode: u64,
    mtime: (i64, u32),
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, member: &Member, data: &mut TarReader<R>) -> Result<(), UnpackError> {
        let place =
            path::place(&member.path).map_err(|source| UnpackError::Path { path: printable(&member.path), source })?;
        match place {
            Place::Ignored => Ok(()),
            Place::Root if member.kind == Kind::Directory => {
                let root =
                    self.tree.root().try_clone_to_owned().map_err(|source| UnpackError::call("dup", b"/", source))?;
                self.describe_directory(Vec::new(), root.as_fd(), member)
            }
            Place::Root => Err(UnpackError::Root { path: printable(&member.path) }),
            Place::Opaque { directory } => {
                let opened = self.tree.directory(&directory)?;
                set_opaque(opened.as_fd()).map_err(|source| UnpackError::call("fsetxattr", &directory, source))
            }
            Place::Whiteout { directory, name } => {
                let parent = self.tree.directory(&directory)?;
                self.whiteout(parent.as_fd(), OsStr::from_bytes(&name))
                    .map_err(|source| UnpackError::call("mknodat", &member.path, source))
            }
            Place::Entry { directory, name } => {
                let parent = self.tree.directory(&directory)?;
                let name = OsStr::from_bytes(&name);
                let fail = |call| move |source: Errno| UnpackError::call(call, &member.path, source);
                match member.kind {
                    Kind::File => self.file(parent.as_fd(), name, member, data),
                    Kind::Directory => {
                        let made = self.make_directory(parent.as_fd(), name).map_err(fail("mkdirat"))?;
                        let path = if directory.is_empty() {
                            name.as_bytes().to_vec()
                        } else {
                            [&directory, &b"/"[..], name.as_bytes()].concat()
                        };
                        self.describe_directory(path, made.as_fd(), member)
                    }
                    Kind::HardLink => self.hard_link(parent.as_fd(), name, member),
                    Kind::Symlink => {
                        let target = OsStr::from_bytes(&member.link);
                        self.replacing(parent.as_fd(), name, || rustix::fs::symlinkat(target, parent.as_fd(), name))
                            .map_err(fail("symlinkat"))?;
                        self.size_bytes += member.link.len() as u64;
                        describe_node(parent.as_fd(), name, member, false)
                    }
                    Kind::Character if member.device == (0, 0) => {
                        Err(UnpackError::ReservedDevice { path: printable(&member.path) })
                    }
                    Kind::Character => self.node(parent.as_fd(), name, member, FileType::CharacterDevice),
                    Kind::Block => self.node(parent.as_fd(), name, member, FileType::BlockDevice),
                    Kind::Fifo => self.node(parent.as_fd(), name, member, FileType::Fifo),
                }
            }
        }
    }

    /// Makes an object that must not exist yet; whatever has its name is removed first.
    fn replacing<T>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match make() {
            Err(Errno::EXIST) => {
                if let Found::Other { size_bytes } = self.tree.clear(parent, name)? {
                    self.size_bytes = self.size_bytes.saturating_sub(size_bytes);
                }
                make()
            }
            made => made,
        }
    }

    fn file<R: Read>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        member: &Member,
        data: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = self
            .replacing(parent, name, || rustix::fs::openat(parent, name, flags, mode))
            .map_err(|source| UnpackError::call("openat", &member.path, source))?;
        let mut file = File::from(fd);
        let write_failed = |source| UnpackError::call("write", &member.path, source);
        match &member.regions {
            None => loop {
                let count = data.read(&mut self.buffer).map_err(TarError::from)?;
                if count == 0 {
                    break;
                }
                file.write_all(&self.buffer[..count]).map_err(write_failed)?;
            },
            Some(regions) => {
                file.set_len(member.size).map_err(write_failed)?;
                for region in regions {
                    let mut done = 0;
                    while done < region.length {
                        let want = usize::try_from(region.length - done).unwrap_or(BUFFER).min(BUFFER);
                        data.read_exact(&mut self.buffer[..want]).map_err(TarError::from)?;
                        file.write_all_at(&self.buffer[..want], region.offset + done).map_err(write_failed)?;
                        done += want as u64;
                    }
                }
            }
        }
        // A sparse file may be larger than any disk.
        self.size_bytes = self.size_bytes.saturating_add(member.size);
        describe(file.as_fd(), member)?;
        set_times(file.as_fd(), member.mtime).map_err(|source| UnpackError::call("futimens", &member.path, source))
    }

    fn make_directory(&mut self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
        let make = || rustix::fs::mkdirat(parent, name, Mode::RWXU);
        match make() {
            Ok(()) => {}
            Err(Errno::EXIST) => match look(parent, name)? {
                Found::Directory => {}
                Found::Whiteout => self.tree.replace_whiteout(parent, name)?,
                Found::Nothing | Found::Other { .. } => self.replacing(parent, name, make)?,
            },
            Err(error) => return Err(error),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::empty())
    }

    fn describe_directory(&mut self, path: Vec<u8>, fd: BorrowedFd<'_>, member: &Member) -> Result<(), UnpackError> {
        describe(fd, member)?;
        let stat = rustix::fs::fstat(fd).map_err(|source| UnpackError::call("fstat", &path, source))?;
        self.directory_bytes += path.len() + size_of::<UnpackedDirectory>();
        if self.directory_bytes > MAX_DIRECTORY_PATHS {
            return Err(UnpackError::TooManyDirectories);
        }
        self.directories.push(UnpackedDirectory { path, inode: stat.st_ino, mtime: member.mtime });
        Ok(())
    }

    /// Links to an object of this layer; a link to a symbolic link is one more name of that link.
    fn hard_link(&mut self, parent: BorrowedFd<'_>, name: &OsStr, member: &Member) -> Result<(), UnpackError> {
        let refused = || UnpackError::HardLink { path: printable(&member.path), target: printable(&member.link) };
        let (directory, target) = path::link_target(&member.link)
            .map_err(|source| UnpackError::Path { path: printable(&member.link), source })?;
        let directory = self.tree.existing_directory(&directory).map_err(|_missing| refused())?;
        let target = OsStr::from_bytes(&target);
        let stat = |fd: BorrowedFd<'_>, name| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let found = stat(directory.as_fd(), target).map_err(|_missing| refused())?;
        let whiteout = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory || whiteout {
            return Err(refused());
        }
        if stat(parent, name).is_ok_and(|own| (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino)) {
            // Already another name of the target, or the target itself, which must not be removed to be linked to.
            return Ok(());
        }
        self.replacing(parent, name, || rustix::fs::linkat(&directory, target, parent, name, AtFlags::empty()))
            .map_err(|source| UnpackError::call("linkat", &member.path, source))
    }

    fn node(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        member: &Member,
        kind: FileType,
    ) -> Result<(), UnpackError> {
        let device = rustix::fs::makedev(member.device.0, member.device.1);
        self.replacing(parent, name, || rustix::fs::mknodat(parent, name, kind, Mode::empty(), device))
            .map_err(|source| UnpackError::call("mknodat", &member.path, source))?;
        describe_node(parent, name, member, true)
    }

    /// Hides `name` of the layers below. Whatever this layer itself has there stays: whiteouts only concern others.
    fn whiteout(&mut self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        match rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Err(Errno::EXIST) => {
                if look(parent, name)? == Found::Directory {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    set_opaque(rustix::fs::openat(parent, name, flags, Mode::empty())?.as_fd())?;
                }
                Ok(())
            }
            made => made,
        }
    }

    fn finish(self) -> Result<u64, UnpackError> {
        for directory in &self.directories {
            // What was replaced since has its own times.
            let Ok(fd) = self.tree.existing_directory(&directory.path) else { continue };
            let failed = |call| move |source: Errno| UnpackError::call(call, &directory.path, source);
            if rustix::fs::fstat(&fd).map_err(failed("fstat"))?.st_ino == directory.inode {
                set_times(fd.as_fd(), directory.mtime).map_err(failed("futimens"))?;
            }
        }
        if self.tree.discarded_directories() {
            let root = self.tree.root();
            return measure(root).map_err(|source| UnpackError::call("measure", b"/", source));
        }
        Ok(self.size_bytes)
    }
}

/// Makes a name from an archive fit for a message.
fn printable(path: &[u8]) -> String {
    const SHOWN: usize = 200;
    let mut text = String::from_utf8_lossy(&path[..path.len().min(SHOWN)]).into_owned();
    if path.len() > SHOWN {
        text.push('…');
    }
    text
}
