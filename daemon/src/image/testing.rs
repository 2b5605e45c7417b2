//! Archives made in code for the tests: honest ones and those that no honest writer makes.

use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

/// A tar stream under construction.
#[derive(Debug, Default, Clone)]
pub(crate) struct TarBytes {
    bytes: Vec<u8>,
}

impl TarBytes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a member whose header is what `edit` makes of a plain one; names are written as they are given.
    pub(crate) fn member(mut self, path: &[u8], kind: EntryType, data: &[u8], edit: impl FnOnce(&mut Header)) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        edit(&mut header);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.append_padded(data);
        self
    }

    pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
        self.member(path.as_bytes(), EntryType::Regular, data, |_| {})
    }

    pub(crate) fn directory(self, path: &str, mode: u32) -> Self {
        self.member(path.as_bytes(), EntryType::Directory, b"", |header| header.set_mode(mode))
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.member(path.as_bytes(), EntryType::Symlink, b"", |header| set_link(header, target))
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.member(path.as_bytes(), EntryType::Link, b"", |header| set_link(header, target))
    }

    /// Adds PAX records for the next member.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
        self.member(b"pax", EntryType::XHeader, &body, |_| {})
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn append_padded(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    /// Returns the archive with its end marker.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }

    /// Returns the archive without its end marker.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.bytes
    }
}

fn set_link(header: &mut Header, target: &str) {
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
}

pub(crate) fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}

/// Lists everything below a directory: path, type and mode, owner, size or link target or device, content, attributes.
pub(crate) fn listing(root: &Path) -> Vec<String> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let mut lines = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let path = root.join(&relative);
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let detail = if meta.is_symlink() {
            format!("-> {:?}", std::fs::read_link(&path).unwrap())
        } else if meta.is_file() {
            format!(
                "{} links={} {}",
                meta.size(),
                meta.nlink(),
                super::digest::Digest::of(&std::fs::read(&path).unwrap()).short()
            )
        } else if meta.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| relative.join(entry.unwrap().file_name())));
            String::new()
        } else {
            format!("fifo={} dev={:x}", meta.file_type().is_fifo(), meta.rdev())
        };
        let time = format!("{}.{:09}", meta.mtime(), meta.mtime_nsec());
        lines.push(format!(
            "{relative:?} {:o} {}:{} {time} {detail} {:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            attributes(&path)
        ));
    }
    lines.sort();
    lines
}

fn attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut found: Vec<_> = names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..]).unwrap();
            value.truncate(length);
            (name, value)
        })
        .collect();
    found.sort();
    found
}
