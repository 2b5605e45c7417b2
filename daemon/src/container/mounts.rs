//! `Binds` and `Tmpfs`: Docker's short syntaxes for mounts.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use pinnace_helper::protocol::{MountSource, MountSpec, Propagation, TmpfsOptions};
use serde::{Deserialize, Serialize};

use crate::error::{Classify, ErrorKind};

/// A file or directory of the host that the container sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute, on the host; made as a directory if nothing is there.
    pub source: PathBuf,
    /// Absolute and normalised, in the container.
    pub destination: String,
    pub readonly: bool,
    /// Submounts come along.
    pub recursive: bool,
    pub propagation: Propagation,
    /// The options, as the client wrote them.
    pub mode: String,
}

/// A tmpfs in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Absolute and normalised, in the container.
    pub destination: String,
    pub readonly: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    /// The kernel's own options.
    pub options: Vec<(String, String)>,
}

/// Why a mount is refused; the words are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    #[error("invalid volume specification: '{0}'")]
    Syntax(String),
    #[error(
        "invalid volume specification: '{0}': invalid mount config for type \"bind\": invalid mount path: '{1}' mount path must be absolute"
    )]
    RelativeDestination(String, String),
    #[error("invalid volume specification: '{0}': invalid specification: destination can't be '/'")]
    DestinationIsRoot(String),
    #[error("invalid mode: {0}")]
    Mode(String),
    #[error(
        "volumes are not supported by this version of Pinnace: the source in HostConfig.Binds {0:?} must be an absolute path"
    )]
    Volume(String),
    #[error("invalid mount path: '{0}' mount path must be absolute")]
    RelativeTmpfs(String),
    #[error("invalid tmpfs option [\"{0}\"]")]
    TmpfsOption(String),
    #[error("Duplicate mount point: {0}")]
    Duplicate(String),
}

impl Classify for MountError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Volume(_) => ErrorKind::NotImplemented,
            _ => ErrorKind::Invalid,
        }
    }
}

/// Parses `source:destination[:options]`.
pub fn parse_binds(texts: &[String]) -> Result<Vec<Bind>, MountError> {
    texts.iter().map(|text| parse_bind(text)).collect()
}

fn parse_bind(text: &str) -> Result<Bind, MountError> {
    let syntax = || MountError::Syntax(text.to_owned());
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts.as_slice() {
        [source, destination] => (*source, *destination, ""),
        [source, destination, mode] => (*source, *destination, *mode),
        [path] if path.starts_with('/') => return Err(MountError::Volume(text.to_owned())),
        _ => return Err(syntax()),
    };
    if source.is_empty() || destination.is_empty() || text.contains('\0') {
        return Err(syntax());
    }
    if !destination.starts_with('/') {
        return Err(MountError::RelativeDestination(text.to_owned(), destination.to_owned()));
    }
    let destination = normalise(destination);
    if destination == "/" {
        return Err(MountError::DestinationIsRoot(text.to_owned()));
    }
    let mut bind = Bind {
        source: PathBuf::from(source),
        destination,
        readonly: false,
        recursive: true,
        propagation: Propagation::RecursivePrivate,
        mode: mode.to_owned(),
    };
    apply_mode(&mut bind, mode)?;
    if !source.starts_with('/') {
        return Err(MountError::Volume(text.to_owned()));
    }
    Ok(bind)
}

/// Reads the options of a bind: each kind at most once.
fn apply_mode(bind: &mut Bind, mode: &str) -> Result<(), MountError> {
    if mode.is_empty() {
        return Ok(());
    }
    let mut seen = HashSet::new();
    for option in mode.split(',') {
        let kind = match option {
            "ro" | "rw" => {
                bind.readonly = option == "ro";
                "access"
            }
            // SELinux labels, on a host that may have none; consistency means nothing on Linux.
            "z" | "Z" => "label",
            "consistent" | "cached" | "delegated" | "default" => "consistency",
            "private" => propagation(bind, Propagation::Private),
            "rprivate" => propagation(bind, Propagation::RecursivePrivate),
            "slave" => propagation(bind, Propagation::Slave),
            "rslave" => propagation(bind, Propagation::RecursiveSlave),
            "shared" => propagation(bind, Propagation::Shared),
            "rshared" => propagation(bind, Propagation::RecursiveShared),
            // Concerns volumes only.
            "nocopy" => "copy",
            _ => return Err(MountError::Mode(mode.to_owned())),
        };
        if !seen.insert(kind) {
            return Err(MountError::Mode(mode.to_owned()));
        }
    }
    Ok(())
}

fn propagation(bind: &mut Bind, wanted: Propagation) -> &'static str {
    bind.propagation = wanted;
    bind.recursive =
        matches!(wanted, Propagation::RecursivePrivate | Propagation::RecursiveSlave | Propagation::RecursiveShared);
    "propagation"
}

/// Parses destinations with their mount options; `noexec,nosuid,nodev` unless they say otherwise.
pub fn parse_tmpfs(texts: Option<&BTreeMap<String, String>>) -> Result<Vec<Tmpfs>, MountError> {
    texts.into_iter().flatten().map(|(destination, options)| parse_one_tmpfs(destination, options)).collect()
}

