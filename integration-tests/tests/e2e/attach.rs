//! Hijacked connections to a container's streams.

use std::io::Read;
use std::time::Duration;

use integration_tests::frames::{read_frame, read_output, read_stdout};
use integration_tests::*;

#[test]
fn attaching_before_the_start_sees_everything() {
    let daemon = Daemon::start();
    for number in 0..10 {
        let output = daemon.sh(&format!("echo out{number}; echo err{number} >&2"), json!({}));
        assert_eq!((output.out(), output.err()), (format!("out{number}\n"), format!("err{number}\n")));
    }
}

#[test]
fn stdin_is_half_closed_and_the_answer_still_comes() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "cat; echo done; exit 3"], json!({"OpenStdin": true, "StdinOnce": true}));
    let mut attached = daemon.attach(&id);
    daemon.start_container(&id);
    attached.write(b"first\n");
    assert_eq!(read_stdout(&mut attached, 6), b"first\n");
    attached.write(b"last");
    attached.close_write();
    assert_eq!(read_output(&mut attached).out(), "lastdone\n");
    assert_eq!(daemon.wait(&id), 3);
}

#[test]
fn a_megabyte_through_cat_is_the_same_megabyte() {
    let daemon = Daemon::start();
    let id = daemon.create(&["cat"], json!({"OpenStdin": true, "StdinOnce": true}));
    let mut attached = daemon.attach(&id);
    daemon.start_container(&id);
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let writer = attached.socket().try_clone().expect("dup");
    let sent = bytes.clone();
    let thread = std::thread::spawn(move || {
        std::io::Write::write_all(&mut &writer, &sent).expect("write");
        writer.shutdown(std::net::Shutdown::Write).expect("shutdown");
    });
    let output = read_output(&mut attached);
    thread.join().expect("the writer");
    assert_eq!(sha256(&output.stdout), sha256(&bytes));
}

#[test]
fn every_attached_client_gets_every_byte() {
    let daemon = Daemon::start();
    let id = daemon.create(&["seq", "1", "20000"], json!({}));
    let clients: Vec<Stream> = (0..4).map(|_| daemon.attach(&id)).collect();
    daemon.start_container(&id);
    let expected: String = (1..=20000).map(|number| format!("{number}\n")).collect();
    std::thread::scope(|scope| {
        for mut client in clients {
            let expected = &expected;
            scope.spawn(move || assert!(read_output(&mut client).out() == *expected));
        }
    });
}

#[test]
fn only_the_streams_that_were_asked_for_are_sent() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "echo out; echo err >&2"], json!({}));
    let mut stdout = daemon.api().hijack(&format!("/containers/{id}/attach?stream=1&stdout=1"), None);
    let mut stderr = daemon.api().hijack(&format!("/containers/{id}/attach?stream=1&stderr=1"), None);
    daemon.start_container(&id);
    let (out, err) = (read_output(&mut stdout), read_output(&mut stderr));
    assert_eq!((out.out().as_str(), out.err().as_str()), ("out\n", ""));
    assert_eq!((err.out().as_str(), err.err().as_str()), ("", "err\n"));
}

#[test]
fn a_terminal_is_raw_bytes_without_frames() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "read line; echo got $line"], json!({"Tty": true, "OpenStdin": true}));
    let mut attached = daemon.attach(&id);
    assert_eq!(attached.header("content-type"), Some("application/vnd.docker.raw-stream"));
    daemon.start_container(&id);
    attached.write(b"hello\n");
    assert_eq!(String::from_utf8_lossy(&attached.rest()), "hello\r\ngot hello\r\n");
}

#[test]
fn streams_without_a_terminal_are_announced_as_multiplexed_from_1_42_on() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return;
    }
    let id = daemon.create(&["true"], json!({}));
    let kind = |version: &str| {
        let stream = daemon.api().hijack(&format!("{version}/containers/{id}/attach?stream=1&stdout=1"), None);
        stream.header("content-type").map(str::to_owned)
    };
    assert_eq!(kind("").as_deref(), Some("application/vnd.docker.multiplexed-stream"));
    assert_eq!(kind("/v1.42").as_deref(), Some("application/vnd.docker.multiplexed-stream"));
    assert_eq!(kind("/v1.41").as_deref(), Some("application/vnd.docker.raw-stream"));
}

