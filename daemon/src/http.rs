//! The API: which path and method calls what. Nothing else is decided here.

mod containers;
mod error;
mod events;
mod execs;
mod extract;
mod images;
mod lines;
pub mod server;
mod sessions;
mod system;
mod upgrade;
mod version;
mod websocket;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, delete, get, head, post};

use crate::engine::Engine;

pub use error::ApiError;

/// What handlers get.
type Shared = axum::extract::State<Arc<Engine>>;

/// Builds the route table. Paths carry no version: [`version::route`] strips it before.
pub fn router(engine: Arc<Engine>) -> Router {
    let containers = Router::new()
        .route("/containers/json", get(containers::list))
        .route("/containers/create", post(containers::create))
        .route("/containers/{id}", delete(containers::remove))
        .route("/containers/{id}/json", get(containers::inspect))
        .route("/containers/{id}/top", get(containers::top))
        .route("/containers/{id}/logs", get(containers::logs))
        .route("/containers/{id}/attach", post(containers::attach))
        .route("/containers/{id}/attach/ws", get(containers::attach_ws))
        .route("/containers/{id}/start", post(containers::start))
        .route("/containers/{id}/stop", post(containers::stop))
        .route("/containers/{id}/restart", post(containers::restart))
        .route("/containers/{id}/kill", post(containers::kill))
        .route("/containers/{id}/pause", post(containers::pause))
        .route("/containers/{id}/unpause", post(containers::unpause))
        .route("/containers/{id}/wait", post(containers::wait))
        .route("/containers/{id}/resize", post(containers::resize))
        .route("/containers/{id}/rename", post(containers::rename))
        .route("/containers/{id}/exec", post(execs::create));
    let execs = Router::new()
        .route("/exec/{id}/start", post(execs::start))
        .route("/exec/{id}/ws", get(execs::start_ws))
        .route("/exec/{id}/resize", post(execs::resize))
        .route("/exec/{id}/json", get(execs::inspect));
    let system = Router::new()
        .route("/_ping", head(system::ping).get(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/events", get(events::stream))
        .route("/plugins", get(system::plugins));
    let mut router = Router::new().merge(containers).merge(execs).merge(images::routes()).merge(system);
    for path in system::NOT_SERVED {
        router = router.route(path, any(system::not_served));
    }
    for path in system::SWARM {
        router = router.route(path, any(system::no_swarm));
    }
    router.fallback(error::page_not_found).method_not_allowed_fallback(error::page_not_found).with_state(engine)
}
