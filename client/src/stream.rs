//! The interactive stream: a websocket with the sub-protocol `v5.channel.k8s.io`.
//!
//! Every message is binary and begins with its channel:
//!
//! | channel | direction | payload |
//! |---|---|---|
//! | 0 | to the daemon | stdin |
//! | 1, 2 | from the daemon | stdout, stderr (with a terminal everything is stdout) |
//! | 3 | from the daemon | the final status, a Kubernetes `Status` in JSON; nothing but the close frame follows it |
//! | 4 | to the daemon | the size of the terminal, `{"Width":80,"Height":24}` |
//! | 255 | to the daemon | the channel to half-close, one byte |

use bytes::Bytes;
use futures_util::{
    FutureExt as _, SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hyper::header::HeaderMap;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        error::ProtocolError,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};

use crate::{
    http::{Call, Error},
    socket::Socket,
};

/// The sub-protocol, as the handshake names it.
pub const PROTOCOL: &str = "v5.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What is read from the socket at once. Larger than the biggest run of output that a unix socket holds by default
/// (212992 bytes), so that one call drains it.
const READ_BUFFER: usize = 256 * 1024;

/// Something the daemon said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Stdout(Bytes),
    Stderr(Bytes),
    Finished(Status),
}

/// How the stream ended: the last thing said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The program ended with this code.
    Exited(i64),
    /// The detach keys were typed; the program runs on.
    Detached,
    /// It was not run, or not to its end. The sentence is the daemon's, which may have chosen an exit code, too.
    Failed { message: String, code: Option<i64> },
}

/// The stream ended without a status.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("the connection to the daemon ended before the program did, which may still be running")]
    NoStatus,
    #[error("the connection to the daemon broke: {0}")]
    Broken(#[source] Box<tungstenite::Error>),
    #[error("the daemon sent a message on channel {0:?}, which means nothing here")]
    Channel(Option<u8>),
    #[error("the daemon sent a final status that cannot be read: {0}")]
    Status(#[source] serde_json::Error),
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Size {
    pub width: u16,
    pub height: u16,
}

type Messages = WebSocketStream<UnixStream>;

/// Upgrades `call` to a stream.
///
/// # Errors
/// The daemon refuses, or does not speak the sub-protocol.
pub async fn open(call: Call<'_>) -> Result<(Receiver, Sender), Error> {
    let key = generate_key();
    let response = call
        .upgrade(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", &key),
            ("sec-websocket-protocol", PROTOCOL),
        ])
        .await?;
    let says = |headers: &HeaderMap, name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    if !says(response.headers(), "sec-websocket-accept", &derive_accept_key(key.as_bytes())) {
        return Err(Error::Protocol("the daemon's websocket handshake is wrong".to_owned()));
    }
    if !says(response.headers(), "sec-websocket-protocol", PROTOCOL) {
        return Err(Error::Protocol(format!("the daemon does not speak {PROTOCOL}: it is not Pinnace's")));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(Error::Broken)?;
    let parts = upgraded
        .downcast::<TokioIo<Socket>>()
        .map_err(|_upgraded| Error::Protocol("the connection is not the socket it was made from".to_owned()))?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER).write_buffer_size(0);
    let socket = Messages::from_partially_read(
        parts.io.into_inner().into_inner(),
        parts.read_buf.into(),
        Role::Client,
        Some(config),
    )
    .await;
    let (sink, stream) = socket.split();
    Ok((Receiver { stream }, Sender { sink }))
}

/// The half that listens.
#[derive(Debug)]
pub struct Receiver {
    stream: SplitStream<Messages>,
}

impl Receiver {
    /// Returns the next thing the daemon says. After [`Event::Finished`] there is nothing.
    ///
    /// # Errors
    /// The stream ended without a status, or broke.
    pub async fn next(&mut self) -> Result<Event, StreamError> {
        loop {
            let payload = match self.stream.next().await {
                Some(Ok(Message::Binary(payload))) => payload,
                Some(Ok(Message::Text(text))) => text.into(),
                Some(Ok(Message::Close(_))) | None => return Err(StreamError::NoStatus),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Err(
                    tungstenite::Error::ConnectionClosed
                    | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                )) => return Err(StreamError::NoStatus),
                Some(Err(error)) => return Err(StreamError::Broken(Box::new(error))),
            };
            return match payload.first() {
                // kubectl's servers greet with an empty message on each channel.
                Some(&(STDOUT | STDERR)) if payload.len() == 1 => continue,
                Some(&STDOUT) => Ok(Event::Stdout(payload.slice(1..))),
                Some(&STDERR) => Ok(Event::Stderr(payload.slice(1..))),
                Some(&STATUS) => parse_status(&payload[1..]).map(Event::Finished).map_err(StreamError::Status),
                other => Err(StreamError::Channel(other.copied())),
            };
        }
    }

    /// Returns what has already arrived, if anything has.
    pub fn try_next(&mut self) -> Option<Result<Event, StreamError>> {
        self.next().now_or_never()
    }
}

