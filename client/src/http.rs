//! HTTP/1.1 to the daemon's socket: one kept-alive connection, requests, answers, and the daemon's errors in its own
//! words.

use std::{convert::Infallible, io, sync::Mutex};

use api_schema::ErrorResponse;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt as _};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::{Host, socket::Socket};

/// The body of a request.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What stays as it is in a path: image names keep their slashes, tags and digests.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':').remove(b'@');

/// Why a call has no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon answered with an error; `message` is its own sentence.
    #[error("Error response from daemon: {message}")]
    Daemon { status: StatusCode, message: String },
    #[error(
        "cannot connect to the Pinnace daemon at {host}: it is not running ({})\n\
         Start it with `systemctl start pinnaced` or by hand with `pinnaced -H {host}`; \
         another socket can be named with -H or PINNACE_HOST",
        if source.kind() == io::ErrorKind::NotFound { "there is no such socket" } else { "nobody listens to it" }
    )]
    NotRunning { host: Host, source: io::Error },
    #[error(
        "permission denied while trying to connect to the Pinnace daemon at {host}\n\
         Run this as root, or as a member of the group that owns the socket"
    )]
    PermissionDenied { host: Host, source: io::Error },
    #[error("cannot connect to the Pinnace daemon at {host}: {source}")]
    Connect { host: Host, source: io::Error },
    #[error("the connection to the daemon broke: {}", chain(.0))]
    Broken(#[source] hyper::Error),
    #[error("the daemon's answer is not what was expected: {0}")]
    Decode(#[source] serde_json::Error),
    #[error("cannot send the request: {0}")]
    Encode(#[source] serde_json::Error),
    #[error("cannot make the request: {0}")]
    Request(#[from] ::http::Error),
    #[error("{0}")]
    Protocol(String),
}

impl Error {
    /// Returns the HTTP status when the daemon answered with an error.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Daemon { status, .. } => Some(*status),
            _ => None,
        }
    }

    fn connect(host: &Host, source: io::Error) -> Self {
        let host = host.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NotRunning { host, source },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { host, source },
            _ => Self::Connect { host, source },
        }
    }
}

/// Joins an error with its causes; hyper keeps the useful half in `source()`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// A daemon to talk to.
#[derive(Debug)]
pub struct Client {
    host: Host,
    /// The connection of the last finished call, for the next one.
    idle: Mutex<Option<SendRequest<Body>>>,
}

impl Client {
    /// Makes a client; nothing is connected before the first call.
    pub fn new(host: Host) -> Self {
        Self { host, idle: Mutex::new(None) }
    }

    /// Returns the daemon's address.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Starts a request; `path` is percent-encoded segment by segment, without a version: the daemon's newest is meant.
    pub fn call<'a>(&'a self, method: Method, path: &[&str]) -> Call<'a> {
        let mut target = String::new();
        for segment in path {
            target.push('/');
            target.extend(utf8_percent_encode(segment, PATH));
        }
        Call { client: self, method, target, body: None, content_type: None }
    }

    /// Opens a connection; its driver ends when the last handle to it is gone.
    async fn connect(&self) -> Result<SendRequest<Body>, Error> {
        let socket =
            UnixStream::connect(self.host.socket()).await.map_err(|source| Error::connect(&self.host, source))?;
        let (sender, connection) = http1::handshake(TokioIo::new(Socket::new(socket))).await.map_err(Error::Broken)?;
        drop(tokio::spawn(connection.with_upgrades()));
        Ok(sender)
    }

    fn take_idle(&self) -> Option<SendRequest<Body>> {
        self.idle.lock().ok()?.take().filter(SendRequest::is_ready)
    }

    /// Sends on the idle connection or a new one. A request that an idle connection lost before it was written is sent
    /// again.
    async fn send(&self, request: Request<Body>) -> Result<(Response<Incoming>, SendRequest<Body>), Error> {
        let mut request = request;
        if let Some(mut sender) = self.take_idle() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Error::Broken(error.into_error())),
                },
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await.map_err(Error::Broken)?;
        Ok((response, sender))
    }
}

/// A request being put together.
#[derive(Debug)]
pub struct Call<'a> {
    client: &'a Client,
    method: Method,
    target: String,
    body: Option<Body>,
    content_type: Option<&'static str>,
}

