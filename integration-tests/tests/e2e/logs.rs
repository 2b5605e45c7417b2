//! What a container wrote, read back.

use integration_tests::frames::{read_frame, read_output, read_stdout};
use integration_tests::*;

fn logs(daemon: &Daemon, id: &str, query: &str) -> Output {
    read_output(&mut daemon.api().open("GET", &format!("/containers/{id}/logs?{query}"), &[], b""))
}

#[test]
fn stdout_and_stderr_are_kept_apart_and_can_be_asked_for_one_by_one() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("echo out; echo err >&2");
    daemon.wait(&id);
    let both = logs(&daemon, &id, "stdout=1&stderr=1");
    assert_eq!((both.out().as_str(), both.err().as_str()), ("out\n", "err\n"));
    let out = logs(&daemon, &id, "stdout=true");
    assert_eq!((out.out().as_str(), out.err().as_str()), ("out\n", ""));
    let err = logs(&daemon, &id, "stderr=1&stdout=0");
    assert_eq!((err.out().as_str(), err.err().as_str()), ("", "err\n"));
    let message = daemon.api().get(&format!("/containers/{id}/logs")).expect(400).message();
    assert!(message.contains("you must choose at least one stream"), "{message}");
}

#[test]
fn tail_counts_lines_from_the_end() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("for i in 1 2 3 4 5; do echo line $i; done; printf rest");
    daemon.wait(&id);
    assert_eq!(logs(&daemon, &id, "stdout=1&tail=2").out(), "line 5\nrest");
    assert_eq!(logs(&daemon, &id, "stdout=1&tail=0").out(), "");
    assert_eq!(logs(&daemon, &id, "stdout=1&tail=100").out(), "line 1\nline 2\nline 3\nline 4\nline 5\nrest");
    assert_eq!(logs(&daemon, &id, "stdout=1&tail=all").out().lines().count(), 6);
}

#[test]
fn timestamps_have_nine_digits_and_since_and_until_cut_by_them() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("echo one; sleep 0.3; echo two; sleep 0.3; echo three");
    daemon.wait(&id);
    let stamped = logs(&daemon, &id, "stdout=1&timestamps=1").out();
    let lines: Vec<(&str, &str)> = stamped.lines().map(|line| line.split_once(' ').expect("a stamp")).collect();
    assert_eq!(lines.iter().map(|(_, text)| *text).collect::<Vec<_>>(), ["one", "two", "three"]);
    for (stamp, _) in &lines {
        assert_eq!(stamp.len(), "2026-11-22T22:13:45.123456789Z".len(), "{stamp}");
    }
    let seconds =
        |stamp: &str| command::run(std::process::Command::new("date").args(["-d", stamp, "+%s.%N"]), b"").ok();
    let second = seconds(lines[1].0).trim().to_owned();
    assert_eq!(logs(&daemon, &id, &format!("stdout=1&since={second}")).out(), "two\nthree\n");
    assert_eq!(logs(&daemon, &id, &format!("stdout=1&until={second}")).out(), "one\ntwo\n");
    assert_eq!(logs(&daemon, &id, &format!("stdout=1&since={second}&until={second}")).out(), "two\n");
}

#[test]
fn follow_goes_on_until_the_exit_and_ends_after_the_last_byte() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("echo early; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo late");
    daemon.wait_for_log(&id, "early");
    let path = format!("/containers/{id}/logs?stdout=1&stderr=1&follow=1");
    let mut stream = daemon.api().open("GET", &path, &[], b"");
    assert_eq!(stream.status, 200);
    assert!(stream.is_chunked(), "docker-py takes it for a whole answer otherwise");
    assert_eq!(read_stdout(&mut stream, 6), b"early\n");
    // The container may end, and the exec with it, before touch does.
    daemon.exec(&id, &["touch", "/tmp/go"], json!({}));
    assert_eq!(read_output(&mut stream).out(), "late\n");
    assert_eq!(daemon.wait(&id), 0);
    assert_eq!(logs(&daemon, &id, "stdout=1&follow=1").out(), "early\nlate\n", "follow of what has exited ends");
}

