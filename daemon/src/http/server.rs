//! Accepts connections and serves the router on them.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::version;
use crate::error::ErrorKind;
use crate::http::ApiError;
use crate::shutdown::GRACE;

/// How long a client may take to send a request's head (arbitrary; a local client needs microseconds).
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves one listening socket until `stop` is cancelled; requests that run then have [`GRACE`] to end.
pub async fn serve(listener: UnixListener, router: Router, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                crate::tasks::spawn_for_client("connection", connection(stream, router.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "accept failed");
                // Out of descriptors: there is nothing to wait for but time.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, router: Router, stop: CancellationToken) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request.map(Body::new)).await) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
}

async fn answer(router: Router, mut request: Request) -> Response {
    if let Some(refused) = refuse_browsers(&request) {
        return version::refuse(refused);
    }
    if let Err(error) = version::route(&mut request) {
        return version::refuse(error);
    }
    let span = tracing::debug_span!(
        "request",
        id = %uuid::Uuid::new_v4(),
        method = %request.method(),
        path = request.uri().path()
    );
    let head = request.method() == http::Method::HEAD;
    // A panic in a handler must not look like a broken connection.
    let handled = crate::tasks::spawn_request(router.oneshot(request).instrument(span)).await;
    let mut response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => ApiError::new(ErrorKind::Internal, format!("the request failed: {panic}")).into_response(),
    };
    if head && response.status() == StatusCode::OK && !response.headers().contains_key(header::CONTENT_LENGTH) {
        *response.body_mut() = Body::empty();
    }
    version::stamp(&mut response);
    response
}

/// Refuses what a page of another site made a browser send (SECURITY R20): a unix socket has no pages, but a proxy in
/// front of it may. Websocket libraries of programs send the origin that they connect to.
fn refuse_browsers(request: &Request) -> Option<ApiError> {
    let origin = request.headers().get(header::ORIGIN)?.to_str().unwrap_or_default();
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let (_, authority) = origin.split_once("://").unwrap_or_default();
    let same = !host.is_empty() && authority.trim_end_matches('/').eq_ignore_ascii_case(host);
    (!same).then(|| ApiError::new(ErrorKind::Forbidden, format!("requests from the origin {origin:?} are not served")))
}

/// Binds a unix socket with this mode and group; a socket that nobody listens on any more is replaced.
pub fn bind(path: &std::path::Path, mode: u32, group: Option<u32>) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("another process listens on {}", path.display()),
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(_missing) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::os::unix::fs::chown(path, None, group)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}
