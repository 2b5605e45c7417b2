//! What a container sees of the machine, and what it may do to it.

use pinnace_helper::protocol::{DeviceNode, MountSource, MountSpec, NamespaceMode, Propagation, Rlimit, TmpfsOptions};

use crate::harness::{Fixture, bind, deny, in_mount_namespace};

#[test]
fn output_and_exit_code_are_recorded_and_the_hosts_mounts_do_not_change() {
    let before = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let fixture = Fixture::script("echo out; echo err >&2; sleep 0.1; exit 7");
    let helper = fixture.start(Vec::new());
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo"), before);
    drop(helper);
    let (record, stdout, stderr) = Fixture::script("echo out; echo err >&2; exit 7").run();
    assert_eq!((record.exit.code, record.exit.signal, record.oom_killed), (7, None, false));
    assert_eq!((stdout.as_str(), stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo"), before);
}

#[test]
fn a_signal_is_reported_as_a_shell_does() {
    let (record, ..) = Fixture::script("kill -9 $$; echo alive").run();
    // The first process of a pid namespace cannot kill itself.
    assert_eq!(record.exit.code, 0);
    let (record, ..) = Fixture::script("sh -c 'kill -9 $$'; exit $?").run();
    assert_eq!(record.exit.code, 137);
}

#[test]
fn layers_are_stacked_topmost_first_and_whiteouts_hide() {
    let mut fixture = Fixture::script("cat /both; ls /gone 2>&1; cat /upper-only");
    std::fs::write(fixture.path("layer/both"), "lower\n").expect("write");
    std::fs::write(fixture.path("layer/gone"), "x").expect("write");
    std::fs::create_dir(fixture.path("top")).expect("mkdir");
    std::fs::write(fixture.path("top/both"), "top\n").expect("write");
    std::fs::create_dir(fixture.path("upper")).expect("mkdir");
    std::fs::write(fixture.path("upper/upper-only"), "kept\n").expect("write");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fixture.path("top/gone"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        0,
    )
    .expect("whiteout");
    fixture.spec.rootfs.lower.insert(0, fixture.path("top"));
    let output = fixture.output();
    assert_eq!(output, "top\nls: /gone: No such file or directory\nkept\n");
}

#[test]
fn many_layers_and_a_volatile_upper_that_is_used_again() {
    let mut fixture = Fixture::script("cat /n; echo again > /n");
    fixture.spec.rootfs.volatile = true;
    for layer in 0..60 {
        let path = fixture.path(&format!("layers/{layer}{}", "x".repeat(150)));
        std::fs::create_dir_all(&path).expect("mkdir");
        std::fs::write(path.join("n"), format!("{layer}\n")).expect("write");
        fixture.spec.rootfs.lower.insert(0, path);
    }
    assert_eq!(fixture.output(), "59\n");
    std::fs::remove_file(fixture.path("run/control.sock")).expect("socket");
    std::fs::remove_dir_all(fixture.path("log")).expect("log");
    std::fs::create_dir(fixture.path("log")).expect("log");
    assert_eq!(fixture.output(), "again\n");
}

#[test]
fn every_namespace_is_its_own_and_the_cgroups_root_is_the_containers() {
    let output = Fixture::script("for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done; echo $$; cat /proc/self/cgroup; hostname; ls /proc | grep -c '^[0-9]'").output();
    let lines: Vec<&str> = output.lines().collect();
    for (name, inside) in ["pid", "net", "ipc", "uts", "mnt", "cgroup"].iter().zip(&lines) {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("link");
        assert_ne!(host.to_str(), Some(*inside), "{name}");
    }
    assert_eq!(lines[6], "1");
    assert!(lines.iter().any(|line| line.ends_with(":freezer:/")), "{output}");
    assert!(!output.contains("pinnace-helper-test"), "{output}");
    assert!(lines.contains(&"testhost"));
}

#[test]
fn the_root_is_no_chroot_and_only_the_containers_mounts_are_seen() {
    let mut fixture = Fixture::script(
        "grep -v ' / /sys/fs/cgroup' /proc/self/mountinfo | cut -d' ' -f5; unshare -U true && echo user; \
         mount -t tmpfs none /tmp && mkdir /tmp/old && cd /tmp && unshare -m pivot_root . old && echo pivoted; \
         cd /; umount /tmp; echo ../../../*",
    );
    fixture.spec.process.capabilities.push(21);
    let output = fixture.output();
    let (mounts, rest) = output.split_once("user\n").expect("a user namespace can be made");
    let mut places: Vec<&str> = mounts.lines().filter(|place| !place.starts_with("/proc/")).collect();
    places.sort_unstable();
    let expected = [
        "/",
        "/dev",
        "/dev/mqueue",
        "/dev/pts",
        "/dev/shm",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/proc",
        "/sys",
        "/sys/firmware",
    ];
    assert_eq!(places, expected);
    assert_eq!(rest, "pivoted\n../../../bin ../../../dev ../../../etc ../../../proc ../../../sys ../../../tmp\n");
}

#[test]
fn host_namespaces_are_shared_when_asked_for() {
    let mut fixture =
        Fixture::script("for n in pid net ipc uts; do readlink /proc/self/ns/$n; done; mount | grep /dev/shm");
    let namespaces = &mut fixture.spec.namespaces;
    namespaces.pid = NamespaceMode::Host;
    namespaces.network = NamespaceMode::Host;
    namespaces.ipc = NamespaceMode::Host;
    namespaces.uts = NamespaceMode::Host;
    let output = fixture.output();
    for (name, inside) in ["pid", "net", "ipc", "uts"].iter().zip(output.lines()) {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("link");
        assert_eq!(host.to_str(), Some(inside), "{name}");
    }
    assert!(output.contains("tmpfs on /dev/shm"), "{output}");
}

#[test]
fn capabilities_and_filters_are_what_was_asked_for() {
    let mut fixture = Fixture::script("cat /proc/self/status; mkdir /x; echo $?");
    fixture.spec.process.seccomp = Some(deny(libc::SYS_mkdir));
    let output = fixture.output();
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000a80425fb",
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t0",
        "Seccomp:\t2",
    ] {
        assert!(output.contains(line), "{line} is not in {output}");
    }
    assert!(output.ends_with("\n1\n"), "{output}");
}

#[test]
fn an_unprivileged_user_has_no_capability_and_its_groups_and_home() {
    let mut fixture = Fixture::script("cat /proc/self/status; id; echo $HOME; touch /root-only; echo x > /dev/stdout");
    fixture.spec.process.user = "web".into();
    fixture.spec.process.additional_groups = vec!["7".into()];
    fixture.spec.process.no_new_privileges = true;
    fixture.spec.process.seccomp = Some(deny(libc::SYS_mkdir));
    let (record, output, stderr) = fixture.run();
    assert_eq!(record.exit.code, 0, "{stderr}");
    for line in [
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t00000000a80425fb",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "uid=1000(web) gid=1001(web) groups=7,44(media),1001(web)",
        "/srv\n",
    ] {
        assert!(output.contains(line), "{line} is not in {output}");
    }
    assert!(stderr.contains("Permission denied"), "{stderr}");
    assert!(output.ends_with("x\n"));
}

#[test]
fn dev_has_dockers_nodes_and_links() {
    let mut fixture = Fixture::script(
        "cd /dev; for n in null zero full random urandom tty fuse; do stat -c '%n %t %T %a' $n; done; for l in fd stdin stdout stderr core ptmx; do readlink $l; done; ls; mount; echo x > /dev/null; head -c 4 /dev/zero | wc -c",
    );
    fixture.spec.devices =
        vec![DeviceNode { path: "/dev/fuse".into(), kind: 'c', major: 10, minor: 229, mode: 0o640, uid: 3, gid: 4 }];
    let output = fixture.output();
    for line in [
        "null 1 3 666",
        "zero 1 5 666",
        "full 1 7 666",
        "random 1 8 666",
        "urandom 1 9 666",
        "tty 5 0 666",
        "fuse a e5 640",
        "/proc/self/fd/2",
        "pts/ptmx",
        "mqueue",
        "shm",
        "tmpfs on /dev type tmpfs (rw,nosuid,",
        "devpts on /dev/pts type devpts (rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666)",
        "tmpfs on /dev/shm type tmpfs (rw,nosuid,nodev,noexec,relatime,size=65536k",
        "mqueue on /dev/mqueue type mqueue (rw,nosuid,nodev,noexec,relatime)",
        "proc on /proc type proc (rw,nosuid,nodev,noexec,relatime)",
        "sysfs on /sys type sysfs (ro,nosuid,nodev,noexec,relatime)",
        "on /sys/fs/cgroup/freezer type cgroup (ro,nosuid,nodev,noexec,relatime,freezer)",
    ] {
        assert!(output.contains(line), "{line} is not in {output}");
    }
    assert!(output.ends_with("4\n"));
}

#[test]
fn masked_and_readonly_paths_hide_and_hold() {
    let output = Fixture::script("cat /proc/keys /proc/kcore /proc/timer_list | wc -c; ls -A /proc/acpi /sys/firmware 2>/dev/null | grep -v : | wc -c; for f in /proc/keys /proc/sys/kernel/domainname /proc/sysrq-trigger; do echo x 2>/dev/null > $f && echo wrote $f; done; true").output();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "0");
    assert!(!output.contains("wrote"), "{output}");
}

