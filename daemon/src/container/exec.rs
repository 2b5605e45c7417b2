//! Execs: what was asked for, and whether it runs.

use std::sync::Arc;

use api_schema::exec::ExecCreateBody;
use tokio::sync::watch;

use super::launch::ExecWanted;
use crate::clock::Timestamp;
use crate::id::Id;

/// An exec of a container. Kept in memory only: an exec does not outlive its container's run.
#[derive(Debug)]
pub struct Exec {
    pub id: Id,
    pub container: Id,
    pub args: Vec<String>,
    pub user: String,
    pub env: Vec<String>,
    pub working_dir: String,
    pub tty: bool,
    pub privileged: bool,
    pub open_stdin: bool,
    pub open_stdout: bool,
    pub open_stderr: bool,
    pub detach_keys: Vec<u8>,
    /// `(rows, columns)`, as create asked for it.
    pub size: Option<(u16, u16)>,
    pub(super) state: watch::Sender<ExecState>,
}

/// Where an exec is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecState {
    Created,
    /// Asked of the helper.
    Starting,
    Running {
        pid: i32,
    },
    Exited {
        code: i32,
        /// When; it is forgotten some time after.
        at: Timestamp,
        pid: i32,
    },
}

impl Exec {
    /// Makes an exec from the body of create.
    pub(super) fn new(container: &Id, body: ExecCreateBody, detach_keys: Vec<u8>) -> Arc<Self> {
        let cells = |cells: u32| u16::try_from(cells).unwrap_or(u16::MAX);
        Arc::new(Self {
            id: Id::random(),
            container: container.clone(),
            args: body.cmd.unwrap_or_default(),
            user: body.user,
            env: body.env,
            working_dir: body.working_dir,
            tty: body.tty,
            privileged: body.privileged,
            open_stdin: body.attach_stdin,
            open_stdout: body.attach_stdout,
            open_stderr: body.attach_stderr,
            detach_keys,
            size: body.console_size.map(|[rows, columns]| (cells(rows), cells(columns))),
            state: watch::Sender::new(ExecState::Created),
        })
    }

    /// Returns the state as it is now.
    pub fn state(&self) -> ExecState {
        *self.state.borrow()
    }

    /// Waits until it runs, or has ended.
    pub async fn started(&self) {
        let mut state = self.state.subscribe();
        let known = |state: &ExecState| !matches!(state, ExecState::Created | ExecState::Starting);
        crate::error::ignore(state.wait_for(known).await);
    }

    /// Waits for the end and returns the exit code.
    pub async fn exit_code(&self) -> Option<i32> {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| matches!(state, ExecState::Exited { .. })).await.ok()?;
        match *ended {
            ExecState::Exited { code, .. } => Some(code),
            ExecState::Created | ExecState::Starting | ExecState::Running { .. } => None,
        }
    }

    pub(super) fn wanted(&self, size: Option<(u16, u16)>) -> ExecWanted {
        ExecWanted {
            args: self.args.clone(),
            env: self.env.clone(),
            working_dir: self.working_dir.clone(),
            user: self.user.clone(),
            tty: self.tty,
            size: size.or(self.size),
            privileged: self.privileged,
            stdin: self.open_stdin,
            stdout: self.open_stdout || self.tty,
            stderr: self.open_stderr,
        }
    }
}
