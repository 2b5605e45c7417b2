//! `POST /containers/{id}/wait`.

use api_schema::container::{WaitError, WaitResponse};
use axum::extract::{Path, State};
use bytes::Bytes;
use tokio::sync::watch;

use super::Answer;
use crate::container::handle::Published;
use crate::container::lifecycle::Lifecycle;
use crate::http::extract::Query;
use crate::http::{ApiError, Shared, lines};

/// What is waited for.
#[derive(Clone, Copy)]
enum Condition {
    /// Already met by a container that never ran.
    NotRunning,
    /// The end of a run that ends after this request came.
    NextExit,
    Removed,
}

/// Answers 200 at once, and the exit code when the condition is met: clients wait for the head before they start.
pub(crate) async fn wait(State(engine): Shared, Path(id): Path<String>, query: Query) -> Answer {
    let condition = match query.text("condition") {
        "" | "not-running" => Condition::NotRunning,
        "next-exit" => Condition::NextExit,
        "removed" => Condition::Removed,
        other => return Err(ApiError::invalid(format!("invalid condition: {other:?}"))),
    };
    let container = engine.containers.find(&id)?;
    let state = container.follow();
    // Counted before the answer's head goes out, so that no end is missed.
    let ended = state.borrow().ended;
    let body = futures_util::stream::once(async move {
        Ok::<Bytes, std::io::Error>(lines::line(&met(state, condition, ended).await))
    });
    Ok(lines::streaming("application/json", body))
}

async fn met(mut state: watch::Receiver<Published>, condition: Condition, ended: u64) -> WaitResponse {
    let published = state
        .wait_for(|published| match condition {
            _ if published.removed => true,
            Condition::NotRunning => !published.lifecycle.is_active(),
            Condition::NextExit => published.ended > ended,
            Condition::Removed => published.removal_error.is_some(),
        })
        .await
        .map(|published| published.clone());
    let Ok(published) = published else {
        // The container's task ended: it was removed, and what is left in the channel says how it ended.
        return response(&state.borrow());
    };
    response(&published)
}

fn response(published: &Published) -> WaitResponse {
    let code = match (&published.lifecycle, &published.last_exit) {
        (Lifecycle::Exited(exit), _) | (_, Some(exit)) => exit.code,
        (Lifecycle::Created { failure: Some(failure) }, None) => failure.code,
        _ => 0,
    };
    WaitResponse {
        status_code: i64::from(code),
        error: published.removal_error.clone().map(|message| WaitError { message }),
    }
}
