//! Websockets: Docker's plain one, and the sub-protocol `v5.channel.k8s.io`.
//!
//! In the latter the first byte of each binary message is its channel: 0 stdin, 1 stdout, 2 stderr, 3 the final status
//! (a Kubernetes `Status` as JSON, the last message before the close frame), 4 a resize (`{"Width":80,"Height":24}`),
//! 255 a half-close (the second byte is the channel that ends; only stdin can).

use std::io;
use std::time::Duration;

use api_schema::stream as frames;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use pinnace_helper::protocol::CloseReason;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::sessions::{Output, Subject};

/// The sub-protocol with channels.
const CHANNELS: &str = "v5.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// The largest message from a client, in bytes (arbitrary; clients send what one read gave them).
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Bytes of output that are read at once.
const READ: usize = 64 * 1024;

/// How long a client may take to answer the close frame (arbitrary).
const LINGER: Duration = Duration::from_secs(2);

/// Sets the limits, and the sub-protocols that are spoken.
pub(super) fn prepare(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE).protocols([CHANNELS])
}

/// Returns whether the channel sub-protocol was agreed on.
pub(super) fn speaks_channels(upgrade: &mut WebSocketUpgrade) -> bool {
    upgrade.selected_protocol().is_some_and(|protocol| protocol == CHANNELS)
}

