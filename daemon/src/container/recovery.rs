//! After a start of the daemon: what runs is taken up again, what ended meanwhile is recorded, what is half-done is
//! finished, and what no row names is removed.
//!
//! First everything is observed, then [`plan`] decides for each container by itself, then the plan is carried out. One
//! bad row or one stuck helper concerns only its container.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use pinnace_helper::protocol::{CONTROL_SOCKET, EXIT_FILE, ExitRecord, Report, Status};

use super::lifecycle::{Exit, Lifecycle, Process};
use super::{Services, spawn_task, task};
use crate::clock::Timestamp;
use crate::helper_process::Connection;
use crate::id::Id;
use crate::store::containers::{self as rows, StoredContainer};
use crate::store::{Durability, StoreError};

/// How long a helper may take to say what it knows (arbitrary; it answers in microseconds).
const HELPER_ANSWERS: Duration = Duration::from_secs(5);

/// What was found of a container's run.
#[derive(Debug)]
enum Observed {
    /// Its helper answered.
    Helper(Status),
    /// Its helper has left a record.
    Record(ExitRecord),
    Nothing,
}

/// What is to be done about a container.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// Go on with its helper, in this state.
    Adopt(Lifecycle),
    /// Record this state; nothing of the run is left.
    Settle(Lifecycle),
    /// Nothing happened.
    Keep,
}

/// Decides what an observation means for a container that the database has in this state.
fn plan(stored: &Lifecycle, observed: &Observed, now: Timestamp) -> Action {
    match observed {
        Observed::Helper(status) if status.exited.is_some() => Action::Adopt(running(status)),
        Observed::Helper(status) => Action::Adopt(running(status)),
        Observed::Record(record) => Action::Settle(Lifecycle::Exited(ended(record))),
        Observed::Nothing => match stored {
            Lifecycle::Running(process) | Lifecycle::Paused(process) => Action::Settle(Lifecycle::Exited(Exit {
                code: 255,
                oom_killed: false,
                started_at: process.started_at,
                finished_at: now,
                error: "the helper of this container was lost while the daemon was not running".to_owned(),
            })),
            Lifecycle::Starting { before } => Action::Settle((**before).clone()),
            Lifecycle::Created { .. } | Lifecycle::Exited(_) => Action::Keep,
        },
    }
}

fn running(status: &Status) -> Lifecycle {
    let process = Process { pid: status.pid, started_at: Timestamp(status.started_at_ns) };
    if status.paused { Lifecycle::Paused(process) } else { Lifecycle::Running(process) }
}

fn ended(record: &ExitRecord) -> Exit {
    Exit {
        code: record.exit.code,
        oom_killed: record.oom_killed,
        started_at: Timestamp(record.started_at_ns),
        finished_at: Timestamp(record.exit.finished_at_ns),
        error: String::new(),
    }
}

/// Takes up every container of the database and removes what none of them owns.
pub(super) async fn recover(services: &Services) -> Result<(), StoreError> {
    let mut reader = services.store.read().await?;
    let stored = rows::all(&mut reader).await?;
    drop(reader);
    let mut known = BTreeSet::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut unreadable = false;
    for row in stored {
        match row {
            Ok(row) => {
                known.insert(row.id.clone());
                tasks.spawn(recover_one(services.clone(), row));
            }
            Err(error) => {
                unreadable = true;
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a container's row cannot be read; it is left alone"
                );
            }
        }
    }
    while let Some(done) = tasks.join_next().await {
        if let Err(error) = done {
            tracing::error!(error = &error as &dyn std::error::Error, "taking up a container failed");
        }
    }
    if unreadable {
        // What an unreadable row owns cannot be told from what nobody owns.
        return Ok(());
    }
    sweep(services, &known).await;
    Ok(())
}

async fn recover_one(services: Services, mut row: StoredContainer) {
    let id = row.id.clone();
    let run_dir = services.layout.container_run(&id);
    let (observed, connection) = observe(&run_dir).await;
    let action = plan(&row.lifecycle, &observed, Timestamp::now());
    tracing::debug!(container.id = %id, ?action, "recovered");
    match action {
        Action::Adopt(lifecycle) => {
            row.lifecycle = lifecycle.clone();
            record(&services, &id, lifecycle).await;
            // Whatever the helper said last is said again to the task.
            spawn_task(row, &services, connection);
            return;
        }
        Action::Settle(lifecycle) => {
            row.lifecycle = lifecycle.clone();
            record(&services, &id, lifecycle).await;
            clear(&services, &id).await;
        }
        Action::Keep => clear(&services, &id).await,
    }
    spawn_task(row, &services, None);
}

async fn record(services: &Services, id: &Id, lifecycle: Lifecycle) {
    let id = id.clone();
    let recorded = services
        .store
        .write(Durability::Relaxed, move |connection| {
            Box::pin(async move { rows::set_lifecycle(connection, &id, &lifecycle).await })
        })
        .await;
    if let Err(error) = recorded {
        tracing::error!(error = &error as &dyn std::error::Error, "a recovered state was not recorded");
    }
}

