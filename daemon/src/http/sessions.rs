//! What attach and exec have in common: the output that a client gets, its content type, and detach keys.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use api_schema::ApiVersion;
use bytes::Bytes;
use pinnace_helper::protocol::CloseReason;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::container::error::Error;
use crate::container::exec::Exec;
use crate::container::handle::{Container, Session};
use crate::container::lifecycle::Lifecycle;

/// What a client gets: first what was logged, then what comes.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) history: Option<mpsc::Receiver<io::Result<Bytes>>>,
    /// `None`: nothing but history.
    pub(super) session: Option<Session>,
    /// Whose output it is.
    pub(super) subject: Subject,
    /// The daemon stops.
    pub(super) stop: CancellationToken,
}

/// How long after the end of the output the exit status may take: it follows within a millisecond, unless the process
/// closed its output and goes on.
const STATUS_FOLLOWS: Duration = Duration::from_secs(2);

/// Whose stdio it is: says the exit status, and takes a resize.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    Container {
        container: Arc<Container>,
        /// How many of its runs had ended when the client attached.
        ended: u64,
    },
    Exec {
        container: Arc<Container>,
        exec: Arc<Exec>,
    },
}

impl Subject {
    /// Returns whether the process has a terminal.
    pub(super) fn tty(&self) -> bool {
        match self {
            Self::Container { container, .. } => container.spec.tty,
            Self::Exec { exec, .. } => exec.tty,
        }
    }

    /// Sets the size of the terminal.
    pub(super) async fn resize(&self, rows: u16, columns: u16) -> Result<(), Error> {
        match self {
            Self::Container { container, .. } => container.resize(None, rows, columns).await,
            Self::Exec { container, exec } => container.resize(Some(exec.id.clone()), rows, columns).await,
        }
    }

    /// Waits, after the end of the output, until the exit status is known to whoever asks for it; not so after a
    /// detach. Returns why the output ended; `None` if the helper is gone.
    pub(super) async fn settle(&self, closed: oneshot::Receiver<CloseReason>) -> Option<CloseReason> {
        let reason = tokio::time::timeout(STATUS_FOLLOWS, closed).await.ok().and_then(Result::ok);
        if matches!(reason, Some(CloseReason::ProcessExited) | None) {
            self.exit_code().await;
        }
        reason
    }

    /// Returns the exit code; `None` if it does not come.
    pub(super) async fn exit_code(&self) -> Option<i32> {
        tokio::time::timeout(STATUS_FOLLOWS, self.ended()).await.unwrap_or(None)
    }

    async fn ended(&self) -> Option<i32> {
        match self {
            Self::Exec { exec, .. } => exec.exit_code().await,
            Self::Container { container, ended } => {
                let mut state = container.follow();
                let settled = state
                    .wait_for(|published| {
                        published.ended > *ended || published.removed || !published.lifecycle.is_active()
                    })
                    .await
                    .map(|published| published.clone())
                    .unwrap_or_else(|_removed| container.published());
                match (settled.ended > *ended, settled.last_exit, settled.lifecycle) {
                    (true, Some(exit), _) => Some(exit.code),
                    (_, _, Lifecycle::Created { failure: Some(failure) }) => Some(failure.code),
                    _ => None,
                }
            }
        }
    }
}

/// Returns the content type: Docker tells framed output apart since API 1.42, and only on upgraded connections (logs
/// count as such).
pub(super) fn content_type(multiplexed: bool, version: ApiVersion, upgraded: bool) -> &'static str {
    if multiplexed && upgraded && version >= ApiVersion::v1(42) {
        "application/vnd.docker.multiplexed-stream"
    } else {
        "application/vnd.docker.raw-stream"
    }
}

/// Docker's default: ctrl-p, ctrl-q.
const DEFAULT_DETACH_KEYS: [u8; 2] = [16, 17];

/// Reads `ctrl-a,b` as the bytes that a terminal sends. Without a terminal nothing is looked for.
pub(super) fn detach_keys(text: Option<&str>, tty: bool) -> Result<Vec<u8>, String> {
    let keys = match text {
        None | Some("") => DEFAULT_DETACH_KEYS.to_vec(),
        Some(text) => text.split(',').map(detach_key).collect::<Option<Vec<u8>>>().ok_or_else(|| text.to_owned())?,
    };
    Ok(if tty { keys } else { Vec::new() })
}

fn detach_key(key: &str) -> Option<u8> {
    match key.as_bytes() {
        [byte] => Some(*byte),
        bytes => match bytes.strip_prefix(b"ctrl-")? {
            [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
            [b'@'] => Some(0),
            [b'['] => Some(27),
            [b'\\'] => Some(28),
            [b']'] => Some(29),
            [b'^'] => Some(30),
            [b'_'] => Some(31),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_read_as_docker_reads_them() {
        assert_eq!(detach_keys(None, true), Ok(vec![16, 17]));
        assert_eq!(detach_keys(Some(""), true), Ok(vec![16, 17]));
        assert_eq!(detach_keys(Some("ctrl-a,ctrl-[,x"), true), Ok(vec![1, 27, b'x']));
        assert_eq!(detach_keys(Some("ctrl-a"), false), Ok(vec![]));
        for text in ["ctrl-", "ctrl-A", "ctrl-1", "ab", "ctrl-a,,b", "é"] {
            assert_eq!(detach_keys(Some(text), true), Err(text.to_owned()));
        }
    }
}
