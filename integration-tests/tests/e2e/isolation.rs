//! What a container may see and do.

use std::fs;

use integration_tests::*;

/// Returns a field of `/proc/self/status` in a container.
fn status_field(daemon: &Daemon, field: &str, more: Value) -> String {
    let output = daemon.sh(&format!("grep ^{field}: /proc/self/status | cut -f2"), more);
    assert_eq!(output.code, 0, "{output:?}");
    output.out().trim().to_owned()
}

#[test]
fn every_namespace_is_the_containers_own() {
    let daemon = Daemon::start();
    for kind in ["pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        let inside =
            daemon.sh(&format!("readlink /proc/self/ns/{kind}"), json!({"HostConfig": {"CgroupnsMode": "private"}}));
        let outside = fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
        assert!(inside.out().starts_with(&format!("{kind}:[")), "{inside:?}");
        assert_ne!(inside.out().trim(), outside.to_str().expect("text"), "{kind}");
    }
}

#[test]
fn the_containers_process_is_pid_1_and_sees_no_other() {
    let daemon = Daemon::start();
    assert_eq!(
        daemon.sh("echo $$; ls -d /proc/[0-9]*", json!({})).out().lines().collect::<Vec<_>>()[..2],
        ["1", "/proc/1"]
    );
}

#[test]
fn the_host_network_is_the_hosts() {
    let daemon = Daemon::start();
    let inside = daemon.sh("readlink /proc/self/ns/net", json!({"HostConfig": {"NetworkMode": "host"}}));
    let outside = fs::read_link("/proc/self/ns/net").expect("a namespace");
    assert_eq!(inside.out().trim(), outside.to_str().expect("text"));
}

#[test]
fn a_private_network_has_a_loopback_that_is_up_and_nothing_else() {
    let daemon = Daemon::start();
    let output = daemon
        .sh("ls /sys/class/net; cat /sys/class/net/lo/flags; ip -o addr show lo | grep -c 127.0.0.1", json!({}))
        .out();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "lo", "{output}");
    let flags = lines.iter().find_map(|line| line.strip_prefix("0x")).expect("flags");
    assert_eq!(u32::from_str_radix(flags, 16).expect("a mask") & 1, 1, "up");
    assert_eq!(lines.last(), Some(&"1"));
}

#[test]
fn the_default_capabilities_are_dockers() {
    let daemon = Daemon::start();
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status_field(&daemon, set, json!({})), "00000000a80425fb", "{set}");
    }
    assert_eq!(status_field(&daemon, "CapAmb", json!({})), "0000000000000000");
}

#[test]
fn capabilities_can_be_added_and_dropped_by_any_spelling() {
    let daemon = Daemon::start();
    let capabilities = |add: Value, drop: Value| {
        let more = json!({"HostConfig": {"CapAdd": add, "CapDrop": drop}});
        u64::from_str_radix(&status_field(&daemon, "CapEff", more), 16).expect("a mask")
    };
    let default = 0xa804_25fb_u64;
    assert_eq!(capabilities(json!(["SYS_TIME"]), json!([])), default | 1 << 25);
    assert_eq!(capabilities(json!(["CAP_SYS_TIME"]), json!(["cap_chown"])), (default | 1 << 25) & !1);
    assert_eq!(capabilities(json!([]), json!(["ALL"])), 0);
    assert_eq!(capabilities(json!(["NET_BIND_SERVICE"]), json!(["ALL"])), 1 << 10);
}

#[test]
fn a_user_has_no_effective_capabilities() {
    let daemon = Daemon::start();
    let more = json!({"User": "worker"});
    assert_eq!(status_field(&daemon, "CapEff", more.clone()), "0000000000000000");
    assert_eq!(daemon.sh("id -u; id -g; id -G", more).out(), "1000\n1000\n1000 50\n");
    assert_eq!(daemon.sh("id -u; id -g", json!({"User": "1234:55"})).out(), "1234\n55\n");
    assert_eq!(daemon.sh("id -u; id -g", json!({"User": "worker:staff"})).out(), "1000\n50\n");
    let id = daemon.create(&["true"], json!({"User": "stranger"}));
    let message = daemon.api().post(&format!("/containers/{id}/start")).message();
    assert!(message.contains("unable to find user stranger"), "{message}");
}

