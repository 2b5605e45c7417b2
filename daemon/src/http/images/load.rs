//! `POST /images/load`: the request's body goes to a blocking reader, and reports come back as they are made.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use api_schema::progress::Message;
use axum::body::Body;
use axum::body::BodyDataStream;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc};

use super::PROGRESS;
use crate::error::chain;
use crate::http::extract::Query;
use crate::http::{Shared, lines};
use crate::image::{Error, view};

/// Reports that wait for a client that reads slowly; further ones on layers are dropped (arbitrary).
const REPORTS: usize = 32;

/// How long the rest of a body is taken after a failure. A client that is cut off while it writes does not read why.
const DRAIN: Duration = Duration::from_secs(60);

/// A request's body, to be read where blocking is allowed. What is not asked for is not read: the client waits.
#[derive(Debug)]
pub(super) struct BodyReader {
    runtime: Handle,
    stream: Arc<Mutex<BodyDataStream>>,
    chunk: Bytes,
}

/// What a reader leaves of a body.
#[derive(Debug)]
pub(super) struct Rest(Arc<Mutex<BodyDataStream>>);

/// Splits a body into what reads it and what sees to the rest.
pub(super) fn reader(body: Body) -> (BodyReader, Rest) {
    let stream = Arc::new(Mutex::new(body.into_data_stream()));
    (BodyReader { runtime: Handle::current(), stream: Arc::clone(&stream), chunk: Bytes::new() }, Rest(stream))
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(async { self.stream.lock().await.next().await }) {
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let count = self.chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

impl Rest {
    /// Reads and forgets what the client still sends, within bounds of time.
    pub(super) async fn drain(self) {
        let mut stream = self.0.lock().await;
        let all = async { while let Some(Ok(_)) = stream.next().await {} };
        // A client that takes longer loses the message and nothing else.
        drop(tokio::time::timeout(DRAIN, all).await);
    }
}

pub(super) async fn load(State(engine): Shared, query: Query, body: Body) -> Response {
    // Missing and empty both mean quiet, as dockerd reads it.
    let quiet = query.text("quiet").is_empty() || query.bool("quiet");
    let (sender, mut receiver) = mpsc::channel(REPORTS);
    let images = engine.images.clone();
    let (input, rest) = reader(body);
    let load = crate::tasks::spawn("load-request", async move { images.load(input, sender).await });
    // Nothing is answered while the archive is still being sent: some clients read only after they wrote.
    let first = receiver.recv().await;
    let later =
        stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|report| (report, receiver)) });
    let reports = stream::iter(first).chain(later);
    let messages = reports.filter_map(move |report| std::future::ready(view::message(&report, quiet)));
    // The channel ends when the load does, and only then is its result looked at.
    let failure = stream::once(async {
        let result = load.await.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())));
        let error = result.err()?;
        rest.drain().await;
        Some(Message::error(chain(&error)))
    });
    let failure = failure.filter_map(std::future::ready);
    let body = messages.chain(failure).map(|message| Ok(lines::line(&message)));
    lines::streaming(PROGRESS, body)
}
