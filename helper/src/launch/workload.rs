//! The last part of a process's way to its program: the same for a container's first process and for an exec.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use pinnace_helper::protocol::{LaunchError, ProcessSpec, Stage};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::process::{Gid, Signal, Uid};

use super::capabilities::{self, Granted};
use super::clock::Clock;
use super::seccomp::Filter;
use super::tree::Tree;
use super::user::{self, User};
use super::{channel, rlimits};
use crate::fault::{Call, Fault};
use crate::sys;

/// What is left to do when everything that can be looked up has been.
#[derive(Debug)]
pub(crate) struct Workload {
    executable: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    user: User,
    granted: Granted,
    filter: Option<Filter>,
    no_new_privileges: bool,
}

impl Workload {
    /// Prepares the process in its container's tree: limits, user, working directory, executable. The process is the
    /// user when this returns, with its capabilities still to drop.
    pub(crate) fn prepare(clock: &mut Clock, tree: &Tree, process: &ProcessSpec) -> Result<Self, LaunchError> {
        clock.stage(Stage::Rlimits, rlimits::set(&process.rlimits))?;
        let user = clock.stage(Stage::User, user::look_up(tree, &process.user, &process.additional_groups))?;
        clock.stage(Stage::User, own_stdio(&user))?;
        let filter = clock.stage(Stage::Seccomp, process.seccomp.as_deref().map(Filter::decode).transpose())?;
        let granted = clock.stage(Stage::Capabilities, Granted::from_numbers(&process.capabilities))?;
        let granted = clock.stage(Stage::Capabilities, granted.bound())?;
        // As root first, because a directory of the user's may be one that only root can reach.
        clock.stage(Stage::WorkingDir, enter_directory(&process.cwd))?;
        clock.stage(Stage::User, become_user(&user))?;
        rustix::process::umask(Mode::from_raw_mode(process.umask & 0o777));
        sys::ignore_sigpipe(false);
        let (args, env) = clock.stage(Stage::Exec, strings(process, &user))?;
        let executable = clock.stage(Stage::Exec, find(process))?;
        let no_new_privileges = process.no_new_privileges;
        Ok(Self { executable, args, env, user, granted, filter, no_new_privileges })
    }

    /// Says that everything is ready, drops what is left of the helper's powers, and executes the program.
    /// Returns only if that fails.
    pub(crate) fn execute(self, mut clock: Clock, channel: &OwnedFd, terminal: Option<&OwnedFd>) -> LaunchError {
        let executed = self.become_confined(&mut clock, channel, terminal);
        match executed {
            Err(error) => error,
            Ok(()) => {
                let Err(errno) = nix::unistd::execve(&self.executable, &self.args, &self.env);
                let call = format!("execve({:?})", self.executable);
                let errno = Some(Errno::from_raw_os_error(errno as i32));
                Fault { call, errno, subject: Some(lossy(&self.args[0])) }.at(Stage::Exec)
            }
        }
    }

    fn become_confined(
        &self,
        clock: &mut Clock,
        channel: &OwnedFd,
        terminal: Option<&OwnedFd>,
    ) -> Result<(), LaunchError> {
        clock.stage(Stage::Exec, sys::cloexec_everything().call(|| "close_range(3, CLOSE_RANGE_CLOEXEC)".into()))?;
        // The filter may forbid to speak to the helper, so that this is said before it is installed.
        clock.stage(Stage::Exec, channel::say_ready(channel, clock.phases(), terminal))?;
        if self.no_new_privileges {
            clock.stage(
                Stage::Capabilities,
                rustix::thread::set_no_new_privs(true).call(|| "prctl(PR_SET_NO_NEW_PRIVS)".into()),
            )?;
            clock.stage(Stage::Capabilities, self.granted.set(&self.user))?;
            return clock.stage(Stage::Seccomp, self.filter.as_ref().map_or(Ok(()), Filter::install));
        }
        // Without no_new_privs a filter is installed by CAP_SYS_ADMIN, which the workload must not have.
        if let Some(filter) = &self.filter {
            clock.stage(Stage::Capabilities, capabilities::raise())?;
            clock.stage(Stage::Seccomp, filter.install())?;
        }
        clock.stage(Stage::Capabilities, self.granted.set(&self.user))
    }
}

