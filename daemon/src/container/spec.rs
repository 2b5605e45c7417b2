//! What a container is to be: the body of create, checked and merged with its image, in the daemon's own terms.
//!
//! Every field of `Config` and `HostConfig` that the API knows is either honoured or, if it is set to something else
//! than its default, refused with an error that names it. Fields that the API does not know are ignored, as dockerd
//! does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api_schema::container::{Config, Empty};
use api_schema::host_config::HostConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::body;
pub use super::body::fold_keys;
use super::mounts::{self, Bind, Tmpfs};
use crate::capability;
use crate::error::{Classify, ErrorKind};
use crate::id::Id;
use crate::image::ImageConfig;
use crate::seccomp::{SecurityOptError, SecurityOptions};
use crate::signal::{self, Signal};
use crate::units;

/// A checked request for a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// As the client wrote it.
    pub image: String,
    pub hostname: String,
    pub domainname: String,
    pub user: String,
    /// Merged with the image's.
    pub env: Vec<String>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    /// `port/protocol`, merged with the image's; shown only.
    pub exposed_ports: Vec<String>,
    /// The image's `VOLUME` paths; shown only.
    pub image_volumes: Vec<String>,
    pub on_build: Option<Vec<String>>,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    /// As the client or the image wrote it; empty is SIGTERM.
    pub stop_signal: String,
    /// Seconds; negative waits for ever.
    pub stop_timeout: Option<i64>,
    pub network: NetworkMode,
    /// As the client wrote them.
    pub bind_texts: Option<Vec<String>>,
    pub binds: Vec<Bind>,
    /// As the client wrote them.
    pub tmpfs_texts: Option<BTreeMap<String, String>>,
    pub tmpfs: Vec<Tmpfs>,
    pub readonly_rootfs: bool,
    pub auto_remove: bool,
    pub privileged: bool,
    pub cap_add: Option<Vec<String>>,
    pub cap_drop: Option<Vec<String>>,
    pub security_opt: Option<Vec<String>>,
    /// `[rows, columns]`.
    pub console_size: [u16; 2],
    /// Bytes.
    pub shm_size: u64,
    pub masked_paths: Option<Vec<String>>,
    pub readonly_paths: Option<Vec<String>>,
    pub log: LogOptions,
}

/// Where the container's network comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// A network namespace with loopback only.
    None,
    /// The host's.
    Host,
    /// Asked for as `default` or `bridge`; loopback only until bridges exist. Holds the word that was asked for.
    Bridge(String),
}

impl NetworkMode {
    /// Returns the word that was asked for.
    pub fn as_str(&self) -> &str {
        match self {
            Self::None => "none",
            Self::Host => "host",
            Self::Bridge(word) => word,
        }
    }

    /// Returns the network's name, as answers have it.
    pub fn network_name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Host => "host",
            Self::Bridge(_) => "bridge",
        }
    }
}

/// How much of a container's output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogOptions {
    /// Bytes in one segment; the daemon's default if it is not given.
    pub max_size: Option<u64>,
    /// Segments; the daemon's default if it is not given.
    pub max_files: Option<u32>,
    /// As the client wrote them.
    pub texts: BTreeMap<String, String>,
}

/// Why a create is refused.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0} is not supported by this version of Pinnace; leave it at its default")]
    Unsupported(String),
    #[error(
        "networks are not supported by this version of Pinnace: HostConfig.NetworkMode {0:?} must be none, host, bridge or default"
    )]
    Network(String),
    #[error("no command specified")]
    NoCommand,
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    RelativeWorkingDir(String),
    #[error("invalid environment variable: {0}")]
    Environment(String),
    #[error(transparent)]
    Signal(#[from] signal::Error),
    #[error(transparent)]
    Capability(#[from] capability::Error),
    #[error(transparent)]
    SecurityOpt(#[from] SecurityOptError),
    #[error(transparent)]
    Mount(#[from] mounts::MountError),
    #[error("invalid max-size: {0}")]
    LogSize(units::SizeError),
}

impl Classify for SpecError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unsupported(_) | Self::Network(_) => ErrorKind::NotImplemented,
            Self::SecurityOpt(SecurityOptError::Unsupported { .. }) => ErrorKind::NotImplemented,
            Self::Mount(error) => error.kind(),
            Self::Invalid(_)
            | Self::NoCommand
            | Self::RelativeWorkingDir(_)
            | Self::Environment(_)
            | Self::Signal(_)
            | Self::Capability(_)
            | Self::SecurityOpt(_)
            | Self::LogSize(_) => ErrorKind::Invalid,
        }
    }
}

