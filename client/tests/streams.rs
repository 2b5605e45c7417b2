//! The binary's interactive verbs against a daemon that a test plays: bytes, exit codes, half-close, resize, loss,
//! signals, terminal.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail it the way the test itself does")]

mod fake;

use std::{
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    process::{Child, Output, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::sync::Notify;

use crate::fake::{Channel, Exchange, FakeDaemon, exited};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Longer than anything here takes, shorter than anybody waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon that has one exec, and streams it with `stream`.
fn exec_daemon<F>(stream: impl Fn(Channel) -> F + Send + Sync + Clone + 'static) -> FakeDaemon
where
    F: Future<Output = ()> + Send + 'static,
{
    FakeDaemon::start(move |exchange| {
        let stream = stream.clone();
        async move {
            match exchange.line.as_str() {
                "POST /containers/box/exec" => exchange.answer(201, r#"{"Id":"e1"}"#).await,
                line if line.starts_with("GET /exec/e1/ws") => stream(exchange.upgrade().await).await,
                line => panic!("{line}"),
            }
        }
    })
}

fn output(mut child: Child) -> Output {
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (out, err) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let readers = [
        std::thread::spawn({
            let out = Arc::clone(&out);
            move || stdout.read_to_end(&mut out.lock().unwrap()).unwrap()
        }),
        std::thread::spawn({
            let err = Arc::clone(&err);
            move || stderr.read_to_end(&mut err.lock().unwrap()).unwrap()
        }),
    ];
    let status = wait(&mut child);
    for reader in readers {
        reader.join().unwrap();
    }
    let take = |bytes: &Mutex<Vec<u8>>| std::mem::take(&mut *bytes.lock().unwrap());
    Output { status, stdout: take(&out), stderr: take(&err) }
}

/// Waits for the end with a deadline: a client that hangs is a failure of its own.
fn wait(child: &mut Child) -> std::process::ExitStatus {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (done, expired) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if expired.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            kill(pid, Signal::SIGKILL).unwrap();
        }
    });
    let status = child.wait().unwrap();
    drop(done);
    watchdog.join().unwrap();
    assert_ne!(status.signal(), Some(9), "the client hung");
    status
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn outputs_stay_apart_and_the_exit_code_is_the_programs() {
    let daemon = exec_daemon(async |mut channel: Channel| {
        channel.send(1, b"out\x00\xff").await;
        channel.send(2, b"err").await;
        channel.send(1, b"put").await;
        channel.finish(&exited(3)).await;
    });
    let output = output(daemon.pinnace(&["exec", "box", "x"]).spawn().unwrap());
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\x00\xffput"[..], &b"err"[..]));
}

#[test]
fn every_byte_arrives_in_order_whatever_the_size_of_messages() {
    let sizes = [1usize, 63, 64, 4096, 65_535, 65_536, 1_048_575, 3_000_000];
    let daemon = exec_daemon(move |mut channel: Channel| async move {
        let mut bytes = (0..=u8::MAX).cycle();
        for size in sizes {
            let payload: Vec<u8> = bytes.by_ref().take(size).collect();
            channel.send(1, &payload).await;
        }
        channel.finish(&exited(0)).await;
    });
    let output = output(daemon.pinnace(&["exec", "box", "x"]).spawn().unwrap());
    assert!(output.status.success());
    assert_eq!(output.stdout.len(), sizes.iter().sum::<usize>());
    assert!(output.stdout.iter().zip((0..=u8::MAX).cycle()).all(|(&found, expected)| found == expected));
}

#[test]
fn the_end_of_stdin_is_sent_after_its_last_byte() {
    let daemon = exec_daemon(async |mut channel: Channel| {
        let mut input = Vec::new();
        loop {
            match channel.receive().await.unwrap().as_slice() {
                [0, payload @ ..] => input.extend_from_slice(payload),
                [255, 0] => break,
                other => panic!("{other:?}"),
            }
        }
        channel.send(1, &input).await;
        channel.finish(&exited(0)).await;
    });
    let mut child = daemon.pinnace(&["exec", "-i", "box", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let given: Vec<u8> = (0..1_000_003u32).map(|at| (at % 251) as u8).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let given = given.clone();
        move || stdin.write_all(&given).unwrap()
    });
    let output = output(child);
    writer.join().unwrap();
    assert!(output.stdout == given, "{} bytes of {}", output.stdout.len(), given.len());
}

#[test]
fn a_stdin_that_stays_open_keeps_nothing_from_ending() {
    let daemon = exec_daemon(async |mut channel: Channel| channel.finish(&exited(7)).await);
    let mut child = daemon.pinnace(&["exec", "-i", "box", "x"]).stdin(Stdio::piped()).spawn().unwrap();
    let _open = child.stdin.take();
    assert_eq!(output(child).status.code(), Some(7));
}

#[test]
fn a_program_that_does_not_read_its_stdin_has_its_exit_code_all_the_same() {
    let daemon = exec_daemon(async |mut channel: Channel| {
        channel.receive().await;
        channel.send(1, b"enough").await;
        // And is gone, with much of stdin unread.
        channel.send(3, exited(9).as_bytes()).await;
    });
    for _ in 0..20 {
        let mut child = daemon.pinnace(&["exec", "-i", "box", "head"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || while stdin.write_all(&[b'y'; 65_536]).is_ok() {});
        let output = output(child);
        writer.join().unwrap();
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(9), "enough"), "{}", text(&output.stderr));
    }
}

#[test]
fn without_interactive_nothing_is_sent() {
    let daemon = exec_daemon(async |mut channel: Channel| {
        let silence = tokio::time::timeout(Duration::from_millis(300), channel.receive()).await;
        assert!(silence.is_err(), "{silence:?}");
        channel.finish(&exited(0)).await;
    });
    let mut child = daemon.pinnace(&["exec", "box", "x"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"not for the program").unwrap();
    assert!(output(child).status.success());
}

#[test]
fn a_lost_connection_is_said_and_is_a_failure() {
    let daemon = exec_daemon(async |mut channel: Channel| channel.send(1, b"so far").await);
    let output = output(daemon.pinnace(&["exec", "box", "x"]).spawn().unwrap());
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b"so far"[..]));
    assert!(text(&output.stderr).contains("the connection to the daemon ended"), "{}", text(&output.stderr));
}

