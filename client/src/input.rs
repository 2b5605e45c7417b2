//! Reads stdin and files on a thread of their own, so that a read that never returns keeps nothing from ending.

use std::{
    io::{self, Read},
    thread,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

/// What is read at once: the capacity of a pipe.
const CHUNK: usize = 64 * 1024;
/// How many chunks are read ahead.
const AHEAD: usize = 4;

/// Reads `source` to its end, in chunks that begin with `headroom` bytes of zero.
pub(crate) fn chunks(
    mut source: impl Read + Send + 'static,
    headroom: usize,
) -> io::Result<mpsc::Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let read = move || {
        loop {
            let mut chunk = vec![0; headroom + CHUNK];
            let result = match source.read(&mut chunk[headroom..]) {
                Ok(0) => return,
                Ok(length) => {
                    chunk.truncate(headroom + length);
                    Ok(chunk)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = result.is_err();
            if sender.blocking_send(result).is_err() || failed {
                return;
            }
        }
    };
    thread::Builder::new().name("input".to_owned()).spawn(read)?;
    Ok(receiver)
}

/// Reads `source` to its end as the body of a request.
pub(crate) fn body(
    source: impl Read + Send + 'static,
) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let receiver = chunks(source, 0)?;
    Ok(stream::unfold(receiver, async |mut receiver| {
        let chunk = receiver.recv().await?;
        Some((chunk.map(Bytes::from), receiver))
    }))
}
