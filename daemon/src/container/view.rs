//! From the daemon's terms to the API's: inspect and the list.

use std::collections::BTreeMap;
use std::path::Path;

use api_schema::container::{
    Config, Empty, Endpoint, GraphDriver, Inspect, MountPoint, NetworkSettings, State, Summary, SummaryHostConfig,
    SummaryNetworks,
};
use api_schema::exec::{ExecInspect, ProcessConfig};
use api_schema::host_config::{HostConfig, LogConfig, RestartPolicy};
use pinnace_helper::protocol::Propagation;

use super::exec::{Exec, ExecState};
use super::handle::Container;
use super::launch::{MASKED_PATHS, READONLY_PATHS};
use super::lifecycle::Lifecycle;
use super::spec::{ContainerSpec, NetworkMode};
use crate::clock::{Timestamp, ZERO_TIME};
use crate::units;

/// Returns what inspect shows of a container whose files are in `directory`.
pub fn inspect(container: &Container, directory: &Path, layers: &[std::path::PathBuf]) -> Inspect {
    let spec = &container.spec;
    let published = container.published();
    let mut args = spec.args().into_iter();
    let running: Vec<String> = container
        .execs()
        .iter()
        .filter(|exec| matches!(exec.state(), ExecState::Running { .. } | ExecState::Created))
        .map(|exec| exec.id.to_string())
        .collect();
    Inspect {
        id: container.id.to_string(),
        created: container.created.rfc3339(),
        path: args.next().unwrap_or_default(),
        args: args.collect(),
        state: state(&published.lifecycle, published.removal_error.as_deref()),
        image: container.image_id.clone(),
        // These files are on a tmpfs of the container's own, and so have no path on the host.
        resolv_conf_path: String::new(),
        hostname_path: String::new(),
        hosts_path: String::new(),
        // The log is not Docker's json-file on disk: it is read through the API.
        log_path: String::new(),
        name: format!("/{}", container.name()),
        restart_count: 0,
        driver: "overlay2".to_owned(),
        platform: "linux".to_owned(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: String::new(),
        exec_ids: (!running.is_empty()).then_some(running),
        host_config: host_config(spec),
        graph_driver: graph_driver(directory, layers),
        size_rw: None,
        size_root_fs: None,
        mounts: mounts(spec),
        config: config(spec),
        network_settings: NetworkSettings {
            ports: if matches!(published.lifecycle, Lifecycle::Running(_) | Lifecycle::Paused(_))
                && spec.network != NetworkMode::Host
            {
                spec.exposed_ports.iter().map(|port| (port.clone(), None)).collect()
            } else {
                BTreeMap::new()
            },
            networks: networks(spec),
            ..NetworkSettings::default()
        },
    }
}

/// Returns what the list shows of a container.
pub fn summary(container: &Container, now: Timestamp) -> Summary {
    let spec = &container.spec;
    let lifecycle = container.lifecycle();
    Summary {
        id: container.id.to_string(),
        names: vec![format!("/{}", container.name())],
        image: spec.image.clone(),
        image_id: container.image_id.clone(),
        command: command(&spec.args()),
        created: container.created.seconds(),
        ports: Vec::new(),
        size_rw: None,
        size_root_fs: None,
        labels: spec.labels.clone(),
        state: lifecycle.status().to_owned(),
        status: status(&lifecycle, now),
        host_config: SummaryHostConfig { network_mode: spec.network.as_str().to_owned() },
        network_settings: SummaryNetworks { networks: networks(spec) },
        mounts: mounts(spec),
    }
}

/// Returns what inspect shows of an exec.
pub fn exec(exec: &Exec) -> ExecInspect {
    let (running, exit_code, pid) = match exec.state() {
        ExecState::Created | ExecState::Starting => (false, None, 0),
        ExecState::Running { pid } => (true, None, pid),
        ExecState::Exited { code, pid, .. } => (false, Some(code), pid),
    };
    let mut args = exec.args.iter().cloned();
    ExecInspect {
        id: exec.id.to_string(),
        running,
        exit_code,
        process_config: ProcessConfig {
            tty: exec.tty,
            entrypoint: args.next().unwrap_or_default(),
            arguments: args.collect(),
            privileged: exec.privileged,
            user: exec.user.clone(),
        },
        open_stdin: exec.open_stdin,
        open_stderr: exec.open_stderr,
        open_stdout: exec.open_stdout,
        can_remove: exit_code.is_some(),
        container_id: exec.container.to_string(),
        detach_keys: String::from_utf8_lossy(&exec.detach_keys).into_owned(),
        pid,
    }
}

/// Computes Docker's overlapping booleans.
fn state(lifecycle: &Lifecycle, removal_error: Option<&str>) -> State {
    let mut state = State {
        status: lifecycle.status().to_owned(),
        running: false,
        paused: false,
        restarting: false,
        oom_killed: false,
        dead: false,
        pid: 0,
        exit_code: 0,
        error: removal_error.unwrap_or_default().to_owned(),
        started_at: ZERO_TIME.to_owned(),
        finished_at: ZERO_TIME.to_owned(),
    };
    match lifecycle {
        Lifecycle::Created { failure: None } => {}
        Lifecycle::Created { failure: Some(failure) } => {
            state.exit_code = failure.code;
            state.error.clone_from(&failure.message);
        }
        Lifecycle::Starting { before } => return self::state(before, removal_error),
        Lifecycle::Running(process) | Lifecycle::Paused(process) => {
            state.running = true;
            state.paused = matches!(lifecycle, Lifecycle::Paused(_));
            state.pid = process.pid;
            state.started_at = process.started_at.rfc3339();
        }
        Lifecycle::Exited(exit) => {
            state.oom_killed = exit.oom_killed;
            state.exit_code = exit.code;
            state.started_at = exit.started_at.rfc3339();
            state.finished_at = exit.finished_at.rfc3339();
            if !exit.error.is_empty() {
                state.error.clone_from(&exit.error);
            }
        }
    }
    state
}

/// Returns the list's sentence about a state.
fn status(lifecycle: &Lifecycle, now: Timestamp) -> String {
    let ago = |moment: Timestamp| units::human_duration(now.since(moment));
    match lifecycle {
        Lifecycle::Created { .. } => "Created".to_owned(),
        Lifecycle::Starting { before } => status(before, now),
        Lifecycle::Running(process) => format!("Up {}", ago(process.started_at)),
        Lifecycle::Paused(process) => format!("Up {} (Paused)", ago(process.started_at)),
        Lifecycle::Exited(exit) => format!("Exited ({}) {} ago", exit.code, ago(exit.finished_at)),
    }
}

/// As dockerd prints a command: arguments with spaces in them are quoted.
fn command(args: &[String]) -> String {
    let quoted = args.iter().map(|arg| if arg.contains(' ') { format!("'{arg}'") } else { arg.clone() });
    quoted.collect::<Vec<_>>().join(" ")
}

fn config(spec: &ContainerSpec) -> Config {
    let set = |paths: &[String]| paths.iter().map(|path| (path.clone(), Empty {})).collect::<BTreeMap<_, _>>();
    Config {
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        user: spec.user.clone(),
        attach_stdin: spec.attach_stdin,
        attach_stdout: spec.attach_stdout,
        attach_stderr: spec.attach_stderr,
        exposed_ports: set(&spec.exposed_ports),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        stdin_once: spec.stdin_once,
        env: spec.env.clone(),
        cmd: spec.cmd.clone(),
        image: spec.image.clone(),
        volumes: (!spec.image_volumes.is_empty()).then(|| set(&spec.image_volumes)),
        working_dir: spec.working_dir.clone(),
        entrypoint: spec.entrypoint.clone(),
        on_build: spec.on_build.clone(),
        labels: spec.labels.clone(),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: spec.stop_timeout,
    }
}

fn host_config(spec: &ContainerSpec) -> HostConfig {
    let paths = |own: &Option<Vec<String>>, default: &[&str]| match own {
        Some(own) => Some(own.clone()),
        None if spec.privileged => None,
        None => Some(default.iter().map(|path| (*path).to_owned()).collect()),
    };
    HostConfig {
        binds: spec.bind_texts.clone(),
        log_config: LogConfig { kind: "json-file".to_owned(), config: spec.log.texts.clone() },
        network_mode: spec.network.as_str().to_owned(),
        restart_policy: RestartPolicy { name: "no".to_owned(), maximum_retry_count: 0 },
        auto_remove: spec.auto_remove,
        console_size: spec.console_size.map(u32::from),
        cap_add: spec.cap_add.clone(),
        cap_drop: spec.cap_drop.clone(),
        cgroupns_mode: "private".to_owned(),
        ipc_mode: "private".to_owned(),
        privileged: spec.privileged,
        readonly_rootfs: spec.readonly_rootfs,
        security_opt: spec.security_opt.clone(),
        tmpfs: spec.tmpfs_texts.clone(),
        shm_size: i64::try_from(spec.shm_size).unwrap_or(i64::MAX),
        runtime: "pinnace".to_owned(),
        masked_paths: paths(&spec.masked_paths, &MASKED_PATHS),
        readonly_paths: paths(&spec.readonly_paths, &READONLY_PATHS),
        ..HostConfig::default()
    }
}

fn graph_driver(directory: &Path, layers: &[std::path::PathBuf]) -> GraphDriver {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let lower: Vec<String> = layers.iter().map(|layer| text(layer)).collect();
    GraphDriver {
        name: "overlay2".to_owned(),
        data: BTreeMap::from([
            ("LowerDir".to_owned(), lower.join(":")),
            ("UpperDir".to_owned(), text(&directory.join("upper"))),
            ("WorkDir".to_owned(), text(&directory.join("work"))),
        ]),
    }
}

fn mounts(spec: &ContainerSpec) -> Vec<MountPoint> {
    let binds = spec.binds.iter().map(|bind| MountPoint {
        kind: "bind".to_owned(),
        source: bind.source.to_string_lossy().into_owned(),
        destination: bind.destination.clone(),
        mode: bind.mode.clone(),
        rw: !bind.readonly,
        propagation: propagation(bind.propagation).to_owned(),
    });
    binds.collect()
}

fn propagation(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Private => "private",
        Propagation::RecursivePrivate => "rprivate",
        Propagation::Slave => "slave",
        Propagation::RecursiveSlave => "rslave",
        Propagation::Shared => "shared",
        Propagation::RecursiveShared => "rshared",
    }
}

