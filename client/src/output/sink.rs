//! Writes a program's output to our stdout and stderr: every byte, in the order it came.
//!
//! The writing is done by a thread, because a reader that does not read must stop neither stdin nor signals. What is
//! waiting is bounded by [`QUEUED`] batches of about [`BATCH`] bytes; a full queue makes [`Sink::flush`] wait, which in
//! the end makes the daemon wait.

use std::{io, thread};

use pinnace_client::stdcopy::Output;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use tokio::sync::{mpsc, oneshot};

/// Where a batch is sent on, in bytes: past a few pipe buffers (64 KiB) larger writes are no faster.
const BATCH: usize = 256 * 1024;
/// How many batches may wait for the reader: enough that neither side waits for the other's turn.
const QUEUED: usize = 4;

/// Output of one or both streams: `data` cut into `runs`.
#[derive(Debug, Default)]
struct Batch {
    data: Vec<u8>,
    runs: Vec<(Output, usize)>,
}

/// The way to stdout and stderr.
#[derive(Debug)]
pub(crate) struct Sink {
    batch: Batch,
    queue: mpsc::Sender<Batch>,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Sink {
    /// Starts the thread that writes.
    pub(crate) fn open() -> io::Result<Self> {
        let (queue, mut batches) = mpsc::channel::<Batch>(QUEUED);
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            let mut result = Ok(());
            while result.is_ok()
                && let Some(batch) = batches.blocking_recv()
            {
                result = write_batch(&batch);
            }
            // Nobody waits for it any more when the session was given up.
            drop(end.send(result));
        })?;
        Ok(Self { batch: Batch::default(), queue, ended })
    }

    /// Adds bytes to the current batch.
    pub(crate) fn push(&mut self, output: Output, bytes: &[u8]) {
        self.batch.data.extend_from_slice(bytes);
        match self.batch.runs.last_mut() {
            Some((last, length)) if *last == output => *length += bytes.len(),
            _ => self.batch.runs.push((output, bytes.len())),
        }
    }

    /// Says whether the batch is worth sending on before there is more.
    pub(crate) fn is_full(&self) -> bool {
        self.batch.data.len() >= BATCH
    }

    /// Sends the batch on; says whether anybody still writes.
    pub(crate) async fn flush(&mut self) -> bool {
        let batch = std::mem::take(&mut self.batch);
        batch.runs.is_empty() || self.queue.send(batch).await.is_ok()
    }

    /// Waits until everything is written.
    pub(crate) async fn finish(mut self) -> io::Result<()> {
        self.flush().await;
        drop(self.queue);
        self.ended.await.unwrap_or_else(|_| Err(io::Error::other("the thread that writes output is gone")))
    }
}

fn write_batch(batch: &Batch) -> io::Result<()> {
    let mut rest = batch.data.as_slice();
    for &(output, length) in &batch.runs {
        let (run, tail) = rest.split_at(length);
        write_all(output, run)?;
        rest = tail;
    }
    Ok(())
}

/// Writes to the descriptor itself: the standard library's buffers would be in the way.
fn write_all(output: Output, mut bytes: &[u8]) -> io::Result<()> {
    let fd = match output {
        Output::Stdout => rustix::stdio::stdout(),
        Output::Stderr => rustix::stdio::stderr(),
    };
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Somebody else made the terminal or the pipe that we share non-blocking.
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None)?),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