/// Docker's plain websocket: binary messages of output, any message is input.
pub(super) async fn plain(socket: WebSocket, output: Output) {
    let (mut sink, mut source) = socket.split();
    let Output { mut history, session, subject: _, stop } = output;
    let served = async {
        drain_history(&mut history, |chunk| vec![chunk], &mut sink).await?;
        let Some(mut session) = session else { return Ok(()) };
        let (mut from, mut to) = session.stream.split();
        let input = async {
            while let Some(Ok(message)) = source.next().await {
                let bytes = match message {
                    Message::Binary(bytes) => bytes,
                    Message::Text(text) => Bytes::from(text),
                    Message::Close(_) => return,
                    Message::Ping(_) | Message::Pong(_) => continue,
                };
                if to.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        };
        let output = async {
            loop {
                let mut buffer = BytesMut::with_capacity(READ);
                if from.read_buf(&mut buffer).await? == 0 {
                    return Ok::<_, io::Error>(());
                }
                sink.send(Message::Binary(buffer.freeze())).await.map_err(io::Error::other)?;
            }
        };
        tokio::select! {
            () = input => Ok(()),
            sent = output => sent,
            () = stop.cancelled() => Ok(()),
        }
    };
    if let Err(error) = served.await {
        tracing::debug!(error = &error as &dyn std::error::Error, "a websocket ended");
    }
    close(sink, source).await;
}

/// The sub-protocol with channels.
pub(super) async fn channels(socket: WebSocket, output: Output) {
    let (mut sink, mut source) = socket.split();
    let Output { mut history, session, subject, stop } = output;
    let served = async {
        drain_history(&mut history, |chunk| split_frames(&chunk, subject.tty()), &mut sink).await?;
        let Some(mut session) = session else { return Ok(None) };
        let (from, to) = session.stream.split();
        let input = input(&mut source, to, &subject);
        let ended = tokio::select! {
            ended = input => ended,
            sent = send_output(from, &mut sink, subject.tty()) => { sent?; true }
            () = stop.cancelled() => false,
        };
        Ok::<_, io::Error>(if ended { Some(subject.settle(session.closed).await) } else { None })
    };
    match served.await {
        Ok(Some(reason)) => {
            let status = status(&subject, reason).await;
            // The client may be gone; then nobody waits for it.
            drop(sink.send(channel_message(STATUS, status.to_string().as_bytes())).await);
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "a websocket ended"),
    }
    close(sink, source).await;
}

/// Tells a websocket's client that what it asked for could not be started.
pub(super) async fn failed(socket: WebSocket, message: String, code: i32) {
    let (mut sink, source) = socket.split();
    drop(sink.send(channel_message(STATUS, failure(code, &message).to_string().as_bytes())).await);
    close(sink, source).await;
}

async fn drain_history(
    history: &mut Option<mpsc::Receiver<io::Result<Bytes>>>,
    split: impl Fn(Bytes) -> Vec<Bytes>,
    sink: &mut SplitSink<WebSocket, Message>,
) -> io::Result<()> {
    while let Some(history) = history
        && let Some(chunk) = history.recv().await
    {
        for message in split(chunk?) {
            sink.send(Message::Binary(message)).await.map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// Turns whole frames of history into messages. A chunk of history never ends inside a frame.
fn split_frames(chunk: &Bytes, tty: bool) -> Vec<Bytes> {
    if tty {
        return vec![channel_bytes(STDOUT, chunk)];
    }
    let mut messages = Vec::new();
    let mut rest: &[u8] = chunk;
    while let Some((header, after)) = rest.split_first_chunk::<{ frames::HEADER_SIZE }>() {
        let Some((stream, length)) = frames::decode_header(*header) else { break };
        let (payload, after) = after.split_at((length as usize).min(after.len()));
        messages.push(channel_bytes(stream as u8, payload));
        rest = after;
    }
    messages
}

/// Takes input until the client closes its socket, which ends the session. Returns false then.
async fn input(source: &mut SplitStream<WebSocket>, mut to: WriteHalf<'_>, subject: &Subject) -> bool {
    while let Some(Ok(message)) = source.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return false,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        match bytes.split_first() {
            // A process that takes no more input does not end the session: its output goes on.
            Some((&STDIN, data)) => drop(to.write_all(data).await),
            Some((&CLOSE, [STDIN])) => drop(to.shutdown().await),
            Some((&RESIZE, data)) => resize(subject, data).await,
            Some(_) | None => {}
        }
    }
    false
}

/// Sends output until it ends.
async fn send_output(mut from: ReadHalf<'_>, sink: &mut SplitSink<WebSocket, Message>, tty: bool) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(2 * READ);
    // Room for the channel's byte before a terminal's output.
    loop {
        if tty {
            buffer.reserve(READ);
            buffer.extend_from_slice(&[STDOUT]);
            if from.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            sink.send(Message::Binary(buffer.split().freeze())).await.map_err(io::Error::other)?;
            continue;
        }
        while let Some(message) = next_frame(&mut buffer) {
            sink.feed(Message::Binary(message)).await.map_err(io::Error::other)?;
        }
        sink.flush().await.map_err(io::Error::other)?;
        buffer.reserve(READ);
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Takes a whole frame off the buffer, as a message: the last byte of its header becomes the channel.
fn next_frame(buffer: &mut BytesMut) -> Option<Bytes> {
    let header = buffer.first_chunk::<{ frames::HEADER_SIZE }>()?;
    let (stream, length) = frames::decode_header(*header)?;
    let whole = frames::HEADER_SIZE + length as usize;
    if buffer.len() < whole {
        buffer.reserve(whole - buffer.len());
        return None;
    }
    let mut frame = buffer.split_to(whole);
    drop(frame.split_to(frames::HEADER_SIZE - 1));
    frame[0] = stream as u8;
    Some(frame.freeze())
}

fn channel_bytes(channel: u8, data: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + data.len());
    message.extend_from_slice(&[channel]);
    message.extend_from_slice(data);
    message.freeze()
}

fn channel_message(channel: u8, data: &[u8]) -> Message {
    Message::Binary(channel_bytes(channel, data))
}

/// Says goodbye, and waits until the client has, too: what was sent is read then.
async fn close(mut sink: SplitSink<WebSocket, Message>, mut source: SplitStream<WebSocket>) {
    let goodbye = Message::Close(Some(CloseFrame { code: close_code::NORMAL, reason: "".into() }));
    if sink.send(goodbye).await.is_ok() {
        let answered = async { while let Some(Ok(_)) = source.next().await {} };
        drop(tokio::time::timeout(LINGER, answered).await);
    }
}

async fn resize(subject: &Subject, data: &[u8]) {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Size {
        width: u16,
        height: u16,
    }
    let Ok(Size { width, height }) = serde_json::from_slice(data) else { return };
    if let Err(error) = subject.resize(height, width).await {
        // A resize before the start, or after the end: the next one, or nothing, follows.
        tracing::debug!(error = &error as &dyn std::error::Error, "a resize was not carried out");
    }
}

/// Returns the final status.
async fn status(subject: &Subject, reason: Option<CloseReason>) -> Value {
    match reason {
        Some(CloseReason::Detached) => {
            return json!({"metadata": {}, "status": "Success", "reason": "Detached"});
        }
        Some(CloseReason::TooSlow) => {
            return json!({
                "metadata": {}, "status": "Failure", "reason": "TooSlow",
                "message": "the client did not take its output in time",
            });
        }
        Some(CloseReason::ProcessExited | CloseReason::ClientGone) | None => {}
    }
    match subject.exit_code().await {
        Some(0) => json!({"metadata": {}, "status": "Success"}),
        Some(code) => failure(code, &format!("command terminated with non-zero exit code: {code}")),
        None => json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError",
            "message": "the stream ended and the process did not",
        }),
    }
}

/// A Kubernetes `Status` of a process that ended with this code.
fn failure(code: i32, message: &str) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": message,
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_become_messages_whatever_the_cuts() {
        let mut whole = Vec::new();
        whole.extend(frames::encode(frames::Stream::Stdout, b"out"));
        whole.extend(frames::encode(frames::Stream::Stderr, b"error"));
        for cut in 0..whole.len() {
            let mut buffer = BytesMut::new();
            let mut messages = Vec::new();
            for part in [&whole[..cut], &whole[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(message) = next_frame(&mut buffer) {
                    messages.push(message);
                }
            }
            assert_eq!(messages, [&b"\x01out"[..], &b"\x02error"[..]], "cut at {cut}");
        }
        assert_eq!(split_frames(&Bytes::from(whole), false).len(), 2);
    }
}
