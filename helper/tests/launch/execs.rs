//! Further processes in a running container.

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;

use pinnace_helper::protocol::{ExecSpec, Framing, Refusal, Report, Request, Stage, StdinMode, Target, packet};

use crate::harness::{Fixture, Helper, demultiplex, process, read_all, read_until};

fn running() -> (Fixture, Helper) {
    let mut fixture = Fixture::script("echo up; read x");
    fixture.spec.stdin = StdinMode::Open;
    let helper = fixture.start(Vec::new());
    (fixture, helper)
}

fn spec(args: &[&str]) -> ExecSpec {
    ExecSpec { process: process(args), stdin: true, stdout: true, stderr: true }
}

fn script(script: &str) -> ExecSpec {
    spec(&["/bin/sh", "-c", script])
}

#[test]
fn an_exec_is_in_every_namespace_and_cgroup_of_its_container() {
    let (fixture, helper) = running();
    let compare = "for n in pid net ipc uts mnt cgroup; do test $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) || echo $n differs; done; cat /proc/self/cgroup; grep Cap /proc/self/status; echo err >&2; ls /proc/self/fd; pwd; exit 5";
    let stream = helper.exec("e1", &script(compare), Framing::Multiplexed);
    let (stdout, stderr) = demultiplex(&read_all(&stream));
    let stdout = String::from_utf8(stdout).expect("text");
    assert!(!stdout.contains("differs"), "{stdout}");
    for line in
        [":freezer:/\n", ":pids:/\n", "CapEff:\t00000000a80425fb", "CapInh:\t0000000000000000", "0\n1\n2\n3\n/\n"]
    {
        assert!(stdout.contains(line), "{line:?} is not in {stdout}");
    }
    assert_eq!(stderr, b"err\n");
    drop(stream);
    assert_eq!(helper.exec_exited(), 5);
    assert_eq!(fixture.log().0, b"up\n", "an exec's output is not in the log");
}

#[test]
fn an_exec_has_its_own_stdin_user_and_directory() {
    let (_fixture, helper) = running();
    let mut spec = script("cat; id -u; pwd; echo $HOME");
    spec.process.user = "web".into();
    spec.process.cwd = "/etc".into();
    let mut stream = helper.exec("e1", &spec, Framing::Raw);
    stream.write_all(b"to the exec\n").expect("write");
    stream.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(String::from_utf8(read_all(&stream)).expect("text"), "to the exec\n1000\n/etc\n/srv\n");
    drop(stream);
    assert_eq!(helper.exec_exited(), 0);
}

#[test]
fn an_exec_with_a_terminal_can_be_resized() {
    let (_fixture, helper) = running();
    let mut spec = script("tty; stty size; read x; stty size");
    spec.process.terminal = true;
    spec.process.terminal_size = Some((10, 20));
    let mut stream = helper.exec("t", &spec, Framing::Raw);
    let first = read_until(&stream, "10 20");
    assert!(first.contains("/dev/pts/0"), "{first}");
    helper.done(&Request::Resize { seq: 8, target: Target::Exec("t".into()), rows: 5, columns: 6 });
    stream.write_all(b"\r").expect("write");
    read_until(&stream, "5 6");
    drop(stream);
    assert_eq!(helper.exec_exited(), 0);
}

#[test]
fn an_exec_that_cannot_start_says_why_and_writes_nothing() {
    let (_fixture, helper) = running();
    let cases: [(ExecSpec, Stage, Option<&str>); 3] = [
        (spec(&["missing"]), Stage::Exec, Some("missing")),
        (
            {
                let mut spec = script("true");
                spec.process.cwd = "/missing".into();
                spec
            },
            Stage::WorkingDir,
            Some("/missing"),
        ),
        (
            {
                let mut spec = script("true");
                spec.process.user = "missing".into();
                spec
            },
            Stage::User,
            Some("unable to find user missing: no matching entries in passwd file"),
        ),
    ];
    for (spec, stage, subject) in cases {
        let stream = helper.exec("x", &spec, Framing::Raw);
        assert_eq!(read_all(&stream), b"");
        let Report::ExecFailed { error, .. } = helper.wait_for(|report| !matches!(report, Report::Done { .. })) else {
            panic!("it did not fail")
        };
        assert_eq!((error.stage, error.subject.as_deref()), (stage, subject));
    }
}

#[test]
fn a_detached_exec_and_its_grandchildren_do_not_hold_its_end() {
    let (_fixture, helper) = running();
    let fd = packet::sealed_json("exec", &ExecSpec { stdin: false, ..script("exit 3") }).expect("memfd");
    helper.ask(&Request::Exec { seq: 4, exec: "d".into(), attachment: None }, &[fd.as_fd()]);
    assert!(matches!(helper.receive(), Report::ExecStarted { seq: 4, .. }));
    assert_eq!(helper.exec_exited(), 3);
    let stream = helper.exec("g", &script("sleep 1000 & echo mine"), Framing::Raw);
    assert_eq!(read_all(&stream), b"mine\n");
    drop(stream);
    assert_eq!(helper.exec_exited(), 0);
}

#[test]
fn an_exec_is_killed_and_signalled_by_its_id() {
    let (_fixture, helper) = running();
    let stream = helper.exec(
        "k",
        &script("trap 'echo usr1; exit 8' USR1; echo ready; while :; do sleep 0.01; done"),
        Framing::Raw,
    );
    read_until(&stream, "ready");
    helper.done(&Request::Signal { seq: 1, target: Target::Exec("k".into()), signal: libc::SIGUSR1 });
    read_until(&stream, "usr1");
    drop(stream);
    assert_eq!(helper.exec_exited(), 8);
    helper.ask(&Request::Signal { seq: 2, target: Target::Exec("k".into()), signal: 9 }, &[]);
    assert_eq!(helper.receive(), Report::Refused { seq: 2, reason: Refusal::NoSuchExec });
}

#[test]
fn an_exec_ends_with_its_container() {
    let (_fixture, mut helper) = running();
    let stream = helper.exec("e", &script("echo in; sleep 1000"), Framing::Raw);
    read_until(&stream, "in");
    helper.done(&Request::Signal { seq: 1, target: Target::Init, signal: libc::SIGKILL });
    assert_eq!(read_all(&stream), b"");
    drop(stream);
    assert_eq!(helper.exec_exited(), 137);
    assert_eq!(helper.exited().exit.code, 137);
    let fd = packet::sealed_json("exec", &script("true")).expect("memfd");
    helper.ask(&Request::Exec { seq: 4, exec: "late".into(), attachment: None }, &[fd.as_fd()]);
    assert_eq!(helper.receive(), Report::Refused { seq: 4, reason: Refusal::NotRunning });
    helper.collect();
}

#[test]
fn many_execs_at_once_each_get_their_own_bytes() {
    let (_fixture, helper) = running();
    let streams: Vec<_> = (0..20)
        .map(|n| helper.exec(&format!("m{n}"), &script(&format!("echo {n}; seq 1 1000 | wc -l")), Framing::Raw))
        .collect();
    for (n, stream) in streams.iter().enumerate() {
        assert_eq!(String::from_utf8(read_all(stream)).expect("text"), format!("{n}\n1000\n"));
    }
    drop(streams);
    for _ in 0..20 {
        assert_eq!(helper.exec_exited(), 0);
    }
}
