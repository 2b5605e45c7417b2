//! The async face of the helper protocol: spawning helpers ahead of need, talking to one, finding one again.

mod connection;
mod pool;

pub use connection::Connection;
pub use pool::{Helpers, PoolError};
