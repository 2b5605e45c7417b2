//! Finds out by its first bytes how a stream is compressed, and bounds how far it may expand.

use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

/// Largest zstd window, as a power of two: what `zstd --long` writes by default (128 MiB).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What a stream may expand to whatever its compressed length, in bytes.
const FREE_EXPANSION: u64 = 1 << 30;

/// Beyond [`FREE_EXPANSION`], the most uncompressed bytes for each compressed one; file systems reach 20, gzip's limit
/// (reached by zeros only) is 1032.
const MAX_RATIO: u64 = 200;

const BUFFER: usize = 128 << 10;

/// Returns the uncompressed content of `input`: plain, gzip (any number of members) or zstd (any number of frames).
pub(crate) fn decompress<'a, R: Read + Send + 'a>(input: R) -> io::Result<Box<dyn Read + Send + 'a>> {
    let compressed = Arc::new(AtomicU64::new(0));
    let mut input = BufReader::with_capacity(BUFFER, Counted { inner: input, count: Arc::clone(&compressed) });
    let mut magic = [0; 6];
    let length = read_up_to(&mut input, &mut magic)?;
    let input = Cursor::new(magic).take(length as u64).chain(input);
    let bounded = |inner| -> Box<dyn Read + Send + 'a> { Box::new(Bounded { inner, compressed, produced: 0 }) };
    Ok(match magic {
        [0x1f, 0x8b, 0x08, ..] => bounded(Box::new(MultiGzDecoder::new(input)) as Box<dyn Read + Send + 'a>),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => bounded(zstd(input)?),
        // A skippable frame (0x184D2A50 to 5F) may come first; pzstd writes one.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => bounded(zstd(input)?),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => return Err(unsupported("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => return Err(unsupported("xz")),
        _ => Box::new(input),
    })
}

fn zstd<'a, R: BufRead + Send + 'a>(input: R) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(Box::new(decoder))
}

fn unsupported(name: &str) -> io::Error {
    io::Error::new(
        ErrorKind::Unsupported,
        format!("archives compressed with {name} are not supported; use gzip, zstd or none"),
    )
}

fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Ends a stream that expands further than real data does.
struct Bounded<'a> {
    inner: Box<dyn Read + Send + 'a>,
    compressed: Arc<AtomicU64>,
    produced: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.produced += count as u64;
        let allowed = self.compressed.load(Ordering::Relaxed).saturating_mul(MAX_RATIO).max(FREE_EXPANSION);
        if self.produced > allowed {
            let message = format!("the compressed data expands to more than {MAX_RATIO} times its size");
            return Err(io::Error::new(ErrorKind::InvalidData, message));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn all(input: &[u8]) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        decompress(input)?.read_to_end(&mut output)?;
        Ok(output)
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_format_is_recognised_and_concatenations_are_read_to_the_end() {
        let data = b"some bytes".repeat(10_000);
        assert_eq!(all(&data).unwrap(), data);
        assert_eq!(all(b"").unwrap(), b"");
        assert_eq!(all(b"ab").unwrap(), b"ab");
        let twice = data.repeat(2);
        assert_eq!(all(&gzip(&data).repeat(2)).unwrap(), twice);
        let frame = zstd::encode_all(&data[..], 1).unwrap();
        assert_eq!(all(&frame.repeat(2)).unwrap(), twice);
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9], &frame[..]].concat();
        assert_eq!(all(&skippable).unwrap(), data);
    }

    #[test]
    fn truncated_streams_are_errors() {
        let data = b"some bytes that do not compress to nothing: 0123456789".repeat(100);
        for full in [gzip(&data), zstd::encode_all(&data[..], 1).unwrap()] {
            for cut in [full.len() / 2, full.len() - 1] {
                assert_eq!(all(&full[..cut]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
            }
        }
    }

    #[test]
    fn formats_that_docker_knows_and_we_do_not_are_named() {
        assert!(all(b"BZh91AY&SY").unwrap_err().to_string().contains("bzip2"));
        assert!(all(b"\xfd7zXZ\0\0").unwrap_err().to_string().contains("xz"));
    }

    #[test]
    fn bombs_end_after_a_gigabyte() {
        // zstd needs a few bytes for each 128 KiB of zeros.
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..1200 {
            encoder.write_all(&zeros).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 1 << 20);
        let mut stream = decompress(&bomb[..]).unwrap();
        let error = io::copy(&mut stream, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("expands"), "{error}");
    }
}
