//! `pinnaced`: decides what containers there are, and serves the Docker Engine API.
//!
//! ```text
//!   main ▶ http ▶ { container ▶ image } ▶ { store, helper_process, layout }
//!   everything ▶ { id, error, clock, units, signal }
//! ```
//!
//! The daemon never forks, mounts or enters a namespace: helpers do (see `pinnace_helper::protocol`).

#![cfg_attr(test, recursion_limit = "256")]

pub mod capability;
pub mod cgroup;
pub mod clock;
pub mod config;
pub mod container;
pub mod engine;
pub mod error;
pub mod events;
pub mod helper_process;
pub mod host;
pub mod http;
pub mod id;
pub mod image;
pub mod layout;
pub mod seccomp;
pub mod shutdown;
pub mod signal;
pub mod store;
pub mod sys;
pub mod tasks;
pub mod telemetry;
pub mod trash;
pub mod units;