#[test]
fn a_readonly_root_is_readonly_and_its_mounts_are_not() {
    let mut fixture = Fixture::script("touch /x 2>&1; touch /dev/shm/x && echo shm; touch /data/x && echo data");
    std::fs::create_dir(fixture.path("volume")).expect("mkdir");
    fixture.spec.rootfs.readonly = true;
    fixture.spec.mounts = vec![bind(&fixture.path("volume"), "/data", false)];
    assert_eq!(fixture.output(), "touch: /x: Read-only file system\nshm\ndata\n");
    assert!(fixture.path("volume/x").exists());
}

#[test]
fn binds_and_tmpfs_have_the_flags_that_were_asked_for() {
    let mut fixture =
        Fixture::script("touch /ro/x 2>&1; touch /rw/x; cat /file; mount | grep ' /t '; stat -c %a /t; ls /made");
    std::fs::create_dir(fixture.path("volume")).expect("mkdir");
    std::fs::write(fixture.path("one"), "single\n").expect("write");
    let mut made = bind(&fixture.path("not/there"), "/made", false);
    let MountSource::Bind { create, .. } = &mut made.source else { unreachable!() };
    *create = true;
    fixture.spec.mounts = vec![
        bind(&fixture.path("volume"), "/ro", true),
        bind(&fixture.path("volume"), "/rw", false),
        bind(&fixture.path("one"), "/file", true),
        MountSpec {
            source: MountSource::Tmpfs(TmpfsOptions {
                options: vec![("size".into(), "1m".into()), ("mode".into(), "700".into())],
            }),
            destination: "/t".into(),
            readonly: false,
            nosuid: true,
            nodev: true,
            noexec: true,
        },
        made,
    ];
    let output = fixture.output();
    assert!(output.starts_with("touch: /ro/x: Read-only file system\nsingle\n"), "{output}");
    assert!(
        output.contains("tmpfs on /t type tmpfs (rw,nosuid,nodev,noexec,relatime,size=1024k,mode=700)"),
        "{output}"
    );
    assert!(output.contains("\n700\n"), "{output}");
    assert!(fixture.path("volume/x").exists() && fixture.path("not/there").is_dir());
}