#[test]
fn detach_keys_end_the_session_and_not_the_container() {
    let daemon = Daemon::start();
    let id = daemon.create(&["cat"], json!({"Tty": true, "OpenStdin": true}));
    let mut attached = daemon.attach(&id);
    daemon.start_container(&id);
    attached.write(b"x\n");
    attached.until(b"x\r\nx\r\n");
    attached.write(&[16, 17]);
    attached.rest();
    assert_eq!(daemon.status(&id), "running");

    let path = format!("/containers/{id}/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,d");
    let mut attached = daemon.api().hijack(&path, None);
    attached.write(b"y\n");
    attached.until(b"y\r\ny\r\n");
    attached.write(&[1]);
    attached.write(b"d");
    attached.rest();
    assert_eq!(daemon.status(&id), "running");
    let path = format!("/containers/{id}/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-nonsense");
    let refused = daemon.api().try_hijack(&path, None);
    assert_eq!(refused.status, 400);
}

#[test]
fn history_can_be_had_with_and_without_the_live_stream() {
    let daemon = Daemon::start();
    let id = daemon
        .create(&["sh", "-c", "echo past; echo bad >&2; read line; echo $line; read line"], json!({"OpenStdin": true}));
    daemon.start_container(&id);
    daemon.wait_for_log(&id, "past");
    let api = daemon.api();
    let mut history = api.hijack(&format!("/containers/{id}/attach?logs=1&stdout=1&stderr=1"), None);
    let output = read_output(&mut history);
    assert_eq!((output.out().as_str(), output.err().as_str()), ("past\n", "bad\n"));
    let mut both = api.hijack(&format!("/containers/{id}/attach?logs=1&stream=1&stdin=1&stdout=1"), None);
    assert_eq!(read_stdout(&mut both, 5), b"past\n");
    both.write(b"present\n");
    assert_eq!(read_stdout(&mut both, 8), b"present\n");
}

#[test]
fn history_and_live_stream_join_without_a_gap_or_a_duplicate() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return; // dockerd reads the log and then subscribes
    }
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; while [ ! -e /tmp/go ]; do sleep 0.02; done";
    let id = daemon.run_sh(script);
    let expected: String = (0..20000).map(|number| format!("{number}\n")).collect();
    let delays = [0, 3, 10, 30, 60, 100];
    // It must not end before all have attached.
    let attached = std::sync::Barrier::new(delays.len() + 1);
    std::thread::scope(|scope| {
        for delay in delays {
            let (daemon, id, expected, attached) = (&daemon, &id, &expected, &attached);
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(delay));
                let path = format!("/containers/{id}/attach?logs=1&stream=1&stdout=1&stderr=1");
                let mut stream = daemon.api().hijack(&path, None);
                attached.wait();
                let got = read_output(&mut stream).out();
                assert!(got == *expected, "after {delay} ms: {} bytes of {}", got.len(), expected.len());
            });
        }
        attached.wait();
        daemon.exec(&id, &["touch", "/tmp/go"], json!({}));
    });
}

#[test]
fn a_client_that_reads_nothing_neither_stops_the_container_nor_costs_another_client_a_byte() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return; // dockerd lets it stop the container
    }
    let id = daemon.create(&["seq", "1", "400000"], json!({}));
    let stuck = daemon.attach(&id);
    let mut reader = daemon.attach(&id);
    daemon.start_container(&id);
    let expected: String = (1..=400_000).map(|number| format!("{number}\n")).collect();
    assert!(read_output(&mut reader).out() == expected, "the reader lost bytes");
    assert_eq!(daemon.wait(&id), 0);
    drop(stuck);
}

