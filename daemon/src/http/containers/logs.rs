//! `GET /containers/{id}/logs`.

use api_schema::ApiVersion;
use axum::Extension;
use axum::extract::{Path, State};
use tokio_stream::wrappers::ReceiverStream;

use super::Answer;
use crate::container::logs::{LogQuery, read};
use crate::http::extract::Query;
use crate::http::{ApiError, Shared, lines, sessions};
use crate::units;

pub(crate) async fn logs(
    State(engine): Shared,
    Extension(version): Extension<ApiVersion>,
    Path(id): Path<String>,
    query: Query,
) -> Answer {
    let (stdout, stderr) = (query.bool("stdout"), query.bool("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::invalid("Bad parameters: you must choose at least one stream"));
    }
    if query.bool("details") {
        return Err(ApiError::new(
            crate::error::ErrorKind::NotImplemented,
            "logs with details are not supported by this version of Pinnace",
        ));
    }
    let time = |name: &str| {
        units::parse_unix_time(query.text(name))
            .map_err(|error| ApiError::invalid(format!("invalid value for {name:?}: {error}")))
    };
    let since = time("since")?;
    // Zero means that none was given, as dockerd has it.
    let until = time("until")?.filter(|until| *until != 0);
    let container = engine.containers.find(&id)?;
    let multiplexed = !container.spec.tty;
    let wanted = LogQuery {
        stdout,
        stderr,
        follow: query.bool("follow"),
        since,
        until,
        timestamps: query.bool("timestamps"),
        // Anything that is no number means all.
        tail: query.text("tail").parse().ok(),
        multiplexed,
        end: None,
    };
    let directory = engine.containers.directory(&container);
    let chunks = read(container, directory, wanted);
    Ok(lines::until_stopped(
        sessions::content_type(multiplexed, version, true),
        ReceiverStream::new(chunks),
        &engine.stop,
    ))
}