#[test]
fn system_calls_are_filtered_and_the_filter_can_be_turned_off() {
    let daemon = Daemon::start();
    assert_eq!(status_field(&daemon, "Seccomp", json!({})), "2");
    let open = json!({"HostConfig": {"SecurityOpt": ["seccomp=unconfined"]}});
    assert_eq!(status_field(&daemon, "Seccomp", open), "0");
    // unshare(2) with CLONE_NEWUSER needs no capability, and Docker's profile forbids it.
    assert_ne!(daemon.sh("unshare -U true", json!({})).code, 0);
    assert_ne!(daemon.sh("mount -t tmpfs none /tmp", json!({})).code, 0);
}

#[test]
fn no_new_privileges_is_an_option() {
    let daemon = Daemon::start();
    assert_eq!(status_field(&daemon, "NoNewPrivs", json!({})), "0");
    for option in ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"] {
        let more = json!({"HostConfig": {"SecurityOpt": [option]}});
        assert_eq!(status_field(&daemon, "NoNewPrivs", more), "1", "{option}");
    }
}

#[test]
fn masked_paths_are_empty_and_read_only_paths_cannot_be_written() {
    let daemon = Daemon::start();
    let script = "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; ls /proc/scsi /sys/firmware 2>/dev/null | grep -v : | wc -w
        echo 1 >/proc/sys/kernel/domainname; echo 0 >/proc/irq/default_smp_affinity; touch /sys/x; mkdir /sys/fs/cgroup/x; true";
    let output = daemon.sh(script, json!({}));
    assert_eq!(output.out(), "0\n0\n");
    let refused = output.err().lines().filter(|line| line.contains("Read-only file system")).count();
    // dockerd on cgroup v1 lets it make a directory in a tmpfs.
    assert_eq!(refused, if daemon.is_own() { 4 } else { 3 }, "{}", output.err());
}

#[test]
fn the_standard_files_are_where_programs_look_for_them() {
    let daemon = Daemon::start();
    let script = "for f in null zero full random urandom tty; do [ -c /dev/$f ] || echo no $f; done
        for l in fd stdin stdout stderr ptmx; do [ -L /dev/$l ] || echo no link $l; done
        [ -d /dev/pts ] && [ -d /dev/shm ] && [ -d /dev/mqueue ] || echo no directory
        echo x >/dev/null; head -c 3 /dev/zero | wc -c; echo y >/dev/stdout; echo z >/dev/shm/z && cat /dev/shm/z
        ls /dev | wc -l; cat /proc/self/mountinfo | wc -l; [ -e /dev/sda ] || [ -e /dev/vda ] && echo disks; true";
    let output = daemon.sh(script, json!({}));
    let lines: Vec<String> = output.out().lines().map(str::to_owned).collect();
    assert_eq!(lines[..3], ["3", "y", "z"], "{output:?}");
    assert!(lines[3].parse::<u32>().expect("a count") <= 17, "{output:?}");
    assert_eq!(lines.len(), 5, "{output:?}");
}

#[test]
fn name_and_hosts_and_resolver_are_written_for_the_container() {
    let daemon = Daemon::start();
    let id = daemon
        .create(&["sh", "-c", "hostname; cat /etc/hostname; cat /etc/hosts; cat /etc/resolv.conf | wc -l"], json!({}));
    daemon.start_container(&id);
    daemon.wait(&id);
    let output = daemon.logs(&id).out();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines[0], lines[1]), (&id[..12], &id[..12]));
    assert!(output.contains("127.0.0.1\tlocalhost"), "{output}");
    let named = daemon.sh("hostname; cat /etc/hostname", json!({"Hostname": "mine"}));
    assert_eq!(named.out(), "mine\nmine\n");
    assert_ne!(daemon.sh("hostname changed", json!({})).code, 0, "it lacks CAP_SYS_ADMIN");
}

#[test]
fn environment_and_directory_are_as_asked() {
    let daemon = Daemon::start();
    let output =
        daemon.sh("env | sort; pwd", json!({"Env": ["B=2", "A=with = and spaces"], "WorkingDir": "/made/for/you"}));
    let text = output.out();
    for line in ["A=with = and spaces", "B=2", "HOME=/root", "/made/for/you"] {
        assert!(text.lines().any(|found| found == line), "{line:?} in {text:?}");
    }
    assert!(text.contains("HOSTNAME="), "{text:?}");
    assert!(!text.contains("TERM="), "only with a terminal");
}

