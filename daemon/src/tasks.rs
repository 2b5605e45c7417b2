//! Background tasks: every task of the daemon is started here, with a name, and counted.

use std::future::Future;
use std::sync::LazyLock;

use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

static TRACKER: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// Starts a task that runs until it ends by itself. Its span has no parent: it may outlive the request that began it.
/// A panic in it ends only that task.
pub fn spawn<F>(name: &'static str, future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(TRACKER.track_future(future.instrument(tracing::debug_span!(parent: None, "task", name))))
}

/// Returns how many tasks run.
pub fn running() -> usize {
    TRACKER.len()
}

/// Runs a request's handler in a task of its own, which is aborted when the returned future is dropped: that is, when
/// the client went away.
pub fn spawn_request<F>(future: F) -> impl Future<Output = Result<F::Output, tokio::task::JoinError>> + use<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(TRACKER.track_future(future)))
}

static REQUESTS: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// Starts a task that answers a client or cleans up behind an answer; the daemon's end waits for it.
pub fn spawn_for_client<F>(name: &'static str, future: F) -> tokio::task::JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    spawn(name, REQUESTS.track_future(future))
}

/// Waits until no client is being answered any more, but not longer than `limit`.
pub async fn wait_for_requests(limit: std::time::Duration) {
    REQUESTS.close();
    if tokio::time::timeout(limit, REQUESTS.wait()).await.is_err() {
        tracing::debug!(left = REQUESTS.len(), "clients did not end in time");
    }
}
