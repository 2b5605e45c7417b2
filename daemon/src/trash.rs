//! Deletes directories behind the answer: what is removed is renamed into the trash at once and deleted by one task.
//!
//! Trees may be hostile: as deep as a container could make them, which is deeper than a path or a stack can be. Nothing
//! is ever reached by a path of more than one name.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::Notify;

use crate::id::Id;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The trash directory of one daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trash {
    directory: PathBuf,
    wake: Arc<Notify>,
}

impl Trash {
    /// Starts the task that empties `directory`, also of what an earlier daemon left there.
    pub fn start(directory: PathBuf) -> Self {
        let wake = Arc::new(Notify::new());
        let trash = Self { directory, wake };
        trash.wake.notify_one();
        crate::tasks::spawn("trash", empty_when_woken(trash.clone()));
        trash
    }

    /// Takes `path`, which must be on the same file system; a path that is not there is no error.
    pub fn take(&self, path: &Path) -> io::Result<()> {
        match std::fs::rename(path, self.directory.join(Id::random().as_str())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.wake.notify_one();
                Ok(())
            }
        }
    }

    /// As [`Self::take`] where nobody can be told of a failure: it is logged, and the next start sweeps again.
    pub fn take_or_log(&self, path: &Path) {
        if let Err(error) = self.take(path) {
            tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "cannot move to the trash");
        }
    }
}

async fn empty_when_woken(trash: Trash) {
    loop {
        trash.wake.notified().await;
        let directory = trash.directory.clone();
        match tokio::task::spawn_blocking(move || remove_contents(&directory)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "emptying the trash failed"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "emptying the trash failed"),
        }
    }
}

/// Deletes everything in a directory, however deep, but not the directory itself.
///
/// A subdirectory of a subdirectory that is not empty is renamed to the top first, so that neither a stack nor open
/// descriptors grow with the depth. Returns the first failure, after having deleted what could be.
pub fn remove_contents(directory: &Path) -> io::Result<()> {
    let top = rustix::fs::open(directory, DIRECTORY, Mode::empty())?;
    let mut first_failure = None;
    // What was lifted up meanwhile is found by reading again.
    loop {
        let mut lifted = 0_u64;
        for (name, is_directory) in names(top.as_fd())? {
            let result = if is_directory {
                empty_into(top.as_fd(), &name, &mut lifted)
                    .and_then(|()| rustix::fs::unlinkat(&top, &name, AtFlags::REMOVEDIR))
            } else {
                rustix::fs::unlinkat(&top, &name, AtFlags::empty())
            };
            if let Err(error) = result
                && error != Errno::NOENT
            {
                first_failure.get_or_insert(error);
            }
        }
        if lifted == 0 {
            return first_failure.map_or(Ok(()), |error| Err(error.into()));
        }
    }
}

/// Deletes what is directly in `top/name`, moving directories that are not empty up into `top`.
fn empty_into(top: BorrowedFd<'_>, name: &CString, lifted: &mut u64) -> Result<(), Errno> {
    let directory = rustix::fs::openat(top, name, DIRECTORY, Mode::empty())?;
    for (child, is_directory) in names(directory.as_fd())? {
        if !is_directory {
            rustix::fs::unlinkat(&directory, &child, AtFlags::empty())?;
            continue;
        }
        match rustix::fs::unlinkat(&directory, &child, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => {
                rustix::fs::renameat(&directory, &child, top, Id::random().as_str())?;
                *lifted += 1;
            }
            done => done?,
        }
    }
    Ok(())
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<(CString, bool)>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_directory = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
            kind => kind == FileType::Directory,
        };
        names.push((name.to_owned(), is_directory));
    }
    Ok(names)
}

/// Makes a directory durable: the names in it survive a power cut.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    let directory: OwnedFd = rustix::fs::open(directory, DIRECTORY, Mode::empty())?;
    rustix::fs::fsync(&directory)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_deeper_than_a_path_are_deleted() {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("/", top.path().join("link")).unwrap();
        let mut directory = rustix::fs::open(top.path(), DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&directory, "deeper", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&directory, "empty", Mode::RWXU).unwrap();
            directory = rustix::fs::openat(&directory, "deeper", DIRECTORY, Mode::empty()).unwrap();
        }
        remove_contents(top.path()).unwrap();
        assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_is_taken_disappears_from_the_trash_as_well() {
        let top = tempfile::tempdir().unwrap();
        let (trash_dir, victim) = (top.path().join("trash"), top.path().join("victim"));
        std::fs::create_dir_all(&trash_dir).unwrap();
        std::fs::create_dir_all(victim.join("a/b/c")).unwrap();
        let trash = Trash::start(trash_dir.clone());
        trash.take(&victim).unwrap();
        trash.take(&victim).unwrap();
        assert!(!victim.exists());
        for _ in 0..500 {
            if std::fs::read_dir(&trash_dir).unwrap().count() == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the trash was not emptied");
    }
}
