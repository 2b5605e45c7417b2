//! Docker's own websocket: `GET /containers/{id}/attach/ws`, plain bytes in binary messages.

use integration_tests::*;

fn connect(daemon: &Daemon, id: &str) -> WebSocket {
    let path = format!("/containers/{id}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1");
    WebSocket::connect(daemon.api(), &path, None).expect("an upgrade")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn output_comes_in_binary_messages_and_the_exit_closes_the_socket() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "echo one; echo two"], json!({}));
    let mut socket = connect(&daemon, &id);
    daemon.start_container(&id);
    let mut bytes = Vec::new();
    while let Ok(message) = socket.receive() {
        bytes.extend(message);
    }
    assert_eq!(text(&bytes), "one\ntwo\n");
}

#[test]
fn input_may_be_binary_or_text() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "read a; read b; echo $a-$b"], json!({"OpenStdin": true}));
    let mut socket = connect(&daemon, &id);
    daemon.start_container(&id);
    socket.send(b"first\n");
    socket.send_text("second\n");
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"first-second\n") {
        bytes.extend(socket.receive().expect("a message"));
    }
    assert_eq!(text(&bytes), "first-second\n", "neither framed nor multiplexed");
}

#[test]
fn only_the_streams_that_were_asked_for_are_sent() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return; // since 1.42
    }
    let id = daemon.create(&["sh", "-c", "echo out; echo err >&2"], json!({}));
    let path = |streams: &str| format!("/containers/{id}/attach/ws?stream=1&{streams}");
    let mut out = WebSocket::connect(daemon.api(), &path("stdout=1"), None).expect("an upgrade");
    let mut err = WebSocket::connect(daemon.api(), &path("stderr=1"), None).expect("an upgrade");
    let old = format!("/v1.41{}", path("stdin=0"));
    let mut all = WebSocket::connect(daemon.api(), &old, None).expect("an upgrade");
    daemon.start_container(&id);
    assert_eq!((text(&out.rest()), text(&err.rest())), ("out\n".to_owned(), "err\n".to_owned()));
    let mut lines: Vec<String> = text(&all.rest()).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["err", "out"], "before 1.42 all streams were on");
}

#[test]
fn a_terminal_works_over_it() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh"], json!({"Tty": true, "OpenStdin": true}));
    let mut socket = connect(&daemon, &id);
    daemon.start_container(&id);
    socket.send(b"echo $((6*7)); exit\n");
    let mut bytes = Vec::new();
    while let Ok(message) = socket.receive() {
        bytes.extend(message);
    }
    assert!(text(&bytes).contains("\r\n42\r\n"), "{:?}", text(&bytes));
}

#[test]
fn what_cannot_be_attached_to_is_refused_before_the_upgrade() {
    let daemon = Daemon::start();
    let refused =
        WebSocket::connect(daemon.api(), "/containers/nobody/attach/ws?stream=1", None).expect_err("no such container");
    if daemon.is_own() {
        assert_eq!(refused.0, 404);
        assert!(refused.1.contains("No such container: nobody"), "{}", refused.1);
    }
    let id = daemon.create(&["true"], json!({}));
    let plain = daemon.api().get(&format!("/containers/{id}/attach/ws?stream=1"));
    assert_eq!(plain.status, 400, "no upgrade was asked for: {}", plain.text());
}

#[test]
fn a_web_page_cannot_reach_it() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return; // dockerd does not check
    }
    let id = daemon.create(&["true"], json!({}));
    let path = format!("/containers/{id}/attach/ws?stream=1&stdout=1");
    let refused =
        WebSocket::connect_with(daemon.api(), &path, None, &[("origin", "http://evil.example")]).expect_err("refused");
    assert_eq!(refused.0, 403, "{}", refused.1);
}