#[test]
fn binds_are_the_hosts_files_and_obey_their_mode() {
    let daemon = Daemon::start();
    let host = tempfile::tempdir().expect("a directory");
    fs::write(host.path().join("file"), "from the host\n").expect("write");
    let path = host.path().display();
    let bind = |bind: String| json!({"HostConfig": {"Binds": [bind]}});
    let output = daemon.sh("cat /x/file; echo back >/x/made", bind(format!("{path}:/x")));
    assert_eq!(output.out(), "from the host\n", "{output:?}");
    assert_eq!(fs::read_to_string(host.path().join("made")).expect("it was written"), "back\n");
    let output = daemon.sh("cat /x/made; echo no >/x/made", bind(format!("{path}:/x:ro")));
    assert!(output.code != 0 && output.out() == "back\n" && output.err().contains("Read-only"), "{output:?}");
    let output = daemon.sh("cat /etc/one; mount | grep -c ' /etc/one '", bind(format!("{path}/file:/etc/one:ro")));
    assert_eq!(output.out(), "from the host\n1\n");
    daemon.sh("true", bind(format!("{path}/missing:/x")));
    assert!(host.path().join("missing").is_dir(), "Binds makes what is missing");
}

#[test]
fn a_read_only_root_is_read_only_and_its_tmpfs_is_not() {
    let daemon = Daemon::start();
    let more = json!({"HostConfig": {"ReadonlyRootfs": true, "Tmpfs": {"/scratch": "size=65536,mode=1777"}}});
    let script = "echo x >/file; echo y >/scratch/y && cat /scratch/y; echo z >/dev/shm/z && cat /dev/shm/z; mount | grep /scratch";
    let output = daemon.sh(script, more);
    assert!(output.err().contains("Read-only file system"), "{output:?}");
    assert!(output.out().starts_with("y\nz\n"), "{output:?}");
    assert!(output.out().contains("size=64k") && output.out().contains("noexec"), "{output:?}");
}

#[test]
fn a_privileged_container_has_everything() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return; // dockerd 20.10 asks for capabilities that it may not have itself
    }
    let more = json!({"HostConfig": {"Privileged": true}});
    assert_eq!(status_field(&daemon, "Seccomp", more.clone()), "0");
    let own = fs::read_to_string("/proc/self/status").expect("status");
    let bounding = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("CapBnd").to_owned();
    assert_eq!(status_field(&daemon, "CapEff", more.clone()), bounding);
    let output = daemon
        .sh("mount -t tmpfs none /tmp && echo mounted; echo x >/proc/sys/kernel/domainname && echo written", more);
    assert_eq!(output.out(), "mounted\nwritten\n", "{output:?}");
}

#[test]
fn the_writable_layer_belongs_to_one_container() {
    let daemon = Daemon::start();
    assert_eq!(daemon.sh("echo changed >/etc/passwd; rm /bin/ls; echo new >/new", json!({})).code, 0);
    let output = daemon.sh("grep -c root /etc/passwd; [ -e /bin/ls ] && [ ! -e /new ] && echo clean", json!({}));
    assert_eq!(output.out(), "1\nclean\n");
}

#[test]
fn the_hosts_mount_table_does_not_grow() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return; // dockerd mounts in the host's namespace
    }
    let before = traces::mounts(daemon.directory());
    for _ in 0..3 {
        daemon.run_idle();
    }
    assert_eq!(traces::mounts(daemon.directory()), before);
}

#[test]
fn descriptors_of_the_daemon_do_not_reach_the_container() {
    let daemon = Daemon::start();
    // Its three, and the one with which ls reads the directory.
    let own = "0\n1\n2\n3\n";
    assert_eq!(daemon.output_of(&["ls", "/proc/self/fd"], json!({})).out(), own);
    let id = daemon.run_idle();
    assert_eq!(daemon.exec(&id, &["ls", "/proc/self/fd"], json!({})).out(), own);
}

#[test]
fn a_container_cannot_find_the_helper_on_disk_or_reach_its_parent() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let output = daemon.exec(
        &id,
        &["sh", "-c", "readlink /proc/1/exe; readlink /proc/self/exe; cut -d' ' -f4 /proc/1/stat"],
        json!({}),
    );
    assert_eq!(output.out(), "/bin/busybox\n/bin/busybox\n0\n");
}

#[test]
fn processes_that_a_container_leaves_behind_end_with_it() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("for i in 1 2 3; do setsid sleep 1000 & done; sleep 0.1; exit 3");
    assert_eq!(daemon.wait(&id), 3);
    if daemon.is_own() {
        let inside = |pid: &(i32, String)| pid.1.contains("sleep 1000");
        let left = || traces::processes(daemon.directory(), daemon.cgroup()).iter().any(inside);
        wait_until("their end", || (!left()).then_some(()));
    }
}
