//! Images that try to reach the host: links where the launch makes, mounts or opens something.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::harness::Fixture;

/// A directory of the host's that must stay as it is.
fn canary() -> tempfile::TempDir {
    let canary = tempfile::Builder::new().prefix("canary-").tempdir().expect("tempdir");
    std::fs::write(canary.path().join("file"), "untouched").expect("write");
    canary
}

fn assert_untouched(canary: &Path) {
    let names: Vec<_> =
        std::fs::read_dir(canary).expect("read_dir").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(names, ["file"]);
    assert_eq!(std::fs::read_to_string(canary.join("file")).expect("read"), "untouched");
}

#[test]
fn links_in_the_place_of_standard_directories_stay_inside() {
    for name in ["proc", "dev", "sys", "etc/hosts", "etc/resolv.conf", "etc/hostname", "made"] {
        for target in ["absolute", "relative"] {
            let canary = canary();
            let mut fixture = Fixture::script("echo x >> /etc/hosts; echo x > /made/file; true");
            let target = match target {
                "absolute" => canary.path().to_owned(),
                _ => Path::new("../../../../../../../..").join(canary.path().strip_prefix("/").expect("absolute")),
            };
            symlink(
                if name.starts_with("etc/") { target.join("file") } else { target },
                fixture.path("layer").join(name),
            )
            .expect("symlink");
            fixture.spec.process.cwd = "/made".into();
            let mut helper = fixture.launch(Vec::new());
            // It runs with its own view or it fails: neither touches the host.
            let report = helper.receive();
            if matches!(report, pinnace_helper::protocol::Report::Started { .. }) {
                helper.exited();
                helper.collect();
            } else {
                helper.ends();
            }
            fixture.assert_nothing_left();
            assert_untouched(canary.path());
        }
    }
}

#[test]
fn a_working_directory_through_a_descriptor_is_refused() {
    for fd in 0..40 {
        let mut fixture = Fixture::script("pwd -P");
        fixture.spec.process.cwd = format!("/proc/self/fd/{fd}");
        fixture.fails();
    }
}

#[test]
fn passwd_and_group_must_be_regular_files() {
    for target in ["/dev/zero", "/proc/kmsg"] {
        let mut fixture = Fixture::new(&["/bin/true"]);
        std::fs::remove_file(fixture.path("layer/etc/passwd")).expect("remove");
        symlink(target, fixture.path("layer/etc/passwd")).expect("symlink");
        fixture.spec.process.user = "web".into();
        drop(fixture.fails());
    }
    let mut fixture = Fixture::new(&["/bin/true"]);
    std::fs::remove_file(fixture.path("layer/etc/group")).expect("remove");
    let status = std::process::Command::new("mkfifo").arg(fixture.path("layer/etc/group")).status().expect("mkfifo");
    assert!(status.success());
    fixture.spec.process.user = "web".into();
    drop(fixture.fails());
}

#[test]
fn the_helpers_executable_is_out_of_reach() {
    let output =
        Fixture::script("readlink /proc/1/exe; cat /proc/1/maps | grep -c helper; ls -d /proc/[0-9]*").output();
    assert!(output.starts_with("/bin/busybox\n0\n"), "{output}");
}