#[test]
fn a_client_that_goes_away_does_not_matter() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "while [ ! -e /tmp/go ]; do echo x; sleep 0.01; done; echo end"], json!({}));
    let mut first = daemon.attach(&id);
    let mut second = daemon.attach(&id);
    daemon.start_container(&id);
    read_frame(&mut first);
    drop(first);
    read_frame(&mut second);
    daemon.exec(&id, &["touch", "/tmp/go"], json!({}));
    assert!(read_output(&mut second).out().ends_with("end\n"));
}

#[test]
fn attaching_to_what_is_paused_or_unknown_is_refused() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    daemon.api().post(&format!("/containers/{id}/pause")).expect(204);
    let mut refused = daemon.api().try_hijack(&format!("/containers/{id}/attach?stream=1&stdout=1"), None);
    assert_eq!(refused.status, 409);
    assert!(String::from_utf8_lossy(&refused.rest()).contains("is paused, unpause the container before attach"));
    let mut refused = daemon.api().try_hijack("/containers/nobody/attach?stream=1&stdout=1", None);
    assert_eq!(refused.status, 404);
    assert!(String::from_utf8_lossy(&refused.rest()).contains("No such container: nobody"));
}

#[test]
fn attaching_without_an_upgrade_streams_too() {
    let daemon = Daemon::start();
    let id = daemon.create(&["echo", "plain"], json!({}));
    let path = format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1");
    // As curl does it: no Upgrade header, and the connection is the client's to close.
    let request = format!("POST {path} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n");
    let mut stream = daemon.api().raw(request.as_bytes()).expect("an answer");
    assert_eq!(stream.status, 200);
    assert_eq!(stream.header("content-type"), Some("application/vnd.docker.raw-stream"));
    daemon.start_container(&id);
    assert_eq!(read_output(&mut stream).out(), "plain\n");
}

#[test]
fn stdin_without_open_stdin_is_not_the_containers() {
    let daemon = Daemon::start();
    let id = daemon.create(&["cat"], json!({}));
    let mut attached = daemon.attach(&id);
    daemon.start_container(&id);
    // The container may be gone already; then nobody reads.
    drop(std::io::Write::write_all(&mut attached.socket(), b"nobody reads this\n"));
    let mut rest = Vec::new();
    drop(attached.read_to_end(&mut rest));
    assert_eq!(rest, b"");
    assert_eq!(daemon.wait(&id), 0);
}

#[test]
fn stdin_stays_open_between_clients_unless_it_is_stdin_once() {
    let daemon = Daemon::start();
    let id = daemon.create(&["cat"], json!({"OpenStdin": true}));
    let mut first = daemon.attach(&id);
    daemon.start_container(&id);
    first.write(b"one\n");
    read_stdout(&mut first, 4);
    drop(first);
    let mut second = daemon.attach(&id);
    second.write(b"two\n");
    assert_eq!(read_stdout(&mut second, 4), b"two\n");
    assert_eq!(daemon.status(&id), "running");
}

#[test]
fn output_right_before_the_exit_is_never_lost() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return; // too slow to be worth it
    }
    std::thread::scope(|scope| {
        for worker in 0..4_usize {
            let daemon = &daemon;
            scope.spawn(move || {
                for run in 0..12_usize {
                    let size = [1, 100, 4096, 65_536, 65_537, 300_000, 1_000_003][(worker + run) % 7] + run;
                    let script = format!("head -c {size} /dev/urandom >/tmp/f; sha256sum /tmp/f >&2; cat /tmp/f");
                    let id = daemon.create(&["sh", "-c", &script], json!({}));
                    let mut attached = daemon.attach(&id);
                    daemon.start_container(&id);
                    let live = read_output(&mut attached);
                    daemon.wait(&id);
                    let logged = daemon.logs(&id);
                    let expected = live.err().split(' ').next().map(str::to_owned).expect("a sum");
                    assert_eq!((live.stdout.len(), sha256(&live.stdout)), (size, expected.clone()), "attach");
                    assert_eq!((logged.stdout.len(), sha256(&logged.stdout)), (size, expected), "logs");
                    daemon.remove(&id);
                }
            });
        }
    });
}
