//! The classes of error that the API knows. Each operation's own error enum says its class; only `http` knows statuses.

use std::error::Error;

/// What kind of answer an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong in itself.
    Invalid,
    /// What the request names does not exist.
    NotFound,
    /// The request does not fit the present state.
    Conflict,
    /// Never allowed, whatever the state.
    Forbidden,
    /// The request's body is over the limit.
    TooLarge,
    /// A part of the daemon or the host is not there at the moment.
    Unavailable,
    /// Known, and not served by this version.
    NotImplemented,
    /// The daemon's or the host's fault.
    Internal,
}

/// An error that says its class.
pub trait Classify: Error + Send + Sync + 'static {
    /// Returns the class.
    fn kind(&self) -> ErrorKind;
}

/// Joins an error and its causes with `: `.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Lets a result be: whoever could do something about it is gone, or it is already as it should be. The call says which.
pub fn ignore<T, E>(_result: Result<T, E>) {}
