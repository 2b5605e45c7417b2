//! A small HTTP/1.1 client over a unix socket: one keep-alive connection, whole or streamed bodies, hijacked streams.
//!
//! Synchronous on purpose: what is measured is the server, and an async client would add its own scheduling.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::Result;

/// A server that says nothing for so long has failed; far above the slowest answer that was ever measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// A keep-alive connection, which is made again when the server has closed it.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

struct Head {
    status: u16,
    length: Length,
    close: bool,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy)]
enum Length {
    Known(u64),
    Chunked,
    UntilClose,
}

impl Response {
    /// The body as JSON, if the status is one of success.
    pub(crate) fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.success()?.body)?)
    }

    /// Refuses any status that is not 2xx or 304, with the server's own words.
    pub(crate) fn success(&self) -> Result<&Self> {
        match self.status {
            200..=299 | 304 => Ok(self),
            status => Err(format!("status {status}: {}", String::from_utf8_lossy(&self.body).trim()).into()),
        }
    }
}

impl Connection {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), stream: None }
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Response> {
        self.request("GET", path, None)
    }

    /// Sends a request with a JSON body or none, and reads the answer whole.
    pub(crate) fn request(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Response> {
        let body = body.map(serde_json::to_vec).transpose()?;
        self.exchange(method, path, "application/json", body.as_deref().unwrap_or_default())
    }

    /// Sends a request with a body of any type, and reads the answer whole.
    pub(crate) fn exchange(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Response> {
        let mut stream = self.stream.take().map_or_else(|| connect(&self.socket), Ok)?;
        send(&mut stream, method, path, content_type, body, "")?;
        let head = read_head(&mut stream)?;
        let mut content = Vec::new();
        Body::new(&mut stream, head.length).read_to_end(&mut content)?;
        if !head.close {
            self.stream = Some(stream);
        }
        Ok(Response { status: head.status, body: content })
    }
}

/// A request whose answer is read later, on a connection of its own.
#[derive(Debug)]
pub(crate) struct PendingAnswer(BufReader<UnixStream>);

impl PendingAnswer {
    pub(crate) fn ask(socket: &Path, path: &str) -> Result<Self> {
        let mut stream = connect(socket)?;
        send(&mut stream, "POST", path, "application/json", b"", "")?;
        Ok(Self(stream))
    }

    pub(crate) fn finish(&mut self) -> Result<Response> {
        let head = read_head(&mut self.0)?;
        let mut body = Vec::new();
        Body::new(&mut self.0, head.length).read_to_end(&mut body)?;
        Ok(Response { status: head.status, body })
    }
}

/// Opens a connection of its own and hands over the raw stream that follows the answer's head, as attach and exec do.
pub(crate) fn hijack(socket: &Path, path: &str, body: &Value) -> Result<BufReader<UnixStream>> {
    let mut stream = connect(socket)?;
    send(
        &mut stream,
        "POST",
        path,
        "application/json",
        &serde_json::to_vec(body)?,
        "Connection: Upgrade\r\nUpgrade: tcp\r\n",
    )?;
    let head = read_head(&mut stream)?;
    match head.status {
        101 | 200 => Ok(stream),
        status => {
            let mut content = String::new();
            Body::new(&mut stream, head.length).read_to_string(&mut content)?;
            Err(format!("status {status}: {}", content.trim()).into())
        }
    }
}

/// Opens a connection of its own and hands the body of the answer to `read` while it comes in.
pub(crate) fn stream<T>(socket: &Path, path: &str, read: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> Result<T> {
    let mut stream = connect(socket)?;
    send(&mut stream, "GET", path, "application/json", b"", "")?;
    let head = read_head(&mut stream)?;
    if head.status != 200 {
        return Err(format!("status {}", head.status).into());
    }
    Ok(read(&mut Body::new(&mut stream, head.length))?)
}

fn connect(socket: &Path) -> Result<BufReader<UnixStream>> {
    let stream = UnixStream::connect(socket).map_err(|error| format!("connect to {}: {error}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::with_capacity(256 * 1024, stream))
}

fn send(
    stream: &mut BufReader<UnixStream>,
    method: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
    extra: &str,
) -> Result<()> {
    let mut message = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{extra}").into_bytes();
    if !body.is_empty() {
        write!(message, "Content-Type: {content_type}\r\n")?;
    }
    if method != "GET" {
        write!(message, "Content-Length: {}\r\n", body.len())?;
    }
    message.extend_from_slice(b"\r\n");
    message.extend_from_slice(body);
    Ok(stream.get_mut().write_all(&message)?)
}

fn read_head(stream: &mut BufReader<UnixStream>) -> Result<Head> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| format!("no status in {line:?}"))?;
    let mut head = Head { status, length: Length::UntilClose, close: false };
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = Length::Known(value.parse()?),
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                head.length = Length::Chunked;
            }
            "connection" => head.close = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    if matches!(status, 204 | 304) {
        head.length = Length::Known(0);
    }
    head.close |= matches!(head.length, Length::UntilClose);
    Ok(head)
}

/// Reads a body up to its end, without the framing.
struct Body<'a> {
    stream: &'a mut BufReader<UnixStream>,
    length: Length,
    /// Bytes left in the current chunk; a chunk's line end has been read when it is zero.
    chunk: u64,
    ended: bool,
}