/// The body of create, read and not yet merged with an image.
#[derive(Debug)]
pub struct CreateBody {
    config: Config,
    host: HostConfig,
}

impl CreateBody {
    /// Reads the body; fields that are not honoured are refused here.
    pub fn read(mut value: Value) -> Result<Self, SpecError> {
        let Value::Object(ref mut map) = value else {
            return Err(SpecError::Invalid("invalid JSON: the body must be an object".to_owned()));
        };
        fold_keys(map, &["HostConfig", "NetworkingConfig"]);
        let host = body::take_object(map, "HostConfig")?;
        let networking = body::take_object(map, "NetworkingConfig")?;
        body::check_networking(&networking)?;
        let config = body::honoured(std::mem::take(map), &body::CONFIG, "")?;
        let host = body::honoured(host, &body::HOST_CONFIG, "HostConfig.")?;
        Ok(Self { config: parse(config, "")?, host: parse(host, "HostConfig.")? })
    }

    /// Returns the image that is asked for.
    pub fn image(&self) -> &str {
        &self.config.image
    }

    /// Checks everything and merges it with the image's configuration.
    pub fn resolve(self, id: &Id, image: &ImageConfig) -> Result<ContainerSpec, SpecError> {
        let Self { config, host } = self;
        let (entrypoint, cmd) = command(&config, image);
        if entrypoint.iter().chain(&cmd).flatten().next().is_none_or(String::is_empty) {
            return Err(SpecError::NoCommand);
        }
        let working_dir = if config.working_dir.is_empty() { image.working_dir.clone() } else { config.working_dir };
        if !working_dir.is_empty() && !working_dir.starts_with('/') {
            return Err(SpecError::RelativeWorkingDir(working_dir));
        }
        let stop_signal = if config.stop_signal.is_empty() { image.stop_signal.clone() } else { config.stop_signal };
        if !stop_signal.is_empty() {
            Signal::parse(&stop_signal)?;
        }
        let network = network_mode(&host.network_mode)?;
        let binds = mounts::parse_binds(host.binds.as_deref().unwrap_or_default())?;
        let tmpfs = mounts::parse_tmpfs(host.tmpfs.as_ref())?;
        mounts::check_destinations(&binds, &tmpfs)?;
        capability::resolve(
            host.cap_add.as_deref().unwrap_or_default(),
            host.cap_drop.as_deref().unwrap_or_default(),
            host.privileged,
            crate::host::capabilities(),
        )?;
        SecurityOptions::parse(host.security_opt.as_deref().unwrap_or_default())?;
        let mut exposed: BTreeMap<String, Empty> = image.exposed_ports.clone();
        exposed.extend(config.exposed_ports);
        let mut labels = image.labels.clone();
        labels.extend(config.labels);
        Ok(ContainerSpec {
            image: config.image,
            hostname: if config.hostname.is_empty() { default_hostname(id, &network) } else { config.hostname },
            domainname: config.domainname,
            user: if config.user.is_empty() { image.user.clone() } else { config.user },
            env: merge_env(config.env, &image.env)?,
            entrypoint,
            cmd,
            working_dir,
            labels,
            exposed_ports: exposed.into_keys().collect(),
            image_volumes: image.volumes.keys().cloned().collect(),
            on_build: None,
            tty: config.tty,
            open_stdin: config.open_stdin,
            stdin_once: config.stdin_once,
            attach_stdin: config.attach_stdin,
            attach_stdout: config.attach_stdout,
            attach_stderr: config.attach_stderr,
            stop_signal,
            stop_timeout: config.stop_timeout,
            network,
            bind_texts: host.binds,
            binds,
            tmpfs_texts: host.tmpfs,
            tmpfs,
            readonly_rootfs: host.readonly_rootfs,
            auto_remove: host.auto_remove,
            privileged: host.privileged,
            cap_add: host.cap_add,
            cap_drop: host.cap_drop,
            security_opt: host.security_opt,
            console_size: host.console_size.map(|cells| u16::try_from(cells).unwrap_or(u16::MAX)),
            shm_size: shm_size(host.shm_size)?,
            masked_paths: host.masked_paths,
            readonly_paths: host.readonly_paths,
            log: log_options(&host.log_config.kind, host.log_config.config)?,
        })
    }
}

