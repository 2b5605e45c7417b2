//! Containers: the service that handlers call. Each container has a task ([`task`]) that alone changes its state.

mod body;
pub mod error;
pub mod exec;
pub mod handle;
pub mod launch;
pub mod lifecycle;
pub mod logs;
pub mod mounts;
pub mod name_words;
pub mod recovery;
pub mod registry;
pub mod spec;
mod task;
pub mod view;

use std::os::unix::fs::DirBuilderExt as _;
use std::sync::{Arc, PoisonError};

use api_schema::exec::{ExecCreateBody, ExecStartBody};
use tokio::sync::{mpsc, watch};

use crate::cgroup::Hierarchies;
use crate::clock::Timestamp;
use crate::config::LogLimits;
use crate::events::{Events, Kind};
use crate::helper_process::Helpers;
use crate::id::Id;
use crate::image::Images;
use crate::layout::Layout;
use crate::seccomp::Compiler;
use crate::store::containers::{self as rows, StoredContainer};
use crate::store::{Durability, Store, StoreError};
use crate::trash::Trash;
use error::Error;
use exec::{Exec, ExecState};
use handle::{AttachWanted, Container, Published, Session};
use lifecycle::Lifecycle;
use registry::Registry;
use spec::CreateBody;

/// Requests that may wait for one container's task; a further one waits to be queued (arbitrary).
const QUEUE: usize = 32;

/// Ended execs that are remembered with a container, for inspect (arbitrary; docker forgets them after five minutes).
const ENDED_EXECS: usize = 64;

/// What a container's task works with.
#[derive(Debug, Clone)]
pub struct Services {
    pub store: Store,
    pub events: Events,
    pub images: Images,
    pub helpers: Helpers,
    pub layout: Arc<Layout>,
    pub cgroups: Arc<Hierarchies>,
    pub container_log: LogLimits,
    pub registry: Arc<Registry>,
    pub seccomp: Arc<Compiler>,
    pub trash: Trash,
}

/// The service.
#[derive(Debug)]
pub struct Containers {
    services: Services,
}

impl Containers {
    /// Makes the service and takes up the containers that the database names: see [`recovery`].
    pub async fn open(services: Services) -> Result<Self, StoreError> {
        recovery::recover(&services).await?;
        Ok(Self { services })
    }

    /// Returns all containers.
    pub fn registry(&self) -> &Registry {
        &self.services.registry
    }

    /// Finds a container by id, name or the beginning of an id.
    pub fn find(&self, text: &str) -> Result<Arc<Container>, Error> {
        self.services.registry.find(text)
    }

    /// Makes a container. A name is invented if none is given.
    pub async fn create(&self, name: Option<&str>, body: CreateBody) -> Result<Arc<Container>, Error> {
        let image = self.services.images.resolve(body.image())?;
        let id = Id::random();
        let spec = body.resolve(&id, &image.config)?;
        if let Some(name) = name {
            check_name(name)?;
        }
        let directory = self.services.layout.container(&id);
        let failed = |source| Error::Io { attempt: "making the directory", id: id.clone(), source };
        // One mkdir: shorter than a hand-over to another thread.
        std::fs::DirBuilder::new().mode(0o700).create(&directory).map_err(failed)?;
        let durability = if spec.auto_remove { Durability::Relaxed } else { Durability::Durable };
        let mut row = StoredContainer {
            id: id.clone(),
            name: String::new(),
            created: Timestamp::now(),
            image_id: image.id.clone(),
            layer: image.top_layer.clone(),
            spec,
            lifecycle: Lifecycle::Created { failure: None },
        };
        for attempt in 0.. {
            row.name = match name {
                Some(name) => name.to_owned(),
                None => name_words::generate(random_number(), attempt),
            };
            let insert = row.clone();
            let inserted = self
                .services
                .store
                .write(durability, move |connection| Box::pin(async move { rows::insert(connection, &insert).await }))
                .await;
            match inserted {
                Ok(()) => break,
                Err(error) if error.is_unique_violation() && name.is_none() && attempt < 8 => {}
                Err(error) => {
                    discard_directory(&directory);
                    return Err(self.insert_error(error, &row));
                }
            }
        }
        let container = spawn_task(row, &self.services, None);
        let attributes = container.event_attributes();
        self.services.events.publish(Kind::Container, "create", id.as_str(), attributes);
        Ok(container)
    }

