//! Bodies that are written while the answer goes on: JSON values, one a line.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tokio_util::sync::CancellationToken;

/// Encodes a value as one line.
pub(super) fn line<T: serde::Serialize>(value: &T) -> Bytes {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    Bytes::from(bytes)
}

/// Answers 200 at once, with a body that comes as the stream gives it.
pub(super) fn streaming<S>(content_type: &'static str, stream: S) -> Response
where
    S: Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
{
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// As [`streaming`], for a body that may go on for ever: it ends when the daemon stops.
pub(super) fn until_stopped<S>(content_type: &'static str, stream: S, stop: &CancellationToken) -> Response
where
    S: Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
{
    streaming(content_type, stream.take_until(stop.clone().cancelled_owned()))
}
