//! Starts the daemon: configuration, log, lock, database, recovery, sockets; and stops it.

use std::error::Error;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use pinnaced::cgroup::Hierarchies;
use pinnaced::config::{Config, Flags};
use pinnaced::container::{Containers, Services};
use pinnaced::engine::Engine;
use pinnaced::events::Events;
use pinnaced::helper_process::Helpers;
use pinnaced::http::{self, server};
use pinnaced::image::Images;
use pinnaced::layout::Layout;
use pinnaced::store::Store;
use pinnaced::trash::Trash;
use pinnaced::{shutdown, telemetry};

fn main() -> ExitCode {
    pinnaced::sys::few_arenas();
    // Whoever starts the daemon may have blocked the signals that stop it.
    if let Err(errno) = nix::sys::signal::SigSet::all().thread_unblock() {
        drop(writeln!(io::stderr(), "pinnaced: unblocking signals: {errno}"));
    }
    let flags = Flags::parse();
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be there yet; a message that cannot be written has no reader.
            drop(writeln!(io::stderr(), "pinnaced: {}", pinnaced::error::chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> Result<(), Box<dyn Error>> {
    let config = Config::load(flags)?;
    telemetry::start(&config)?;
    if !nix::unistd::geteuid().is_root() {
        return Err("containers need privileges: run pinnaced as root".into());
    }
    let layout = Arc::new(Layout::create(&config.data_root, &config.run_dir)?);
    let _data_root = lock(layout.data_root(), "data root", "--data-root")?;
    let _run_dir = lock(layout.run_dir(), "run directory", "--run-dir")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("pinnaced").build()?;
    let result = runtime.block_on(serve(config, layout));
    // Requests had their time; what still blocks is reading files for clients that are gone.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(config: Config, layout: Arc<Layout>) -> Result<(), Box<dyn Error>> {
    let stop = shutdown::listen()?;
    let store = Store::open(&layout.database()).await?;
    let events = Events::open(store.clone()).await?;
    let trash = Trash::start(layout.trash());
    let images = Images::open(store.clone(), events.clone(), Arc::clone(&layout), trash.clone()).await?;
    let cgroups = Arc::new(Hierarchies::detect(&config.cgroup_parent)?);
    let containers = Containers::open(Services {
        store: store.clone(),
        events: events.clone(),
        images: images.clone(),
        helpers: Helpers::open(&config.helper)?,
        layout: Arc::clone(&layout),
        cgroups: Arc::clone(&cgroups),
        container_log: config.container_log,
        registry: Arc::default(),
        seccomp: Arc::default(),
        trash,
    })
    .await?;
    let id = identity(&layout)?;
    let sockets = config.sockets.clone();
    let (mode, group) = (config.socket_mode, config.socket_group);
    let engine = Arc::new(Engine {
        config,
        layout,
        store: store.clone(),
        events: events.clone(),
        images,
        containers,
        cgroups,
        id,
        stop: stop.clone(),
    });
    let router = http::router(engine);
    let mut servers = tokio::task::JoinSet::new();
    for path in &sockets {
        let listener =
            server::bind(path, mode, group).map_err(|error| format!("listen on unix://{}: {error}", path.display()))?;
        tracing::info!("listening on unix://{}", path.display());
        servers.spawn(server::serve(listener, router.clone(), stop.clone()));
    }
    drop(router);
    while servers.join_next().await.is_some() {}
    for path in &sockets {
        if let Err(error) = std::fs::remove_file(path) {
            tracing::warn!(error = &error as &dyn Error, "removing {}", path.display());
        }
    }
    pinnaced::tasks::wait_for_requests(shutdown::GRACE).await;
    if tokio::time::timeout(shutdown::GRACE, events.flush()).await.is_err() {
        tracing::warn!("the last events were not written");
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// How long the lock of a daemon that was killed may linger: a helper that it was just spawning holds it until it is
/// executed.
const LOCK_LINGERS: Duration = Duration::from_secs(1);

/// Keeps a second daemon off a directory, for as long as the returned file is open.
fn lock(directory: &Path, what: &str, flag: &str) -> Result<File, Box<dyn Error>> {
    let file = File::options().create(true).truncate(false).write(true).open(directory.join("lock"))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_LINGERS => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                let directory = directory.display();
                return Err(format!(
                    "another pinnaced uses the {what} {directory}: stop it, or choose another with {flag}"
                )
                .into());
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Reads who this daemon is, or makes it up once.
fn identity(layout: &Layout) -> Result<uuid::Uuid, io::Error> {
    let path = layout.data_root().join("engine-id");
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Ok(id) = text.trim().parse()
    {
        return Ok(id);
    }
    let id = uuid::Uuid::new_v4();
    write_whole(&path, id.to_string().as_bytes())?;
    Ok(id)
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}