impl Call<'_> {
    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        self.target.extend(form_urlencoded::byte_serialize(value.as_bytes()));
        self
    }

    /// Adds `name=1` when `value` is set: what is absent has the daemon's default.
    #[must_use]
    pub fn flag(self, name: &str, value: bool) -> Self {
        if value { self.query(name, "1") } else { self }
    }

    /// Adds a query parameter when there is a value.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Gives the request a JSON body.
    ///
    /// # Errors
    /// The value cannot be serialized.
    pub fn json(mut self, value: &impl Serialize) -> Result<Self, Error> {
        let text = serde_json::to_vec(value).map_err(Error::Encode)?;
        self.body = Some(Full::new(Bytes::from(text)).map_err(Infallible::into_io).boxed_unsync());
        self.content_type = Some("application/json");
        Ok(self)
    }

    /// Gives the request a body that is sent, chunked, while it is read.
    #[must_use]
    pub fn upload(mut self, chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        self.body = Some(StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync());
        self.content_type = Some("application/x-tar");
        self
    }

    /// Sends it and returns the answer, whatever its status.
    async fn exchange(self, headers: &[(&str, &str)]) -> Result<(Response<Incoming>, SendRequest<Body>), Error> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.target)
            .header(HOST, "localhost")
            .header(USER_AGENT, concat!("pinnace/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(content_type) = self.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let body = self.body.unwrap_or_else(|| Empty::new().map_err(Infallible::into_io).boxed_unsync());
        self.client.send(request.body(body)?).await
    }

    /// Sends it and returns the answer before its body was read.
    ///
    /// # Errors
    /// No answer, or one that says an error.
    pub async fn stream(self) -> Result<Response<Incoming>, Error> {
        let (response, _sender) = self.exchange(&[]).await?;
        if response.status().is_client_error() || response.status().is_server_error() {
            return Err(daemon_error(response).await);
        }
        Ok(response)
    }

    /// Sends it with extra headers and returns the answer if the daemon switched protocols.
    pub(crate) async fn upgrade(self, headers: &[(&str, &str)]) -> Result<Response<Incoming>, Error> {
        let (response, _sender) = self.exchange(headers).await?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => Ok(response),
            status if status.is_success() => Err(Error::Protocol(format!("the daemon does not upgrade ({status})"))),
            _ => Err(daemon_error(response).await),
        }
    }

    /// Sends it and reads the whole answer; the connection is kept for the next call.
    ///
    /// # Errors
    /// No answer, or one that says an error.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        let client = self.client;
        let (response, mut sender) = self.exchange(&[]).await?;
        let failed = response.status().is_client_error() || response.status().is_server_error();
        if failed {
            return Err(daemon_error(response).await);
        }
        let body = response.into_body().collect().await.map_err(Error::Broken)?.to_bytes();
        if sender.ready().await.is_ok()
            && let Ok(mut idle) = client.idle.lock()
        {
            *idle = Some(sender);
        }
        Ok(body)
    }

    /// Sends it and parses the answer.
    ///
    /// # Errors
    /// No answer, one that says an error, or one of another shape.
    pub async fn fetch<T: DeserializeOwned>(self) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes().await?).map_err(Error::Decode)
    }

    /// Sends it and forgets what a success says.
    ///
    /// # Errors
    /// No answer, or one that says an error.
    pub async fn done(self) -> Result<(), Error> {
        self.bytes().await.map(drop)
    }

    /// Sends it and reads the answer as one JSON value after another.
    ///
    /// # Errors
    /// No answer, or one that says an error.
    pub async fn lines(self) -> Result<JsonLines, Error> {
        Ok(JsonLines { body: self.stream().await?.into_body(), buffer: BytesMut::new(), scanned: 0 })
    }
}

trait IntoIo {
    fn into_io(self) -> io::Error;
}

impl IntoIo for Infallible {
    fn into_io(self) -> io::Error {
        match self {}
    }
}

/// Reads the sentence out of an error answer: `{"message": …}`, or the text itself.
async fn daemon_error(response: Response<Incoming>) -> Error {
    let status = response.status();
    let body = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Error::Broken(error),
    };
    let message = match serde_json::from_slice::<ErrorResponse>(&body) {
        Ok(ErrorResponse { message }) => message,
        Err(_) if body.trim_ascii().is_empty() => status.to_string(),
        Err(_) => String::from_utf8_lossy(body.trim_ascii()).into_owned(),
    };
    Error::Daemon { status, message }
}

/// An answer that is one JSON value a line, as it arrives: events, progress.
#[derive(Debug)]
pub struct JsonLines {
    body: Incoming,
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no newline.
    scanned: usize,
}

impl JsonLines {
    /// Returns the next value, or nothing at the end.
    ///
    /// # Errors
    /// The connection broke, or a line is not JSON of this shape.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(at) = self.buffer[self.scanned..].iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(self.scanned + at + 1);
                self.scanned = 0;
                if !line.trim_ascii().is_empty() {
                    return serde_json::from_slice(&line).map(Some).map_err(Error::Decode);
                }
                continue;
            }
            self.scanned = self.buffer.len();
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(Error::Broken)?.into_data() {
                        self.buffer.extend_from_slice(data.chunk());
                    }
                }
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                None => {
                    let line = self.buffer.split();
                    self.scanned = 0;
                    return serde_json::from_slice(&line).map(Some).map_err(Error::Decode);
                }
            }
        }
    }
}