#[test]
fn detaching_is_a_success() {
    let daemon = exec_daemon(async |mut channel: Channel| {
        channel.finish(r#"{"metadata":{},"status":"Success","reason":"Detached"}"#).await;
    });
    let output = output(daemon.pinnace(&["exec", "box", "x"]).spawn().unwrap());
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), "read escape sequence\n"));
}

#[test]
fn a_program_that_cannot_be_run_says_why_and_by_its_exit_code() {
    let cause = r#", "details": {"causes": [{"reason": "ExitCode", "message": "127"}]}"#;
    let table = [
        ("InternalError", "exec: x: executable file not found in $PATH", "", 127),
        ("InternalError", "x: permission denied", "", 126),
        ("TooSlow", "the client did not take its output in time", "", 1),
        ("NonZeroExitCode", "exec: x: not there", cause, 127),
    ];
    for (reason, message, details, code) in table {
        let status = format!(r#"{{"status": "Failure", "reason": "{reason}", "message": "{message}"{details}}}"#);
        let daemon = exec_daemon(move |mut channel: Channel| {
            let status = status.clone();
            async move { channel.finish(&status).await }
        });
        let output = output(daemon.pinnace(&["exec", "box", "x"]).spawn().unwrap());
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(code), format!("{message}\n").as_str()));
    }
}

#[test]
fn a_reader_that_leaves_ends_the_client_quietly() {
    let daemon = exec_daemon(async |mut channel: Channel| {
        loop {
            channel.send(1, &[b'y'; 65_536]).await;
        }
    });
    let mut child = daemon.pinnace(&["exec", "box", "yes"]).spawn().unwrap();
    let mut some = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let status = wait(&mut child);
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert_eq!((status.code(), complaint.as_str()), (Some(141), ""));
}

