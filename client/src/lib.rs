//! Typed client of the Pinnace daemon: the Docker Engine API over a unix socket, and the `v5.channel.k8s.io` websocket
//! for everything interactive.
//!
//! [`Client`] owns the connection; the calls are grouped by noun in [`api`]. Nothing here prints, reads the terminal or
//! exits: that is the business of the `pinnace` binary, which shares this crate.

pub mod api;
pub mod host;
pub mod http;
mod socket;
pub mod stdcopy;
pub mod stream;
pub mod units;

pub use crate::{
    host::Host,
    http::{Client, Error},
};
