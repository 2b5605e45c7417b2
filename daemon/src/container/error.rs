//! What can go wrong with a container; the sentences are Docker's where clients read them.

use pinnace_helper::protocol::{LaunchError, Refusal, Stage};

use super::lifecycle::{Denied, StartFailure};
use super::spec::SpecError;
use crate::error::{Classify, ErrorKind};
use crate::id::Id;
use crate::store::StoreError;

/// A failure of an operation on containers or execs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    InvalidName(String),
    #[error("Neither old nor new names may be empty")]
    EmptyName,
    #[error("Renaming a container with the same name as its current name")]
    SameName,
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{by}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse { name: String, by: String },
    #[error("removal of container {0} is already in progress")]
    RemovalInProgress(Id),
    #[error("container {0} is marked for removal and cannot be started")]
    BeingRemoved(Id),
    #[error("container {0} is paused, unpause the container before attach")]
    AttachPaused(Id),
    #[error("Container {0} is paused, unpause the container before exec")]
    ExecPaused(Id),
    #[error("No exec command specified")]
    NoExecCommand,
    #[error("exec command {0} is already running")]
    ExecRunning(Id),
    #[error("exec command {0} has already run")]
    ExecHasRun(Id),
    #[error("exec process is not started")]
    ExecNotStarted,
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Image(#[from] crate::image::Error),
    /// The workload, or what it needs, could not be started.
    #[error("{message}")]
    Start { kind: ErrorKind, code: i32, message: String },
    #[error("cannot kill container: {name}: {source}")]
    Kill { name: String, source: Box<Error> },
    #[error("the terminal cannot be resized: {0}")]
    Resize(String),
    #[error("the helper of container {id} refused: {detail}")]
    Refused { id: Id, detail: String },
    #[error("{attempt} for container {id}")]
    Io { attempt: &'static str, id: Id, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task of the container ended; it was removed meanwhile.
    #[error("No such container: {0}")]
    Gone(Id),
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchContainer(_) | Self::NoSuchExec(_) | Self::Gone(_) => ErrorKind::NotFound,
            Self::Ambiguous(_)
            | Self::InvalidName(_)
            | Self::EmptyName
            | Self::SameName
            | Self::NoExecCommand
            | Self::ExecNotStarted
            | Self::Resize(_) => ErrorKind::Invalid,
            Self::NameInUse { .. }
            | Self::RemovalInProgress(_)
            | Self::BeingRemoved(_)
            | Self::AttachPaused(_)
            | Self::ExecPaused(_)
            | Self::ExecRunning(_)
            | Self::ExecHasRun(_) => ErrorKind::Conflict,
            Self::Denied(error) => error.kind(),
            Self::Spec(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Start { kind, .. } => *kind,
            Self::Kill { source, .. } => source.kind(),
            Self::Refused { .. } | Self::Io { .. } => ErrorKind::Internal,
            Self::Store(error) => error.kind(),
        }
    }
}

impl Error {
    /// Makes an error of a refused request.
    pub(super) fn refused(id: &Id, reason: Refusal) -> Self {
        match reason {
            Refusal::NotRunning => Self::Denied(Denied::NotRunning(id.clone())),
            Refusal::NoSuchExec => Self::ExecNotStarted,
            Refusal::NoTerminal => Self::Resize("the process has no terminal".to_owned()),
            // A request that was on its way when the container was paused.
            Refusal::Failed { errno: libc::EBUSY, call } if call.starts_with("exec in a paused") => {
                Self::ExecPaused(id.clone())
            }
            Refusal::Malformed { detail } => Self::Refused { id: id.clone(), detail },
            Refusal::Failed { call, errno } => Self::Refused { id: id.clone(), detail: os_error(&call, Some(errno)) },
        }
    }

    /// Returns what a failed start leaves in the container's state.
    pub(super) fn start_failure(&self) -> StartFailure {
        let code = if let Self::Start { code, .. } = self { *code } else { 128 };
        StartFailure { code, message: crate::error::chain(self) }
    }
}

/// Makes the sentence and the exit code of a failed launch. Clients read the sentence: it must contain Docker's words
/// `executable file not found`, `no such file or directory` (127), `permission denied`, `is a directory` (126).
pub(super) fn launch_error(error: &LaunchError) -> Error {
    let subject = error.subject.as_deref().unwrap_or_default();
    let (kind, code, message) = match (error.stage, error.errno) {
        (Stage::Exec, errno) => exec_error(subject, &error.call, errno),
        (Stage::User, _) if !subject.is_empty() => (ErrorKind::Invalid, 126, subject.to_owned()),
        (Stage::WorkingDir, Some(_)) => (
            ErrorKind::Invalid,
            if error.errno == Some(libc::EACCES) { 126 } else { 127 },
            format!("chdir to the working directory failed: {}", os_error(&error.call, error.errno)),
        ),
        (Stage::Mounts, Some(libc::ENOENT | libc::ENOTDIR | libc::EISDIR | libc::ELOOP | libc::EINVAL)) => {
            (ErrorKind::Invalid, 128, format!("error mounting {subject}: {}", os_error(&error.call, error.errno)))
        }
        (stage, errno) => (
            ErrorKind::Internal,
            128,
            format!("container set-up failed at stage {}: {}", stage_name(stage), os_error(&error.call, errno)),
        ),
    };
    Error::Start { kind, code, message: format!("unable to start container process: {message}") }
}

fn exec_error(name: &str, call: &str, errno: Option<i32>) -> (ErrorKind, i32, String) {
    let (code, words) = match errno {
        Some(libc::ENOENT) if call.starts_with("lookup") => (127, "executable file not found in $PATH".to_owned()),
        Some(libc::ENOENT) => (127, format!("stat {name}: no such file or directory")),
        Some(libc::EACCES) => (126, "permission denied".to_owned()),
        Some(libc::EISDIR) => (126, "is a directory: permission denied".to_owned()),
        Some(libc::ENOEXEC) => (126, "exec format error".to_owned()),
        errno => (126, os_error(call, errno)),
    };
    (ErrorKind::Invalid, code, format!("exec: {name:?}: {words}"))
}

fn stage_name(stage: Stage) -> String {
    format!("{stage:?}").to_lowercase()
}

fn os_error(call: &str, errno: Option<i32>) -> String {
    match errno {
        Some(errno) => format!("{call}: {}", nix::errno::Errno::from_raw(errno).desc().to_lowercase()),
        None => call.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_says_what_clients_look_for() {
        for (stage, call, errno, code, words) in [
            (Stage::Exec, "lookup(nope)", libc::ENOENT, 127, "exec: \"nope\": executable file not found in $PATH"),
            (Stage::Exec, "execve(nope)", libc::ENOENT, 127, "no such file or directory"),
            (Stage::Exec, "execve(nope)", libc::EACCES, 126, "permission denied"),
            (Stage::Exec, "execve(nope)", libc::EISDIR, 126, "is a directory"),
            (Stage::Rootfs, "fsmount()", libc::ENOSPC, 128, "stage rootfs: fsmount(): no space left on device"),
        ] {
            let error = launch_error(&LaunchError {
                stage,
                call: call.to_owned(),
                errno: Some(errno),
                subject: Some("nope".to_owned()),
            });
            assert_eq!(error.start_failure().code, code, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
