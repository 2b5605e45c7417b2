//! Where the daemon listens: the `--host` flag, the environment, the default.

use std::{ffi::OsStr, fmt, path::PathBuf};

/// The socket of a daemon that was installed as a service.
pub const DEFAULT_SOCKET: &str = "/run/pinnace/pinnace.sock";

/// The address of a daemon: the path of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    socket: PathBuf,
}

/// An address that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseHostError {
    #[error("cannot use host \"{0}\": only unix sockets are supported; use -H unix:///path/to/pinnace.sock")]
    Scheme(String),
    #[error("cannot use host \"{0}\": the path after unix:// is empty")]
    EmptyPath(String),
}

impl Host {
    /// Returns the address of the socket at `path`.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self { socket: path.into() }
    }

    /// Parses `unix:///path`, or an absolute path.
    ///
    /// # Errors
    /// Any other scheme, or no path.
    pub fn parse(text: &str) -> Result<Self, ParseHostError> {
        let path = match text.strip_prefix("unix://") {
            Some("") => return Err(ParseHostError::EmptyPath(text.to_owned())),
            Some(path) => path,
            None if text.starts_with('/') => text,
            None => return Err(ParseHostError::Scheme(text.to_owned())),
        };
        Ok(Self::unix(path))
    }

    /// Chooses among the flag, then `PINNACE_HOST`, then `DOCKER_HOST` (empty means unset), then [`DEFAULT_SOCKET`].
    ///
    /// # Errors
    /// The chosen one cannot be parsed.
    pub fn choose(
        flag: Option<&str>,
        pinnace_host: Option<&OsStr>,
        docker_host: Option<&OsStr>,
    ) -> Result<Self, ParseHostError> {
        let environment = [pinnace_host, docker_host];
        let chosen = flag.map(OsStr::new).into_iter().chain(environment.into_iter().flatten());
        match chosen.filter(|text| !text.is_empty()).map(OsStr::to_string_lossy).next() {
            Some(text) => Self::parse(&text),
            None => Ok(Self::unix(DEFAULT_SOCKET)),
        }
    }

    /// Returns the path of the socket.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.socket.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_then_pinnace_then_docker_then_the_default() {
        let choose = |flag, pinnace: &str, docker: &str| {
            Host::choose(flag, Some(OsStr::new(pinnace)), Some(OsStr::new(docker))).unwrap().to_string()
        };
        assert_eq!(choose(Some("unix:///a"), "unix:///b", "unix:///c"), "unix:///a");
        assert_eq!(choose(None, "unix:///b", "unix:///c"), "unix:///b");
        assert_eq!(choose(None, "", "/c"), "unix:///c");
        assert_eq!(choose(None, "", ""), "unix:///run/pinnace/pinnace.sock");
    }

    #[test]
    fn other_schemes_are_refused_by_name() {
        let error = Host::parse("tcp://127.0.0.1:2375").unwrap_err();
        assert_eq!(error, ParseHostError::Scheme("tcp://127.0.0.1:2375".to_owned()));
        assert!(Host::parse("unix://").is_err());
    }
}
