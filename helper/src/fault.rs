//! How a step says what failed: the system call as strace would print it, and the kernel's answer.

use pinnace_helper::protocol::{LaunchError, Refusal, Stage};
use rustix::io::Errno;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {}", describe(.errno))]
pub(crate) struct Fault {
    /// The call with its arguments, or the step.
    pub(crate) call: String,
    pub(crate) errno: Option<Errno>,
    /// What it is about, where the call does not say it.
    pub(crate) subject: Option<String>,
}

fn describe(errno: &Option<Errno>) -> String {
    errno.map_or_else(|| "refused".to_owned(), |errno| errno.to_string())
}

impl Fault {
    /// A step that a rule of ours refused, not the kernel.
    pub(crate) fn rule(call: impl Into<String>) -> Self {
        Self { call: call.into(), errno: None, subject: None }
    }

    /// Names what the failure is about.
    pub(crate) fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Says in which stage of a launch this happened.
    pub(crate) fn at(self, stage: Stage) -> LaunchError {
        LaunchError { stage, call: self.call, errno: self.errno.map(Errno::raw_os_error), subject: self.subject }
    }

    /// Says that a request was not carried out for this.
    pub(crate) fn refusal(self) -> Refusal {
        Refusal::Failed { call: self.call, errno: self.errno.map_or(0, Errno::raw_os_error) }
    }
}

/// Names the call that a kernel's answer belongs to.
pub(crate) trait Call<T> {
    /// Turns the bare error number into a [`Fault`].
    fn call(self, call: impl FnOnce() -> String) -> Result<T, Fault>;
}

impl<T> Call<T> for rustix::io::Result<T> {
    fn call(self, call: impl FnOnce() -> String) -> Result<T, Fault> {
        self.map_err(|errno| Fault { call: call(), errno: Some(errno), subject: None })
    }
}

impl<T> Call<T> for std::io::Result<T> {
    fn call(self, call: impl FnOnce() -> String) -> Result<T, Fault> {
        self.map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => Fault { call: call(), errno: Some(errno), subject: None },
            None => Fault { call: format!("{}: {error}", call()), errno: None, subject: None },
        })
    }
}

/// Takes an outcome that changes nothing: the caller says why.
pub(crate) fn ignore<T>(_outcome: rustix::io::Result<T>) {}
