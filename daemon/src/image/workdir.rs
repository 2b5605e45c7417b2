//! A private directory for work in progress, thrown away with whatever is still in it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::id::Id;
use crate::trash::Trash;

#[derive(Debug)]
pub(crate) struct Workdir {
    path: PathBuf,
    trash: Trash,
}

impl Workdir {
    /// Makes a directory that only root can enter below `tmp`, which is emptied when the daemon starts.
    pub(crate) fn create(tmp: &Path, trash: &Trash) -> io::Result<Self> {
        let path = tmp.join(Id::random().short());
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, trash: trash.clone() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it and opens it.
    pub(crate) fn make(&self, name: &str) -> io::Result<OwnedFd> {
        let path = self.path.join(name);
        std::fs::DirBuilder::new().mode(0o755).create(&path)?;
        Ok(OwnedFd::from(std::fs::File::open(path)?))
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        self.trash.take_or_log(&self.path);
    }
}