/// A daemon that runs one container: `start` answers with the given error, or starts `stream`.
fn run_daemon<F>(
    start_error: Option<&'static str>,
    stream: impl Fn(Channel) -> F + Send + Sync + Clone + 'static,
) -> FakeDaemon
where
    F: Future<Output = ()> + Send + 'static,
{
    let (started, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    FakeDaemon::start(move |exchange: Exchange| {
        let (stream, started, ended) = (stream.clone(), Arc::clone(&started), Arc::clone(&ended));
        async move {
            let path = exchange.line.split('?').next().unwrap().replace(ID, "ID");
            match path.as_str() {
                "POST /containers/create" => {
                    let body: serde_json::Value = serde_json::from_slice(&exchange.body).unwrap();
                    assert_eq!(body["Image"], "image");
                    exchange.answer(201, &format!(r#"{{"Id":"{ID}","Warnings":["careful"]}}"#)).await;
                }
                "GET /containers/ID/attach/ws" => {
                    let channel = exchange.upgrade().await;
                    started.notified().await;
                    stream(channel).await;
                    ended.notify_one();
                }
                "POST /containers/ID/wait" => {
                    exchange
                        .answer_later(async {
                            ended.notified().await;
                            r#"{"StatusCode":42}"#.to_owned()
                        })
                        .await;
                }
                "POST /containers/ID/start" => match start_error {
                    Some(message) => {
                        ended.notify_one();
                        exchange.answer(400, &serde_json::json!({"message": message}).to_string()).await;
                    }
                    None => {
                        started.notify_one();
                        exchange.answer(204, "").await;
                    }
                },
                "POST /containers/ID/kill" => exchange.answer(204, "").await,
                other => panic!("{other}"),
            }
        }
    })
}

#[test]
fn run_attaches_and_waits_before_it_starts() {
    let daemon = run_daemon(None, async |mut channel: Channel| {
        channel.send(1, b"hello\n").await;
        channel.finish(&exited(5)).await;
    });
    let output = output(daemon.pinnace(&["run", "--rm", "image", "x"]).spawn().unwrap());
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(5), "hello\n"));
    assert_eq!(text(&output.stderr), "WARNING: careful\n");
    let calls: Vec<_> = daemon.calls().into_iter().map(|call| call.replace(ID, "ID")).collect();
    assert_eq!(
        calls,
        [
            "POST /containers/create",
            "GET /containers/ID/attach/ws?stream=1&stdout=1&stderr=1",
            "POST /containers/ID/wait?condition=removed",
            "POST /containers/ID/start",
        ]
    );
}

#[test]
fn a_run_whose_stream_breaks_has_the_exit_code_from_wait() {
    let daemon = run_daemon(None, async |mut channel: Channel| channel.send(1, b"half").await);
    let output = output(daemon.pinnace(&["run", "image"]).spawn().unwrap());
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(42), "half"));
}

#[test]
fn a_failed_start_has_dockers_exit_code_and_the_daemons_words() {
    let table = [
        ("exec: \"nope\": executable file not found in $PATH", 127),
        ("exec: \"/etc\": permission denied", 126),
        ("no space left on device", 125),
    ];
    for (message, code) in table {
        let daemon = run_daemon(Some(message), async |_channel: Channel| ());
        let output = output(daemon.pinnace(&["run", "--rm", "image", "nope"]).spawn().unwrap());
        let expected = format!("WARNING: careful\nError response from daemon: {message}\n");
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(code), expected.as_str()));
    }
}

#[test]
fn signals_reach_the_container_and_not_the_client() {
    let daemon = run_daemon(None, async |mut channel: Channel| {
        channel.send(1, b"ready\n").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        channel.finish(&exited(143)).await;
    });
    let mut child = daemon.pinnace(&["run", "image"]).spawn().unwrap();
    let mut line = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(wait(&mut child).code(), Some(143));
    assert!(daemon.calls().contains(&format!("POST /containers/{ID}/kill?signal=SIGTERM")), "{:?}", daemon.calls());
}

#[test]
fn the_third_interrupt_ends_the_client() {
    let daemon = run_daemon(None, async |mut channel: Channel| {
        channel.send(1, b"ready\n").await;
        while channel.receive().await.is_some() {}
    });
    let mut child = daemon.pinnace(&["run", "image"]).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    for proxied in 1..=3 {
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
        let kills = || daemon.calls().iter().filter(|call| call.ends_with("kill?signal=SIGINT")).count();
        let deadline = Instant::now() + PATIENCE;
        // Signals of one kind that come together are one signal.
        while proxied < 3 && kills() < proxied && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let output = output(child);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).ends_with("got 3 SIGTERM/SIGINTs, forcefully exiting\n"));
}