#[test]
fn a_mount_of_our_own_replaces_a_standard_one() {
    let mut fixture = Fixture::script("ls /dev/shm; cat /etc/hosts; ls /sys");
    std::fs::create_dir_all(fixture.path("volume/marker")).expect("mkdir");
    std::fs::write(fixture.path("hosts"), "mine\n").expect("write");
    fixture.spec.cgroup.mount = false;
    fixture.spec.readonly_paths.clear();
    fixture.spec.masked_paths.clear();
    fixture.spec.mounts = vec![
        bind(&fixture.path("volume"), "/dev/shm/", false),
        bind(&fixture.path("hosts"), "/etc/../etc/hosts", false),
        bind(&fixture.path("volume"), "/sys", false),
    ];
    assert_eq!(fixture.output(), "marker\nmine\nmarker\n");
}

#[test]
fn files_in_etc_are_the_containers_own_and_can_be_written() {
    let fixture = Fixture::script(
        "cat /etc/hosts /etc/hostname /etc/resolv.conf; echo 192.0.2.7 x >> /etc/hosts; grep -c . /etc/hosts",
    );
    std::fs::write(fixture.path("layer/etc/hosts"), "the image's\n").expect("write");
    assert_eq!(fixture.output(), "127.0.0.1 localhost\ntesthost\nnameserver 192.0.2.1\n2\n");
    assert_eq!(std::fs::read_to_string(fixture.path("layer/etc/hosts")).expect("read"), "the image's\n");
}

