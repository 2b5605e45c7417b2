//! Docker's image references: the grammar, its defaults, and how they are printed for people.
//!
//! ```text
//! reference = [domain "/"] path [":" tag] ["@" digest]        busybox = docker.io/library/busybox:latest
//! ```
//!
//! A [`Repository`] always holds the full name and prints the familiar one, so that two spellings of one name are one
//! key. Error texts are Docker's, because clients match on them.

use std::fmt;

use super::digest::{Digest, DigestError};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";

/// Longest repository path (without the domain), as in Docker's reference package.
const MAX_PATH: usize = 255;

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    #[error("repository name must not be more than {MAX_PATH} characters")]
    TooLong,
    #[error("invalid tag format")]
    TagFormat,
    #[error("cannot import digest reference")]
    UnexpectedDigest,
    #[error("refusing to create an ambiguous tag using digest algorithm as name")]
    DigestAlgorithmAsName,
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// A repository's full name, such as `docker.io/library/busybox`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    full: String,
}

impl Repository {
    /// Returns the full name, which is what is stored.
    pub fn full(&self) -> &str {
        &self.full
    }

    /// Returns the name as people write it: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> &str {
        let Some(path) = self.full.strip_prefix(DEFAULT_DOMAIN).and_then(|rest| rest.strip_prefix('/')) else {
            return &self.full;
        };
        match path.strip_prefix(OFFICIAL_PREFIX) {
            Some(name) if !name.contains('/') => name,
            _ => path,
        }
    }
}

/// A name with at most a tag and a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub repository: Repository,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// A repository and a tag: what an image can be called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tagged {
    pub repository: Repository,
    pub tag: String,
}

impl fmt::Display for Tagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository.familiar(), self.tag)
    }
}

impl Tagged {
    /// Rebuilds a tag from the stored full name and tag, checking both again.
    pub(crate) fn from_stored(full: &str, tag: &str) -> Result<Self, ReferenceError> {
        let reference = Reference::parse(&format!("{full}:{tag}"))?;
        match reference.tag {
            Some(tag) if reference.digest.is_none() && reference.repository.full == full => {
                Ok(Self { repository: reference.repository, tag })
            }
            _ => Err(ReferenceError::Format),
        }
    }

    /// Reads the `repo` and `tag` parameters of the tag and import endpoints; `None` when no repository is named.
    pub fn from_parameters(repo: &str, tag: &str) -> Result<Option<Self>, ReferenceError> {
        if repo.is_empty() {
            return Ok(None);
        }
        let reference = Reference::parse(repo)?;
        if !tag.is_empty() && !is_tag(tag) {
            return Err(ReferenceError::TagFormat);
        }
        if reference.digest.is_some() && tag.is_empty() {
            return Err(ReferenceError::UnexpectedDigest);
        }
        if reference.repository.familiar() == "sha256" {
            return Err(ReferenceError::DigestAlgorithmAsName);
        }
        let tag = if tag.is_empty() { reference.tag.unwrap_or_else(|| DEFAULT_TAG.to_owned()) } else { tag.to_owned() };
        Ok(Some(Self { repository: reference.repository, tag }))
    }
}

impl Reference {
    /// Parses a name as Docker does, filling in the default domain and `library/`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if is_hex_id(text) {
            return Err(ReferenceError::LooksLikeId(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        let remote = remainder.split(':').next().unwrap_or_default();
        if remote.chars().any(char::is_uppercase) {
            return Err(ReferenceError::Uppercase(remote.to_owned()));
        }

        let (named, digest) = match remainder.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (named, None),
        };
        if !is_domain(domain) || !is_path(path) || tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Format);
        }
        if path.len() > MAX_PATH {
            return Err(ReferenceError::TooLong);
        }
        let digest = match digest {
            None => None,
            Some(digest) if !looks_like_digest(digest) => return Err(ReferenceError::Format),
            Some(digest) => Some(Digest::parse(digest)?),
        };
        let repository = Repository { full: format!("{domain}/{path}") };
        Ok(Self { repository, tag: tag.map(str::to_owned), digest })
    }

    /// Returns the tag that this reference means when it names no digest.
    pub fn tagged(&self) -> Tagged {
        Tagged { repository: self.repository.clone(), tag: self.tag.clone().unwrap_or_else(|| DEFAULT_TAG.to_owned()) }
    }
}

