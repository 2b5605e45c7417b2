//! Paths inside a container's root, resolved so that no link of an image leads out of it.
//!
//! Every resolution is one `openat2(2)` with `RESOLVE_IN_ROOT`; what is missing is made with single-component calls
//! on the opened parent.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::fault::{Call, Fault};

/// The most symbolic links that one path may go through, as the kernel counts them.
const MAX_LINKS: usize = 40;

/// A directory that paths cannot leave.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// Takes an opened directory as the root.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// Opens a path as a handle (`O_PATH`), following links inside the root.
    pub(crate) fn handle(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        self.open(path, OFlags::PATH)
    }

    /// Opens a path with these flags, following links inside the root.
    pub(crate) fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Returns a handle of a directory, which is made with its parents if it is missing.
    pub(crate) fn directory(&self, path: &str) -> Result<OwnedFd, Fault> {
        self.existing_or_new(path, FileType::Directory)
    }

    /// Returns a handle of whatever is at this path; an empty file is made if nothing is.
    pub(crate) fn file(&self, path: &str) -> Result<OwnedFd, Fault> {
        self.existing_or_new(path, FileType::RegularFile)
    }

    /// Returns a handle of the directory that a path is in, made if it is missing, and the path's last component.
    pub(crate) fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), Fault> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | "." | "..") {
            return Err(Fault::rule(format!("{path:?} does not name a file")));
        }
        Ok((self.directory(if parent.is_empty() { "/" } else { parent })?, name))
    }

    fn existing_or_new(&self, path: &str, kind: FileType) -> Result<OwnedFd, Fault> {
        let flags = if kind == FileType::Directory { OFlags::PATH | OFlags::DIRECTORY } else { OFlags::PATH };
        match self.open(path, flags) {
            Err(Errno::NOENT) => self.make(path, kind),
            other => other.call(|| format!("openat2(root, {path:?})")),
        }
    }

    /// Walks the path from the root, makes what is missing, and resolves links itself, since the kernel does not
    /// resolve one that points at something missing.
    fn make(&self, path: &str, kind: FileType) -> Result<OwnedFd, Fault> {
        let mut waiting: VecDeque<String> = components(path).collect();
        let mut reached: Vec<String> = Vec::new();
        let mut place = self.handle("/").call(|| "openat2(root, \"/\")".into())?;
        let mut links = 0;
        while let Some(name) = waiting.pop_front() {
            if name == ".." {
                reached.pop();
                place = self.handle(&joined(&reached)).call(|| format!("openat2(root, {path:?})"))?;
                continue;
            }
            if let Ok(target) = rustix::fs::readlinkat(&place, &name, Vec::new()) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Fault { call: format!("resolve({path:?})"), errno: Some(Errno::LOOP), subject: None });
                }
                let target = target.to_string_lossy();
                if target.starts_with('/') {
                    reached.clear();
                    place = self.handle("/").call(|| "openat2(root, \"/\")".into())?;
                }
                components(&target).rev().for_each(|component| waiting.push_front(component));
                continue;
            }
            let made = if waiting.is_empty() && kind == FileType::RegularFile {
                rustix::fs::mknodat(&place, &name, FileType::RegularFile, Mode::from_raw_mode(0o755), 0)
            } else {
                rustix::fs::mkdirat(&place, &name, Mode::from_raw_mode(0o755))
            };
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                failed => failed.call(|| format!("mkdirat({:?}, {name:?})", joined(&reached)))?,
            }
            reached.push(name);
            place = self.handle(&joined(&reached)).call(|| format!("openat2(root, {path:?})"))?;
        }
        Ok(place)
    }
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = String> {
    path.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned)
}

fn joined(components: &[String]) -> String {
    format!("/{}", components.join("/"))
}

/// Returns an absolute path without `.`, `..`, and doubled slashes, as text alone says it.
pub(crate) fn normalized(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(directory: &tempfile::TempDir) -> Tree {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Tree::new(rustix::fs::open(directory.path(), flags, Mode::empty()).expect("open"))
    }

    #[test]
    fn missing_directories_are_made_through_dangling_links_inside_the_root() {
        let directory = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(directory.path().join("var")).expect("mkdir");
        std::os::unix::fs::symlink("/run", directory.path().join("var/run")).expect("symlink");
        tree(&directory).directory("/var/run/app/x").expect("directory");
        assert!(directory.path().join("run/app/x").is_dir());
    }

    #[test]
    fn a_link_out_of_the_root_stays_inside() {
        let directory = tempfile::tempdir().expect("tempdir");
        let outside = tempfile::tempdir().expect("tempdir");
        std::os::unix::fs::symlink("../../../..", directory.path().join("up")).expect("symlink");
        std::os::unix::fs::symlink(outside.path(), directory.path().join("away")).expect("symlink");
        let tree = tree(&directory);
        tree.file("/up/canary").expect("file");
        tree.file("/away/canary").expect("file");
        assert!(directory.path().join("canary").is_file());
        assert!(std::fs::read_dir(outside.path()).expect("read_dir").next().is_none());
    }

    #[test]
    fn a_loop_of_links_is_an_error() {
        let directory = tempfile::tempdir().expect("tempdir");
        std::os::unix::fs::symlink("b", directory.path().join("a")).expect("symlink");
        std::os::unix::fs::symlink("a", directory.path().join("b")).expect("symlink");
        assert!(tree(&directory).directory("/a/x").is_err());
    }

    #[test]
    fn normalizing_is_textual() {
        for (path, expected) in [("/a//b/./c", "/a/b/c"), ("/a/../..", "/"), ("/proc/", "/proc"), ("x", "/x")] {
            assert_eq!(normalized(path), expected);
        }
    }
}
