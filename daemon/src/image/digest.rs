//! Content addresses: the only form in which a hash may name a file, a row or an image.
//!
//! A [`Digest`] can only hold 32 bytes, so nothing that came from a client or from an archive can become a path by way
//! of a digest: whatever is not `sha256:` and 64 lowercase hexadecimal digits never gets past [`Digest::parse`].

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// A SHA-256 content address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Why a text is not a digest; the texts are those of Docker's digest package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("unsupported digest algorithm")]
    Algorithm,
    #[error("invalid checksum digest length")]
    Length,
    #[error("invalid checksum digest format")]
    Format,
}

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Parses `sha256:<64 lowercase hexadecimal digits>`; nothing else is a digest.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::Format)?;
        if algorithm != "sha256" {
            return Err(DigestError::Algorithm);
        }
        Self::from_hex(hex)
    }

    /// Parses the 64 lowercase hexadecimal digits alone.
    pub fn from_hex(hex: &str) -> Result<Self, DigestError> {
        let digits: &[u8; 64] = hex.as_bytes().try_into().map_err(|_wrong_length| DigestError::Length)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }

    /// Returns the 64 hexadecimal digits, which name the content's file.
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
        }
        hex
    }

    /// Returns the twelve digits that Docker prints for people.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }
}

/// Returns the chain id of a layer with diff id `diff` on top of the chain `parent`.
pub(crate) fn chain_id(parent: Option<&Digest>, diff: &Digest) -> Digest {
    match parent {
        None => *diff,
        Some(parent) => Digest::of(format!("{parent} {diff}").as_bytes()),
    }
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DigestError::Format),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

/// Passes a stream through and hashes what passes.
pub(crate) struct HashingReader<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }

    /// Reads what is left of the stream, then returns the digest and the length in bytes of all of it.
    pub(crate) fn finish(mut self) -> io::Result<(Digest, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((Digest(self.hasher.finalize().into()), self.bytes))
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_prints_as_it_was_parsed() {
        let digest = Digest::parse(EMPTY).unwrap();
        assert_eq!(digest, Digest::of(b""));
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digest.short(), "e3b0c44298fc");
    }

    #[test]
    fn what_is_not_exactly_a_sha256_is_refused() {
        let hex = &EMPTY[7..];
        for (text, error) in [
            ("sha256:".to_owned(), DigestError::Length),
            ("sha256:../../etc/passwd".to_owned(), DigestError::Length),
            (format!("sha256:{}", &hex[..63]), DigestError::Length),
            (format!("sha256:{hex}0"), DigestError::Length),
            (format!("sha256:{}", hex.to_uppercase()), DigestError::Format),
            (format!("sha256:{}\0", &hex[..63]), DigestError::Format),
            (format!("md5:{hex}"), DigestError::Algorithm),
            (hex.to_owned(), DigestError::Format),
            (String::new(), DigestError::Format),
        ] {
            assert_eq!(Digest::parse(&text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn chain_ids_are_those_of_the_image_specification() {
        let bottom = Digest::of(b"bottom");
        let top = Digest::of(b"top");
        assert_eq!(chain_id(None, &bottom), bottom);
        assert_eq!(chain_id(Some(&bottom), &top), Digest::of(format!("{bottom} {top}").as_bytes()));
    }

    #[test]
    fn hashing_covers_what_was_not_read_by_the_consumer() {
        let mut reader = HashingReader::new(&b"abcdef"[..]);
        let mut half = [0; 3];
        reader.read_exact(&mut half).unwrap();
        assert_eq!(reader.finish().unwrap(), (Digest::of(b"abcdef"), 6));
    }
}