/// Prints the familiar form; a reference with neither tag nor digest gets `:latest`, as in Docker's messages.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.repository.familiar())?;
        match (&self.tag, &self.digest) {
            (None, None) => write!(f, ":{DEFAULT_TAG}"),
            (tag, digest) => {
                if let Some(tag) = tag {
                    write!(f, ":{tag}")?;
                }
                if let Some(digest) = digest {
                    write!(f, "@{digest}")?;
                }
                Ok(())
            }
        }
    }
}

/// What a client may put where an image is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// A full id, with or without `sha256:`.
    Id(Digest),
    /// A name; when no image has it, the text may still be the beginning of an id.
    Name(Reference),
}

impl Lookup {
    /// Parses whatever a client may name an image by.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        match Digest::from_hex(hex) {
            Ok(digest) => Ok(Self::Id(digest)),
            Err(_not_an_id) => Reference::parse(text).map(Self::Name),
        }
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(reference) => reference.fmt(f),
        }
    }
}

/// Returns the hexadecimal digits if `text` can be the beginning of an id.
pub(crate) fn id_prefix(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let digits = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (digits && !hex.is_empty() && hex.len() <= 64).then_some(hex)
}

/// Splits off the domain; the first component is one only if it cannot be part of a Docker Hub path.
fn split_domain(text: &str) -> (&str, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase) =>
        {
            (if first == LEGACY_DOMAIN { DEFAULT_DOMAIN } else { first }, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        (domain, format!("{OFFICIAL_PREFIX}{remainder}"))
    } else {
        (domain, remainder.to_owned())
    }
}

/// Host name, IPv4 or bracketed IPv6 address, with at most a port.
fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after)) => {
                if address.is_empty() || !address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') {
                    return false;
                }
                match after.strip_prefix(':') {
                    Some(port) => (None, Some(port)),
                    None if after.is_empty() => (None, None),
                    None => return false,
                }
            }
            None => return false,
        },
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    let component = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    host.is_none_or(|host| host.split('.').all(component))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Slash-separated components of lowercase alphanumerics joined by `.`, `_`, `__` or any number of `-`.
fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

