//! The fields of create: which are honoured, and what the default of each other one is.

use serde_json::{Map, Value};

use super::spec::SpecError;

/// The fields of one object of the body.
pub(super) struct Fields {
    honoured: &'static [&'static str],
    /// Known to the API and not honoured, with the words that mean the same as leaving it out.
    refused: &'static [(&'static str, &'static [&'static str])],
}

/// `Config`.
pub(super) const CONFIG: Fields = Fields {
    honoured: &[
        "AttachStderr",
        "AttachStdin",
        "AttachStdout",
        "Cmd",
        "Domainname",
        "Entrypoint",
        "Env",
        "ExposedPorts",
        "Hostname",
        "Image",
        "Labels",
        "OpenStdin",
        "StdinOnce",
        "StopSignal",
        "StopTimeout",
        "Tty",
        "User",
        "WorkingDir",
    ],
    refused: &[
        ("ArgsEscaped", &[]),
        ("Healthcheck", &[]),
        ("MacAddress", &[]),
        ("NetworkDisabled", &[]),
        ("OnBuild", &[]),
        ("Shell", &[]),
        ("Volumes", &[]),
    ],
};

/// `HostConfig`.
pub(super) const HOST_CONFIG: Fields = Fields {
    honoured: &[
        "AutoRemove",
        "Binds",
        "CapAdd",
        "CapDrop",
        "ConsoleSize",
        "LogConfig",
        "MaskedPaths",
        "NetworkMode",
        "Privileged",
        "ReadonlyPaths",
        "ReadonlyRootfs",
        "SecurityOpt",
        "ShmSize",
        "Tmpfs",
    ],
    refused: &[
        ("Annotations", &[]),
        ("BlkioDeviceReadBps", &[]),
        ("BlkioDeviceReadIOps", &[]),
        ("BlkioDeviceWriteBps", &[]),
        ("BlkioDeviceWriteIOps", &[]),
        ("BlkioWeight", &[]),
        ("BlkioWeightDevice", &[]),
        ("Capabilities", &[]),
        ("Cgroup", &[]),
        ("CgroupParent", &[]),
        ("CgroupnsMode", &["private"]),
        ("CpuCount", &[]),
        ("CpuPercent", &[]),
        ("CpuPeriod", &[]),
        ("CpuQuota", &[]),
        ("CpuRealtimePeriod", &[]),
        ("CpuRealtimeRuntime", &[]),
        ("CpuShares", &[]),
        ("CpusetCpus", &[]),
        ("CpusetMems", &[]),
        ("DeviceCgroupRules", &[]),
        ("DeviceRequests", &[]),
        ("Devices", &[]),
        ("Dns", &[]),
        ("DnsOptions", &[]),
        ("DnsSearch", &[]),
        ("ExtraHosts", &[]),
        ("GroupAdd", &[]),
        ("IOMaximumBandwidth", &[]),
        ("IOMaximumIOps", &[]),
        ("Init", &[]),
        ("IpcMode", &["private"]),
        ("Isolation", &["default"]),
        ("KernelMemory", &[]),
        ("KernelMemoryTCP", &[]),
        ("Links", &[]),
        ("Memory", &[]),
        ("MemoryReservation", &[]),
        ("MemorySwap", &[]),
        ("MemorySwappiness", &["-1"]),
        ("Mounts", &[]),
        ("NanoCpus", &[]),
        ("OomKillDisable", &[]),
        ("OomScoreAdj", &[]),
        ("PidMode", &[]),
        ("PidsLimit", &["-1"]),
        ("PortBindings", &[]),
        ("PublishAllPorts", &[]),
        ("RestartPolicy", &["no"]),
        ("Runtime", &[]),
        ("StorageOpt", &[]),
        ("Sysctls", &[]),
        ("UTSMode", &[]),
        ("Ulimits", &[]),
        ("UsernsMode", &["host"]),
        ("VolumeDriver", &["local"]),
        ("VolumesFrom", &[]),
    ],
};

/// Gives keys that differ from a known name only in case that name, as Go's JSON reads them.
pub fn fold_keys(map: &mut Map<String, Value>, known: &[&str]) {
    let folded: Vec<(String, &str)> = map
        .keys()
        .filter_map(|key| {
            let name = known.iter().find(|name| name.eq_ignore_ascii_case(key))?;
            (*name != key).then(|| (key.clone(), *name))
        })
        .collect();
    for (key, name) in folded {
        if let Some(value) = map.shift_remove(&key) {
            map.insert(name.to_owned(), value);
        }
    }
}

/// Takes an object out of a map; missing and null are an empty one.
pub(super) fn take_object(map: &mut Map<String, Value>, name: &str) -> Result<Map<String, Value>, SpecError> {
    match map.shift_remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object),
        Some(other) => Err(SpecError::Invalid(format!("invalid JSON: field {name}: {other} is not an object"))),
    }
}

/// Returns the honoured fields alone; refuses any other known field that is not at its default.
pub(super) fn honoured(
    mut map: Map<String, Value>,
    fields: &Fields,
    prefix: &str,
) -> Result<Map<String, Value>, SpecError> {
    fold_keys(&mut map, fields.honoured);
    for (name, defaults) in fields.refused {
        let given = map.iter().find(|(key, _)| name.eq_ignore_ascii_case(key));
        if let Some((_, value)) = given
            && !is_default(value, defaults)
        {
            return Err(SpecError::Unsupported(format!("{prefix}{name}")));
        }
    }
    for (name, keys) in [("LogConfig", ["Type", "Config"])] {
        if let Some(Value::Object(inner)) = map.get_mut(name) {
            fold_keys(inner, &keys);
        }
    }
    map.retain(|key, _| fields.honoured.contains(&key.as_str()));
    Ok(map)
}

/// Refuses endpoints that ask for anything: there are no networks to connect to yet.
pub(super) fn check_networking(networking: &Map<String, Value>) -> Result<(), SpecError> {
    let endpoints = networking.iter().find(|(key, _)| key.eq_ignore_ascii_case("EndpointsConfig"));
    let Some((_, Value::Object(endpoints))) = endpoints else { return Ok(()) };
    for (network, settings) in endpoints {
        if !matches!(network.as_str(), "default" | "bridge" | "none" | "host") {
            return Err(SpecError::Unsupported(format!("NetworkingConfig.EndpointsConfig {network:?}")));
        }
        if let Value::Object(settings) = settings
            && let Some((field, _)) = settings.iter().find(|(_, value)| !is_default(value, &[]))
        {
            return Err(SpecError::Unsupported(format!("NetworkingConfig.EndpointsConfig.{network}.{field}")));
        }
    }
    Ok(())
}

/// Returns whether a value is Go's zero value, made of such, or one of the words that mean the default.
fn is_default(value: &Value, words: &[&str]) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0) || words.contains(&number.to_string().as_str()),
        Value::String(text) => text.is_empty() || words.contains(&text.as_str()),
        Value::Array(list) => list.is_empty(),
        // A map from names to things is set if it names anything; a record if any of its fields is.
        Value::Object(map) => map.values().all(|value| !value.is_object() && is_default(value, words)),
    }
}
