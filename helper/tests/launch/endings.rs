//! Signals, the freezer, daemons that come and go, and the record of the exit.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use pinnace_helper::protocol::{
    CONTROL_SOCKET, EXIT_FILE, ExecSpec, ExitRecord, Framing, PROTOCOL_VERSION, Report, Request, StdinMode, Target,
    packet,
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::harness::{Fixture, eventually, process, read_all, receive};

fn connect(fixture: &Fixture) -> OwnedFd {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .expect("socket");
    let address = SocketAddrUnix::new(fixture.path("run").join(CONTROL_SOCKET)).expect("address");
    rustix::net::connect(&socket, &address).expect("connect");
    socket
}

fn waiting() -> Fixture {
    let mut fixture = Fixture::script("trap 'echo term; exit 6' TERM; echo up; while :; do sleep 0.01; done");
    fixture.spec.stdin = StdinMode::Open;
    fixture
}

#[test]
fn a_signal_reaches_the_first_process() {
    let fixture = waiting();
    let mut helper = fixture.start(Vec::new());
    eventually("it is up", || fixture.log().0 == b"up\n");
    helper.done(&Request::Signal { seq: 1, target: Target::Init, signal: libc::SIGTERM });
    assert_eq!(helper.exited().exit.code, 6);
    helper.collect();
    assert_eq!(fixture.log().0, b"up\nterm\n");
}

#[test]
fn a_paused_container_stands_still_and_can_be_killed() {
    let fixture = Fixture::script("while :; do echo tick; sleep 0.005; done");
    let mut helper = fixture.start(Vec::new());
    eventually("it ticks", || !fixture.log().0.is_empty());
    helper.done(&Request::Pause { seq: 1 });
    std::thread::sleep(Duration::from_millis(20));
    let ticks = fixture.log().0.len();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(fixture.log().0.len(), ticks);
    helper.ask(&Request::Status { seq: 5 }, &[]);
    let Report::Status(status) = helper.receive() else { panic!("no status") };
    assert!(status.paused && status.seq == 5);
    helper.done(&Request::Unpause { seq: 2 });
    eventually("it ticks again", || fixture.log().0.len() > ticks);
    helper.done(&Request::Pause { seq: 3 });
    helper.done(&Request::Signal { seq: 4, target: Target::Init, signal: libc::SIGKILL });
    let record = helper.exited();
    assert_eq!((record.exit.code, record.exit.signal), (137, Some(9)));
    helper.collect();
    fixture.assert_nothing_left();
}

#[test]
fn the_unified_hierarchy_alone_freezes_kills_and_takes_execs() {
    let mut fixture = Fixture::script("cat /proc/self/cgroup; ls /sys/fs/cgroup; echo up; sleep 1000 & sleep 1000");
    fixture.use_unified();
    let mut helper = fixture.start(Vec::new());
    eventually("it is up", || fixture.log().0.ends_with(b"up\n"));
    let output = String::from_utf8(fixture.log().0).expect("text");
    assert!(output.contains("0::/\n") && output.contains("\ncgroup.procs\n"), "{output}");
    let spec =
        ExecSpec { process: process(&["/bin/cat", "/proc/self/cgroup"]), stdin: false, stdout: true, stderr: true };
    let stream = helper.exec("e", &spec, Framing::Raw);
    let output = String::from_utf8(read_all(&stream)).expect("text");
    assert!(output.contains("0::/\n"), "{output}");
    drop(stream);
    assert_eq!(helper.exec_exited(), 0);
    helper.done(&Request::Pause { seq: 1 });
    let events = std::fs::read_to_string(fixture.cgroup("unified").join("cgroup.events")).expect("events");
    assert!(events.contains("frozen 1"), "{events}");
    helper.done(&Request::Signal { seq: 2, target: Target::All, signal: libc::SIGKILL });
    assert_eq!(helper.exited().exit.code, 137);
    helper.collect();
    fixture.assert_nothing_left();
}

#[test]
fn an_exec_that_ended_without_a_daemon_is_told_to_the_next_one() {
    let fixture = waiting();
    let mut helper = fixture.start(Vec::new());
    let process = process(&["/bin/sh", "-c", "sleep 0.1; exit 21"]);
    let spec = ExecSpec { process, stdin: false, stdout: true, stderr: true };
    let stream = helper.exec("orphan", &spec, Framing::Raw);
    helper.wait_for(|report| matches!(report, Report::ExecStarted { .. }));
    let (unused, _) = std::os::unix::net::UnixStream::pair().expect("pair");
    helper.control = unused.into();
    assert_eq!(read_all(&stream), b"");
    helper.control = connect(&fixture);
    helper.wait_for(|report| matches!(report, Report::Hello { .. }));
    let Report::Status(status) = helper.receive() else { unreachable!("no status") };
    let [(id, exit)] = status.ended_execs.as_slice() else { unreachable!("{status:?}") };
    assert_eq!((id.as_str(), exit.code), ("orphan", 21));
}

