//! Daemons as programs: flags, sockets, locks, signals, and their place beside other daemons.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use integration_tests::*;

#[test]
fn it_stops_on_sigterm_and_leaves_containers_alone() {
    let mut daemon = Daemon::start();
    let id = daemon.run_idle();
    let pid = daemon.inspect(&id)["State"]["Pid"].as_i64().expect("a pid");
    assert!(daemon.terminate().success());
    assert!(!daemon.api().socket.exists(), "the socket is gone");
    assert!(fs::metadata(format!("/proc/{pid}")).is_ok(), "the container runs on");
    daemon.start_again();
    assert_eq!(daemon.inspect(&id)["State"]["Pid"], pid);
}

#[test]
fn two_daemons_run_side_by_side_and_do_not_see_each_other() {
    let (one, two) = (Daemon::start(), Daemon::start());
    one.create_named(Some("same"), &["true"], json!({}));
    two.create_named(Some("same"), &["true"], json!({}));
    assert_ne!(one.inspect("same")["Id"], two.inspect("same")["Id"]);
    assert_eq!(one.sh("echo one", json!({})).out(), "one\n");
    assert_eq!(two.sh("echo two", json!({})).out(), "two\n");
}

#[test]
fn a_second_daemon_on_the_same_data_root_is_refused_clearly() {
    let daemon = Daemon::start_empty(&[]);
    let refused = command::run(&mut daemon.command(), b"");
    assert_ne!(refused.code, 0);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("another pinnaced"), "{said}");
    assert!(said.contains(daemon.directory().join("data").to_str().expect("UTF-8")), "it names the directory: {said}");
    daemon.api().get("/_ping").expect(200);
}

#[test]
fn several_sockets_are_served_with_the_mode_that_was_asked_for() {
    let scratch = tempfile::tempdir().expect("a directory");
    let second = scratch.path().join("second.sock");
    let daemon = Daemon::start_empty(&["-H", &format!("unix://{}", second.display()), "--socket-mode", "600"]);
    // It may be opened a moment after the first.
    let answers =
        || Api::new(&second).raw(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").is_ok_and(|answer| answer.status == 200);
    wait_until("the second socket", || answers().then_some(()));
    for socket in [&second, &daemon.api().socket] {
        let metadata = fs::metadata(socket).expect("a socket");
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    drop(daemon);
    assert!(!second.exists(), "it is removed with the daemon");
}

#[test]
fn a_configuration_file_is_read_and_flags_win() {
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("pinnaced.toml");
    fs::write(&file, "log-level = \"debug\"\nsocket-mode = \"640\"\nlog-format = \"json\"\n").expect("write");
    let config = file.to_str().expect("UTF-8");
    let daemon = Daemon::start_empty(&["--config", config, "--socket-mode", "606"]);
    let mode = fs::metadata(&daemon.api().socket).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o606, "flags win");
    let log = daemon.log();
    let line: Value = serde_json::from_str(log.lines().next().expect("it logs")).expect("JSON");
    assert!(line.is_object());
}

#[test]
fn bad_flags_and_files_are_refused_with_their_names() {
    let daemon = Daemon::start_empty(&[]);
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("bad.toml");
    fs::write(&file, "no-such-key = 1\n").expect("write");
    let data = scratch.path().join("data");
    let cases = [
        (vec!["--no-such-flag".to_owned()], "no-such-flag"),
        (vec!["--config".to_owned(), file.display().to_string()], "no-such-key"),
        (vec!["--config".to_owned(), "/nowhere.toml".to_owned()], "/nowhere.toml"),
        (vec!["-H".to_owned(), "tcp://0.0.0.0:1".to_owned()], "tcp://0.0.0.0:1"),
        (vec!["--socket-mode".to_owned(), "999".to_owned()], "999"),
        (vec!["--socket-group".to_owned(), "no-such-group".to_owned()], "no-such-group"),
    ];
    for (arguments, word) in cases {
        let mut command = std::process::Command::new(daemon.command().get_program());
        let refused = command::run(
            command.arg("--data-root").arg(&data).arg("--run-dir").arg(scratch.path().join("run")).args(&arguments),
            b"",
        );
        assert_ne!(refused.code, 0, "{arguments:?}");
        assert!(format!("{}{}", refused.stdout, refused.stderr).contains(word), "{arguments:?}: {refused:?}");
    }
}

#[test]
fn a_socket_that_a_killed_daemon_left_is_taken_over() {
    let mut daemon = Daemon::start_empty(&[]);
    daemon.kill();
    assert!(daemon.api().socket.exists());
    daemon.start_again();
    daemon.api().get("/_ping").expect(200);
}

#[test]
fn the_default_log_limits_are_the_ones_of_the_flags() {
    let daemon = Daemon::start_empty(&["--log-max-size", "64k", "--log-max-files", "2"]);
    daemon.load(&image::busybox_archive());
    let id = daemon.run(&["seq", "1", "60000"], json!({}));
    daemon.wait(&id);
    let kept = daemon.logs(&id).out();
    assert!(kept.ends_with("59999\n60000\n") && kept.len() < 150_000, "{} bytes", kept.len());
}

#[test]
fn the_database_opens_after_a_clean_stop_and_after_a_kill() {
    let mut daemon = Daemon::start();
    let id = daemon.create_named(Some("kept"), &["true"], json!({"Labels": {"a": "b"}}));
    let before = daemon.inspect(&id);
    daemon.terminate();
    daemon.start_again();
    assert_eq!(daemon.inspect("kept"), before);
    daemon.kill();
    daemon.start_again();
    assert_eq!(daemon.inspect("kept"), before);
    daemon.api().get("/images/busybox/json").expect(200);
}
