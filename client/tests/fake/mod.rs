//! A daemon that says what a test tells it to: requests and the channel stream over a unix socket, written without the
//! client's code.

use std::{
    future::Future,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use futures_util::{SinkExt as _, StreamExt as _};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

/// A daemon on its own thread; its socket goes with it.
pub(crate) struct FakeDaemon {
    directory: TempDir,
    calls: Arc<Mutex<Vec<String>>>,
}

impl FakeDaemon {
    /// Serves every connection with `serve`, which is given the one request that it carries.
    pub(crate) fn start<F>(serve: impl Fn(Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let directory = TempDir::new().unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let listener = std::os::unix::net::UnixListener::bind(directory.path().join("sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let log = Arc::clone(&calls);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::from_std(listener).unwrap();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    if let Some(exchange) = Exchange::read(socket).await {
                        log.lock().unwrap().push(exchange.line.clone());
                        tokio::spawn(serve(exchange));
                    }
                }
            });
        });
        Self { directory, calls }
    }

    /// The requests so far: method and target.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("sock")
    }

    /// The client's binary, told to talk to this daemon.
    pub(crate) fn pinnace(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinnace"));
        command.arg("-H").arg(format!("unix://{}", self.socket().display())).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// One request, and the connection to answer it on.
pub(crate) struct Exchange {
    /// Method and target, as in "GET /info".
    pub(crate) line: String,
    pub(crate) body: Vec<u8>,
    key: Option<String>,
    socket: UnixStream,
}

impl Exchange {
    async fn read(mut socket: UnixStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let end = loop {
            if socket.read_buf(&mut bytes).await.unwrap() == 0 {
                return None;
            }
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
        };
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = bytes[end..].to_vec();
        while body.len() < length {
            socket.read_buf(&mut body).await.unwrap();
        }
        let key = header("sec-websocket-key");
        if key.is_some() {
            assert_eq!(header("sec-websocket-protocol").as_deref(), Some("v5.channel.k8s.io"));
        }
        let line = head.lines().next()?.strip_suffix(" HTTP/1.1")?.to_owned();
        Some(Self { line, body, key, socket })
    }

    /// Answers and closes.
    pub(crate) async fn answer(mut self, status: u16, body: &str) {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.socket.write_all(text.as_bytes()).await.unwrap();
    }

    /// Sends the head of a wait's answer, and the rest when the future is done.
    pub(crate) async fn answer_later(mut self, body: impl Future<Output = String>) {
        self.socket.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await.unwrap();
        let body = body.await;
        self.socket.write_all(body.as_bytes()).await.unwrap();
    }

    /// Becomes a channel stream.
    pub(crate) async fn upgrade(mut self) -> Channel {
        let accept = derive_accept_key(self.key.as_deref().expect("a websocket request").as_bytes());
        let text = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        );
        self.socket.write_all(text.as_bytes()).await.unwrap();
        Channel { socket: WebSocketStream::from_raw_socket(self.socket, Role::Server, None).await }
    }
}

/// The daemon's end of a stream.
pub(crate) struct Channel {
    socket: WebSocketStream<UnixStream>,
}

impl Channel {
    /// Sends `payload` on `channel`.
    pub(crate) async fn send(&mut self, channel: u8, payload: &[u8]) {
        let message = [&[channel], payload].concat();
        self.socket.send(Message::Binary(message.into())).await.unwrap();
    }

    /// Returns the next message, or nothing when the client has gone.
    pub(crate) async fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return Some(bytes.to_vec()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Says how it ended, and closes.
    pub(crate) async fn finish(&mut self, status: &str) {
        self.send(3, status.as_bytes()).await;
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        // The client may leave as soon as it knows the status.
        drop(self.socket.close(Some(close)).await);
        while self.receive().await.is_some() {}
    }
}

/// The final status of a program that exited with `code`.
pub(crate) fn exited(code: i32) -> String {
    match code {
        0 => r#"{"metadata":{},"status":"Success"}"#.to_owned(),
        _ => format!(
            r#"{{"metadata":{{}},"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code: {code}",
                "details":{{"causes":[{{"reason":"ExitCode","message":"{code}"}}]}}}}"#
        ),
    }
}