#[test]
fn kill_all_reaches_every_process() {
    let fixture = Fixture::script("sh -c 'sleep 1000 & sleep 1000' & echo up; wait");
    let mut helper = fixture.start(Vec::new());
    eventually("it is up", || fixture.log().0 == b"up\n");
    helper.done(&Request::Signal { seq: 1, target: Target::All, signal: libc::SIGKILL });
    assert_eq!(helper.exited().exit.code, 137);
    helper.collect();
    fixture.assert_nothing_left();
}

#[test]
fn a_daemon_that_comes_back_finds_the_container() {
    let fixture = waiting();
    let mut helper = fixture.start(Vec::new());
    eventually("it is up", || fixture.log().0 == b"up\n");
    let first = std::mem::replace(&mut helper.control, connect(&fixture));
    drop(first);
    let Report::Hello { version, helper_pid } = helper.receive() else { panic!("no greeting") };
    assert_eq!((version, helper_pid as u32), (PROTOCOL_VERSION, helper.child.id()));
    let Report::Status(status) = helper.receive() else { panic!("no status") };
    assert_eq!((status.seq, status.paused, status.exited), (0, false, None));
    assert!(std::path::Path::new(&format!("/proc/{}", status.pid)).exists());
    helper.done(&Request::Signal { seq: 1, target: Target::Init, signal: libc::SIGTERM });
    assert_eq!(helper.exited().exit.code, 6);
    helper.collect();
    assert!(!fixture.path("run").join(EXIT_FILE).exists());
}

#[test]
fn several_daemons_hear_the_same() {
    let fixture = waiting();
    let mut helper = fixture.start(Vec::new());
    eventually("it is up", || fixture.log().0 == b"up\n");
    let second = connect(&fixture);
    assert!(matches!(receive(&second), Report::Hello { .. }));
    assert!(matches!(receive(&second), Report::Status(_)));
    helper.done(&Request::Signal { seq: 1, target: Target::Init, signal: libc::SIGTERM });
    let record = helper.exited();
    assert_eq!(receive(&second), Report::Exited(record));
    packet::send(&second, &Request::Collected, &[]).expect("send");
    helper.ends();
}

#[test]
fn without_a_daemon_the_exit_is_left_in_a_file() {
    let fixture = Fixture::script("sleep 0.1; exit 44");
    let mut helper = fixture.start(Vec::new());
    let (unused, _) = std::os::unix::net::UnixStream::pair().expect("pair");
    helper.control = unused.into();
    helper.ends();
    let bytes = std::fs::read(fixture.path("run").join(EXIT_FILE)).expect("exit.json");
    let record: ExitRecord = serde_json::from_slice(&bytes).expect("json");
    assert_eq!((record.exit.code, record.container.len()), (44, 64));
    fixture.assert_nothing_left();
}

#[test]
fn a_daemon_that_goes_without_collecting_leaves_the_file() {
    let fixture = Fixture::script("exit 45");
    let mut helper = fixture.start(Vec::new());
    assert_eq!(helper.exited().exit.code, 45);
    assert!(!fixture.path("run").join(EXIT_FILE).exists());
    let (unused, _) = std::os::unix::net::UnixStream::pair().expect("pair");
    helper.control = unused.into();
    helper.ends();
    assert!(fixture.path("run").join(EXIT_FILE).exists());
}

#[test]
fn the_container_ends_with_its_helper() {
    let fixture = waiting();
    let mut helper = fixture.start(Vec::new());
    helper.ask(&Request::Status { seq: 1 }, &[]);
    let Report::Status(status) = helper.receive() else { panic!("no status") };
    helper.child.kill().expect("kill");
    helper.child.wait().expect("wait");
    eventually("it is gone", || !std::path::Path::new(&format!("/proc/{}/exe", status.pid)).exists());
    for name in ["freezer", "memory", "pids", "cpu", "devices"] {
        eventually("its cgroup is empty", || std::fs::remove_dir(fixture.cgroup(name)).is_ok());
    }
}

#[test]
fn a_process_over_its_memory_limit_is_reported() {
    let mut fixture = Fixture::script("x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo survived");
    fixture.spec.cgroup.hierarchies[1].settings.push(("memory.limit_in_bytes".into(), "8388608".into()));
    let (record, stdout, _) = fixture.run();
    assert!(record.oom_killed, "{record:?} {stdout}");
}

#[test]
fn nonsense_is_refused_and_the_conversation_goes_on() {
    let fixture = waiting();
    let helper = fixture.start(Vec::new());
    packet::send(&helper.control, &"nonsense", &[]).expect("send");
    assert!(matches!(helper.receive(), Report::Refused { seq: 0, .. }));
    helper.ask(&Request::Launch { attachments: Vec::new() }, &[helper.control.as_fd()]);
    assert!(matches!(helper.receive(), Report::Refused { .. }));
    helper.done(&Request::Signal { seq: 1, target: Target::Init, signal: 0 });
}
