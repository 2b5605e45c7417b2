//! A websocket client, and the `v5.channel.k8s.io` sub-protocol on it.

use std::os::unix::net::UnixStream;

use serde_json::Value;
use tokio_tungstenite::tungstenite::{
    self, Message,
    client::IntoClientRequest,
    handshake::client::generate_key,
    http::{HeaderMap, HeaderValue, Request},
};

use crate::{Api, Output, PATIENCE};

/// The sub-protocol with a channel in each message's first byte.
pub const V5: &str = "v5.channel.k8s.io";

pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
pub const STATUS: u8 = 3;
pub const RESIZE: u8 = 4;
pub const CLOSE: u8 = 255;

/// A websocket to the daemon.
#[derive(Debug)]
pub struct WebSocket {
    socket: tungstenite::WebSocket<UnixStream>,
    /// The head of the answer to the upgrade.
    pub headers: HeaderMap,
}

/// All that came before the end of a channel websocket.
#[derive(Debug)]
pub struct Ended {
    pub output: Output,
    /// The messages on the status channel, which must be one, and the last.
    pub status: Value,
}

impl WebSocket {
    /// Connects; `Err` has the status and body with which the daemon refused.
    pub fn connect(api: &Api, path: &str, protocol: Option<&str>) -> Result<WebSocket, (u16, String)> {
        WebSocket::connect_with(api, path, protocol, &[])
    }

    pub fn connect_with(
        api: &Api,
        path: &str,
        protocol: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Result<WebSocket, (u16, String)> {
        let stream = UnixStream::connect(&api.socket).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        let mut request: Request<()> = format!("ws://pinnace{path}").into_client_request().expect("a URI");
        let key = HeaderValue::from_str(&generate_key()).expect("a key");
        request.headers_mut().insert("sec-websocket-key", key);
        if let Some(protocol) = protocol {
            request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_str(protocol).expect("a name"));
        }
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a value"));
        }
        match tungstenite::client(request, stream) {
            Ok((socket, answer)) => Ok(WebSocket { socket, headers: answer.headers().clone() }),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                let body = answer.body().as_deref().unwrap_or_default();
                Err((answer.status().as_u16(), String::from_utf8_lossy(body).into_owned()))
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).expect("the daemon reads");
    }

    pub fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the daemon reads");
    }

    pub fn send_channel(&mut self, channel: u8, bytes: &[u8]) {
        self.send(&[&[channel], bytes].concat());
    }

    pub fn resize(&mut self, width: u16, height: u16) {
        let size = format!(r#"{{"Width":{width},"Height":{height}}}"#);
        self.send_channel(RESIZE, size.as_bytes());
    }

    pub fn close_stdin(&mut self) {
        self.send(&[CLOSE, STDIN]);
    }

    /// Returns the next binary message, or the close code with which the daemon ended the connection.
    pub fn receive(&mut self) -> Result<Vec<u8>, u16> {
        loop {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => return Ok(bytes.to_vec()),
                Ok(Message::Close(frame)) => {
                    // Answers the close frame, as the other side expects.
                    while self.socket.read().is_ok() {}
                    return Err(frame.map_or(1005, |frame| frame.code.into()));
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("expected a binary message, not {other:?}"),
            }
        }
    }

    /// Reads messages until one ends with `text`, and returns all that came on that channel.
    pub fn until(&mut self, channel: u8, text: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(text.as_bytes()) {
            let message = self.receive().unwrap_or_else(|code| panic!("closed ({code}) before {text:?}"));
            assert_eq!(message[0], channel, "{:?}", String::from_utf8_lossy(&message));
            bytes.extend_from_slice(&message[1..]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads all that comes without channels, and checks that the connection is closed as it should be.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            match self.receive() {
                Ok(message) => bytes.extend(message),
                Err(code) => {
                    assert_eq!(code, 1000, "close code");
                    return bytes;
                }
            }
        }
    }

    /// Reads channels to the end and checks that the status is the last thing said.
    pub fn channels(&mut self) -> Ended {
        let mut output = Output::default();
        let mut status = Value::Null;
        loop {
            match self.receive() {
                Ok(message) => {
                    assert!(status.is_null(), "{message:?} came after the status");
                    match message.split_first().expect("a channel") {
                        (&STDOUT, bytes) => output.stdout.extend_from_slice(bytes),
                        (&STDERR, bytes) => output.stderr.extend_from_slice(bytes),
                        (&STATUS, bytes) => status = serde_json::from_slice(bytes).expect("a status is JSON"),
                        (other, _) => panic!("channel {other}"),
                    }
                }
                Err(code) => {
                    assert_eq!(code, 1000, "close code");
                    output.code = exit_code(&status);
                    return Ended { output, status };
                }
            }
        }
    }

    /// Goes away without a word.
    pub fn abandon(self) {
        drop(self.socket);
    }
}

/// Returns the exit code that a `metav1.Status` tells of, -1 if it tells none.
pub fn exit_code(status: &Value) -> i64 {
    if status["status"] == "Success" {
        return 0;
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let code = causes.filter(|cause| cause["reason"] == "ExitCode").find_map(|cause| cause["message"].as_str());
    code.and_then(|code| code.parse().ok()).unwrap_or(-1)
}