impl ContainerSpec {
    /// Returns the executable and its arguments.
    pub fn args(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).flatten().cloned().collect()
    }

    /// Returns the signal that asks the container to stop.
    pub fn stop_signal(&self) -> Signal {
        Signal::parse(&self.stop_signal).unwrap_or(Signal::TERM)
    }

    /// Returns the host paths that the container sees through binds.
    pub fn bind_sources(&self) -> impl Iterator<Item = &PathBuf> {
        self.binds.iter().map(|bind| &bind.source)
    }
}

fn parse<T: serde::de::DeserializeOwned>(map: Map<String, Value>, prefix: &str) -> Result<T, SpecError> {
    serde_path_to_error::deserialize(Value::Object(map)).map_err(|error| {
        let path = error.path().to_string();
        SpecError::Invalid(format!("invalid JSON: field {prefix}{path}: {}", error.into_inner()))
    })
}

/// Merges entrypoint and command as dockerd does: an entrypoint of the client's hides the image's command, too.
fn command(config: &Config, image: &ImageConfig) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let mut entrypoint = config.entrypoint.clone();
    let mut cmd = config.cmd.clone().filter(|cmd| !cmd.is_empty());
    if entrypoint.as_ref().is_none_or(Vec::is_empty) {
        cmd = cmd.or_else(|| image.cmd.clone());
        if entrypoint.is_none() {
            entrypoint.clone_from(&image.entrypoint);
        }
    }
    // `--entrypoint ""` is sent as one empty string: no entrypoint.
    if entrypoint.as_ref().is_some_and(|list| list.len() == 1 && list[0].is_empty()) {
        entrypoint = None;
    }
    (entrypoint.filter(|list| !list.is_empty()), cmd)
}

fn merge_env(mut env: Vec<String>, image: &[String]) -> Result<Vec<String>, SpecError> {
    for entry in &env {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(SpecError::Environment(entry.clone()));
        }
        if entry.contains('\0') {
            return Err(SpecError::Environment(format!("{entry:?} contains a NUL byte")));
        }
    }
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let own: Vec<String> = env.iter().map(|entry| name(entry)).collect();
    env.extend(image.iter().filter(|entry| !own.contains(&name(entry))).cloned());
    Ok(env)
}

fn default_hostname(id: &Id, network: &NetworkMode) -> String {
    match network {
        NetworkMode::Host => crate::host::hostname(),
        NetworkMode::None | NetworkMode::Bridge(_) => id.short().to_owned(),
    }
}

fn network_mode(text: &str) -> Result<NetworkMode, SpecError> {
    match text {
        "" => Ok(NetworkMode::Bridge("bridge".to_owned())),
        "default" | "bridge" => Ok(NetworkMode::Bridge(text.to_owned())),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => Err(SpecError::Network(other.to_owned())),
    }
}

/// Docker's default, in bytes.
const SHM_SIZE: u64 = 64 * 1024 * 1024;

fn shm_size(bytes: i64) -> Result<u64, SpecError> {
    match u64::try_from(bytes) {
        Ok(0) => Ok(SHM_SIZE),
        Ok(bytes) => Ok(bytes),
        Err(_negative) => Err(SpecError::Invalid("SHM size can not be less than 0".to_owned())),
    }
}