/// Becomes the user, and stays tied to the helper's life, which a change of user would undo.
fn become_user(user: &User) -> Result<(), Fault> {
    capabilities::become_user(user)?;
    die_with_helper()
}

/// Asks the kernel to end this process when the helper ends: nobody would take its output or see its exit.
pub(crate) fn die_with_helper() -> Result<(), Fault> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).call(|| "prctl(PR_SET_PDEATHSIG)".into())
}

/// Gives the pipes or the terminal to the user, so that it can open `/dev/stdout` and the like.
fn own_stdio(user: &User) -> Result<(), Fault> {
    if user.uid == 0 {
        return Ok(());
    }
    let owner = Some(Uid::from_raw(user.uid));
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let about = rustix::fs::fstat(fd).call(|| "fstat(stdio)".into())?;
        let device = FileType::from_raw_mode(about.st_mode) == FileType::CharacterDevice;
        // The null device belongs to everyone; a terminal is a character device too, with major number 136 or more.
        if device && rustix::fs::major(about.st_rdev) == 1 {
            continue;
        }
        rustix::fs::fchown(fd, owner, None::<Gid>).call(|| format!("fchown(stdio, {})", user.uid))?;
    }
    Ok(())
}

/// Changes to the working directory, and makes sure that it is inside the container's tree.
fn enter_directory(path: &str) -> Result<(), Fault> {
    rustix::process::chdir(path).call(|| format!("chdir({path:?})")).map_err(|fault| fault.about(path))?;
    let reached = rustix::process::getcwd(Vec::new()).call(|| "getcwd()".into()).map_err(|fault| fault.about(path))?;
    if reached.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Fault::rule(format!("chdir({path:?}) left the container's tree")).about(path))
    }
}

fn strings(process: &ProcessSpec, user: &User) -> Result<(Vec<CString>, Vec<CString>), Fault> {
    let convert = |text: &String| {
        CString::new(text.as_str()).map_err(|_nul| Fault::rule(format!("{text:?} contains a NUL byte")))
    };
    let args: Vec<CString> = process.args.iter().map(convert).collect::<Result<_, _>>()?;
    if args.is_empty() {
        return Err(Fault::rule("there is nothing to execute"));
    }
    let mut env: Vec<CString> = process.env.iter().map(convert).collect::<Result<_, _>>()?;
    if !process.env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(convert(&format!("HOME={}", user.home))?);
    }
    Ok((args, env))
}

/// Finds the executable as the user: a name with a slash is a path, any other is looked up on `PATH`.
fn find(process: &ProcessSpec) -> Result<CString, Fault> {
    let name = process.args.first().map_or("", String::as_str);
    let path = |text: String| CString::new(text).map_err(|_nul| Fault::rule("a path contains a NUL byte"));
    if name.contains('/') {
        let candidate = path(name.to_owned())?;
        return executable(&candidate)
            .call(|| format!("stat({name:?})"))
            .map_err(|fault| fault.about(name))
            .map(|()| candidate);
    }
    let directories = process.env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or("");
    if !name.is_empty() {
        for directory in directories.split(':') {
            let directory = if directory.is_empty() { "." } else { directory };
            let candidate = path(format!("{directory}/{name}"))?;
            if executable(&candidate).is_ok() {
                return Ok(candidate);
            }
        }
    }
    Err(Fault { call: format!("lookup({name:?}, PATH)"), errno: Some(Errno::NOENT), subject: Some(name.to_owned()) })
}

fn executable(path: &CStr) -> rustix::io::Result<()> {
    let mode = rustix::fs::stat(path)?.st_mode;
    if FileType::from_raw_mode(mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

fn lossy(text: &CStr) -> String {
    text.to_string_lossy().into_owned()
}
