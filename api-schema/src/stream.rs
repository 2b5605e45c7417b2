//! Docker's framing of output: 8 bytes `[stream, 0, 0, 0, length: u32 big-endian]`, then the bytes.

/// Size of a frame's header, in bytes.
pub const HEADER_SIZE: usize = 8;

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// An error of the daemon; used only in logs.
    SystemError = 3,
}

impl Stream {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::SystemError,
            _ => return None,
        })
    }
}

/// Returns the header of a frame.
pub fn encode_header(stream: Stream, length: u32) -> [u8; HEADER_SIZE] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// Decodes a header; `None` if these bytes cannot be one.
pub fn decode_header(bytes: [u8; HEADER_SIZE]) -> Option<(Stream, u32)> {
    let [stream, 0, 0, 0, a, b, c, d] = bytes else { return None };
    Some((Stream::from_byte(stream)?, u32::from_be_bytes([a, b, c, d])))
}

/// Returns one whole frame.
pub fn encode(stream: Stream, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(HEADER_SIZE + payload.len());
    frame.extend_from_slice(&encode_header(stream, length));
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back() {
        for stream in [Stream::Stdin, Stream::Stdout, Stream::Stderr, Stream::SystemError] {
            assert_eq!(decode_header(encode_header(stream, 0x0102_0304)), Some((stream, 0x0102_0304)));
        }
        assert_eq!(decode_header([1, 0, 0, 1, 0, 0, 0, 0]), None);
        assert_eq!(decode_header([4, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
