//! Takes Docker's multiplexed stream apart: a header before every payload, cut anywhere by the transport.

use api_schema::stream::{HEADER_SIZE, Stream, decode_header};

/// Which output a payload belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// Bytes where a header should be that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the daemon's output is not a multiplexed stream: {0:?} is no header")]
pub struct NotMultiplexed([u8; HEADER_SIZE]);

/// Takes frames apart, whatever pieces they arrive in.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_SIZE],
    /// Bytes of `header` that have arrived.
    filled: usize,
    /// Where the current payload goes, and how many bytes of it are to come.
    payload: Option<(Output, usize)>,
}

impl Decoder {
    /// Passes each piece of payload in `chunk` to `emit`, in order.
    ///
    /// # Errors
    /// The stream is not a multiplexed one.
    pub fn feed(&mut self, mut chunk: &[u8], mut emit: impl FnMut(Output, &[u8])) -> Result<(), NotMultiplexed> {
        while !chunk.is_empty() {
            if let Some((output, remaining)) = self.payload.take() {
                let (piece, rest) = chunk.split_at(chunk.len().min(remaining));
                emit(output, piece);
                if piece.len() < remaining {
                    self.payload = Some((output, remaining - piece.len()));
                }
                chunk = rest;
            } else {
                let (piece, rest) = chunk.split_at(chunk.len().min(HEADER_SIZE - self.filled));
                self.header[self.filled..self.filled + piece.len()].copy_from_slice(piece);
                self.filled += piece.len();
                chunk = rest;
                if self.filled == HEADER_SIZE {
                    self.filled = 0;
                    let (stream, length) = decode_header(self.header).ok_or(NotMultiplexed(self.header))?;
                    let output = match stream {
                        Stream::Stdin | Stream::Stdout => Output::Stdout,
                        // The daemon's own complaint about a log belongs beside the program's.
                        Stream::Stderr | Stream::SystemError => Output::Stderr,
                    };
                    self.payload = (length > 0).then_some((output, length as usize));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![stream, 0, 0, 0];
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut() {
        let wire = [frame(1, b"out one\n"), frame(2, b"err\n"), frame(1, b""), frame(1, b"out two\n")].concat();
        for size in 1..wire.len() + 1 {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut decoder = Decoder::default();
            for chunk in wire.chunks(size) {
                decoder
                    .feed(chunk, |output, bytes| match output {
                        Output::Stdout => out.extend_from_slice(bytes),
                        Output::Stderr => err.extend_from_slice(bytes),
                    })
                    .unwrap();
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"out one\nout two\n"[..], &b"err\n"[..]), "size {size}");
        }
    }

    #[test]
    fn a_raw_stream_is_refused() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(b"plain text", |_, _| ()), Err(NotMultiplexed(*b"plain te")));
    }
}