/// The half that speaks.
#[derive(Debug)]
pub struct Sender {
    sink: SplitSink<Messages, Message>,
}

impl Sender {
    /// How many bytes [`Sender::stdin`] wants free at the front of what it is given.
    pub const HEADROOM: usize = 1;

    /// Sends bytes to stdin; the first byte of `chunk` is overwritten with the channel.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn stdin(&mut self, mut chunk: Vec<u8>) -> Result<(), StreamError> {
        match chunk.first_mut() {
            Some(channel) => *channel = STDIN,
            None => return Ok(()),
        }
        self.send(chunk).await
    }

    /// Says that no more stdin comes.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn close_stdin(&mut self) -> Result<(), StreamError> {
        self.send(vec![CLOSE, STDIN]).await
    }

    /// Tells the size of the terminal.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn resize(&mut self, size: Size) -> Result<(), StreamError> {
        let Size { width, height } = size;
        let mut message = vec![RESIZE];
        message.extend(format!("{{\"Width\":{width},\"Height\":{height}}}").bytes());
        self.send(message).await
    }

    async fn send(&mut self, message: Vec<u8>) -> Result<(), StreamError> {
        self.sink.send(Message::Binary(message.into())).await.map_err(|error| StreamError::Broken(Box::new(error)))
    }
}

/// Reads a Kubernetes `metav1.Status`.
fn parse_status(text: &[u8]) -> Result<Status, serde_json::Error> {
    #[derive(Deserialize)]
    struct Wire {
        status: String,
        #[serde(default)]
        reason: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        details: Details,
    }
    #[derive(Deserialize, Default)]
    struct Details {
        #[serde(default)]
        causes: Vec<Cause>,
    }
    #[derive(Deserialize)]
    struct Cause {
        reason: String,
        message: String,
    }
    let wire: Wire = serde_json::from_slice(text)?;
    let causes = wire.details.causes.iter();
    let code = causes.filter(|cause| cause.reason == "ExitCode").find_map(|cause| cause.message.parse().ok());
    Ok(match (wire.status.as_str(), wire.reason.as_str(), code) {
        (_, "Detached", _) => Status::Detached,
        ("Success", ..) => Status::Exited(0),
        // Kubernetes' words for a program that did run; others beside an exit code say why it did not.
        (_, "NonZeroExitCode", Some(code)) if wire.message.starts_with("command terminated") => Status::Exited(code),
        _ => Status::Failed { message: wire.message, code },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_status_tells_exit_detach_and_failure_apart() {
        let table = [
            (r#"{"metadata":{},"status":"Success"}"#, Status::Exited(0)),
            (
                r#"{"metadata":{},"status":"Failure","reason":"NonZeroExitCode",
                    "message":"command terminated with non-zero exit code: 137",
                    "details":{"causes":[{"reason":"ExitCode","message":"137"}]}}"#,
                Status::Exited(137),
            ),
            (
                r#"{"metadata":{},"status":"Failure","reason":"NonZeroExitCode","message":"exec: not found",
                    "details":{"causes":[{"reason":"ExitCode","message":"127"}]}}"#,
                Status::Failed { message: "exec: not found".to_owned(), code: Some(127) },
            ),
            (r#"{"status":"Success","reason":"Detached"}"#, Status::Detached),
            (
                r#"{"status":"Failure","reason":"InternalError","message":"no such file or directory"}"#,
                Status::Failed { message: "no such file or directory".to_owned(), code: None },
            ),
        ];
        for (text, status) in table {
            assert_eq!(parse_status(text.as_bytes()).unwrap(), status, "{text}");
        }
        assert!(parse_status(b"exit 3").is_err());
    }
}
