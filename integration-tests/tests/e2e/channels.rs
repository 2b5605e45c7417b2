//! The `v5.channel.k8s.io` sub-protocol on attach and exec: every stream by itself, and the exit status last.

use integration_tests::channel::{STDERR, STDIN, STDOUT, V5};
use integration_tests::*;

fn attach(daemon: &Daemon, id: &str) -> WebSocket {
    let path = format!("/containers/{id}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1");
    let socket = WebSocket::connect(daemon.api(), &path, Some(V5)).expect("an upgrade");
    assert_eq!(socket.headers["sec-websocket-protocol"], V5);
    socket
}

fn exec(daemon: &Daemon, container: &str, command: &[&str], more: Value) -> WebSocket {
    let id = daemon.exec_create(container, command, containers::merged(json!({"AttachStdin": true}), &more));
    WebSocket::connect(daemon.api(), &format!("/exec/{id}/ws"), Some(V5)).expect("an upgrade")
}

#[test]
fn attach_has_separate_streams_and_ends_with_the_status() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "echo out; echo err >&2; exit 3"], json!({}));
    let mut socket = attach(&daemon, &id);
    daemon.start_container(&id);
    let ended = socket.channels();
    assert_eq!(ended.output, Output { code: 3, stdout: b"out\n".to_vec(), stderr: b"err\n".to_vec() });
    assert_eq!((&ended.status["status"], &ended.status["reason"]), (&json!("Failure"), &json!("NonZeroExitCode")));
}

#[test]
fn success_is_told_in_so_many_words() {
    let daemon = Daemon::start();
    let id = daemon.create(&["true"], json!({}));
    let mut socket = attach(&daemon, &id);
    daemon.start_container(&id);
    let ended = socket.channels();
    assert_eq!((ended.output.code, &ended.status["status"]), (0, &json!("Success")), "{ended:?}");
}

#[test]
fn stdin_is_half_closed_by_a_message() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "cat; echo end; exit 4"], json!({"OpenStdin": true, "StdinOnce": true}));
    let mut socket = attach(&daemon, &id);
    daemon.start_container(&id);
    socket.send_channel(STDIN, b"hello ");
    assert_eq!(socket.until(STDOUT, "hello "), "hello ");
    socket.send_channel(STDIN, b"world\n");
    socket.close_stdin();
    let ended = socket.channels();
    assert_eq!((ended.output.code, ended.output.out().as_str()), (4, "world\nend\n"));
}

#[test]
fn a_terminal_is_resized_by_a_message() {
    let daemon = Daemon::start();
    let script = "stty size; trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    let id = daemon.create(&["sh", "-c", script], json!({"Tty": true, "OpenStdin": true}));
    let mut socket = attach(&daemon, &id);
    daemon.start_container(&id);
    socket.until(STDOUT, "ready\r\n");
    socket.resize(133, 44);
    socket.until(STDOUT, "44 133\r\n");
    socket.abandon();
    assert_eq!(daemon.status(&id), "running", "going away ends nothing");
}

#[test]
fn detach_keys_work_over_it() {
    let daemon = Daemon::start();
    let id = daemon.create(&["cat"], json!({"Tty": true, "OpenStdin": true}));
    let mut socket = attach(&daemon, &id);
    daemon.start_container(&id);
    socket.send_channel(STDIN, b"x\n");
    socket.until(STDOUT, "x\r\nx\r\n");
    socket.send_channel(STDIN, &[16, 17]);
    while socket.receive().is_ok() {}
    assert_eq!(daemon.status(&id), "running");
}

#[test]
fn exec_over_websocket_starts_it_and_ends_with_the_status() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let mut socket = exec(&daemon, &id, &["sh", "-c", "echo out; echo err >&2; exit 9"], json!({}));
    let ended = socket.channels();
    assert_eq!(ended.output, Output { code: 9, stdout: b"out\n".to_vec(), stderr: b"err\n".to_vec() });
}

