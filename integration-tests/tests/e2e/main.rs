//! A daemon, a socket, and what clients may expect. One program, so that it is linked once; `cargo test --test e2e
//! lifecycle::` runs one file of it.

#![recursion_limit = "256"]

mod attach;
mod channels;
mod cli;
mod create;
mod daemons;
mod events;
mod exec;
mod faults;
mod images;
mod isolation;
mod lifecycle;
mod logs;
mod others;
mod recovery;
mod system;
mod websocket;
