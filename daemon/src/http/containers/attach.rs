//! `POST /containers/{id}/attach` and `GET /containers/{id}/attach/ws`.

use std::sync::Arc;

use api_schema::ApiVersion;
use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use pinnace_helper::protocol::Framing;

use super::Answer;
use crate::container::handle::{AttachWanted, Container};
use crate::container::logs::LogQuery;
use crate::engine::Engine;
use crate::http::extract::Query;
use crate::http::sessions::{self, Output, Subject};
use crate::http::{ApiError, Shared, upgrade, websocket};

pub(crate) async fn attach(
    State(engine): Shared,
    Extension(version): Extension<ApiVersion>,
    Path(id): Path<String>,
    query: Query,
    request: Request,
) -> Answer {
    let container = engine.containers.find(&id)?;
    let multiplexed = !container.spec.tty;
    let framing = if multiplexed { Framing::Multiplexed } else { Framing::Raw };
    let output = open(&engine, &container, &query, framing, Streams::asked(&query)).await?;
    let upgraded = upgrade::is_asked(&request);
    let content_type = sessions::content_type(multiplexed, version, upgraded);
    Ok(upgrade::serve(request, output, content_type))
}

pub(crate) async fn attach_ws(
    State(engine): Shared,
    Extension(version): Extension<ApiVersion>,
    Path(id): Path<String>,
    query: Query,
    upgrade: WebSocketUpgrade,
) -> Answer {
    let container = engine.containers.find(&id)?;
    let mut upgrade = websocket::prepare(upgrade);
    // Older clients get every stream, whatever they ask for; so does one that asks for none.
    let asked = Streams::asked(&query);
    let streams = if version < ApiVersion::v1(42) || asked.none() { Streams::ALL } else { asked };
    if websocket::speaks_channels(&mut upgrade) {
        let framing = if container.spec.tty { Framing::Raw } else { Framing::Multiplexed };
        let output = open(&engine, &container, &query, framing, streams).await?;
        return Ok(upgrade.on_upgrade(move |socket| websocket::channels(socket, output)));
    }
    let output = open(&engine, &container, &query, Framing::Raw, streams).await?;
    let response: Response = upgrade.on_upgrade(move |socket| websocket::plain(socket, output));
    Ok(response)
}

/// The streams that a client asks for.
#[derive(Clone, Copy)]
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Streams {
    const ALL: Self = Self { stdin: true, stdout: true, stderr: true };

    fn asked(query: &Query) -> Self {
        Self { stdin: query.bool("stdin"), stdout: query.bool("stdout"), stderr: query.bool("stderr") }
    }

    fn none(self) -> bool {
        !(self.stdin || self.stdout || self.stderr)
    }
}

/// Subscribes before anything is answered: what the container writes from now on is not missed.
async fn open(
    engine: &Engine,
    container: &Arc<Container>,
    query: &Query,
    framing: Framing,
    streams: Streams,
) -> Result<Output, ApiError> {
    let detach_keys = sessions::detach_keys(query.get("detachKeys"), container.spec.tty)
        .map_err(|keys| ApiError::invalid(format!("Invalid detach keys ({keys}) provided")))?;
    let live = match query.get("stream") {
        // Without `stream` there is nothing but history; the websocket always streams.
        None => !query.bool("logs"),
        Some(_) => query.bool("stream"),
    };
    let subject = Subject::Container { container: Arc::clone(container), ended: container.published().ended };
    let session = if live {
        let wanted = AttachWanted {
            stdin: streams.stdin && container.spec.open_stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
            framing,
            detach_keys,
        };
        Some(container.attach(wanted).await?)
    } else {
        None
    };
    let history = query.bool("logs").then(|| {
        let query = LogQuery {
            stdout: streams.stdout || container.spec.tty,
            stderr: streams.stderr,
            follow: false,
            since: None,
            until: None,
            timestamps: false,
            tail: None,
            multiplexed: framing == Framing::Multiplexed,
            end: session.as_ref().and_then(|session| session.position),
        };
        crate::container::logs::read(Arc::clone(container), engine.containers.directory(container), query)
    });
    Ok(Output { history, session, subject, stop: engine.stop.clone() })
}