    fn insert_error(&self, error: StoreError, row: &StoredContainer) -> Error {
        if error.is_unique_violation() {
            let by = self.services.registry.id_of_name(&row.name);
            let by = by.map_or_else(String::new, |id| id.to_string());
            return Error::NameInUse { name: row.name.clone(), by };
        }
        if error.is_foreign_key_violation() {
            return Error::Image(crate::image::Error::no_such_image(&row.spec.image));
        }
        Error::Store(error)
    }

    /// Gives a container another name.
    pub async fn rename(&self, container: &Container, name: &str) -> Result<(), Error> {
        let name = name.strip_prefix('/').unwrap_or(name);
        if name.is_empty() {
            return Err(Error::EmptyName);
        }
        check_name(name)?;
        let old = container.name();
        if *old == *name {
            return Err(Error::SameName);
        }
        let (id, new) = (container.id.clone(), name.to_owned());
        let renamed = self
            .services
            .store
            .write(Durability::Durable, move |connection| {
                Box::pin(async move { rows::rename(connection, &id, &new).await })
            })
            .await;
        if let Err(error) = renamed {
            if error.is_unique_violation() {
                let by = self.services.registry.id_of_name(name).map_or_else(String::new, |id| id.to_string());
                return Err(Error::NameInUse { name: name.to_owned(), by });
            }
            return Err(error.into());
        }
        self.services.registry.rename(container, name);
        let mut attributes = container.event_attributes();
        attributes.insert("oldName".to_owned(), format!("/{old}"));
        self.services.events.publish(Kind::Container, "rename", container.id.as_str(), attributes);
        Ok(())
    }

    /// Returns the pids of a container's processes, in the daemon's pid namespace.
    pub fn pids(&self, container: &Container) -> Result<Vec<i32>, Error> {
        if container.lifecycle().process().is_none() {
            return Err(lifecycle::Denied::NotRunning(container.id.clone()).into());
        }
        let id = &container.id;
        self.services.cgroups.pids(id).map_err(|source| Error::Io {
            attempt: "listing processes",
            id: id.clone(),
            source,
        })
    }

    /// Returns where a container's files are.
    pub fn directory(&self, container: &Container) -> std::path::PathBuf {
        self.services.layout.container(&container.id)
    }

    /// Returns a container's layers, the topmost first.
    pub fn layers(&self, container: &Container) -> Result<Vec<std::path::PathBuf>, Error> {
        Ok(self.services.images.layer_paths(&container.layer)?)
    }