#[test]
fn follow_with_tail_begins_near_the_end_and_misses_nothing_after() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("seq 1 1000; while [ ! -e /tmp/go ]; do sleep 0.02; done; seq 1001 2000");
    daemon.wait_for_log(&id, "\n1000\n");
    let mut stream = daemon.api().open("GET", &format!("/containers/{id}/logs?stdout=1&follow=1&tail=3"), &[], b"");
    assert_eq!(read_stdout(&mut stream, 13), b"998\n999\n1000\n");
    daemon.exec(&id, &["touch", "/tmp/go"], json!({}));
    let expected: String = (1001..=2000).map(|number| format!("{number}\n")).collect();
    assert_eq!(read_output(&mut stream).out(), expected);
}

#[test]
fn follow_of_a_container_that_does_not_run_ends_at_once() {
    let daemon = Daemon::start();
    let id = daemon.run(&["echo", "hello"], json!({}));
    daemon.wait(&id);
    assert_eq!(logs(&daemon, &id, "stdout=1&follow=1").out(), "hello\n");
}

#[test]
fn a_terminals_log_is_not_framed() {
    let daemon = Daemon::start();
    let id = daemon.run(&["sh", "-c", "echo a; echo b >&2"], json!({"Tty": true}));
    daemon.wait(&id);
    let answer = daemon.api().get(&format!("/containers/{id}/logs?stdout=1&stderr=1")).expect(200);
    assert_eq!(answer.text(), "a\r\nb\r\n");
}

#[test]
fn a_line_longer_than_any_buffer_comes_back_whole() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("head -c 100000 /dev/zero | tr '\\0' x; echo; echo next");
    daemon.wait(&id);
    let output = logs(&daemon, &id, "stdout=1");
    assert_eq!(output.stdout.len(), 100_001 + 5);
    assert!(output.out().ends_with("x\nnext\n"));
    assert_eq!(logs(&daemon, &id, "stdout=1&tail=1").out(), "next\n");
}

#[test]
fn the_log_goes_on_over_a_restart_of_the_container() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("echo run");
    daemon.wait(&id);
    daemon.start_container(&id);
    daemon.wait(&id);
    assert_eq!(logs(&daemon, &id, "stdout=1").out(), "run\nrun\n");
}

#[test]
fn bytes_that_are_not_text_come_back_as_they_were() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return; // dockerd's json-file replaces what is not UTF-8
    }
    let id = daemon.run_sh("printf '\\0\\377\\n\\200\\r\\n'");
    daemon.wait(&id);
    assert_eq!(logs(&daemon, &id, "stdout=1").stdout, b"\0\xff\n\x80\r\n");
}

#[test]
fn a_log_rotates_at_its_size_and_keeps_the_newest_lines() {
    let daemon = Daemon::start();
    let config = json!({"Type": "json-file", "Config": {"max-size": "64k", "max-file": "2"}});
    let id = daemon.create(&["seq", "1", "60000"], json!({"HostConfig": {"LogConfig": config}}));
    daemon.start_container(&id);
    daemon.wait(&id);
    let text = logs(&daemon, &id, "stdout=1").out();
    assert!(text.ends_with("\n59999\n60000\n"), "the newest lines are there");
    assert!(text.len() < 150_000, "{} bytes were kept of two files of 64 KiB", text.len());
    assert_eq!(logs(&daemon, &id, "stdout=1&tail=2").out(), "59999\n60000\n");
}

#[test]
fn each_frame_is_a_line_or_a_part_of_one() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("printf 'a\\nb\\n'; echo c >&2");
    daemon.wait(&id);
    let mut stream = daemon.api().open("GET", &format!("/containers/{id}/logs?stdout=1&stderr=1"), &[], b"");
    let mut frames = Vec::new();
    while let Some(frame) = read_frame(&mut stream) {
        frames.push(frame);
    }
    frames.sort();
    assert_eq!(frames, [(1, b"a\n".to_vec()), (1, b"b\n".to_vec()), (2, b"c\n".to_vec())]);
}
