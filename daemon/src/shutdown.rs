//! Stopping: the first SIGTERM or SIGINT cancels the token that everything long-running listens to.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long requests that run may go on after the daemon was asked to stop (arbitrary; containers are not concerned).
pub const GRACE: Duration = Duration::from_secs(2);

/// Listens for the signals that stop the daemon.
pub fn listen() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    crate::tasks::spawn("signals", async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping; containers go on");
        cancelled.cancel();
    });
    Ok(token)
}
