//! What `POST /containers/create` accepts, what it refuses, and with which words.

use integration_tests::containers::merged;
use integration_tests::*;

fn create(daemon: &Daemon, more: Value) -> Response {
    let base = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}});
    daemon.api().post_json("/containers/create", &merged(base, &more))
}

fn refusal(daemon: &Daemon, more: Value) -> String {
    let answer = create(daemon, more.clone());
    assert_eq!(answer.status, 400, "{more}: {}", answer.text());
    answer.message()
}

#[test]
fn an_unknown_image_is_404_so_that_clients_pull_it() {
    let daemon = Daemon::start();
    for (image, said) in [("nothing", "nothing:latest"), ("nothing:1.2", "nothing:1.2"), ("a/b", "a/b:latest")] {
        let message = daemon.api().post_json("/containers/create", &json!({"Image": image})).expect(404).message();
        assert_eq!(message, format!("No such image: {said}"));
    }
    let message = refusal(&daemon, json!({"Image": "NOT/A_reference!"}));
    assert!(message.contains("invalid reference format"), "{message}");
}

#[test]
fn bad_names_are_refused() {
    let daemon = Daemon::start();
    for name in ["a", "-a", ".a", "a%20b", "a%2Fb", "%C3%A9e"] {
        let answer = daemon.api().post_json(&format!("/containers/create?name={name}"), &json!({"Image": "busybox"}));
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        assert!(answer.message().contains("nvalid container name"), "{name}: {}", answer.message());
    }
    daemon.create_named(Some("a1_.-B"), &["true"], json!({}));
    let generated = daemon.create(&["true"], json!({}));
    assert!(daemon.inspect(&generated)["Name"].as_str().expect("a name").len() > 2);
}

#[test]
fn the_answer_always_has_an_id_and_a_list_of_warnings() {
    let daemon = Daemon::start();
    let answer = create(&daemon, json!({})).expect(201).json();
    assert_eq!(answer["Warnings"], json!([]));
    assert_eq!(answer["Id"].as_str().expect("an id").len(), 64);
}

#[test]
fn the_default_network_mode_is_private_for_now_and_says_so() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return;
    }
    for mode in ["default", "bridge", ""] {
        let answer = create(&daemon, json!({"HostConfig": {"NetworkMode": mode}})).expect(201).json();
        let warnings = answer["Warnings"].to_string();
        assert!(warnings.contains("loopback"), "{mode}: {warnings}");
        let id = answer["Id"].as_str().expect("an id");
        daemon.start_container(id);
        assert_eq!(daemon.wait(id), 0);
    }
}