#[test]
fn a_start_that_hangs_can_be_interrupted() {
    let daemon = FakeDaemon::start(|exchange: Exchange| async move {
        match exchange.line.split('?').next().unwrap().replace(ID, "ID").as_str() {
            "POST /containers/create" => exchange.answer(201, &format!(r#"{{"Id":"{ID}","Warnings":[]}}"#)).await,
            "GET /containers/ID/attach/ws" => drop(exchange.upgrade().await.receive().await),
            "POST /containers/ID/wait" => exchange.answer_later(std::future::pending()).await,
            "POST /containers/ID/start" => std::future::pending().await,
            other => panic!("{other}"),
        }
    });
    let mut child = daemon.pinnace(&["run", "image"]).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while daemon.calls().len() < 4 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(wait(&mut child).code(), Some(130));
}

/// A terminal of our own: the side that a person sits at, and the client's.
fn terminal(columns: u16, rows: u16) -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave =
        rustix::fs::open(name, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY, rustix::fs::Mode::empty());
    resize(&master, columns, rows);
    (master, slave.unwrap())
}

fn resize(terminal: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}

fn is_raw(terminal: &OwnedFd) -> bool {
    !tcgetattr(terminal).unwrap().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
}

fn spawn_in(terminal: &OwnedFd, daemon: &FakeDaemon, arguments: &[&str]) -> Child {
    let side = || Stdio::from(terminal.try_clone().unwrap());
    daemon.pinnace(arguments).stdin(side()).stdout(side()).spawn().unwrap()
}

fn read_until(mut master: &std::fs::File, wanted: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        let mut some = [0; 256];
        let length = master.read(&mut some).unwrap();
        seen.extend_from_slice(&some[..length]);
    }
}

#[test]
fn the_size_comes_first_then_keys_and_every_new_size() {
    let daemon = exec_daemon(async |mut channel: Channel| {
        assert_eq!(channel.receive().await.unwrap(), b"\x04{\"Width\":80,\"Height\":24}");
        channel.send(1, b"ready").await;
        // Raw: the key that would be an interrupt is a byte like any other.
        assert_eq!(channel.receive().await.unwrap(), b"\x00\x03");
        channel.send(1, b"bigger").await;
        assert_eq!(channel.receive().await.unwrap(), b"\x04{\"Width\":132,\"Height\":43}");
        channel.finish(&exited(4)).await;
    });
    let (master, slave) = terminal(80, 24);
    let mut child = spawn_in(&slave, &daemon, &["exec", "-it", "box", "sh"]);
    let mut person = std::fs::File::from(master.try_clone().unwrap());
    read_until(&person, "ready");
    assert!(is_raw(&slave));
    person.write_all(b"\x03").unwrap();
    read_until(&person, "bigger");
    resize(&master, 132, 43);
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGWINCH).unwrap();
    assert_eq!(wait(&mut child).code(), Some(4));
    assert!(!is_raw(&slave));
    assert_eq!(daemon.calls()[1], "GET /exec/e1/ws?h=24&w=80");
}

#[test]
fn signals_and_lost_connections_leave_the_terminal_as_it_was() {
    for signal in [Some(Signal::SIGTERM), Some(Signal::SIGHUP), None] {
        let daemon = exec_daemon(move |mut channel: Channel| async move {
            channel.send(1, b"ready").await;
            if signal.is_some() {
                while channel.receive().await.is_some() {}
            } else {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let (master, slave) = terminal(80, 24);
        let mut child = spawn_in(&slave, &daemon, &["exec", "-it", "box", "sh"]);
        read_until(&std::fs::File::from(master.try_clone().unwrap()), "ready");
        assert!(is_raw(&slave));
        if let Some(signal) = signal {
            kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        }
        let code = wait(&mut child).code();
        assert_eq!(code, Some(signal.map_or(1, |signal| 128 + signal as i32)));
        assert!(!is_raw(&slave), "{signal:?}");
    }
}

#[test]
fn a_terminal_is_not_promised_where_there_is_none() {
    let daemon = exec_daemon(async |_channel: Channel| ());
    for arguments in [["exec", "-it", "box", "sh"], ["run", "-i", "-t", "image"]] {
        let output = output(daemon.pinnace(&arguments).spawn().unwrap());
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), "the input device is not a TTY\n"));
    }
    assert!(daemon.calls().is_empty());
}

#[test]
fn a_refused_upload_is_said_in_the_daemons_words() {
    // The daemon answers without having read the archive, which is larger than any buffer in between.
    let daemon = FakeDaemon::start(|exchange: Exchange| exchange.answer(400, r#"{"message":"too large"}"#));
    let archive = tempfile::NamedTempFile::new().unwrap();
    archive.as_file().set_len(64 << 20).unwrap();
    for _ in 0..20 {
        let child = daemon.pinnace(&["load", "-i", archive.path().to_str().unwrap()]).spawn().unwrap();
        let output = output(child);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said), (Some(1), "Error response from daemon: too large\n"));
    }
}

#[test]
fn a_daemon_that_is_not_there_is_said_to_be() {
    let directory = tempfile::TempDir::new().unwrap();
    let missing = directory.path().join("none");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pinnace"))
        .args(["-H", &format!("unix://{}", missing.display()), "ps"])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains(missing.to_str().unwrap()) && said.contains("it is not running") && said.contains("pinnaced"),
        "{said}"
    );
}
