//! Every path under the data root and the run directory.
//!
//! ```text
//!   <data root>/            0700
//!     lock                  held while a daemon uses this directory
//!     state.db              SQLite, with -wal and -shm beside it
//!     blobs/sha256/<hex>    image configs and manifests
//!     layers/<chain id>/    an unpacked layer
//!     base/                 lowest layer of every container: what is mounted on, so that it need not be made each time
//!     tmp/                  work in progress; emptied when the daemon starts
//!     trash/                renamed here to be deleted behind the answer
//!     containers/<id>/      upper/ work/ log.<n>
//!   <run dir>/              0711; what is in it 0700
//!     lock                  held while a daemon uses this directory
//!     root/                 empty; containers mount their root on it, in their own mount namespace
//!     c/<id12>/             control.sock, exit.json
//! ```

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::id::Id;

/// The directories of one daemon.
#[derive(Debug, Clone)]
pub struct Layout {
    data_root: PathBuf,
    run_dir: PathBuf,
}

impl Layout {
    /// Makes the directories that are always there. Both arguments are made absolute.
    pub fn create(data_root: &Path, run_dir: &Path) -> io::Result<Self> {
        make(data_root, 0o700)?;
        // Passed through on the way to the API's socket, whose own mode and group say who may connect.
        make(run_dir, 0o711)?;
        let layout = Self { data_root: data_root.canonicalize()?, run_dir: run_dir.canonicalize()? };
        make_base(&layout.base_layer())?;
        for directory in [
            layout.blobs(),
            layout.layers(),
            layout.tmp(),
            layout.trash(),
            layout.containers(),
            layout.mount_point(),
            layout.run_dir.join("c"),
        ] {
            make(&directory, 0o700)?;
        }
        Ok(layout)
    }

    /// The data root itself.
    pub fn data_root(&self) -> &Path {
        &self.data_root
    }

    /// The run directory itself.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.data_root.join("state.db")
    }

    /// Blobs, named by the hexadecimal digits of their sha256.
    pub fn blobs(&self) -> PathBuf {
        self.data_root.join("blobs/sha256")
    }

    /// Unpacked layers, named by the hexadecimal digits of their chain id.
    pub fn layers(&self) -> PathBuf {
        self.data_root.join("layers")
    }

    /// The layer that is below every image's.
    pub fn base_layer(&self) -> PathBuf {
        self.data_root.join("base")
    }

    /// Work in progress.
    pub fn tmp(&self) -> PathBuf {
        self.data_root.join("tmp")
    }

    /// What waits to be deleted.
    pub fn trash(&self) -> PathBuf {
        self.data_root.join("trash")
    }

    /// The directories of all containers.
    pub fn containers(&self) -> PathBuf {
        self.data_root.join("containers")
    }

    /// The directory of one container: its writable layer and its log.
    pub fn container(&self, id: &Id) -> PathBuf {
        self.containers().join(id.as_str())
    }

    /// The empty directory on which containers mount their root.
    pub fn mount_point(&self) -> PathBuf {
        self.run_dir.join("root")
    }

    /// The run directories of all containers.
    pub fn container_runs(&self) -> PathBuf {
        self.run_dir.join("c")
    }

    /// The run directory of one container. Its name is short because a unix socket's path has at most 107 bytes.
    pub fn container_run(&self, id: &Id) -> PathBuf {
        self.container_runs().join(id.short())
    }
}

fn make(directory: &Path, mode: u32) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(directory)
        .map_err(|source| io::Error::new(source.kind(), format!("mkdir {}: {source}", directory.display())))
}

/// Makes the layer that holds the places which every container mounts something on, and the mark by which programs
/// know Docker's containers.
fn make_base(base: &Path) -> io::Result<()> {
    for (directory, mode) in [("", 0o755), ("dev", 0o755), ("etc", 0o755), ("proc", 0o555), ("sys", 0o555)] {
        let directory = base.join(directory);
        std::fs::DirBuilder::new().recursive(true).create(&directory)?;
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(mode))?;
    }
    for file in [".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf"] {
        let path = base.join(file);
        std::fs::File::options().create(true).append(true).open(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}