impl<'a> Body<'a> {
    fn new(stream: &'a mut BufReader<UnixStream>, length: Length) -> Self {
        Self { stream, length, chunk: 0, ended: false }
    }

    fn read_some(&mut self, buffer: &mut [u8], limit: u64) -> io::Result<usize> {
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX).min(buffer.len());
        match self.stream.read(&mut buffer[..wanted])? {
            0 if wanted > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line)
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.length {
            Length::UntilClose => self.stream.read(buffer),
            Length::Known(0) => Ok(0),
            Length::Known(left) => {
                let read = self.read_some(buffer, left)?;
                self.length = Length::Known(left - read as u64);
                Ok(read)
            }
            Length::Chunked if self.ended => Ok(0),
            Length::Chunked => {
                if self.chunk == 0 {
                    let line = self.line()?;
                    self.chunk = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
                    if self.chunk == 0 {
                        self.line()?;
                        self.ended = true;
                        return Ok(0);
                    }
                }
                let read = self.read_some(buffer, self.chunk)?;
                self.chunk -= read as u64;
                if self.chunk == 0 {
                    self.line()?;
                }
                Ok(read)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one answer from a server that says `text`; also what is left on the connection.
    fn read(text: &str) -> (Head, String, String) {
        let (client, mut server) = UnixStream::pair().unwrap();
        server.write_all(text.as_bytes()).unwrap();
        drop(server);
        let mut stream = BufReader::new(client);
        let head = read_head(&mut stream).unwrap();
        let (mut body, mut rest) = (String::new(), String::new());
        Body::new(&mut stream, head.length).read_to_string(&mut body).unwrap();
        stream.read_to_string(&mut rest).unwrap();
        (head, body, rest)
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        let (head, body, rest) = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, rest");
        assert_eq!((head.status, body.as_str(), rest.as_str()), (200, "hello", ", rest"));
        let (_, body, rest) =
            read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\na\r\n, chunks!!\r\n0\r\n\r\nrest");
        assert_eq!((body.as_str(), rest.as_str()), ("hello, chunks!!", "rest"));
        let (head, body, rest) = read("HTTP/1.1 204 No Content\r\n\r\nrest");
        assert_eq!((head.close, body.as_str(), rest.as_str()), (false, "", "rest"));
        let (head, body, _) = read("HTTP/1.1 200 OK\r\n\r\nuntil the end");
        assert_eq!((head.close, body.as_str()), (true, "until the end"));
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error() {
        let (client, mut server) = UnixStream::pair().unwrap();
        server.write_all(b"5\r\nhel").unwrap();
        drop(server);
        let mut stream = BufReader::new(client);
        let error = Body::new(&mut stream, Length::Chunked).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
