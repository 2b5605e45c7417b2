//! How a verb fails: the exit code, and the sentence unless it was said already.

use std::io;

use pinnace_client::Error;

/// The result of a verb: the exit code of a success, which is the container's where there is one.
pub(crate) type Outcome = Result<u8, Failure>;

/// What `docker run` exits with when the daemon, not the program, is at fault.
pub(crate) const DAEMON_FAILED: u8 = 125;
const CANNOT_INVOKE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// What a shell shows for a program that SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;

/// Why a verb failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be printed on stderr.
    Because { code: u8, text: String },
    /// Printed already, or nobody is left to read it.
    Silent(u8),
}

impl Failure {
    /// Makes a failure that exits with 1.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::Because { code: 1, text: text.into() }
    }

    /// The same failure with another exit code.
    #[must_use]
    pub(crate) fn with_code(self, code: u8) -> Self {
        match self {
            Self::Because { text, .. } => Self::Because { code, text },
            silent @ Self::Silent(_) => silent,
        }
    }

    /// The same failure of a container to be created or started: whose fault it is shows in the exit code.
    #[must_use]
    pub(crate) fn started(self) -> Self {
        match self {
            Self::Because { text, .. } => Self::Because { code: start_exit_code(&text), text },
            silent @ Self::Silent(_) => silent,
        }
    }
}

/// Chooses the exit code by the daemon's words, as Docker's client does; `fallback` cases are the daemon's fault.
pub(crate) fn start_exit_code(text: &str) -> u8 {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["executable file not found", "no such file or directory", "system cannot find the file specified"]) {
        NOT_FOUND
    } else if says(&["permission denied", "is a directory"]) {
        CANNOT_INVOKE
    } else {
        DAEMON_FAILED
    }
}

/// Folds a container's exit code into what a process can exit with, as `exit(3)` does.
pub(crate) fn exit_code(code: i64) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Silent(BROKEN_PIPE),
            _ => Self::new(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_words_choose_the_exit_code() {
        let table = [
            (r#"failed to start: exec: "nope": executable file not found in $PATH"#, 127),
            ("stat /nope: no such file or directory", 127),
            (r#"exec: "/etc/passwd": permission denied"#, 126),
            (r#"exec: "/etc": is a directory: permission denied"#, 126),
            ("No such image: nope:latest", 125),
        ];
        for (text, code) in table {
            assert_eq!(start_exit_code(text), code, "{text}");
        }
    }

    #[test]
    fn exit_codes_are_folded_like_exit_does() {
        assert_eq!([exit_code(0), exit_code(137), exit_code(256), exit_code(-1)], [0, 137, 0, 255]);
    }
}
