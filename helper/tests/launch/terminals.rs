//! Containers with a terminal.

use std::io::Write;

use pinnace_helper::protocol::{Framing, Refusal, Report, Request, StdinMode, Target};

use crate::harness::{Fixture, attachment, read_all, read_until};

fn terminal(script: &str) -> Fixture {
    let mut fixture = Fixture::script(script);
    fixture.spec.process.terminal = true;
    fixture.spec.process.terminal_size = Some((33, 99));
    fixture.spec.stdin = StdinMode::Open;
    fixture
}

#[test]
fn a_terminal_has_its_size_its_name_and_is_the_console() {
    let fixture = terminal(
        "tty; stty size; test -t 0 -a -t 1 -a -t 2 && echo all; stat -c '%t' /dev/console; readlink /proc/self/fd/0; echo x > /dev/tty; sleep 0.01; cat /proc/self/status | grep NSsid",
    );
    let (attached, theirs, ours) = attachment(1, Framing::Raw);
    let mut helper = fixture.start(vec![(attached, theirs)]);
    let output = String::from_utf8(read_all(&ours)).expect("text");
    for line in ["/dev/pts/0\r\n", "33 99\r\n", "all\r\n", "88\r\n", "x\r\n"] {
        assert!(output.contains(line), "{line:?} is not in {output}");
    }
    drop(ours);
    helper.exited();
    helper.collect();
    assert_eq!(String::from_utf8(fixture.log().0).expect("text"), output);
}

#[test]
fn a_terminal_echoes_resizes_and_delivers_control_characters() {
    let fixture = terminal(
        "trap 'stty size' WINCH; trap 'echo interrupted; exit 9' INT; echo ready; while :; do read -t 1 x && echo \"<$x>\"; done",
    );
    let (attached, theirs, mut ours) = attachment(1, Framing::Raw);
    let mut helper = fixture.start(vec![(attached, theirs)]);
    read_until(&ours, "ready");
    ours.write_all(b"typed\r").expect("write");
    read_until(&ours, "<typed>");
    helper.done(&Request::Resize { seq: 1, target: Target::Init, rows: 40, columns: 120 });
    read_until(&ours, "40 120");
    ours.write_all(b"\x03").expect("write");
    let rest = String::from_utf8(read_all(&ours)).expect("text");
    assert!(rest.contains("interrupted"), "{rest}");
    drop(ours);
    assert_eq!(helper.exited().exit.code, 9);
    helper.collect();
}

#[test]
fn without_a_terminal_there_is_nothing_to_resize() {
    let mut fixture = Fixture::script("read x");
    fixture.spec.stdin = StdinMode::Open;
    let helper = fixture.start(Vec::new());
    helper.ask(&Request::Resize { seq: 2, target: Target::Init, rows: 1, columns: 1 }, &[]);
    assert_eq!(helper.receive(), Report::Refused { seq: 2, reason: Refusal::NoTerminal });
}

#[test]
fn everything_written_to_a_terminal_before_the_exit_arrives() {
    for _ in 0..10 {
        let fixture = terminal("seq 1 3000");
        let (attached, theirs, ours) = attachment(1, Framing::Raw);
        let mut helper = fixture.start(vec![(attached, theirs)]);
        let output = read_all(&ours);
        assert!(output.ends_with(b"2999\r\n3000\r\n"), "{} bytes", output.len());
        drop(ours);
        helper.exited();
        helper.collect();
    }
}
