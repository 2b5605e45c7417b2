//! From what a container is to be to what its helper shall do, with everything resolved.

use std::path::PathBuf;

use pinnace_helper::protocol::{
    EtcFiles, ExecSpec, LaunchSpec, LogSpec, NamespaceMode, Namespaces, ProcessSpec, Rlimit, Rootfs, StdinMode,
};

use super::mounts;
use super::spec::{ContainerSpec, NetworkMode, SpecError};
use crate::capability::{self, CapabilitySet};
use crate::cgroup::Hierarchies;
use crate::config::LogLimits;
use crate::id::Id;
use crate::layout::Layout;
use crate::seccomp::{Compiler, SecurityOptions};

/// Docker's `PATH` for containers.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Hidden from containers: SECURITY.md section 3.
pub const MASKED_PATHS: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/security",
];

/// Read-only in containers.
pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The most processes in one container, so that a fork bomb ends inside it: SECURITY.md section 3.
pub const PIDS_LIMIT: u64 = 4096;

/// What of the daemon a launch needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    pub layout: &'a Layout,
    pub cgroups: &'a Hierarchies,
    pub log: &'a LogLimits,
    pub seccomp: &'a Compiler,
}

/// Resolves a container's launch. `lower` are its layers, the topmost first.
pub fn launch_spec(
    id: &Id,
    spec: &ContainerSpec,
    lower: Vec<PathBuf>,
    host: Host<'_>,
) -> Result<LaunchSpec, SpecError> {
    let directory = host.layout.container(id);
    let network = match spec.network {
        NetworkMode::Host => NamespaceMode::Host,
        NetworkMode::None | NetworkMode::Bridge(_) => NamespaceMode::Private,
    };
    let private_network = network == NamespaceMode::Private;
    let paths = |own: &Option<Vec<String>>, default: &[&str]| match own {
        Some(own) => own.clone(),
        None if spec.privileged => Vec::new(),
        None => default.iter().map(|path| (*path).to_owned()).collect(),
    };
    Ok(LaunchSpec {
        container: id.to_string(),
        run_dir: host.layout.container_run(id),
        rootfs: Rootfs {
            lower,
            upper: directory.join("upper"),
            work: directory.join("work"),
            volatile: spec.auto_remove,
            readonly: spec.readonly_rootfs,
            mount_point: host.layout.mount_point(),
        },
        namespaces: Namespaces {
            pid: NamespaceMode::Private,
            network,
            ipc: NamespaceMode::Private,
            uts: NamespaceMode::Private,
            cgroup: NamespaceMode::Private,
        },
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        etc: etc_files(spec),
        mounts: mounts::for_helper(&spec.binds, &spec.tmpfs),
        shm_size: spec.shm_size,
        devices: if spec.privileged { crate::host::devices() } else { Vec::new() },
        writable_system: spec.privileged,
        masked_paths: paths(&spec.masked_paths, &MASKED_PATHS),
        readonly_paths: paths(&spec.readonly_paths, &READONLY_PATHS),
        sysctls: if private_network { network_sysctls() } else { Vec::new() },
        cgroup: host.cgroups.spec(id, spec.privileged, (!spec.privileged).then_some(PIDS_LIMIT)),
        log: Some(LogSpec {
            directory,
            max_size: spec.log.max_size.unwrap_or(host.log.max_size),
            max_files: spec.log.max_files.unwrap_or(host.log.max_files),
        }),
        stdin: match (spec.open_stdin, spec.stdin_once) {
            (false, _) => StdinMode::Closed,
            (true, false) => StdinMode::Open,
            (true, true) => StdinMode::OpenOnce,
        },
        process: process(spec, &Wanted::init(spec), host.seccomp)?,
    })
}

/// What an exec asks for beside what its container has.
#[derive(Debug, Clone)]
pub struct ExecWanted {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub tty: bool,
    pub size: Option<(u16, u16)>,
    pub privileged: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Resolves an exec in a container.
pub fn exec_spec(spec: &ContainerSpec, wanted: &ExecWanted, seccomp: &Compiler) -> Result<ExecSpec, SpecError> {
    let mut env = spec.env.clone();
    replace_env(&mut env, &wanted.env);
    let process = process(
        spec,
        &Wanted {
            args: wanted.args.clone(),
            env,
            cwd: if wanted.working_dir.is_empty() { &spec.working_dir } else { &wanted.working_dir },
            user: if wanted.user.is_empty() { &spec.user } else { &wanted.user },
            tty: wanted.tty,
            size: wanted.size,
            privileged: spec.privileged || wanted.privileged,
        },
        seccomp,
    )?;
    Ok(ExecSpec { process, stdin: wanted.stdin, stdout: wanted.stdout, stderr: wanted.stderr })
}

struct Wanted<'a> {
    args: Vec<String>,
    env: Vec<String>,
    cwd: &'a str,
    user: &'a str,
    tty: bool,
    size: Option<(u16, u16)>,
    privileged: bool,
}

