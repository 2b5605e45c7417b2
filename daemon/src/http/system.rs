//! `/_ping`, `/version`, `/info`, and what is not served.

use std::collections::BTreeMap;

use api_schema::system::{Commit, Component, Info, Platform, Plugins, RegistryConfig, Runtime, Swarm, Version};
use api_schema::version as api;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA};
use http::{Method, StatusCode};

use super::error::json;
use super::{ApiError, Shared};
use crate::clock::Timestamp;
use crate::container::lifecycle::Lifecycle;
use crate::error::ErrorKind;
use crate::host;

/// Endpoints of the API that this version does not serve.
pub(super) const NOT_SERVED: [&str; 20] = [
    "/containers/{id}/archive",
    "/containers/{id}/changes",
    "/containers/{id}/export",
    "/containers/{id}/stats",
    "/containers/{id}/update",
    "/containers/prune",
    "/commit",
    "/auth",
    "/build",
    "/build/prune",
    "/build/cancel",
    "/networks",
    "/networks/{*rest}",
    "/volumes",
    "/volumes/{*rest}",
    "/plugins/{*rest}",
    "/distribution/{*rest}",
    "/system/df",
    "/images/get",
    "/images/search",
];

/// Endpoints that need a swarm.
pub(super) const SWARM: [&str; 12] = [
    "/swarm",
    "/swarm/{*rest}",
    "/nodes",
    "/nodes/{*rest}",
    "/services",
    "/services/{*rest}",
    "/tasks",
    "/tasks/{*rest}",
    "/secrets",
    "/secrets/{*rest}",
    "/configs",
    "/configs/{*rest}",
];

pub(super) async fn not_served(request: Request) -> ApiError {
    let path = request.uri().path();
    ApiError::new(
        ErrorKind::NotImplemented,
        format!("{} {path} is not supported by this version of Pinnace", request.method()),
    )
}

/// There are no plugins.
pub(super) async fn plugins() -> Response {
    json(StatusCode::OK, &[(); 0])
}

pub(super) async fn no_swarm() -> ApiError {
    ApiError::new(
        ErrorKind::Unavailable,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
    )
}

pub(super) async fn ping(method: Method) -> Response {
    let body = if method == Method::HEAD { "" } else { "OK" };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate")),
        (PRAGMA, HeaderValue::from_static("no-cache")),
        (HeaderName::from_static("builder-version"), HeaderValue::from_static("1")),
        (HeaderName::from_static("swarm"), HeaderValue::from_static("inactive")),
    ];
    (headers, body).into_response()
}

pub(super) async fn version() -> Response {
    let details = BTreeMap::from([
        ("ApiVersion".to_owned(), api::CURRENT.to_string()),
        ("Arch".to_owned(), host::architecture().to_owned()),
        ("BuildTime".to_owned(), String::new()),
        ("Experimental".to_owned(), "false".to_owned()),
        ("GitCommit".to_owned(), String::new()),
        ("GoVersion".to_owned(), String::new()),
        ("KernelVersion".to_owned(), host::kernel_release().to_owned()),
        ("MinAPIVersion".to_owned(), api::MIN.to_string()),
        ("Os".to_owned(), "linux".to_owned()),
    ]);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    json(
        StatusCode::OK,
        &Version {
            platform: Platform { name: "Pinnace".to_owned() },
            components: vec![Component { name: "Engine".to_owned(), version: version.clone(), details }],
            version,
            api_version: api::CURRENT.to_string(),
            min_api_version: api::MIN.to_string(),
            git_commit: String::new(),
            go_version: String::new(),
            os: "linux".to_owned(),
            arch: host::architecture().to_owned(),
            kernel_version: host::kernel_release().to_owned(),
            build_time: String::new(),
        },
    )
}

pub(super) async fn info(State(engine): Shared) -> Response {
    let containers = engine.containers.registry().all();
    let count =
        |test: fn(&Lifecycle) -> bool| containers.iter().filter(|container| test(&container.lifecycle())).count();
    let running = count(|lifecycle| matches!(lifecycle, Lifecycle::Running(_)));
    let paused = count(|lifecycle| matches!(lifecycle, Lifecycle::Paused(_)));
    let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
    json(
        StatusCode::OK,
        &Info {
            id: engine.id.to_string(),
            containers: containers.len(),
            containers_running: running,
            containers_paused: paused,
            containers_stopped: containers.len() - running - paused,
            images: engine.images.count(),
            driver: "overlay2".to_owned(),
            driver_status: vec![["Supports d_type".to_owned(), "true".to_owned()]],
            plugins: Plugins {
                volume: vec!["local".to_owned()],
                network: vec!["host".to_owned(), "null".to_owned()],
                authorization: None,
                log: vec!["json-file".to_owned()],
            },
            // Limits are not honoured yet, and so not announced.
            memory_limit: false,
            swap_limit: false,
            cpu_cfs_period: false,
            cpu_cfs_quota: false,
            cpu_shares: false,
            cpu_set: false,
            pids_limit: false,
            ipv4_forwarding: forwarding.trim() == "1",
            debug: false,
            n_fd: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            oom_kill_disable: false,
            n_goroutines: crate::tasks::running(),
            system_time: Timestamp::now().rfc3339(),
            logging_driver: "json-file".to_owned(),
            cgroup_driver: "cgroupfs".to_owned(),
            cgroup_version: engine.cgroups.version().to_owned(),
            n_events_listener: 0,
            kernel_version: host::kernel_release().to_owned(),
            operating_system: host::operating_system(),
            os_version: String::new(),
            os_type: "linux".to_owned(),
            architecture: host::machine().to_owned(),
            index_server_address: "https://index.docker.io/v1/".to_owned(),
            registry_config: RegistryConfig::default(),
            ncpu: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            mem_total: host::memory_total(),
            generic_resources: None,
            docker_root_dir: engine.layout.data_root().to_string_lossy().into_owned(),
            http_proxy: String::new(),
            https_proxy: String::new(),
            no_proxy: String::new(),
            name: host::hostname(),
            labels: Vec::new(),
            experimental_build: false,
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtimes: BTreeMap::from([("pinnace".to_owned(), Runtime { path: "pinnace-helper".to_owned() })]),
            default_runtime: "pinnace".to_owned(),
            swarm: Swarm {
                node_id: String::new(),
                node_addr: String::new(),
                local_node_state: "inactive".to_owned(),
                control_available: false,
                error: String::new(),
                remote_managers: None,
            },
            live_restore_enabled: true,
            isolation: String::new(),
            init_binary: String::new(),
            containerd_commit: Commit::default(),
            runc_commit: Commit::default(),
            init_commit: Commit::default(),
            security_options: vec!["name=seccomp,profile=builtin".to_owned(), "name=cgroupns".to_owned()],
            cdi_spec_dirs: Vec::new(),
            warnings: Vec::new(),
        },
    )
}