#[test]
fn limits_sysctls_umask_loopback_and_the_working_directory_are_set() {
    let mut fixture = Fixture::script(
        "ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; umask; pwd; ip addr show lo | grep -c UP; cat /proc/self/oom_score_adj; touch f; stat -c %a f",
    );
    fixture.spec.process.rlimits = vec![Rlimit { resource: libc::RLIMIT_NOFILE, soft: 100, hard: 200 }];
    fixture.spec.process.umask = 0o027;
    fixture.spec.process.cwd = "/made/for/it".into();
    fixture.spec.process.oom_score_adj = Some(500);
    fixture.spec.sysctls = vec![("net.ipv4.ip_unprivileged_port_start".into(), "0".into())];
    assert_eq!(fixture.output(), "100\n200\n0\n0027\n/made/for/it\n1\n500\n640\n");
}

#[test]
fn a_process_is_born_with_nothing_but_its_stdio() {
    // The directory that ls itself has opened is 3.
    assert_eq!(Fixture::new(&["/bin/ls", "/proc/self/fd"]).output(), "0\n1\n2\n3\n");
    let status = Fixture::new(&["/bin/cat", "/proc/self/status"]).output();
    assert!(status.contains("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000"), "{status}");
}

#[test]
fn shared_propagation_reaches_the_container_only_when_asked_for() {
    // In a mount namespace of this test's own, so that the host's table stays as it is.
    for (propagation, expected) in [("slave", "inside\n"), ("private", "")] {
        let setup = "mount -t tmpfs none /mnt; mount --make-shared /mnt; mkdir /mnt/sub";
        let text = in_mount_namespace(setup, "isolation::propagation_child", ("PROPAGATION", propagation));
        assert!(text.contains(&format!("<{expected}>")), "{propagation}: {text}");
    }
}

#[test]
#[ignore = "run by the test above in a mount namespace of its own"]
fn propagation_child() {
    let mut fixture =
        Fixture::script("echo ready; until test -e /go/now; do sleep 0.01; done; cat /data/sub/file 2>/dev/null; true");
    std::fs::create_dir(fixture.path("go")).expect("mkdir");
    let mut data = bind("/mnt".as_ref(), "/data", false);
    let MountSource::Bind { propagation, .. } = &mut data.source else { unreachable!() };
    *propagation = match std::env::var("PROPAGATION").as_deref() {
        Ok("slave") => Propagation::RecursiveSlave,
        _ => Propagation::RecursivePrivate,
    };
    fixture.spec.mounts = vec![data, bind(&fixture.path("go"), "/go", false)];
    let mut helper = fixture.start(Vec::new());
    crate::harness::eventually("the script runs", || fixture.log().0 == b"ready\n");
    let status = std::process::Command::new("mount").args(["-t", "tmpfs", "none", "/mnt/sub"]).status().expect("mount");
    assert!(status.success());
    std::fs::write("/mnt/sub/file", "inside\n").expect("write");
    std::fs::write(fixture.path("go/now"), "").expect("write");
    helper.exited();
    helper.collect();
    let output = fixture.log().0;
    println!("<{}>", String::from_utf8_lossy(output.strip_prefix(b"ready\n").expect("ready")));
}
