//! The daemon's parts, put together. No behaviour.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cgroup::Hierarchies;
use crate::config::Config;
use crate::container::Containers;
use crate::events::Events;
use crate::image::Images;
use crate::layout::Layout;
use crate::store::Store;

/// Everything that a request may need.
#[derive(Debug)]
pub struct Engine {
    pub config: Config,
    pub layout: Arc<Layout>,
    pub store: Store,
    pub events: Events,
    pub images: Images,
    pub containers: Containers,
    pub cgroups: Arc<Hierarchies>,
    /// Who this daemon is, made with its data root.
    pub id: Uuid,
    /// Cancelled when the daemon stops: streams that would go on for ever end.
    pub stop: CancellationToken,
}