fn is_path_component(component: &str) -> bool {
    let alphanumeric = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let mut rest = component.as_bytes();
    loop {
        let word = rest.iter().take_while(|byte| alphanumeric(byte)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let separator = rest.iter().take_while(|byte| !alphanumeric(byte)).count();
        let valid =
            matches!(&rest[..separator], b"." | b"_" | b"__") || rest[..separator].iter().all(|&byte| byte == b'-');
        if !valid {
            return false;
        }
        rest = &rest[separator..];
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
        && tag.bytes().next().is_some_and(word)
}

/// The shape that the reference grammar gives digests; whether it is one that can be served is for [`Digest::parse`].
fn looks_like_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|first: char| first.is_ascii_alphabetic())
            && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'.'))
            && hex.len() >= 32
            && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_get_dockers_defaults_and_print_without_them() {
        for (text, full, familiar) in [
            ("busybox", "docker.io/library/busybox", "busybox:latest"),
            ("library/busybox", "docker.io/library/busybox", "busybox:latest"),
            ("docker.io/busybox:1", "docker.io/library/busybox", "busybox:1"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox:latest"),
            ("user/app:v1.2_3-x", "docker.io/user/app", "user/app:v1.2_3-x"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b:latest"),
            ("localhost/app", "localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:1", "localhost:5000/app", "localhost:5000/app:1"),
            ("Registry/app", "Registry/app", "Registry/app:latest"),
            ("ghcr.io/a/b__c-----d.e", "ghcr.io/a/b__c-----d.e", "ghcr.io/a/b__c-----d.e:latest"),
            ("[2001:db8::1]:5000/app", "[2001:db8::1]:5000/app", "[2001:db8::1]:5000/app:latest"),
        ] {
            let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(reference.repository.full(), full, "{text}");
            assert_eq!(reference.to_string(), familiar, "{text}");
        }
    }

    #[test]
    fn a_digest_may_follow_the_tag() {
        let text = format!("busybox:1@sha256:{HEX}");
        let reference = Reference::parse(&text).unwrap();
        assert_eq!(reference.tag.as_deref(), Some("1"));
        assert_eq!(reference.digest, Some(Digest::from_hex(HEX).unwrap()));
        assert_eq!(reference.to_string(), text);
    }

    #[test]
    fn errors_are_worded_as_docker_words_them() {
        let long = "a".repeat(256);
        for (text, message) in [
            ("", "invalid reference format"),
            ("a:b:c", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("/a", "invalid reference format"),
            ("a/", "invalid reference format"),
            ("a b", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("a:-x", "invalid reference format"),
            ("a@sha256:abc", "invalid reference format"),
            ("a@", "invalid reference format"),
            ("../a", "invalid reference format"),
            ("host.:x/a", "invalid reference format"),
            ("é/a", "invalid reference format"),
            ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
            ("user/App:1", "invalid reference format: repository name (user/App) must be lowercase"),
            (HEX, &format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings")),
            (&long, "repository name must not be more than 255 characters"),
            (&format!("a@sha512:{HEX}"), "unsupported digest algorithm"),
            (&format!("a@sha256:{HEX}00"), "invalid checksum digest length"),
        ] {
            assert_eq!(Reference::parse(text).unwrap_err().to_string(), message, "{text:?}");
        }
    }

    #[test]
    fn a_full_id_is_looked_up_as_an_id_and_all_else_as_a_name() {
        let id = Digest::from_hex(HEX).unwrap();
        assert_eq!(Lookup::parse(HEX), Ok(Lookup::Id(id)));
        assert_eq!(Lookup::parse(&format!("sha256:{HEX}")), Ok(Lookup::Id(id)));
        assert!(matches!(Lookup::parse("sha256:e3b0"), Ok(Lookup::Name(_))));
        assert_eq!(id_prefix("sha256:e3b0"), Some("e3b0"));
        assert_eq!(id_prefix("e3b0"), Some("e3b0"));
        assert_eq!(id_prefix("busybox"), None);
        assert_eq!(id_prefix(""), None);
    }

    #[test]
    fn the_tag_endpoint_refuses_what_it_cannot_name() {
        assert_eq!(Tagged::from_parameters("", "x"), Ok(None));
        assert_eq!(Tagged::from_parameters("a:1", "").unwrap().unwrap().to_string(), "a:1");
        assert_eq!(Tagged::from_parameters("a:1", "2").unwrap().unwrap().to_string(), "a:2");
        assert_eq!(Tagged::from_parameters("a", "").unwrap().unwrap().to_string(), "a:latest");
        assert_eq!(Tagged::from_parameters("a", "b c"), Err(ReferenceError::TagFormat));
        assert_eq!(Tagged::from_parameters("sha256", "x"), Err(ReferenceError::DigestAlgorithmAsName));
        let digested = format!("a@sha256:{HEX}");
        assert_eq!(Tagged::from_parameters(&digested, ""), Err(ReferenceError::UnexpectedDigest));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,300}") {
            drop(Lookup::parse(&text));
            drop(Tagged::from_parameters(&text, &text));
        }

        #[test]
        fn what_is_printed_parses_to_the_same(text in "([a-zA-Z.]{1,6}(:[0-9]{1,3})?/)?[a-z0-9._-]{1,8}(/[a-z0-9]{1,5})?(:[A-Za-z0-9_.-]{1,6})?") {
            if let Ok(reference) = Reference::parse(&text) {
                let again = Reference::parse(&reference.to_string()).unwrap();
                prop_assert_eq!(again.tagged(), reference.tagged());
                prop_assert_eq!(Tagged::from_stored(reference.repository.full(), &reference.tagged().tag), Ok(reference.tagged()));
            }
        }
    }
}
