//! The wire types of the Docker Engine API, v1.24 to v1.51, and of what Pinnace adds to it.
//!
//! Only serde: no input or output, and no defaults that need the host. Daemon and client share these types; the
//! daemon's answers are checked against Docker's own specification and clients in `integration-tests`.

pub mod container;
pub mod error;
pub mod event;
pub mod exec;
pub mod filters;
pub mod host_config;
pub mod image;
pub mod progress;
pub mod stream;
pub mod system;
pub mod version;

pub use error::ErrorResponse;
pub use filters::Filters;
pub use version::ApiVersion;
