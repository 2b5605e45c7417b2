//! The first process of a container, from its clone to its execve.

use std::os::fd::{AsFd, OwnedFd};

use pinnace_helper::protocol::packet;
use pinnace_helper::protocol::{LaunchError, LaunchSpec, NamespaceMode, Namespaces, Stage};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountAttrFlags;

use super::channel::{self, Received};
use super::clock::Clock;
use super::nursery::oom_score_adjustment;
use super::staging::Staging;
use super::terminal::Terminal;
use super::tree::Tree;
use super::workload::{self, Workload};
use super::{cgroup, detached, devices, masks, mounts, rootfs, sysctls};
use crate::fault::{Call, Fault};
use crate::sys;

/// Exit status that nobody sees: the helper has been told why.
const FAILED: i32 = 1;

/// Prepares, waits for a container, and becomes its first process.
pub(super) fn run(channel: &OwnedFd, namespaces: &Namespaces) -> ! {
    let error = match prepare(channel, namespaces) {
        Ok(None) => None,
        Ok(Some((staging, received))) => Some(become_workload(&staging, &received, channel)),
        Err(error) => Some(error),
    };
    if let Some(error) = error {
        // A helper that cannot be told has gone, and then this process ends as well.
        drop(channel::say_failed(channel, error));
    }
    std::process::exit(FAILED)
}

fn prepare(channel: &OwnedFd, namespaces: &Namespaces) -> Result<Option<(Staging, Received)>, LaunchError> {
    let namespace_fault = |fault: Fault| fault.at(Stage::Namespaces);
    sys::close_all_but(&[channel.as_fd()]).call(|| "close_range(3, all but one)".into()).map_err(namespace_fault)?;
    workload::die_with_helper().map_err(namespace_fault)?;
    let staging = Staging::prepare(namespaces).map_err(namespace_fault)?;
    // A helper that ended before the death signal was asked for shows as the end of the channel.
    let received = Received::wait(channel).call(|| "recvmsg(helper)".into()).map_err(namespace_fault)?;
    Ok(received.map(|received| (staging, received)))
}

/// Does what the specification asks for, in order. Returns only if something fails.
fn become_workload(staging: &Staging, received: &Received, channel: &OwnedFd) -> LaunchError {
    let mut clock = Clock::start();
    match become_ready(&mut clock, staging, received) {
        Ok((workload, terminal)) => workload.execute(clock, channel, terminal.as_ref()),
        Err(error) => error,
    }
}

fn become_ready(
    clock: &mut Clock,
    staging: &Staging,
    received: &Received,
) -> Result<(Workload, Option<OwnedFd>), LaunchError> {
    let spec = packet::read_json::<LaunchSpec>(&received.spec).call(|| "read(specification)".into());
    let spec = &clock.stage(Stage::Spec, spec)?;
    clock.stage(Stage::Cgroup, join_cgroups(spec, received))?;

    let tree = &clock.stage(Stage::Rootfs, attach_root(&received.root))?;
    clock.stage(Stage::Mounts, mounts::attach_all(staging, tree, spec, received))?;
    clock.stage(Stage::Devices, spec.devices.iter().try_for_each(|node| devices::make(tree, node)))?;
    clock.stage(Stage::WorkingDir, make_directory(tree, &spec.process.cwd))?;
    let terminal = clock.stage(Stage::Terminal, take_stdio(staging, tree, spec, &received.stdio))?;

    clock.stage(Stage::Hostname, set_names(spec))?;
    clock.stage(Stage::Sysctls, sysctls::write(staging, &spec.sysctls))?;
    let adjustment = spec.process.oom_score_adj.unwrap_or(received.oom_score_adj);
    clock.stage(Stage::Rlimits, oom_score_adjustment(&staging.proc, adjustment))?;

    clock.stage(Stage::Masks, masks::make_readonly(tree, &spec.readonly_paths))?;
    clock.stage(Stage::Masks, masks::mask(staging, tree, &spec.masked_paths))?;
    if spec.rootfs.readonly {
        let readonly = detached::set(&received.root, MountAttrFlags::MOUNT_ATTR_RDONLY, false);
        clock.stage(Stage::Rootfs, readonly)?;
    }
    clock.stage(Stage::PivotRoot, rootfs::enter(&received.root))?;
    let workload = Workload::prepare(clock, tree, &spec.process)?;
    Ok((workload, terminal))
}

fn join_cgroups(spec: &LaunchSpec, received: &Received) -> Result<(), Fault> {
    cgroup::join(&received.joins)?;
    match spec.namespaces.cgroup {
        NamespaceMode::Private => sys::unshare_cgroup().call(|| "unshare(CLONE_NEWCGROUP)".into()),
        NamespaceMode::Host => Ok(()),
    }
}

/// Attaches the container's root and opens it as the tree that every further path is resolved in.
fn attach_root(root: &OwnedFd) -> Result<Tree, Fault> {
    rootfs::attach(root)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(root, ".", flags, Mode::empty()).call(|| "openat(root, \".\")".into())?;
    Ok(Tree::new(root))
}

fn make_directory(tree: &Tree, cwd: &str) -> Result<(), Fault> {
    tree.directory(cwd).map(drop).map_err(|fault| fault.about(cwd))
}

/// Makes the terminal, or takes the pipes. The terminal's other side goes to the helper.
fn take_stdio(staging: &Staging, tree: &Tree, spec: &LaunchSpec, pipes: &[OwnedFd]) -> Result<Option<OwnedFd>, Fault> {
    if spec.process.terminal {
        let terminal = Terminal::open(&staging.pts, spec.process.terminal_size)?;
        terminal.bind_console(tree)?;
        terminal.take()?;
        return Ok(Some(terminal.master));
    }
    take_pipes(pipes)?;
    rustix::process::setsid().call(|| "setsid()".into())?;
    Ok(None)
}

/// Makes three descriptors standard input, output and error.
pub(crate) fn take_pipes(pipes: &[OwnedFd]) -> Result<(), Fault> {
    let [stdin, stdout, stderr] = pipes else {
        return Err(Fault::rule("a process without a terminal needs three descriptors"));
    };
    rustix::stdio::dup2_stdin(stdin).call(|| "dup2(pipe, 0)".into())?;
    rustix::stdio::dup2_stdout(stdout).call(|| "dup2(pipe, 1)".into())?;
    rustix::stdio::dup2_stderr(stderr).call(|| "dup2(pipe, 2)".into())
}

fn set_names(spec: &LaunchSpec) -> Result<(), Fault> {
    if spec.namespaces.uts == NamespaceMode::Host {
        return Ok(());
    }
    rustix::system::sethostname(spec.hostname.as_bytes()).call(|| format!("sethostname({:?})", spec.hostname))?;
    if spec.domainname.is_empty() {
        return Ok(());
    }
    rustix::system::setdomainname(spec.domainname.as_bytes()).call(|| format!("setdomainname({:?})", spec.domainname))
}
