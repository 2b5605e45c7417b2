//! The daemon's configuration: flags, then a TOML file, then defaults. The only module that reads the environment.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use serde::Deserialize;

use crate::units;

/// Serves the Docker Engine API and keeps containers.
#[derive(Debug, Parser)]
#[command(name = "pinnaced", version, about)]
pub struct Flags {
    /// Where images, containers and the database are kept [default: /var/lib/pinnace].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// Where sockets of running containers are [default: /run/pinnace].
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// A socket to listen on, unix:///path/to.sock; may be repeated [default: unix://RUN_DIR/pinnace.sock].
    #[arg(short = 'H', long = "host", value_name = "ADDRESS")]
    hosts: Vec<String>,
    /// Mode of the sockets, octal [default: 660].
    #[arg(long, value_name = "MODE")]
    socket_mode: Option<String>,
    /// Group of the sockets, name or number [default: the daemon's].
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or a filter such as pinnaced=debug [default: info].
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How it is logged [default: human].
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// Bytes of a container's output in one log segment, such as 10m [default: 10m].
    #[arg(long, value_name = "SIZE")]
    log_max_size: Option<String>,
    /// Log segments that are kept of each container [default: 3].
    #[arg(long, value_name = "COUNT")]
    log_max_files: Option<u32>,
    /// Parent of the containers' cgroups in each hierarchy [default: /pinnace].
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// The helper executable [default: pinnace-helper beside this program].
    #[arg(long, value_name = "FILE")]
    helper: Option<PathBuf>,
    /// The configuration file; keys are the flags' names [default: /etc/pinnace/pinnaced.toml if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How the daemon's own log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Human,
    Json,
}

/// What a configuration file may say.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    data_root: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    #[serde(default)]
    hosts: Vec<String>,
    socket_mode: Option<String>,
    socket_group: Option<String>,
    log_level: Option<String>,
    log_format: Option<LogFormat>,
    log_max_size: Option<String>,
    log_max_files: Option<u32>,
    cgroup_parent: Option<String>,
    helper: Option<PathBuf>,
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_root: PathBuf,
    pub run_dir: PathBuf,
    /// Paths of unix sockets.
    pub sockets: Vec<PathBuf>,
    pub socket_mode: u32,
    pub socket_group: Option<u32>,
    pub log_level: String,
    pub log_format: LogFormat,
    pub container_log: LogLimits,
    pub cgroup_parent: String,
    pub helper: PathBuf,
}

/// How much of a container's output is kept when it does not say itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes in one segment.
    pub max_size: u64,
    /// Segments that are kept.
    pub max_files: u32,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read the configuration file {path:?}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("configuration file {path:?}: {source}")]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    #[error("the address {0:?} is not served: only unix:///absolute/path")]
    Host(String),
    #[error("the socket mode {0:?} is no octal number up to 777")]
    Mode(String),
    #[error("there is no group {0:?}")]
    Group(String),
    #[error("log-max-size {0:?} is no size of at least 4k, such as 10m")]
    LogSize(String),
    #[error("log-max-files must be at least 1")]
    LogFiles,
    #[error("no executable path: {0}")]
    Executable(std::io::Error),
}

/// Where a configuration file is looked for if no flag names one.
const DEFAULT_FILE: &str = "/etc/pinnace/pinnaced.toml";

impl Config {
    /// Merges flags, file and defaults.
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
        let file = read_file(flags.config.as_deref())?;
        let run_dir = flags.run_dir.or(file.run_dir).unwrap_or_else(|| PathBuf::from("/run/pinnace"));
        let hosts = if flags.hosts.is_empty() { file.hosts } else { flags.hosts };
        let mut sockets = hosts.iter().map(|host| socket_path(host)).collect::<Result<Vec<_>, _>>()?;
        if sockets.is_empty() {
            sockets.push(run_dir.join("pinnace.sock"));
        }
        let log_size = flags.log_max_size.or(file.log_max_size).unwrap_or_else(|| "10m".to_owned());
        let max_size =
            units::ram_in_bytes(&log_size).ok().filter(|size| *size >= 4096).ok_or(ConfigError::LogSize(log_size))?;
        let max_files = flags.log_max_files.or(file.log_max_files).unwrap_or(3);
        if max_files == 0 {
            return Err(ConfigError::LogFiles);
        }
        Ok(Self {
            data_root: flags.data_root.or(file.data_root).unwrap_or_else(|| PathBuf::from("/var/lib/pinnace")),
            sockets,
            socket_mode: socket_mode(flags.socket_mode.or(file.socket_mode))?,
            socket_group: socket_group(flags.socket_group.or(file.socket_group))?,
            log_level: flags.log_level.or(file.log_level).unwrap_or_else(|| "info".to_owned()),
            log_format: flags.log_format.or(file.log_format).unwrap_or(LogFormat::Human),
            container_log: LogLimits { max_size, max_files },
            cgroup_parent: flags.cgroup_parent.or(file.cgroup_parent).unwrap_or_else(|| "/pinnace".to_owned()),
            helper: match flags.helper.or(file.helper) {
                Some(helper) => helper,
                None => std::env::current_exe().map_err(ConfigError::Executable)?.with_file_name("pinnace-helper"),
            },
            run_dir,
        })
    }
}

fn read_file(named: Option<&Path>) -> Result<File, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })
}

fn socket_path(host: &str) -> Result<PathBuf, ConfigError> {
    host.strip_prefix("unix://")
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .ok_or_else(|| ConfigError::Host(host.to_owned()))
}

fn socket_mode(text: Option<String>) -> Result<u32, ConfigError> {
    let Some(text) = text else { return Ok(0o660) };
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(ConfigError::Mode(text)),
    }
}

fn socket_group(text: Option<String>) -> Result<Option<u32>, ConfigError> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(number) = text.parse() {
        return Ok(Some(number));
    }
    match nix::unistd::Group::from_name(&text) {
        Ok(Some(group)) => Ok(Some(group.gid.as_raw())),
        _ => Err(ConfigError::Group(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arguments: &[&str]) -> Result<Config, ConfigError> {
        Config::load(Flags::parse_from([&["pinnaced"], arguments].concat()))
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pinnaced.toml");
        std::fs::write(&path, "data-root = '/from/file'\nlog-max-size = '1m'\nrun-dir = '/run/file'\n").unwrap();
        let path = path.to_str().unwrap();
        let config = load(&["--config", path, "--data-root", "/from/flag"]).unwrap();
        assert_eq!(config.data_root, Path::new("/from/flag"));
        assert_eq!(config.container_log, LogLimits { max_size: 1 << 20, max_files: 3 });
        assert_eq!(config.sockets, [Path::new("/run/file/pinnace.sock")]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (arguments, word) in [
            (vec!["-H", "tcp://0.0.0.0:2375"], "tcp://0.0.0.0:2375"),
            (vec!["-H", "unix://relative"], "relative"),
            (vec!["--socket-mode", "999"], "999"),
            (vec!["--log-max-size", "lots"], "lots"),
            (vec!["--config", "/does/not/exist"], "/does/not/exist"),
        ] {
            let error = load(&arguments).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_of_the_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        std::fs::write(&path, "data_rot = '/x'\n").unwrap();
        assert!(load(&["--config", path.to_str().unwrap()]).unwrap_err().to_string().contains("data_rot"));
    }
}
