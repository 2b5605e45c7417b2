//! The daemon is ended, gently and not, while containers run, print and exit; and comes back.

use std::path::Path;
use std::time::Duration;

use integration_tests::channel::V5;
use integration_tests::frames::{read_output, read_stdout};
use integration_tests::*;

/// Ends the daemon in one way or the other.
fn end(daemon: &mut Daemon, gently: bool) {
    if gently {
        assert!(daemon.terminate().success());
    } else {
        daemon.kill();
    }
}

fn pid(daemon: &Daemon, id: &str) -> i64 {
    daemon.inspect(id)["State"]["Pid"].as_i64().expect("a pid")
}

fn ends(daemon: &Daemon, pid: i64) {
    let gone = || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(());
    wait_until("the container's end", gone);
    assert!(daemon.is_own());
}

#[test]
fn running_containers_run_on_with_the_same_pid_and_all_their_output() {
    for gently in [true, false] {
        let mut daemon = Daemon::start();
        let id = daemon.run_sh("i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.005; done; exit 3");
        daemon.wait_for_log(&id, "line 10\n");
        let before = daemon.inspect(&id);
        end(&mut daemon, gently);
        std::thread::sleep(Duration::from_millis(200));
        daemon.start_again();
        let after = daemon.inspect(&id);
        assert_eq!(after["State"], before["State"], "gently: {gently}");
        assert_eq!(daemon.wait(&id), 3);
        let expected: String = (0..300).map(|number| format!("line {number}\n")).collect();
        assert_eq!(daemon.logs(&id).out(), expected, "gently: {gently}");
    }
}

#[test]
fn what_exited_meanwhile_has_its_true_exit_code_and_time() {
    for gently in [true, false] {
        let mut daemon = Daemon::start();
        let id = daemon.run_sh("echo start; sleep 0.3; echo finish; date +%s; exit 42");
        daemon.wait_for_log(&id, "start");
        let init = pid(&daemon, &id);
        end(&mut daemon, gently);
        ends(&daemon, init);
        std::thread::sleep(Duration::from_millis(1500));
        daemon.start_again();
        let state = daemon.inspect(&id)["State"].clone();
        assert_eq!((&state["Status"], &state["ExitCode"], &state["Pid"]), (&json!("exited"), &json!(42), &json!(0)));
        assert_eq!(daemon.wait(&id), 42);
        let output = daemon.logs(&id).out();
        let second = output.strip_prefix("start\nfinish\n").unwrap_or_else(|| panic!("{output:?}")).trim().to_owned();
        let finished = state["FinishedAt"].as_str().expect("a time").to_owned();
        let told = command::run(std::process::Command::new("date").args(["-d", &finished, "+%s"]), b"").ok();
        let late = told.trim().parse::<i64>().expect("s") - second.parse::<i64>().expect("s");
        assert!((0..=1).contains(&late), "it ended at {second}, and was said to at {finished}");
    }
}

#[test]
fn a_killed_containers_code_is_137_although_nobody_watched() {
    let mut daemon = Daemon::start();
    let id = daemon.run(&["sleep", "1000"], json!({}));
    let init = pid(&daemon, &id);
    daemon.kill();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(init).expect("a pid")),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("kill");
    ends(&daemon, init);
    daemon.start_again();
    assert_eq!(daemon.wait(&id), 137);
}

#[test]
fn an_adopted_container_can_do_everything() {
    for gently in [true, false] {
        let mut daemon = Daemon::start();
        let script = "trap 'echo bye; exit 5' TERM; echo ready; while read line; do echo got $line; done";
        let id = daemon.create(&["sh", "-c", script], json!({"OpenStdin": true}));
        daemon.start_container(&id);
        daemon.wait_for_log(&id, "ready");
        end(&mut daemon, gently);
        daemon.start_again();
        assert_eq!(daemon.exec(&id, &["echo", "exec"], json!({})).out(), "exec\n");
        let mut attached = daemon.attach(&id);
        attached.write(b"x\n");
        assert_eq!(read_stdout(&mut attached, 6), b"got x\n");
        let api = daemon.api();
        api.post(&format!("/containers/{id}/pause")).expect(204);
        api.post(&format!("/containers/{id}/unpause")).expect(204);
        assert!(
            !api.get(&format!("/containers/{id}/top")).expect(200).json()["Processes"]
                .as_array()
                .expect("rows")
                .is_empty()
        );
        let mut waiting = api.open("POST", &format!("/containers/{id}/wait?condition=next-exit"), &[], b"");
        api.post(&format!("/containers/{id}/kill?signal=TERM")).expect(204);
        attached.write(b"last\n");
        assert_eq!(waiting.json_line()["StatusCode"], 5);
        assert!(read_output(&mut attached).out().ends_with("bye\n"));
    }
}

