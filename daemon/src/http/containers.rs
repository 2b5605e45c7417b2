//! `/containers/…`: one function an endpoint; what takes more than a few lines has a file.

mod attach;
mod list;
mod logs;
mod top;
mod wait;

use std::sync::Arc;

use api_schema::container::CreateResponse;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

pub(super) use attach::{attach, attach_ws};
pub(super) use list::list;
pub(super) use logs::logs;
pub(super) use top::top;
pub(super) use wait::wait;

use super::error::json;
use super::extract::{Json, Query};
use super::{ApiError, Shared};
use crate::clock::Timestamp;
use crate::container::error::Error;
use crate::container::handle::Container;
use crate::container::spec::{CreateBody, NetworkMode};
use crate::container::view;
use crate::error::ErrorKind;
use crate::events::Kind;
use crate::signal::Signal;

type Answer = Result<Response, ApiError>;

pub(super) async fn create(State(engine): Shared, query: Query, body: Json) -> Answer {
    let body = CreateBody::read(body.required()?)?;
    if !matches!(query.text("platform"), "" | "linux") && !is_host_platform(query.text("platform")) {
        return Err(ApiError::new(
            ErrorKind::NotFound,
            format!(
                "image with reference {} was found but does not match the specified platform {}",
                body.image(),
                query.text("platform")
            ),
        ));
    }
    let name = query.get("name").filter(|name| !name.is_empty());
    let name = name.map(|name| name.strip_prefix('/').unwrap_or(name));
    let name = name.map(str::to_owned);
    let container = finish("create", async move { engine.containers.create(name.as_deref(), body).await }).await?;
    let warnings = match &container.spec.network {
        NetworkMode::Bridge(word) => vec![format!(
            "Bridge networks are not supported yet: with the network mode {word:?} the container has a private network namespace with loopback only"
        )],
        NetworkMode::None | NetworkMode::Host => Vec::new(),
    };
    Ok(json(StatusCode::CREATED, &CreateResponse { id: container.id.to_string(), warnings }))
}

fn is_host_platform(platform: &str) -> bool {
    let mut parts = platform.split('/');
    parts.next() == Some("linux") && parts.next().is_none_or(|arch| arch == crate::host::architecture())
}

pub(super) async fn inspect(State(engine): Shared, Path(id): Path<String>, query: Query) -> Answer {
    let container = engine.containers.find(&id)?;
    let directory = engine.containers.directory(&container);
    let layers = engine.containers.layers(&container).unwrap_or_default();
    let mut answer = view::inspect(&container, &directory, &layers);
    if query.bool("size") {
        (answer.size_rw, answer.size_root_fs) = sizes(&engine, &container).await;
    }
    Ok(json(StatusCode::OK, &answer))
}

/// Returns the sizes of the writable layer and of everything, in bytes.
async fn sizes(engine: &Arc<crate::engine::Engine>, container: &Container) -> (Option<i64>, Option<i64>) {
    let upper = engine.containers.directory(container).join("upper");
    let image = engine.images.resolve(&container.image_id).map_or(0, |image| image.size_bytes);
    let own = tokio::task::spawn_blocking(move || tree_size(&upper)).await.unwrap_or(0);
    let count = |bytes: u64| Some(i64::try_from(bytes).unwrap_or(i64::MAX));
    (count(own), count(own.saturating_add(image)))
}

fn tree_size(directory: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => tree_size(&entry.path()),
            Ok(metadata) if metadata.is_file() => metadata.size(),
            _ => 0,
        })
        .sum()
}

pub(super) async fn start(State(engine): Shared, Path(id): Path<String>, body: Json) -> Answer {
    if body.0.is_some_and(|value| value.as_object().is_none_or(|object| !object.is_empty())) {
        return Err(ApiError::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    let container = engine.containers.find(&id)?;
    let changed = container.start().await?;
    Ok(done(changed))
}

pub(super) async fn stop(State(engine): Shared, Path(id): Path<String>, query: Query) -> Answer {
    let container = engine.containers.find(&id)?;
    let changed = container.stop(signal(&query)?, query.number("t")?).await?;
    Ok(done(changed))
}

pub(super) async fn restart(State(engine): Shared, Path(id): Path<String>, query: Query) -> Answer {
    let container = engine.containers.find(&id)?;
    let (signal, timeout) = (signal(&query)?, query.number("t")?);
    finish("restart", async move {
        container.restart(signal, timeout).await?;
        let attributes = container.event_attributes();
        engine.events.publish(Kind::Container, "restart", container.id.as_str(), attributes);
        Ok(())
    })
    .await?;
    Ok(done(true))
}

pub(super) async fn kill(State(engine): Shared, Path(id): Path<String>, query: Query) -> Answer {
    let container = engine.containers.find(&id)?;
    container.kill(signal(&query)?.unwrap_or(Signal::KILL)).await?;
    Ok(done(true))
}

pub(super) async fn pause(State(engine): Shared, Path(id): Path<String>) -> Answer {
    engine.containers.find(&id)?.pause().await?;
    Ok(done(true))
}

pub(super) async fn unpause(State(engine): Shared, Path(id): Path<String>) -> Answer {
    engine.containers.find(&id)?.unpause().await?;
    Ok(done(true))
}

pub(super) async fn rename(State(engine): Shared, Path(id): Path<String>, query: Query) -> Answer {
    let container = engine.containers.find(&id)?;
    let name = query.text("name").to_owned();
    finish("rename", async move { engine.containers.rename(&container, &name).await }).await?;
    Ok(done(true))
}

pub(super) async fn resize(State(engine): Shared, Path(id): Path<String>, query: Query) -> Answer {
    let container = engine.containers.find(&id)?;
    let (rows, columns) = size(&query)?;
    container.resize(None, rows, columns).await?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn remove(State(engine): Shared, Path(id): Path<String>, query: Query) -> Answer {
    if query.bool("link") {
        return Err(ApiError::new(
            ErrorKind::NotImplemented,
            "removing links is not supported by this version of Pinnace",
        ));
    }
    let container = engine.containers.find(&id)?;
    container.remove(query.bool("force")).await?;
    Ok(done(true))
}

/// Runs a change of several steps to its end, also if the client leaves between two of them.
async fn finish<T: Send + 'static>(
    name: &'static str,
    change: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, ApiError> {
    match crate::tasks::spawn(name, change).await {
        Ok(result) => Ok(result?),
        Err(panic) => Err(ApiError::new(ErrorKind::Internal, format!("{name} failed: {panic}"))),
    }
}

/// Reads `h` and `w`, both of them required.
pub(super) fn size(query: &Query) -> Result<(u16, u16), ApiError> {
    let read = |name: &str, word: &str| {
        query
            .number::<u32>(name)?
            .map(|cells| u16::try_from(cells).unwrap_or(u16::MAX))
            .ok_or_else(|| ApiError::invalid(format!("invalid resize {word} {:?}: invalid syntax", query.text(name))))
    };
    Ok((read("h", "height")?, read("w", "width")?))
}

fn signal(query: &Query) -> Result<Option<Signal>, ApiError> {
    match query.text("signal") {
        "" => Ok(None),
        text => Signal::parse(text).map(Some).map_err(|error| ApiError::invalid(error.to_string())),
    }
}

/// 204, or 304 if there was nothing to do.
fn done(changed: bool) -> Response {
    if changed { StatusCode::NO_CONTENT.into_response() } else { StatusCode::NOT_MODIFIED.into_response() }
}

/// Returns now; the list's sentences are relative to it.
fn now() -> Timestamp {
    Timestamp::now()
}
