//! Launches that must fail: the stage says where, and nothing is left.

use pinnace_helper::protocol::{MountSource, MountSpec, Propagation, Stage};

use crate::harness::{Fixture, Helper};

#[test]
fn end_of_file_before_a_launch_is_a_quiet_end() {
    let mut helper = Helper::spawn();
    let (unused, _) = std::os::unix::net::UnixStream::pair().expect("pair");
    helper.control = unused.into();
    helper.ends();
}

#[test]
fn an_executable_that_is_not_there_is_told_apart_from_one_that_is_not_executable() {
    let fails = |args: &[&str]| {
        let error = Fixture::new(args).fails();
        assert_eq!((error.stage, error.subject.as_deref()), (Stage::Exec, args.first().copied()), "{error:?}");
        (error.call.split('(').next().expect("call").to_owned(), error.errno)
    };
    assert_eq!(fails(&["nothing-like-it"]), ("lookup".into(), Some(libc::ENOENT)));
    assert_eq!(fails(&["/bin/nothing"]), ("stat".into(), Some(libc::ENOENT)));
    assert_eq!(fails(&["/etc/passwd"]), ("stat".into(), Some(libc::EACCES)));
    assert_eq!(fails(&["/bin"]), ("stat".into(), Some(libc::EISDIR)));
}

#[test]
fn an_executable_that_the_kernel_refuses_is_reported_from_execve() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new(&["/tmp/garbage"]);
    std::fs::write(fixture.path("layer/tmp/garbage"), "no program\n").expect("write");
    std::fs::set_permissions(fixture.path("layer/tmp/garbage"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let error = fixture.fails();
    assert_eq!((error.stage, error.errno), (Stage::Exec, Some(libc::ENOEXEC)));
    assert!(error.call.starts_with("execve("), "{error:?}");
}

#[test]
fn unknown_users_and_groups_are_named() {
    for (user, subject) in [
        ("nobody-here", "unable to find user nobody-here: no matching entries in passwd file"),
        ("web:none", "unable to find group none: no matching entries in group file"),
        ("4294967296", "uids and gids must be in range 0-2147483647"),
    ] {
        let mut fixture = Fixture::new(&["/bin/true"]);
        fixture.spec.process.user = user.into();
        let error = fixture.fails();
        assert_eq!((error.stage, error.subject.as_deref()), (Stage::User, Some(subject)));
    }
}

/// What a test does to a fixture that would otherwise launch.
type Change = fn(&mut Fixture);

#[test]
fn each_stage_says_that_it_was_it() {
    let cases: [(Stage, Change); 10] = [
        (Stage::Cgroup, |fixture| {
            fixture.spec.cgroup.hierarchies[1].settings.push(("memory.nothing".into(), "1".into()));
        }),
        (Stage::Cgroup, |fixture| fixture.spec.cgroup.hierarchies[4].mount_point = "/nonexistent".into()),
        (Stage::Rootfs, |fixture| fixture.spec.rootfs.lower.push("/nonexistent".into())),
        (Stage::Rootfs, |fixture| fixture.spec.rootfs.work = "/dev/shm".into()),
        (Stage::Mounts, |fixture| fixture.spec.mounts.push(missing_bind())),
        (Stage::Sysctls, |fixture| fixture.spec.sysctls.push(("net.ipv4.nothing".into(), "1".into()))),
        (Stage::Rlimits, |fixture| {
            fixture.spec.process.rlimits.push(pinnace_helper::protocol::Rlimit { resource: 7, soft: 2, hard: 1 });
        }),
        (Stage::Seccomp, |fixture| fixture.spec.process.seccomp = Some("AAAA".into())),
        (Stage::WorkingDir, |fixture| fixture.spec.process.cwd = "/etc/passwd".into()),
        (Stage::Capabilities, |fixture| fixture.spec.process.capabilities.push(64)),
    ];
    for (stage, change) in cases {
        let mut fixture = Fixture::new(&["/bin/true"]);
        change(&mut fixture);
        let error = fixture.fails();
        assert_eq!(error.stage, stage, "{error:?}");
    }
}

fn missing_bind() -> MountSpec {
    MountSpec {
        source: MountSource::Bind {
            path: "/nonexistent".into(),
            recursive: true,
            propagation: Propagation::RecursivePrivate,
            create: false,
        },
        destination: "/data".into(),
        readonly: false,
        nosuid: false,
        nodev: false,
        noexec: false,
    }
}

#[test]
fn mounts_in_proc_and_on_the_root_are_refused() {
    for destination in ["/proc", "/proc/self", "/x/../proc/sys", "/", "/link/1"] {
        let mut fixture = Fixture::new(&["/bin/true"]);
        std::os::unix::fs::symlink("/proc", fixture.path("layer/link")).expect("symlink");
        let mut mount = missing_bind();
        mount.source = MountSource::Bind {
            path: fixture.path("layer"),
            recursive: true,
            propagation: Propagation::RecursivePrivate,
            create: false,
        };
        mount.destination = destination.into();
        fixture.spec.mounts.push(mount);
        assert_eq!(fixture.fails().stage, Stage::Mounts, "{destination}");
    }
}
