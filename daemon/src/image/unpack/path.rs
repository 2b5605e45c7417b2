//! What an entry's name asks for: a place in the layer, the removal of something below, or nothing. Pure.

/// Longest path, in bytes: the kernel's PATH_MAX without its NUL.
const MAX_PATH: usize = 4095;

/// Longest path component, in bytes: the kernel's NAME_MAX.
const MAX_NAME: usize = 255;

/// Deepest path, in components; arbitrary, trees in use reach 40.
const MAX_DEPTH: usize = 256;

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Book-keeping of aufs that old images carry; it means nothing elsewhere.
const AUFS: [&[u8]; 3] = [b".wh..wh.aufs", b".wh..wh.plnk", b".wh..wh.orph"];

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("it leaves the layer")]
    ParentReference,
    #[error("it is too long")]
    TooLong,
    #[error("it is too deep")]
    TooDeep,
    #[error("it is not a valid whiteout")]
    Whiteout,
    #[error("it names nothing")]
    Empty,
}

/// Where an entry goes; `directory` is relative to the layer's root, without a leading slash, empty for the root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The root directory of the layer itself.
    Root,
    Entry {
        directory: Vec<u8>,
        name: Vec<u8>,
    },
    /// Hides `name` of the layers below.
    Whiteout {
        directory: Vec<u8>,
        name: Vec<u8>,
    },
    /// Hides everything that the layers below have in `directory`.
    Opaque {
        directory: Vec<u8>,
    },
    Ignored,
}

/// Decides where the entry called `path` goes.
pub(crate) fn place(path: &[u8]) -> Result<Place, PathError> {
    let components = components(path)?;
    let Some((&name, parents)) = components.split_last() else { return Ok(Place::Root) };
    if components.iter().any(|component| AUFS.contains(component)) {
        return Ok(Place::Ignored);
    }
    if parents.iter().any(|parent| parent.starts_with(WHITEOUT)) {
        return Err(PathError::Whiteout);
    }
    let directory = parents.join(&b'/');
    if name == OPAQUE {
        return Ok(Place::Opaque { directory });
    }
    if name.starts_with(WHITEOUT_META) {
        return Err(PathError::Whiteout);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Place::Entry { directory, name: name.to_vec() }),
        Some(b"" | b"." | b"..") => Err(PathError::Whiteout),
        Some(hidden) => Ok(Place::Whiteout { directory, name: hidden.to_vec() }),
    }
}

/// Splits the target of a hard link into directory and name.
pub(crate) fn link_target(path: &[u8]) -> Result<(Vec<u8>, Vec<u8>), PathError> {
    let components = components(path)?;
    let (name, parents) = components.split_last().ok_or(PathError::Empty)?;
    Ok((parents.join(&b'/'), name.to_vec()))
}

fn components(path: &[u8]) -> Result<Vec<&[u8]>, PathError> {
    if path.len() > MAX_PATH {
        return Err(PathError::TooLong);
    }
    let mut components = Vec::new();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(PathError::ParentReference),
            name if name.len() > MAX_NAME => return Err(PathError::TooLong),
            name => components.push(name),
        }
    }
    if components.len() > MAX_DEPTH { Err(PathError::TooDeep) } else { Ok(components) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(directory: &str, name: &str) -> Place {
        Place::Entry { directory: directory.into(), name: name.into() }
    }

    #[test]
    fn names_are_relative_to_the_layer_however_they_are_written() {
        for (path, place_expected) in [
            ("a", entry("", "a")),
            ("/a/b", entry("a", "b")),
            ("./a//b/./c/", entry("a/b", "c")),
            ("", Place::Root),
            ("/", Place::Root),
            ("./", Place::Root),
            ("...", entry("", "...")),
            ("a/.wh.b", Place::Whiteout { directory: b"a".into(), name: b"b".into() }),
            ("a/.wh..hidden", Place::Whiteout { directory: b"a".into(), name: b".hidden".into() }),
            ("a/.wh..wh..opq", Place::Opaque { directory: b"a".into() }),
            (".wh..wh..opq", Place::Opaque { directory: b"".into() }),
            (".wh..wh.aufs", Place::Ignored),
            (".wh..wh.plnk/99.1", Place::Ignored),
        ] {
            assert_eq!(place(path.as_bytes()), Ok(place_expected), "{path}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let deep = "d/".repeat(300);
        let long = "n".repeat(256);
        for (path, error) in [
            ("..", PathError::ParentReference),
            ("a/../b", PathError::ParentReference),
            ("/../../etc/passwd", PathError::ParentReference),
            (".wh.", PathError::Whiteout),
            (".wh..", PathError::Whiteout),
            (".wh...", PathError::Whiteout),
            ("dir/.wh..", PathError::Whiteout),
            (".wh./x", PathError::Whiteout),
            (".wh.a/x", PathError::Whiteout),
            (".wh..wh.other", PathError::Whiteout),
            (".wh..wh..opq/x", PathError::Whiteout),
            (&deep, PathError::TooDeep),
            (&long, PathError::TooLong),
        ] {
            assert_eq!(place(path.as_bytes()), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_accepted_name_contains_a_way_out(path in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), Just(b'w'), Just(b'h'), any::<u8>()], 0..64)) {
            let check = |directory: &[u8], name: Option<&[u8]>| {
                directory.split(|&byte| byte == b'/').chain(name).all(|part| part != b".." && part != b".")
                    && !directory.starts_with(b"/")
                    && name.is_none_or(|name| !name.is_empty() && !name.contains(&b'/'))
            };
            match place(&path) {
                Ok(Place::Entry { directory, name } | Place::Whiteout { directory, name }) => prop_assert!(check(&directory, Some(&name))),
                Ok(Place::Opaque { directory }) => prop_assert!(check(&directory, None)),
                Ok(Place::Root | Place::Ignored) | Err(_) => {}
            }
        }
    }
}
