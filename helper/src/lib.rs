//! What the daemon may know of the helper: the protocol they speak, and nothing of how the helper acts on it.

pub mod protocol;
