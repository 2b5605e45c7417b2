//! What the end-to-end tests stand on: a daemon of their own, a client of their own, images made in code, and an oracle
//! that says what was left behind.
//!
//! The HTTP client shares no code with the daemon or with `pinnace`, so that a mistake is not made twice. It is blocking:
//! a test that does two things at once says so with a thread.
//!
//! Every test starts its own daemon from the directory `target/staged` (`make stage`; the environment's
//! `PINNACE_TEST_BIN` names another). With `PINNACE_TEST_HOST=unix:///path` the same tests run against a daemon that is
//! there already, such as a private dockerd, to find out whether what a test expects is what Docker does; they then
//! remove every container of that daemon, and run one at a time (`--test-threads=1`).

pub mod channel;
pub mod command;
pub mod containers;
pub mod daemon;
pub mod frames;
pub mod http;
pub mod image;
pub mod traces;
pub mod wait;

pub use channel::WebSocket;
pub use command::{Finished, Pty};
pub use containers::Output;
pub use daemon::Daemon;
pub use http::{Api, Response, Stream};
pub use serde_json::{Value, json};
pub use wait::wait_until;

use std::time::Duration;

/// How long anything may take before a test calls it hung: far above what is normal, since cores may be shared.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the sha256 of some bytes, in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
