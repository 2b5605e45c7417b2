//! The log's record format: written by the helper, read by the daemon.
//!
//! A container's log is a sequence of segment files `log.<sequence>` in the container's directory; the one with the
//! highest sequence is being written. When a segment would grow past its limit a new one is begun, and the oldest are
//! removed so that at most `max_files` remain. A segment is a sequence of records, and a record is what one `read(2)`
//! of the process's output returned: it is not a line. Readers make lines by joining the payloads of one stream.
//!
//! ```text
//!   offset  size
//!        0     4  magic "PLR1"
//!        4     4  length of the payload, little-endian
//!        8     8  wall clock, nanoseconds since the epoch, little-endian i64
//!       16     1  stream: 1 stdout, 2 stderr
//!       17     1  reserved, zero
//!       18     2  reserved, zero
//!       20     4  CRC-32 (IEEE) of bytes 0..20 and the payload
//!       24     …  payload
//! ```
//!
//! After a power cut a segment may end in part of a record or in zeros: a reader that meets a header without the
//! magic, or a sum that does not match, stops at that record in the last segment, and goes on with the next segment
//! otherwise. Records are appended with one `writev(2)`, so that after a kill -9 of the helper nothing but the last
//! record can be short.

use serde::{Deserialize, Serialize};

/// First bytes of every record.
pub const MAGIC: [u8; 4] = *b"PLR1";

/// Size of a record's header, in bytes.
pub const HEADER_SIZE: usize = 24;

/// The largest payload of a record, in bytes: what the helper reads at once.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// A place in a container's log: the next byte after it is the first of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The segment's number.
    pub segment: u64,
    /// Offset in the segment, in bytes.
    pub offset: u64,
}

/// Which output a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Stream {
    Stdout = 1,
    Stderr = 2,
}

/// A decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub length: u32,
    pub time_ns: i64,
    pub stream: Stream,
    crc: u32,
    raw: [u8; 20],
}

/// Returns the name of the segment file with this number.
pub fn segment_name(segment: u64) -> String {
    format!("log.{segment}")
}

/// Returns the number of a segment file, if `name` is one.
pub fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log.")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// Encodes the header of a record with this payload.
///
/// # Panics
/// If the payload is longer than [`MAX_PAYLOAD`].
pub fn encode_header(stream: Stream, time_ns: i64, payload: &[u8]) -> [u8; HEADER_SIZE] {
    assert!(payload.len() <= MAX_PAYLOAD, "a log record is one read, and reads are bounded");
    let mut header = [0; HEADER_SIZE];
    header[0..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[8..16].copy_from_slice(&time_ns.to_le_bytes());
    header[16] = stream as u8;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..20]);
    hasher.update(payload);
    header[20..24].copy_from_slice(&hasher.finalize().to_le_bytes());
    header
}

/// Decodes a header; `None` if these bytes cannot be one.
pub fn decode_header(bytes: &[u8; HEADER_SIZE]) -> Option<Header> {
    let raw: [u8; 20] = bytes[..20].try_into().ok()?;
    if raw[0..4] != MAGIC {
        return None;
    }
    let length = u32::from_le_bytes(raw[4..8].try_into().ok()?);
    let stream = match raw[16] {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return None,
    };
    (length as usize <= MAX_PAYLOAD).then_some(Header {
        length,
        time_ns: i64::from_le_bytes(raw[8..16].try_into().ok()?),
        stream,
        crc: u32::from_le_bytes(bytes[20..24].try_into().ok()?),
        raw,
    })
}

impl Header {
    /// Returns whether the payload is the one that the header was made for.
    pub fn matches(&self, payload: &[u8]) -> bool {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.raw);
        hasher.update(payload);
        hasher.finalize() == self.crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_knows_its_payload() {
        let bytes = encode_header(Stream::Stderr, 1_700_000_000_123_456_789, b"hello\n");
        let header = decode_header(&bytes).expect("a header");
        assert_eq!((header.length, header.stream), (6, Stream::Stderr));
        assert_eq!(header.time_ns, 1_700_000_000_123_456_789);
        assert!(header.matches(b"hello\n"));
        assert!(!header.matches(b"hellO\n"));
    }

    #[test]
    fn zeros_and_unknown_streams_are_no_header() {
        assert!(decode_header(&[0; HEADER_SIZE]).is_none());
        let mut bytes = encode_header(Stream::Stdout, 0, b"");
        bytes[16] = 9;
        assert!(decode_header(&bytes).is_none());
    }

    #[test]
    fn segment_names_parse_back_and_nothing_else_does() {
        assert_eq!(parse_segment_name(&segment_name(12)), Some(12));
        for name in ["log.", "log.01", "log.-1", "log.1.tmp", "exit.json"] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }
}