#[test]
fn exec_over_websocket_takes_stdin_and_its_end() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let mut socket = exec(&daemon, &id, &["sha256sum"], json!({}));
    let piece = vec![b'q'; 100_000];
    for _ in 0..10 {
        socket.send_channel(STDIN, &piece);
    }
    socket.close_stdin();
    let ended = socket.channels();
    assert_eq!(ended.output.out(), format!("{}  -\n", sha256(&piece.repeat(10))));
    assert_eq!(ended.output.code, 0);
}

#[test]
fn exec_over_websocket_has_a_terminal_when_asked() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let mut socket = exec(&daemon, &id, &["sh"], json!({"Tty": true}));
    socket.resize(90, 30);
    socket.send_channel(STDIN, b"stty size; echo err >&2; exit 5\n");
    let ended = socket.channels();
    assert_eq!((ended.output.code, ended.output.err().as_str()), (5, ""), "a terminal has one output");
    assert!(ended.output.out().contains("30 90\r\nerr\r\n"), "{ended:?}");
}

#[test]
fn an_exec_that_cannot_run_says_so_in_its_status() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let mut socket = exec(&daemon, &id, &["nowhere"], json!({}));
    let ended = socket.channels();
    assert_eq!(ended.status["status"], "Failure", "{ended:?}");
    let all = format!("{}{}", ended.status, ended.output.err());
    assert!(all.contains("executable file not found in $PATH"), "{ended:?}");
    assert_eq!(ended.output.code, 127, "{ended:?}");
}

#[test]
fn an_exec_that_is_not_there_is_refused_before_the_upgrade() {
    let daemon = Daemon::start();
    let refused = WebSocket::connect(daemon.api(), "/exec/0123/ws", Some(V5)).expect_err("no such exec");
    assert_eq!(refused.0, 404, "{}", refused.1);
    assert!(refused.1.contains("No such exec instance: 0123"), "{}", refused.1);
}

#[test]
fn a_lot_of_output_right_before_the_exit_is_all_there_and_the_status_after_it() {
    let daemon = Daemon::start();
    let id = daemon.create(
        &["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' o; head -c 1000000 /dev/zero | tr '\\0' e >&2; exit 7"],
        json!({}),
    );
    let mut socket = attach(&daemon, &id);
    daemon.start_container(&id);
    let ended = socket.channels();
    assert_eq!((ended.output.code, ended.output.stdout.len(), ended.output.stderr.len()), (7, 3_000_000, 1_000_000));
    let id = daemon.run_idle();
    let mut socket = exec(&daemon, &id, &["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' o; exit 8"], json!({}));
    let ended = socket.channels();
    assert_eq!((ended.output.code, ended.output.stdout.len()), (8, 3_000_000));
}

#[test]
fn messages_on_channels_that_make_no_sense_end_the_connection_and_nothing_else() {
    let daemon = Daemon::start();
    let id = daemon.create(&["cat"], json!({"OpenStdin": true}));
    daemon.start_container(&id);
    for message in [&b"\x09hello"[..], b"\x04not json", b"\x04{\"Width\":-1}", b"\xff\x63", b""] {
        let mut socket = attach(&daemon, &id);
        socket.send(message);
        socket.abandon();
    }
    let mut socket = attach(&daemon, &id);
    socket.send_channel(STDIN, b"still here\n");
    assert_eq!(socket.until(STDOUT, "here\n"), "still here\n");
    assert_eq!(daemon.status(&id), "running");
}

#[test]
fn a_client_of_channels_that_reads_nothing_does_not_stop_the_container() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "head -c 20000000 /dev/zero; echo done >&2"], json!({}));
    let stuck = attach(&daemon, &id);
    daemon.start_container(&id);
    assert_eq!(daemon.wait(&id), 0);
    stuck.abandon();
}

#[test]
fn stderr_is_a_channel_of_its_own_while_it_runs() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "echo e >&2; read x; echo o"], json!({"OpenStdin": true}));
    let mut socket = attach(&daemon, &id);
    daemon.start_container(&id);
    assert_eq!(socket.until(STDERR, "e\n"), "e\n");
    socket.send_channel(STDIN, b"\n");
    assert_eq!(socket.until(STDOUT, "o\n"), "o\n");
    assert_eq!(socket.channels().output.code, 0);
}