#[test]
fn a_paused_container_is_still_paused() {
    let mut daemon = Daemon::start();
    let id = daemon.run_sh("while :; do echo tick; sleep 0.01; done");
    daemon.wait_for_log(&id, "tick");
    daemon.api().post(&format!("/containers/{id}/pause")).expect(204);
    daemon.kill();
    daemon.start_again();
    assert_eq!(daemon.status(&id), "paused");
    let before = daemon.logs(&id).stdout.len();
    daemon.api().post(&format!("/containers/{id}/unpause")).expect(204);
    wait_until("more output", || (daemon.logs(&id).stdout.len() > before).then_some(()));
}

#[test]
fn a_container_with_auto_remove_that_exited_meanwhile_is_removed() {
    let mut daemon = Daemon::start();
    let id = daemon.run(&["sleep", "0.2"], json!({"HostConfig": {"AutoRemove": true}}));
    let init = pid(&daemon, &id);
    daemon.kill();
    ends(&daemon, init);
    daemon.start_again();
    wait_until("its removal", || (daemon.api().get(&format!("/containers/{id}/json")).status == 404).then_some(()));
}

#[test]
fn a_terminal_outlives_the_daemon() {
    let mut daemon = Daemon::start();
    let id = daemon.create(&["sh"], json!({"Tty": true, "OpenStdin": true}));
    let mut attached = daemon.attach(&id);
    daemon.start_container(&id);
    attached.write(b"x=kept; stty -echo; echo read''y\n");
    attached.until(b"ready\r\n");
    daemon.kill();
    daemon.start_again();
    let path = format!("/containers/{id}/attach/ws?stream=1&stdin=1&stdout=1");
    let mut socket = WebSocket::connect(daemon.api(), &path, Some(V5)).expect("an upgrade");
    socket.resize(77, 33);
    socket.send_channel(channel::STDIN, b"echo $x; stty size; exit 6\n");
    let ended = socket.channels();
    assert!(ended.output.out().contains("kept\r\n33 77\r\n"), "{ended:?}");
    assert_eq!(ended.output.code, 6);
}

#[test]
fn a_wait_that_the_restart_cut_off_can_be_asked_again() {
    let mut daemon = Daemon::start();
    let id = daemon.run_sh("sleep 0.5; exit 8");
    daemon.kill();
    daemon.start_again();
    assert_eq!(daemon.wait(&id), 8);
}

#[test]
fn kill_at_any_moment_of_creation_start_and_removal_leaves_a_consistent_state() {
    let mut daemon = Daemon::start();
    for round in 0..8_u64 {
        let api = daemon.api().clone();
        let worker = std::thread::spawn(move || {
            // Requests fail as soon as the daemon is gone.
            drop(std::panic::catch_unwind(|| {
                for number in 0.. {
                    let name = format!("r{round}n{number}");
                    let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}});
                    api.post_json(&format!("/containers/create?name={name}"), &body).expect(201);
                    api.post(&format!("/containers/{name}/start")).expect(204);
                    if number % 2 == 0 {
                        api.delete(&format!("/containers/{name}?force=1")).expect(204);
                    }
                }
            }));
        });
        std::thread::sleep(Duration::from_millis(40 + round * 23));
        daemon.kill();
        worker.join().expect("the worker catches its panics");
        daemon.start_again();
        let list = daemon.api().get("/containers/json?all=1").expect(200).json();
        for container in list.as_array().expect("a list") {
            let id = container["Id"].as_str().expect("an id");
            let state = &daemon.inspect(id)["State"];
            let status = state["Status"].as_str().expect("a status");
            assert!(matches!(status, "created" | "running" | "exited"), "round {round}: {state}");
            daemon.api().delete(&format!("/containers/{id}?force=1")).expect(204);
        }
    }
    // The oracle looks for what is left when the daemon is dropped.
}

#[test]
fn a_helper_that_is_killed_ends_its_container_and_nothing_else() {
    let daemon = Daemon::start();
    let other = daemon.run_idle();
    let id = daemon.run(&["sleep", "1000"], json!({}));
    let init = pid(&daemon, &id);
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).expect("status");
    let helper =
        status.lines().find_map(|line| line.strip_prefix("PPid:\t")).expect("a parent").parse::<i32>().expect("a pid");
    assert!(helper > 1 && helper != daemon.pid(), "its parent is its helper");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(helper), nix::sys::signal::Signal::SIGKILL).expect("kill");
    wait_until("the daemon to notice", || (daemon.status(&id) == "exited").then_some(()));
    assert_ne!(daemon.inspect(&id)["State"]["ExitCode"], 0);
    ends(&daemon, init);
    assert_eq!(daemon.status(&other), "running");
    daemon.start_container(&id);
    assert_eq!(daemon.status(&id), "running", "it can be started again");
}

#[test]
fn twenty_containers_are_adopted() {
    let mut daemon = Daemon::start();
    let ids: Vec<String> = (0..20).map(|_| daemon.run_idle()).collect();
    let pids: Vec<i64> = ids.iter().map(|id| pid(&daemon, id)).collect();
    daemon.kill();
    daemon.start_again();
    assert_eq!(ids.iter().map(|id| pid(&daemon, id)).collect::<Vec<_>>(), pids);
    assert_eq!(daemon.api().get("/containers/json").json().as_array().expect("a list").len(), 20);
}
