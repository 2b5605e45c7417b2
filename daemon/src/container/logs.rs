//! Reading a container's log: records become Docker's lines and frames.
//!
//! The format is `pinnace_helper::protocol::log`. A record is one read of the helper's, not a line; lines are made here,
//! and only when a request needs them: `timestamps` and `tail` do, everything else passes whole records on. Followers
//! are woken by inotify on the container's directory, and hold the next segment open before they read the last one to
//! its end, so that rotation takes nothing from them.

mod reader;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use pinnace_helper::protocol::log::Position;
use tokio::sync::mpsc;

use super::handle::Container;
use super::lifecycle::Lifecycle;
use reader::Reader;

/// Chunks that wait for a slow client; then reading waits.
const QUEUE: usize = 4;

/// What of a log is wanted.
#[derive(Debug, Clone)]
pub struct LogQuery {
    pub stdout: bool,
    pub stderr: bool,
    /// Go on with what comes, until the container's run ends.
    pub follow: bool,
    /// Nanoseconds since the epoch.
    pub since: Option<i64>,
    /// Nanoseconds since the epoch.
    pub until: Option<i64>,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// The last lines only. `None`: all.
    pub tail: Option<usize>,
    /// Frame the output as Docker does for containers without a terminal.
    pub multiplexed: bool,
    /// Read up to here only: what comes after is brought by an attachment.
    pub end: Option<Position>,
}

/// Reads a log, chunk by chunk, until it ends or the receiver is dropped.
pub fn read(container: Arc<Container>, directory: PathBuf, query: LogQuery) -> mpsc::Receiver<io::Result<Bytes>> {
    let (chunks, receiver) = mpsc::channel(QUEUE);
    crate::tasks::spawn("logs", async move {
        if let Err(error) = run(&container, directory, query, &chunks).await {
            // A client that left does not hear of it.
            drop(chunks.send(Err(error)).await);
        }
    });
    receiver
}

async fn run(
    container: &Container,
    directory: PathBuf,
    query: LogQuery,
    chunks: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut state = container.follow();
    let mut changes = if query.follow { Some(watch::directory(&directory)?) } else { None };
    let follow = query.follow;
    let until = query.until;
    let mut reader = Reader::new(directory, query);
    loop {
        // Asked before reading: what was written before the end is read then.
        let ended = !state.borrow_and_update().lifecycle.is_active();
        let sender = chunks.clone();
        let (back, result) = tokio::task::spawn_blocking(move || {
            let result = reader.read_available(|chunk| sender.blocking_send(Ok(chunk)).is_ok());
            (reader, result)
        })
        .await
        .map_err(io::Error::other)?;
        reader = back;
        let more = result?;
        let past = until.is_some_and(|until| crate::clock::Timestamp::now().0 > until);
        let Some(changes) = changes.as_mut().filter(|_| follow && more && !past) else { return Ok(()) };
        // A container that never ran is waited for.
        if state.borrow().removed || ended && !matches!(state.borrow().lifecycle, Lifecycle::Created { .. }) {
            return Ok(());
        }
        let deadline = until.map(|until| {
            let left = u64::try_from(until.saturating_sub(crate::clock::Timestamp::now().0)).unwrap_or(0);
            tokio::time::Instant::now() + std::time::Duration::from_nanos(left.saturating_add(1))
        });
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            changed = state.changed() => if changed.is_err() { return Ok(()) },
            () = chunks.closed() => return Ok(()),
            () = tokio::time::sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)), if deadline.is_some() => {}
        }
    }
}