fn parse_one_tmpfs(destination: &str, options: &str) -> Result<Tmpfs, MountError> {
    if !destination.starts_with('/') || destination.contains('\0') {
        return Err(MountError::RelativeTmpfs(destination.to_owned()));
    }
    let mut tmpfs = Tmpfs {
        destination: normalise(destination),
        readonly: false,
        nosuid: true,
        nodev: true,
        noexec: true,
        options: Vec::new(),
    };
    if tmpfs.destination == "/" {
        return Err(MountError::DestinationIsRoot(destination.to_owned()));
    }
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => tmpfs.readonly = true,
            "rw" => tmpfs.readonly = false,
            "suid" => tmpfs.nosuid = false,
            "nosuid" => tmpfs.nosuid = true,
            "dev" => tmpfs.nodev = false,
            "nodev" => tmpfs.nodev = true,
            "exec" => tmpfs.noexec = false,
            "noexec" => tmpfs.noexec = true,
            _ => match option.split_once('=') {
                Some((key @ ("size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks"), value))
                    if !value.is_empty() && !value.contains('\0') =>
                {
                    tmpfs.options.push((key.to_owned(), value.to_owned()));
                }
                _ => return Err(MountError::TmpfsOption(option.to_owned())),
            },
        }
    }
    Ok(tmpfs)
}

/// Refuses two mounts on one destination.
pub fn check_destinations(binds: &[Bind], tmpfs: &[Tmpfs]) -> Result<(), MountError> {
    let mut seen = HashSet::new();
    for destination in binds.iter().map(|bind| &bind.destination).chain(tmpfs.iter().map(|tmpfs| &tmpfs.destination)) {
        if !seen.insert(destination) {
            return Err(MountError::Duplicate(destination.clone()));
        }
    }
    Ok(())
}

/// Removes empty, `.` and `..` components, without looking at any file system.
fn normalise(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Returns the mounts as the helper takes them, parents before what is mounted inside them.
pub fn for_helper(binds: &[Bind], tmpfs: &[Tmpfs]) -> Vec<MountSpec> {
    let binds = binds.iter().map(|bind| MountSpec {
        source: MountSource::Bind {
            path: bind.source.clone(),
            recursive: bind.recursive,
            propagation: bind.propagation,
            create: true,
        },
        destination: bind.destination.clone(),
        readonly: bind.readonly,
        nosuid: false,
        nodev: false,
        noexec: false,
    });
    let tmpfs = tmpfs.iter().map(|tmpfs| MountSpec {
        source: MountSource::Tmpfs(TmpfsOptions { options: tmpfs.options.clone() }),
        destination: tmpfs.destination.clone(),
        readonly: tmpfs.readonly,
        nosuid: tmpfs.nosuid,
        nodev: tmpfs.nodev,
        noexec: tmpfs.noexec,
    });
    let mut mounts: Vec<MountSpec> = tmpfs.chain(binds).collect();
    mounts.sort_by_key(|mount| mount.destination.matches('/').count());
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_read_as_docker_reads_them() {
        let bind = parse_bind("/a:/b/../c/:ro,rslave").unwrap();
        assert_eq!((bind.source.to_str(), bind.destination.as_str()), (Some("/a"), "/c"));
        assert!(bind.readonly && bind.recursive);
        assert_eq!(bind.propagation, Propagation::RecursiveSlave);
    }

    #[test]
    fn wrong_binds_are_refused_in_dockers_words() {
        for (text, words) in [
            ("", "invalid volume specification: ''"),
            ("a:b:c:d", "invalid volume specification: 'a:b:c:d'"),
            ("/a:b", "mount path must be absolute"),
            ("/a:/", "destination can't be '/'"),
            ("/a:/b:x", "invalid mode: x"),
            ("/a:/b:ro,rw", "invalid mode: ro,rw"),
            ("name:/b", "volumes are not supported"),
            ("/only", "volumes are not supported"),
        ] {
            assert!(parse_bind(text).unwrap_err().to_string().contains(words), "{text}");
        }
    }

    #[test]
    fn tmpfs_options_are_split_into_flags_and_the_kernels_own() {
        let tmpfs = parse_one_tmpfs("/run", "rw,exec,size=64k,mode=1777").unwrap();
        assert!(!tmpfs.noexec && tmpfs.nosuid && tmpfs.nodev);
        assert_eq!(tmpfs.options, [("size".to_owned(), "64k".to_owned()), ("mode".to_owned(), "1777".to_owned())]);
        assert_eq!(parse_one_tmpfs("/run", "bogus").unwrap_err(), MountError::TmpfsOption("bogus".to_owned()));
        assert!(parse_one_tmpfs("run", "").is_err());
    }

    #[test]
    fn two_mounts_on_one_place_are_refused() {
        let binds = parse_binds(&["/a:/x".to_owned()]).unwrap();
        let tmpfs = vec![parse_one_tmpfs("/x/", "").unwrap()];
        assert_eq!(check_destinations(&binds, &tmpfs).unwrap_err().to_string(), "Duplicate mount point: /x");
    }

    #[test]
    fn parents_are_mounted_before_what_is_inside_them() {
        let binds = parse_binds(&["/a:/x/y/z".to_owned(), "/b:/x".to_owned()]).unwrap();
        let order: Vec<_> = for_helper(&binds, &[]).into_iter().map(|mount| mount.destination).collect();
        assert_eq!(order, ["/x", "/x/y/z"]);
    }
}
