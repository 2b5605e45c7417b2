//! Docker's multiplexed stream: frames of eight bytes `[stream, 0, 0, 0, length as u32 BE]` and a payload.

use std::io::Read;

use crate::Output;

/// Reads one frame; `None` at the end of the stream.
pub fn read_frame(stream: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 8];
    let mut filled = 0;
    while filled < header.len() {
        match stream.read(&mut header[filled..]).expect("the stream ends well") {
            0 if filled == 0 => return None,
            0 => panic!("the stream ended inside a frame's header"),
            read => filled += read,
        }
    }
    assert_eq!(header[1..4], [0; 3], "not a frame: {header:?}");
    let mut payload = vec![0; u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize];
    stream.read_exact(&mut payload).expect("the whole payload");
    Some((header[0], payload))
}

/// Reads frames until the stream ends.
pub fn read_output(stream: &mut impl Read) -> Output {
    let mut output = Output::default();
    while let Some((stream, payload)) = read_frame(stream) {
        match stream {
            1 => output.stdout.extend(payload),
            2 => output.stderr.extend(payload),
            other => panic!("stream {other} says {:?}", String::from_utf8_lossy(&payload)),
        }
    }
    output
}

/// Reads frames until stdout has this many bytes or more.
pub fn read_stdout(stream: &mut impl Read, length: usize) -> Vec<u8> {
    let mut stdout = Vec::new();
    while stdout.len() < length {
        match read_frame(stream) {
            Some((1, payload)) => stdout.extend(payload),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&stdout)),
        }
    }
    stdout
}