#[test]
fn fields_that_are_not_served_yet_are_refused_by_name() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return;
    }
    let cases = [
        (json!({"HostConfig": {"Memory": 100_000_000}}), "Memory"),
        (json!({"HostConfig": {"NanoCpus": 500_000_000}}), "NanoCpus"),
        (json!({"HostConfig": {"PidsLimit": 10}}), "PidsLimit"),
        (json!({"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}}), "PortBindings"),
        (json!({"HostConfig": {"PublishAllPorts": true}}), "PublishAllPorts"),
        (json!({"HostConfig": {"RestartPolicy": {"Name": "always"}}}), "RestartPolicy"),
        (json!({"HostConfig": {"PidMode": "host"}}), "PidMode"),
        (json!({"HostConfig": {"VolumesFrom": ["x"]}}), "VolumesFrom"),
        (json!({"HostConfig": {"Dns": ["1.1.1.1"]}}), "Dns"),
        (json!({"HostConfig": {"NetworkMode": "container:x"}}), "NetworkMode"),
        (json!({"HostConfig": {"Mounts": [{"Type": "volume", "Source": "x", "Target": "/y"}]}}), "Mounts"),
        (json!({"Healthcheck": {"Test": ["CMD", "true"]}}), "Healthcheck"),
    ];
    for (more, field) in cases {
        let answer = create(&daemon, more.clone());
        assert!(matches!(answer.status, 400 | 501), "{more}: {} {}", answer.status, answer.text());
        assert!(answer.message().contains(field), "{more}: {}", answer.message());
    }
    assert_eq!(daemon.api().get("/containers/json?all=1").json(), json!([]), "nothing was made");
}

#[test]
fn what_the_docker_client_sends_by_default_is_accepted() {
    let daemon = Daemon::start();
    // docker run 28 as it was captured on the wire.
    let body = json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": true, "AttachStderr": true,
        "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": null, "Cmd": ["true"], "Image": "busybox",
        "Volumes": {}, "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": {},
        "HostConfig": {
            "Binds": null, "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}}, "NetworkMode": "default",
            "PortBindings": {}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": false,
            "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [0, 0], "CapAdd": null, "CapDrop": null,
            "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [], "ExtraHosts": null, "GroupAdd": null,
            "IpcMode": "", "Cgroup": "", "Links": null, "OomScoreAdj": 0, "PidMode": "", "Privileged": false,
            "PublishAllPorts": false, "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "", "UsernsMode": "",
            "ShmSize": 0, "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "",
            "BlkioWeight": 0, "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [],
            "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [], "CpuPeriod": 0, "CpuQuota": 0,
            "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": [],
            "DeviceCgroupRules": null, "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0,
            "MemorySwappiness": -1, "OomKillDisable": false, "PidsLimit": 0, "Ulimits": [], "CpuCount": 0,
            "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": null, "ReadonlyPaths": null
        },
        "NetworkingConfig": {"EndpointsConfig": {"default": {
            "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "", "DriverOpts": null, "GwPriority": 0,
            "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
            "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null
        }}}
    });
    if !daemon.is_own() {
        return; // without a bridge dockerd cannot
    }
    let id =
        daemon.api().post_json("/containers/create", &body).expect(201).json()["Id"].as_str().expect("id").to_owned();
    daemon.start_container(&id);
    assert_eq!(daemon.wait(&id), 0);
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let daemon = Daemon::start();
    let cases = [
        (json!({"HostConfig": {"CapAdd": ["NOT_A_CAP"]}}), "NOT_A_CAP"),
        (json!({"HostConfig": {"CapDrop": ["BOGUS"]}}), "BOGUS"),
        (json!({"StopSignal": "SIGNOTHING"}), "SIGNOTHING"),
        (json!({"WorkingDir": "relative"}), "relative"),
        (json!({"HostConfig": {"Binds": ["nonsense"]}}), "nonsense"),
        (json!({"HostConfig": {"Binds": ["/tmp:relative"]}}), "relative"),
        (json!({"HostConfig": {"Binds": ["/tmp:/x:badmode"]}}), "badmode"),
        (json!({"HostConfig": {"Tmpfs": {"relative": ""}}}), "relative"),
        (json!({"HostConfig": {"LogConfig": {"Type": "bogus"}}}), "bogus"),
        (json!({"Cmd": [], "Entrypoint": [""]}), "command"),
    ];
    for (more, word) in cases {
        let answer = create(&daemon, more.clone());
        // dockerd finds some of them only at the start.
        let message = if answer.status == 201 && !daemon.is_own() { continue } else { answer.message() };
        assert!(matches!(answer.status, 400 | 501) || !daemon.is_own(), "{more}: {} {message}", answer.status);
        assert!(message.contains(word), "{more}: {message}");
    }
}

#[test]
fn commands_may_be_a_string_or_a_list_and_override_the_image() {
    let daemon = Daemon::start();
    let layer = image::Tar::new().file("marker", 0o644, b"").finish();
    let config = merged(
        image::busybox_config(),
        &json!({
            "Entrypoint": ["echo", "entry"], "Cmd": ["image", "command"], "Env": ["FROM=image", "PATH=/bin"],
            "WorkingDir": "/home", "User": "worker", "Labels": {"of": "image"},
        }),
    );
    let layers = [image::busybox_rootfs().to_vec(), layer];
    daemon.load(&image::docker_archive(&["entry:1"], &config, &layers));
    let output = |more: Value| {
        let base = json!({"Image": "entry:1", "HostConfig": {"NetworkMode": "none"}});
        let answer = daemon.api().post_json("/containers/create", &merged(base, &more)).expect(201).json();
        let id = answer["Id"].as_str().expect("an id").to_owned();
        daemon.start_container(&id);
        daemon.wait(&id);
        daemon.logs(&id).out()
    };
    assert_eq!(output(json!({})), "entry image command\n");
    assert_eq!(output(json!({"Cmd": ["mine"]})), "entry mine\n");
    assert_eq!(output(json!({"Cmd": "mine"})), "entry mine\n");
    assert_eq!(output(json!({"Entrypoint": ["echo", "other"]})), "other\n", "an entrypoint resets the image's command");
    assert_eq!(output(json!({"Entrypoint": "pwd"})), "/home\n");
    assert_eq!(
        output(json!({"Entrypoint": ["sh", "-c", "echo $FROM $MORE; id -u"], "Env": ["MORE=m", "FROM=me"]})),
        "me m\n1000\n"
    );
    let id = create(&daemon, json!({"Image": "entry:1", "Labels": {"own": "label"}})).expect(201).json()["Id"]
        .as_str()
        .expect("id")
        .to_owned();
    assert_eq!(daemon.inspect(&id)["Config"]["Labels"], json!({"of": "image", "own": "label"}));
}

#[test]
fn a_refused_create_leaves_nothing() {
    let daemon = Daemon::start();
    for _ in 0..5 {
        refusal(&daemon, json!({"HostConfig": {"CapAdd": ["NOT_A_CAP"]}}));
    }
    assert_eq!(daemon.api().get("/containers/json?all=1").json(), json!([]));
}
