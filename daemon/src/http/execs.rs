//! `/containers/{id}/exec` and `/exec/{id}/…`.

use std::sync::Arc;
use std::time::Duration;

use api_schema::ApiVersion;
use api_schema::exec::{ExecCreateBody, ExecStartBody, IdResponse};
use api_schema::stream as frames;
use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequest as _, Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use pinnace_helper::protocol::Framing;
use serde_json::Value;
use tokio::sync::mpsc;

use super::containers::size;
use super::error::json;
use super::extract::{Json, Query};
use super::sessions::{self, Output, Subject};
use super::{ApiError, Shared, upgrade, websocket};
use crate::container::exec::Exec;
use crate::container::handle::AttachWanted;
use crate::container::view;

type Answer = Result<Response, ApiError>;

const CREATE_FIELDS: [&str; 11] = [
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Cmd",
    "ConsoleSize",
    "DetachKeys",
    "Env",
    "Privileged",
    "Tty",
    "User",
    "WorkingDir",
];

const START_FIELDS: [&str; 3] = ["ConsoleSize", "Detach", "Tty"];

/// How long a resize waits for its exec to be started: Docker's.
const RESIZE_WAITS: Duration = Duration::from_secs(10);

pub(super) async fn create(State(engine): Shared, Path(id): Path<String>, body: Json) -> Answer {
    let container = engine.containers.find(&id)?;
    let body: ExecCreateBody = fold(body, &CREATE_FIELDS).required()?;
    let keys = Some(body.detach_keys.as_str());
    let detach_keys = sessions::detach_keys(keys, body.tty)
        .map_err(|keys| ApiError::invalid(format!("Invalid escape keys ({keys}) provided")))?;
    let exec = engine.containers.exec_create(&container, body, detach_keys)?;
    Ok(json(StatusCode::CREATED, &IdResponse { id: exec.id.to_string() }))
}

/// Gives keys the case of the API, as Go's JSON reads them in any case.
fn fold(Json(value): Json, known: &[&str]) -> Json {
    let Some(Value::Object(mut map)) = value else { return Json(value) };
    crate::container::spec::fold_keys(&mut map, known);
    Json(Some(Value::Object(map)))
}

pub(super) async fn inspect(State(engine): Shared, Path(id): Path<String>) -> Answer {
    let (_, exec) = engine.containers.exec_find(&id)?;
    Ok(json(StatusCode::OK, &view::exec(&exec)))
}

pub(super) async fn resize(State(engine): Shared, Path(id): Path<String>, query: Query) -> Answer {
    let (container, exec) = engine.containers.exec_find(&id)?;
    let (rows, columns) = size(&query)?;
    // Clients resize as soon as they have asked for the start.
    if tokio::time::timeout(RESIZE_WAITS, exec.started()).await.is_err() {
        return Err(ApiError::invalid("timeout waiting for exec session ready"));
    }
    container.resize(Some(exec.id.clone()), rows, columns).await?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn start(
    State(engine): Shared,
    Extension(version): Extension<ApiVersion>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let (container, exec) = engine.containers.exec_find(&id)?;
    // The body ends before the upgraded connection begins.
    let (parts, body) = request.into_parts();
    let head = Request::from_parts(parts.clone(), body);
    let body: ExecStartBody = fold(Json::from_request(head, &()).await?, &START_FIELDS).or_default()?;
    let request = Request::from_parts(parts, axum::body::Body::empty());
    if body.detach {
        engine.containers.exec_start(&container, &exec, &body, None).await?;
        return Ok(StatusCode::OK.into_response());
    }
    let multiplexed = !exec.tty;
    let framing = if multiplexed { Framing::Multiplexed } else { Framing::Raw };
    let upgraded = upgrade::is_asked(&request);
    let content_type = sessions::content_type(multiplexed, version, upgraded);
    let started = engine.containers.exec_start(&container, &exec, &body, Some(wanted(&exec, framing))).await;
    let subject = Subject::Exec { container, exec };
    let stop = engine.stop.clone();
    let output = match started {
        Ok(session) => Output { history: None, session, subject, stop },
        // As dockerd: a program that cannot be started is told in the stream, and by the exit code.
        Err(error @ crate::container::error::Error::Start { .. }) => {
            let text = format!("{error}\r\n");
            Output { history: Some(said(&text, multiplexed)), session: None, subject, stop }
        }
        Err(error) => return Err(error.into()),
    };
    Ok(upgrade::serve(request, output, content_type))
}

/// Pinnace's own: starts an exec and streams it over a websocket with channels.
pub(super) async fn start_ws(
    State(engine): Shared,
    Path(id): Path<String>,
    query: Query,
    upgrade: WebSocketUpgrade,
) -> Answer {
    let (container, exec) = engine.containers.exec_find(&id)?;
    let mut upgrade = websocket::prepare(upgrade);
    let rows = query.number::<u32>("h")?;
    let columns = query.number::<u32>("w")?;
    let body = ExecStartBody {
        console_size: rows.zip(columns).map(|(rows, columns)| [rows, columns]),
        ..ExecStartBody::default()
    };
    let channels = websocket::speaks_channels(&mut upgrade);
    let framing = if channels && !exec.tty { Framing::Multiplexed } else { Framing::Raw };
    let started = engine.containers.exec_start(&container, &exec, &body, Some(wanted(&exec, framing))).await;
    let subject = Subject::Exec { container, exec };
    let output = match started {
        Ok(session) => Output { history: None, session, subject, stop: engine.stop.clone() },
        Err(crate::container::error::Error::Start { code, message, .. }) if channels => {
            return Ok(upgrade.on_upgrade(move |socket| websocket::failed(socket, message, code)));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(if channels {
        upgrade.on_upgrade(move |socket| websocket::channels(socket, output))
    } else {
        upgrade.on_upgrade(move |socket| websocket::plain(socket, output))
    })
}

fn wanted(exec: &Arc<Exec>, framing: Framing) -> AttachWanted {
    AttachWanted {
        stdin: exec.open_stdin,
        stdout: exec.open_stdout || exec.tty,
        stderr: exec.open_stderr,
        framing,
        detach_keys: exec.detach_keys.clone(),
    }
}

/// Output that is there already.
fn said(text: &str, multiplexed: bool) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let bytes = if multiplexed {
        Bytes::from(frames::encode(frames::Stream::Stdout, text.as_bytes()))
    } else {
        Bytes::copy_from_slice(text.as_bytes())
    };
    let (sender, receiver) = mpsc::channel(1);
    // The channel is empty and open.
    drop(sender.try_send(Ok(bytes)));
    receiver
}