fn networks(spec: &ContainerSpec) -> BTreeMap<String, Endpoint> {
    BTreeMap::from([(spec.network.network_name().to_owned(), Endpoint::default())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::lifecycle::{Exit, Process, StartFailure};

    #[test]
    fn states_are_told_in_dockers_words() {
        const SECOND: i64 = 1_000_000_000;
        let now = Timestamp(100 * SECOND);
        let process = Process { pid: 5, started_at: Timestamp(95 * SECOND) };
        let exit = Exit {
            code: 3,
            oom_killed: false,
            started_at: Timestamp(1),
            finished_at: Timestamp(40 * SECOND),
            error: String::new(),
        };
        for (lifecycle, word, sentence, running) in [
            (Lifecycle::Created { failure: None }, "created", "Created", false),
            (Lifecycle::Running(process.clone()), "running", "Up 5 seconds", true),
            (Lifecycle::Paused(process), "paused", "Up 5 seconds (Paused)", true),
            (Lifecycle::Exited(exit), "exited", "Exited (3) About a minute ago", false),
        ] {
            let shown = state(&lifecycle, None);
            assert_eq!((shown.status.as_str(), shown.running), (word, running));
            assert_eq!(status(&lifecycle, now), sentence);
        }
    }

    #[test]
    fn a_failed_start_shows_its_code_and_sentence() {
        let failure = StartFailure { code: 127, message: "no".to_owned() };
        let shown = state(&Lifecycle::Created { failure: Some(failure) }, None);
        assert_eq!((shown.exit_code, shown.error.as_str(), shown.status.as_str()), (127, "no", "created"));
    }
}