/// Asks the helper, or reads what it left.
async fn observe(run_dir: &Path) -> (Observed, Option<Connection>) {
    if let Ok(connection) = Connection::connect(&run_dir.join(CONTROL_SOCKET)) {
        match tokio::time::timeout(HELPER_ANSWERS, status(&connection)).await {
            // The task hears of an end once more: the helper repeats its record until it is collected.
            Ok(Some(status)) => {
                let ask = pinnace_helper::protocol::Request::Status { seq: 0 };
                if status.exited.is_none() || connection.send(&ask, &[]).await.is_ok() {
                    return (Observed::Helper(status), Some(connection));
                }
            }
            Ok(None) => {}
            Err(_elapsed) => tracing::error!("the helper in {} does not answer", run_dir.display()),
        }
    }
    let text = std::fs::read_to_string(run_dir.join(EXIT_FILE));
    match text.ok().and_then(|text| serde_json::from_str(&text).ok()) {
        Some(record) => (Observed::Record(record), None),
        None => (Observed::Nothing, None),
    }
}

async fn status(connection: &Connection) -> Option<Status> {
    while let Ok(Some(report)) = connection.receive().await {
        if let Report::Status(status) = report {
            return Some(status);
        }
    }
    None
}

/// Kills what is left of a container's run, and removes its cgroups and its run directory.
pub(super) async fn clear(services: &Services, id: &Id) {
    let directories = services.cgroups.directories(id);
    let run_dir = services.layout.container_run(id);
    let cleared = tokio::task::spawn_blocking(move || {
        for directory in directories {
            remove_cgroup(&directory);
        }
        task::remove_run_dir(&run_dir);
    });
    if let Err(error) = cleared.await {
        tracing::error!(error = &error as &dyn std::error::Error, "clearing a container's run");
    }
}

/// Kills a cgroup's processes and removes its directory. Processes need a moment to die: bounded tries.
fn remove_cgroup(directory: &Path) {
    for attempt in 0..50 {
        let thawed = directory.join("freezer.state");
        if thawed.exists() {
            // A frozen process does not die.
            drop(std::fs::write(&thawed, "THAWED"));
        }
        let Ok(pids) = std::fs::read_to_string(directory.join("cgroup.procs")) else { return };
        for pid in pids.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
            // It may be gone already.
            crate::error::ignore(rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
        if std::fs::remove_dir(directory).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1 << (attempt / 10)));
    }
    tracing::warn!("the cgroup {} could not be removed", directory.display());
}

/// Removes what is left of containers that the database does not name. A run directory is made before a cgroup and
/// removed after it, so that it tells whose cgroups are ours: the parent may hold those of another daemon.
async fn sweep(services: &Services, known: &BTreeSet<Id>) {
    let layout = &services.layout;
    let short: BTreeSet<&str> = known.iter().map(Id::short).collect();
    for name in names(&layout.container_runs()) {
        if short.contains(name.as_str()) {
            continue;
        }
        for parent in services.cgroups.parents() {
            let orphans = names(&parent).into_iter().filter_map(|name| Id::parse(&name));
            for id in orphans.filter(|id| id.short() == name) {
                tracing::warn!(container.id = %id, "a container that no row names is ended");
                clear(services, &id).await;
            }
        }
        task::remove_run_dir(&layout.container_runs().join(name));
    }
    for name in names(&layout.containers()) {
        if Id::parse(&name).is_none_or(|id| !known.contains(&id)) {
            services.trash.take_or_log(&layout.containers().join(name));
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinnace_helper::protocol::ProcessExit;

    fn process() -> Process {
        Process { pid: 9, started_at: Timestamp(5) }
    }

    fn record() -> ExitRecord {
        let exit = ProcessExit { code: 3, signal: None, finished_at_ns: 7 };
        ExitRecord { container: "c".to_owned(), pid: 9, started_at_ns: 5, exit, oom_killed: false }
    }

    fn status(paused: bool) -> Status {
        Status {
            seq: 0,
            container: "c".to_owned(),
            pid: 9,
            started_at_ns: 5,
            paused,
            execs: Vec::new(),
            ended_execs: Vec::new(),
            attachments: Vec::new(),
            exited: None,
        }
    }

    #[test]
    fn a_helper_that_answers_is_adopted_whatever_the_row_says() {
        for stored in [
            Lifecycle::Created { failure: None },
            Lifecycle::Starting { before: Box::new(Lifecycle::Created { failure: None }) },
            Lifecycle::Running(process()),
        ] {
            let action = plan(&stored, &Observed::Helper(status(false)), Timestamp(9));
            assert_eq!(action, Action::Adopt(Lifecycle::Running(process())));
        }
        let action = plan(&Lifecycle::Running(process()), &Observed::Helper(status(true)), Timestamp(9));
        assert_eq!(action, Action::Adopt(Lifecycle::Paused(process())));
    }

    #[test]
    fn an_exit_record_settles_the_true_code_and_time() {
        let Action::Settle(Lifecycle::Exited(exit)) =
            plan(&Lifecycle::Running(process()), &Observed::Record(record()), Timestamp(9))
        else {
            panic!("not settled");
        };
        assert_eq!((exit.code, exit.finished_at), (3, Timestamp(7)));
    }

    #[test]
    fn what_ran_and_left_nothing_is_lost_and_what_did_not_run_stays() {
        let Action::Settle(Lifecycle::Exited(exit)) =
            plan(&Lifecycle::Running(process()), &Observed::Nothing, Timestamp(9))
        else {
            panic!("not settled");
        };
        assert_eq!((exit.code, exit.finished_at), (255, Timestamp(9)));
        assert_eq!(plan(&Lifecycle::Created { failure: None }, &Observed::Nothing, Timestamp(9)), Action::Keep);
    }
}