fn log_options(kind: &str, texts: BTreeMap<String, String>) -> Result<LogOptions, SpecError> {
    if !matches!(kind, "" | "json-file") {
        return Err(SpecError::Unsupported(format!("HostConfig.LogConfig.Type {kind:?}")));
    }
    let mut options = LogOptions { texts: texts.clone(), ..LogOptions::default() };
    for (key, value) in texts {
        match key.as_str() {
            "max-size" => options.max_size = Some(units::ram_in_bytes(&value).map_err(SpecError::LogSize)?),
            "max-file" => {
                let files = value.parse().ok().filter(|files| *files > 0);
                options.max_files = Some(files.ok_or_else(|| {
                    SpecError::Invalid(format!("max-file {value:?} must be a number and cannot be less than 1"))
                })?);
            }
            _ => return Err(SpecError::Unsupported(format!("HostConfig.LogConfig.Config {key:?}"))),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resolve(value: Value) -> Result<ContainerSpec, SpecError> {
        let image = ImageConfig {
            env: vec!["PATH=/bin".to_owned(), "A=image".to_owned()],
            cmd: Some(vec!["image-cmd".to_owned()]),
            entrypoint: Some(vec!["image-entry".to_owned()]),
            ..ImageConfig::default()
        };
        CreateBody::read(value)?.resolve(&Id::random(), &image)
    }

    #[test]
    fn commands_merge_as_docker_merges_them() {
        for (body, expected) in [
            (json!({}), vec!["image-entry", "image-cmd"]),
            (json!({"Cmd": ["x"]}), vec!["image-entry", "x"]),
            (json!({"cmd": "x"}), vec!["image-entry", "x"]),
            (json!({"Entrypoint": ["e"]}), vec!["e"]),
            (json!({"Entrypoint": ["e"], "Cmd": ["x"]}), vec!["e", "x"]),
            (json!({"Entrypoint": [""], "Cmd": ["x"]}), vec!["x"]),
            (json!({"Entrypoint": [], "Cmd": ["x"]}), vec!["x"]),
        ] {
            assert_eq!(resolve(body.clone()).unwrap().args(), expected, "{body}");
        }
    }

    #[test]
    fn the_clients_variables_come_first_and_hide_the_images() {
        let spec = resolve(json!({"Env": ["A=own", "B=1"]})).unwrap();
        assert_eq!(spec.env, ["A=own", "B=1", "PATH=/bin"]);
        assert!(matches!(resolve(json!({"Env": ["=x"]})), Err(SpecError::Environment(_))));
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_name() {
        for (body, name) in [
            (json!({"HostConfig": {"Memory": 1}}), "HostConfig.Memory"),
            (json!({"hostconfig": {"memory": 1}}), "HostConfig.Memory"),
            (json!({"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "80"}]}}}), "HostConfig.PortBindings"),
            (json!({"HostConfig": {"RestartPolicy": {"Name": "always"}}}), "HostConfig.RestartPolicy"),
            (json!({"HostConfig": {"PidMode": "host"}}), "HostConfig.PidMode"),
            (json!({"Healthcheck": {"Test": ["CMD", "true"]}}), "Healthcheck"),
            (json!({"Volumes": {"/x": {}}}), "Volumes"),
            (json!({"HostConfig": {"LogConfig": {"Type": "syslog"}}}), "HostConfig.LogConfig"),
        ] {
            let error = resolve(body.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotImplemented, "{body}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn what_the_docker_cli_sends_by_default_is_accepted() {
        let body = json!({
            "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": true,
            "AttachStderr": true, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": null, "Cmd": ["true"],
            "Image": "x", "Volumes": {}, "WorkingDir": "", "Entrypoint": null, "Labels": {},
            "HostConfig": {
                "Binds": null, "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}},
                "NetworkMode": "default", "PortBindings": {}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
                "AutoRemove": false, "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [24, 80], "CapAdd": null,
                "CapDrop": null, "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [], "ExtraHosts": null,
                "GroupAdd": null, "IpcMode": "", "Cgroup": "", "Links": null, "OomScoreAdj": 0, "PidMode": "",
                "Privileged": false, "PublishAllPorts": false, "ReadonlyRootfs": false, "SecurityOpt": null,
                "UTSMode": "", "UsernsMode": "", "ShmSize": 0, "Isolation": "", "CpuShares": 0, "Memory": 0,
                "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": [],
                "BlkioDeviceReadBps": [], "CpuPeriod": 0, "CpusetCpus": "", "Devices": [], "DeviceCgroupRules": null,
                "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": -1,
                "OomKillDisable": false, "PidsLimit": 0, "Ulimits": [], "CpuCount": 0, "CpuPercent": 0,
                "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": null, "ReadonlyPaths": null
            },
            "NetworkingConfig": {"EndpointsConfig": {"default": {"IPAMConfig": null, "Links": null, "Aliases": null,
                "MacAddress": "", "NetworkID": "", "GwPriority": 0}}}
        });
        assert_eq!(resolve(body).unwrap().network, NetworkMode::Bridge("default".to_owned()));
    }

    #[test]
    fn a_wrong_type_names_its_field() {
        for (body, name) in [
            (json!({"Tty": "yes"}), "Tty"),
            (json!({"Env": [1]}), "Env[0]"),
            (json!({"HostConfig": {"Binds": "x"}}), "HostConfig.Binds"),
            (json!({"HostConfig": 3}), "HostConfig"),
            (json!({"Labels": ["x"]}), "Labels"),
        ] {
            let error = resolve(body.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{body}: {error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
