//! Docker's way to stream: the connection is upgraded and then carries raw bytes both ways. A client that does not ask
//! for an upgrade gets the output as a chunked body, and its request's body is the input.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderValue, StatusCode, header};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::lines;
use super::sessions::Output;
use crate::sys;

/// Bytes that are copied at once (measured: more gives nothing, less costs throughput).
const COPY: usize = 128 * 1024;

/// How long a client may take to close its side after everything was sent (arbitrary).
const LINGER: Duration = Duration::from_secs(2);

/// Returns whether the client asks for an upgrade.
pub(super) fn is_asked(request: &Request) -> bool {
    let asks = |name: header::HeaderName, word: &str| {
        request
            .headers()
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    asks(header::CONNECTION, "upgrade") && request.headers().contains_key(header::UPGRADE)
}

/// Answers with the output, on the upgraded connection if the client asked for that.
pub(super) fn serve(mut request: Request, output: Output, content_type: &'static str) -> Response {
    if !is_asked(&request) {
        return streamed(request, output, content_type);
    }
    let upgraded = hyper::upgrade::on(&mut request);
    crate::tasks::spawn_for_client("session", hijacked(upgraded, output));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    response
}

async fn hijacked(upgraded: OnUpgrade, output: Output) {
    let served = async {
        let upgraded = upgraded.await.map_err(io::Error::other)?;
        let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<UnixStream>>() else {
            return Err(io::Error::other("the connection is no unix socket"));
        };
        let client = io.into_inner();
        head_taken(&client).await;
        exchange(client, read_buf, output).await
    };
    if let Err(error) = served.await {
        tracing::debug!(error = &error as &dyn std::error::Error, "a session ended");
    }
}

/// Waits, within a bound, until the client has read the answer's head. Some clients read it through a buffer that they
/// give up then, with what came behind the head in it (docker-py does); dockerd is slow enough to spare them that.
async fn head_taken(client: &UnixStream) {
    const BOUND: Duration = Duration::from_millis(20);
    const SPIN: Duration = Duration::from_micros(300);
    let begun = Instant::now();
    while sys::unread(client.as_fd()).is_ok_and(|bytes| bytes > 0) && begun.elapsed() < BOUND {
        if begun.elapsed() < SPIN {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Copies both ways until the output has ended, the client is gone, or the daemon stops.
async fn exchange(mut client: UnixStream, early: Bytes, output: Output) -> io::Result<()> {
    let Output { mut history, session, subject, stop } = output;
    let gone = hung_up(client.as_fd().try_clone_to_owned()?)?;
    let (mut from_client, mut to_client) = client.split();
    let copying = async {
        while let Some(history) = &mut history
            && let Some(chunk) = history.recv().await
        {
            to_client.write_all(&chunk?).await?;
        }
        let Some(mut session) = session else { return to_client.shutdown().await };
        let (mut from_session, mut to_session) = session.stream.split();
        let input = async {
            // A process that takes no more input does not end the session: its output goes on.
            let fed = async {
                to_session.write_all(&early).await?;
                copy(&mut from_client, &mut to_session).await?;
                to_session.shutdown().await
            };
            if let Err(error) = fed.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "input ended");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            copied = copy(&mut from_session, &mut to_client) => copied?,
            () = input => {}
        }
        drop(session.stream);
        // Clients ask for the exit code as soon as the output has ended.
        subject.settle(session.closed).await;
        to_client.shutdown().await
    };
    tokio::select! {
        copied = copying => copied?,
        () = gone => return Ok(()),
        () = stop.cancelled() => {}
    }
    // Closing with unread input would reset the connection and take the tail of the output with it.
    let drained = async {
        let mut rest = [0; 4096];
        while client.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    };
    drop(tokio::time::timeout(LINGER, drained).await);
    Ok(())
}

/// Copies until the end of `from`.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut buffer = vec![0; COPY];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// Resolves when the peer has closed both directions. End of input alone tells nothing: it may be a half-close.
fn hung_up(socket: OwnedFd) -> io::Result<impl Future<Output = ()>> {
    // Asking for nothing but priority data leaves only EPOLLHUP, which is always reported.
    let watched = sys::watch(socket, Interest::PRIORITY)?;
    Ok(async move {
        loop {
            match watched.ready(Interest::PRIORITY).await {
                Ok(guard) if guard.ready().is_read_closed() || guard.ready().is_write_closed() => return,
                Ok(mut guard) => guard.clear_ready(),
                Err(_unwatchable) => std::future::pending().await,
            }
        }
    })
}

/// Answers 200 with the output as the body.
fn streamed(request: Request, output: Output, content_type: &'static str) -> Response {
    let (chunks, receiver) = mpsc::channel(4);
    let input = request.into_body().into_data_stream();
    crate::tasks::spawn_for_client("session", async move {
        if let Err(error) = pour(input, output, &chunks).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a session ended");
        }
    });
    lines::streaming(content_type, ReceiverStream::new(receiver).map(Ok))
}

async fn pour(input: BodyDataStream, output: Output, chunks: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let Output { mut history, session, subject, stop } = output;
    while let Some(history) = &mut history
        && let Some(chunk) = history.recv().await
    {
        if chunks.send(chunk?).await.is_err() {
            return Ok(());
        }
    }
    let Some(mut session) = session else { return Ok(()) };
    let (mut from_session, mut to_session) = session.stream.split();
    let fed = async {
        let mut input = input.map_err(io::Error::other);
        while let Some(chunk) = input.try_next().await? {
            to_session.write_all(&chunk).await?;
        }
        to_session.shutdown().await
    };
    let feeding = async {
        if let Err(error) = fed.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "input ended");
        }
        std::future::pending::<()>().await;
    };
    let pouring = async {
        loop {
            let mut buffer = bytes::BytesMut::with_capacity(COPY);
            if from_session.read_buf(&mut buffer).await? == 0 {
                subject.settle(session.closed).await;
                return Ok(());
            }
            if chunks.send(buffer.freeze()).await.is_err() {
                return Ok(());
            }
        }
    };
    tokio::select! {
        poured = pouring => poured,
        () = feeding => Ok(()),
        () = chunks.closed() => Ok(()),
        () = stop.cancelled() => Ok(()),
    }
}