    /// Makes an exec of a running container.
    pub fn exec_create(
        &self,
        container: &Container,
        body: ExecCreateBody,
        detach_keys: Vec<u8>,
    ) -> Result<Arc<Exec>, Error> {
        if body.cmd.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::NoExecCommand);
        }
        match container.lifecycle() {
            Lifecycle::Running(_) => {}
            Lifecycle::Paused(_) => return Err(Error::ExecPaused(container.id.clone())),
            Lifecycle::Created { .. } | Lifecycle::Starting { .. } | Lifecycle::Exited(_) => {
                return Err(lifecycle::Denied::NotRunning(container.id.clone()).into());
            }
        }
        if let Some(bad) = body.env.iter().find(|entry| entry.is_empty() || entry.starts_with('=')) {
            return Err(spec::SpecError::Environment(bad.clone()).into());
        }
        let exec = Exec::new(&container.id, body, detach_keys);
        // What the body asks for is checked before the exec exists.
        launch::exec_spec(&container.spec, &exec.wanted(None), &self.services.seccomp)?;
        let mut execs = container.execs.lock().unwrap_or_else(PoisonError::into_inner);
        forget_ended(&mut execs);
        execs.insert(exec.id.clone(), Arc::clone(&exec));
        drop(execs);
        let mut attributes = container.event_attributes();
        attributes.insert("execID".to_owned(), exec.id.to_string());
        let action = format!("exec_create: {}", exec.args.join(" "));
        self.services.events.publish(Kind::Container, action, container.id.as_str(), attributes);
        Ok(exec)
    }

    /// Finds an exec by its id.
    pub fn exec_find(&self, text: &str) -> Result<(Arc<Container>, Arc<Exec>), Error> {
        let missing = || Error::NoSuchExec(text.to_owned());
        let id = Id::parse(text).ok_or_else(missing)?;
        self.services
            .registry
            .all()
            .into_iter()
            .find_map(|container| {
                let found = container.execs.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
                found.map(|exec| (container, exec))
            })
            .ok_or_else(missing)
    }

    /// Starts an exec; with `attach` the client gets its stdio.
    pub async fn exec_start(
        &self,
        container: &Container,
        exec: &Arc<Exec>,
        body: &ExecStartBody,
        attach: Option<AttachWanted>,
    ) -> Result<Option<Session>, Error> {
        let cells = |cells: u32| u16::try_from(cells).unwrap_or(u16::MAX);
        let size = body.console_size.map(|[rows, columns]| (cells(rows), cells(columns)));
        let spec = launch::exec_spec(&container.spec, &exec.wanted(size), &self.services.seccomp)?;
        container.exec_start(Arc::clone(exec), spec, attach).await
    }
}

/// Registers a container and starts its task.
fn spawn_task(
    row: StoredContainer,
    services: &Services,
    adopted: Option<crate::helper_process::Connection>,
) -> Arc<Container> {
    let last_exit = if let Lifecycle::Exited(exit) = &row.lifecycle { Some(exit.clone()) } else { None };
    let published = watch::Sender::new(Published {
        lifecycle: row.lifecycle.clone(),
        ended: 0,
        last_exit,
        removed: false,
        removal_error: None,
    });
    let (requests, waiting) = mpsc::channel(QUEUE);
    let container = Arc::new(Container::new(row, published.subscribe(), requests));
    services.registry.add(Arc::clone(&container));
    let task = task::Task::new(Arc::clone(&container), services.clone(), published, waiting);
    let task = match adopted {
        Some(connection) => task.adopt(connection),
        None => task,
    };
    crate::tasks::spawn("container", task.run());
    container
}

/// Docker's rule: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
fn check_name(name: &str) -> Result<(), Error> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && name.len() >= 2 { Ok(()) } else { Err(Error::InvalidName(name.to_owned())) }
}

fn random_number() -> u64 {
    getrandom::u64().expect("getrandom(2) works on every supported kernel")
}

fn discard_directory(directory: &std::path::Path) {
    if let Err(error) = std::fs::remove_dir(directory) {
        tracing::warn!(error = &error as &dyn std::error::Error, "removing {}", directory.display());
    }
}

fn forget_ended(execs: &mut std::collections::BTreeMap<Id, Arc<Exec>>) {
    let mut ended: Vec<(Timestamp, Id)> = execs
        .values()
        .filter_map(|exec| match exec.state() {
            ExecState::Exited { at, .. } => Some((at, exec.id.clone())),
            ExecState::Created | ExecState::Starting | ExecState::Running { .. } => None,
        })
        .collect();
    if ended.len() > ENDED_EXECS {
        ended.sort();
        for (_, id) in &ended[..ended.len() - ENDED_EXECS] {
            execs.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_docker_checks_them() {
        for name in ["ab", "a1", "A_b.c-d", "0x"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a", "_a", "-a", ".a", "a b", "a/b", "ä1", "a\n"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
