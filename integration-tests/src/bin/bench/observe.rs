//! What is learned from running containers, so that all contenders make the same: the cgroups of Pinnace's, the seccomp
//! profile of dockerd's.

use std::fs;

use serde_json::Value;

use crate::Result;
use crate::container::Client;
use crate::daemon::{Daemon, Kind};
use crate::floor::Shape;

/// The shape of Pinnace's containers, read from a running one.
pub(crate) fn floor_shape(daemons: &[Daemon]) -> Shape {
    let Some(pinnace) = daemons.iter().find(|daemon| daemon.kind == Kind::Pinnace) else {
        return Shape::default();
    };
    let observe = || -> Result<Shape> {
        let mut client = Client::new(pinnace);
        let id = client.create(&["/bin/busybox", "sleep", "60"], false)?;
        client.start(&id)?;
        let pid = client.get(&format!("/containers/{id}/json"))?["State"]["Pid"].as_u64().ok_or("no pid")?;
        let joined = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        client.remove(&id)?;
        let cgroups = joined
            .lines()
            .filter(|line| !own.lines().any(|other| other == *line))
            .filter_map(|line| line.split(':').nth(1))
            .map(|name| name.strip_prefix("name=").unwrap_or(name).to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        let cgroup_mounts = mounts.lines().any(|line| line.contains(" - cgroup "));
        Ok(Shape { cgroups, cgroup_mounts, origin: "as Pinnace's containers have them" })
    };
    observe().unwrap_or_default()
}

/// The seccomp profile that dockerd gives to its runtime, so that the runtimes without a daemon get the same.
pub(crate) fn docker_seccomp(daemon: &Daemon) -> Option<Value> {
    let bundles = daemon.socket.parent()?.join("run/containerd/daemon/io.containerd.runtime.v2.task/moby");
    let mut client = Client::new(daemon);
    let id = client.create(&["/bin/busybox", "sleep", "60"], false).ok()?;
    let config = client.start(&id).ok().and_then(|()| fs::read(bundles.join(&id).join("config.json")).ok());
    // Whatever is left goes with the daemon.
    drop(client.remove(&id));
    let config: Value = serde_json::from_slice(&config?).ok()?;
    config["linux"].get("seccomp").cloned()
}