impl<'a> Wanted<'a> {
    fn init(spec: &'a ContainerSpec) -> Self {
        let [rows, columns] = spec.console_size;
        Self {
            args: spec.args(),
            env: spec.env.clone(),
            cwd: &spec.working_dir,
            user: &spec.user,
            tty: spec.tty,
            size: (rows > 0 && columns > 0).then_some((rows, columns)),
            privileged: spec.privileged,
        }
    }
}

fn process(spec: &ContainerSpec, wanted: &Wanted<'_>, compiler: &Compiler) -> Result<ProcessSpec, SpecError> {
    let capabilities = capabilities(spec, wanted.privileged)?;
    let security = SecurityOptions::parse(spec.security_opt.as_deref().unwrap_or_default())?;
    let seccomp = match security.seccomp.profile(wanted.privileged) {
        Some(profile) => {
            let program = compiler.program(&profile, capabilities, crate::host::kernel_version());
            Some(program.map_err(crate::seccomp::SecurityOptError::from)?.base64.to_string())
        }
        None => None,
    };
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", spec.hostname)];
    if wanted.tty {
        env.push("TERM=xterm".to_owned());
    }
    replace_env(&mut env, &wanted.env);
    Ok(ProcessSpec {
        args: wanted.args.clone(),
        env,
        cwd: if wanted.cwd.is_empty() { "/".to_owned() } else { wanted.cwd.to_owned() },
        user: wanted.user.to_owned(),
        additional_groups: Vec::new(),
        terminal: wanted.tty,
        terminal_size: wanted.size,
        capabilities: capabilities.numbers(),
        no_new_privileges: security.no_new_privileges.unwrap_or(false),
        seccomp,
        rlimits: rlimits(),
        oom_score_adj: Some(0),
        umask: 0o022,
    })
}

fn capabilities(spec: &ContainerSpec, privileged: bool) -> Result<CapabilitySet, SpecError> {
    Ok(capability::resolve(
        spec.cap_add.as_deref().unwrap_or_default(),
        spec.cap_drop.as_deref().unwrap_or_default(),
        privileged,
        crate::host::capabilities(),
    )?)
}

/// As dockerd: later entries replace earlier ones of the same name; an entry without `=` takes its name away.
fn replace_env(env: &mut Vec<String>, later: &[String]) {
    for entry in later {
        let name = entry.split('=').next().unwrap_or_default();
        let same = |known: &String| known.split('=').next() == Some(name);
        match (env.iter().position(same), entry.contains('=')) {
            (Some(position), true) => env[position].clone_from(entry),
            (Some(position), false) => drop(env.remove(position)),
            (None, true) => env.push(entry.clone()),
            (None, false) => {}
        }
    }
}

/// SECURITY.md section 3: no core dumps, and descriptors as Docker's packages set them, within what the daemon has.
fn rlimits() -> Vec<Rlimit> {
    use nix::sys::resource::{Resource, getrlimit};
    let limit = |resource: Resource, soft: u64, hard: u64| {
        // A hard limit can only be lowered without CAP_SYS_RESOURCE.
        let (_, most) = getrlimit(resource).unwrap_or((soft, hard));
        Rlimit { resource: resource as u32, soft: soft.min(most), hard: hard.min(most) }
    };
    vec![limit(Resource::RLIMIT_NOFILE, 1024, 524_288), limit(Resource::RLIMIT_CORE, 0, u64::MAX)]
}

/// As Docker since 20.10: ping and low ports need no capability in a network namespace of one's own.
fn network_sysctls() -> Vec<(String, String)> {
    vec![
        ("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned()),
        ("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned()),
    ]
}

fn etc_files(spec: &ContainerSpec) -> EtcFiles {
    let host_file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let hosts = match spec.network {
        NetworkMode::Host => host_file("/etc/hosts"),
        NetworkMode::None | NetworkMode::Bridge(_) => {
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
                .to_owned()
        }
    };
    EtcFiles {
        hostname: Some(format!("{}\n", spec.hostname)),
        hosts: Some(hosts),
        resolv_conf: Some(host_file("/etc/resolv.conf")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_variables_replace_and_remove_earlier_ones() {
        let mut env = vec!["A=1".to_owned(), "B=2".to_owned()];
        replace_env(&mut env, &["B=3".to_owned(), "A".to_owned(), "C=4".to_owned(), "D".to_owned()]);
        assert_eq!(env, ["B=3", "C=4"]);
    }
}
