//! A blocking HTTP/1.1 client over a unix socket that hides nothing: status line, headers, chunks, upgrades.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::PATIENCE;

/// A daemon's API; every request has its own connection.
#[derive(Debug, Clone)]
pub struct Api {
    pub socket: PathBuf,
}

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An answer whose body is read as it comes, or a connection that was upgraded.
#[derive(Debug)]
pub struct Stream {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    reader: BufReader<UnixStream>,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    Length(u64),
    /// What remains of the chunk that is being read; `None` after the last one.
    Chunked(Option<u64>),
    UntilClosed,
}

impl Api {
    pub fn new(socket: &Path) -> Api {
        Api { socket: socket.to_owned() }
    }

    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    pub fn delete(&self, path: &str) -> Response {
        self.request("DELETE", path, &[], b"")
    }

    /// Posts without a body.
    pub fn post(&self, path: &str) -> Response {
        self.request("POST", path, &[], b"")
    }

    pub fn post_json(&self, path: &str, body: &Value) -> Response {
        self.request("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut stream = self.open(method, path, headers, body);
        let mut body = Vec::new();
        if method != "HEAD" {
            stream.read_to_end(&mut body).unwrap_or_else(|error| panic!("{method} {path}: body: {error}"));
        }
        Response { status: stream.status, headers: stream.headers.clone(), body }
    }

    /// Sends a request and returns when the head of the answer is there.
    pub fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Stream {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: pinnace\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let upgrades = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
        if !upgrades {
            request += "Connection: close\r\n";
        }
        if !body.is_empty() || method == "POST" {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends these bytes and reads the head of an answer.
    pub fn raw(&self, request: &[u8]) -> std::io::Result<Stream> {
        let mut connection = UnixStream::connect(&self.socket)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        // A daemon may refuse a request before it has read all of it.
        let sent = connection.write_all(request);
        Stream::read_head(connection).or_else(|error| sent.and(Err(error)))
    }

    /// Asks for a hijacked connection as Docker's clients do, and expects to get it.
    pub fn hijack(&self, path: &str, body: Option<&Value>) -> Stream {
        let stream = self.try_hijack(path, body);
        assert_eq!((stream.status, stream.reason.as_str()), (101, "UPGRADED"), "{path}");
        stream
    }

    pub fn try_hijack(&self, path: &str, body: Option<&Value>) -> Stream {
        let body = body.map(Value::to_string).unwrap_or_default();
        let headers = [("Content-Type", "application/json"), ("Connection", "Upgrade"), ("Upgrade", "tcp")];
        self.open("POST", path, &headers, body.as_bytes())
    }
}

impl Response {
    /// Panics unless this is the status.
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// Returns the lines of a progress stream.
    pub fn json_lines(&self) -> Vec<Value> {
        serde_json::Deserializer::from_slice(&self.body).into_iter().map(|line| line.expect("JSON")).collect()
    }

    /// Returns the text of an error body, after checking that it is one and nothing more.
    pub fn message(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/json"), "clients compare this exactly");
        let body = self.json();
        assert_eq!(body.as_object().expect("an object").len(), 1, "{body}");
        body["message"].as_str().expect("a message").to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn find_header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

impl Stream {
    fn read_head(connection: UnixStream) -> std::io::Result<Stream> {
        let mut reader = BufReader::new(connection);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(std::io::Error::other(format!("connection closed in the head of the answer: {lines:?}")));
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut first = lines.remove(0);
        first.push(' ');
        let (status, reason) = first.split_once(' ').and_then(|(_, rest)| rest.split_once(' ')).expect("a status line");
        let headers: Vec<(String, String)> = lines
            .iter()
            .map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
            .collect::<Option<_>>()
            .expect("headers");
        let status = status.parse().expect("a status");
        let framing = if status == 101 {
            Framing::UntilClosed
        } else if find_header(&headers, "transfer-encoding").is_some() {
            Framing::Chunked(Some(0))
        } else if let Some(length) = find_header(&headers, "content-length") {
            Framing::Length(length.parse().expect("a length"))
        } else if matches!(status, 204 | 304) {
            Framing::Length(0)
        } else {
            Framing::UntilClosed
        };
        Ok(Stream { status, reason: reason.trim().to_owned(), headers, reader, framing })
    }

    /// Reads the head of the answer to another request on the same connection, once this one's body has been read.
    pub fn next_answer(&self) -> std::io::Result<Stream> {
        assert!(self.reader.buffer().is_empty(), "there is more of this answer");
        Stream::read_head(self.socket().try_clone()?)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    pub fn is_chunked(&self) -> bool {
        matches!(self.framing, Framing::Chunked(_))
    }

    /// The connection itself, for writing and for timeouts.
    pub fn socket(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    pub fn write(&self, bytes: &[u8]) {
        self.socket().write_all(bytes).expect("the daemon reads");
    }

    /// Says that nothing more will be written.
    pub fn close_write(&self) {
        self.socket().shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Reads all that comes until the daemon ends the stream.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).expect("the stream ends well");
        bytes
    }

    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read_exact(&mut bytes).expect("enough bytes");
        bytes
    }

    /// Reads until what was read ends with `end`, and returns all of it.
    pub fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            let mut byte = [0];
            let read = self.read(&mut byte).unwrap_or_else(|error| {
                panic!("{error} while waiting for {:?} after {:?}", text(end), text(&bytes));
            });
            assert_eq!(read, 1, "ended before {:?}: {:?}", text(end), text(&bytes));
            bytes.push(byte[0]);
        }
        bytes
    }

    pub fn line(&mut self) -> String {
        text(&self.until(b"\n")).into_owned()
    }

    pub fn json_line(&mut self) -> Value {
        serde_json::from_str(&self.line()).expect("a line of JSON")
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.framing {
            Framing::UntilClosed => self.reader.read(buffer),
            Framing::Length(0) | Framing::Chunked(None) => Ok(0),
            Framing::Length(rest) => {
                let length = buffer.len().min(usize::try_from(*rest).unwrap_or(usize::MAX));
                let read = self.reader.read(&mut buffer[..length])?;
                if read == 0 && length > 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                *rest -= read as u64;
                Ok(read)
            }
            Framing::Chunked(Some(0)) => {
                let mut line = String::new();
                self.reader.read_line(&mut line)?;
                let length = u64::from_str_radix(line.trim(), 16)
                    .map_err(|error| std::io::Error::other(format!("bad chunk {line:?}: {error}")))?;
                if length == 0 {
                    self.reader.read_line(&mut line)?;
                    self.framing = Framing::Chunked(None);
                    return Ok(0);
                }
                self.framing = Framing::Chunked(Some(length));
                self.read(buffer)
            }
            Framing::Chunked(Some(rest)) => {
                let length = buffer.len().min(usize::try_from(*rest).unwrap_or(usize::MAX));
                let read = self.reader.read(&mut buffer[..length])?;
                if read == 0 && length > 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                *rest -= read as u64;
                if *rest == 0 {
                    let mut end = [0; 2];
                    self.reader.read_exact(&mut end)?;
                }
                Ok(read)
            }
        }
    }
}
