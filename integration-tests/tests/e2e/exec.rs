//! More processes in a running container.

use integration_tests::frames::{read_output, read_stdout};
use integration_tests::*;

#[test]
fn an_exec_runs_in_the_containers_namespaces_and_tells_its_exit_code() {
    let daemon = Daemon::start();
    let id = daemon.run(&["sh", "-c", containers::IDLE], json!({"Hostname": "inside"}));
    let output = daemon.exec(&id, &["sh", "-c", "hostname; echo oops >&2; exit 5"], json!({}));
    assert_eq!((output.code, output.out().as_str(), output.err().as_str()), (5, "inside\n", "oops\n"));
    let output = daemon.exec(&id, &["sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '"], json!({}));
    assert!(output.out().starts_with("sh -c"), "it sees the container's init: {output:?}");
    for kind in ["pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        let link = format!("readlink /proc/1/ns/{kind}; readlink /proc/self/ns/{kind}");
        let output = daemon.exec(&id, &["sh", "-c", &link], json!({})).out();
        let links: Vec<&str> = output.lines().collect();
        assert_eq!(links[0], links[1], "{kind}");
    }
}

#[test]
fn inspect_tells_how_far_an_exec_is() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let exec = daemon.exec_create(&id, &["sh", "-c", "echo go; read line; exit 4"], json!({"AttachStdin": true}));
    let inspect = daemon.exec_inspect(&exec);
    assert_eq!(inspect["ID"], exec.as_str());
    assert_eq!(inspect["ContainerID"], id.as_str());
    assert_eq!((&inspect["Running"], &inspect["ExitCode"]), (&json!(false), &Value::Null));
    let process = &inspect["ProcessConfig"];
    assert_eq!((&process["entrypoint"], &process["tty"]), (&json!("sh"), &json!(false)));
    assert_eq!(process["arguments"], json!(["-c", "echo go; read line; exit 4"]));
    let mut stream = daemon.exec_start(&exec, json!({}));
    assert_eq!(read_stdout(&mut stream, 3), b"go\n");
    let inspect = daemon.exec_inspect(&exec);
    assert_eq!((&inspect["Running"], &inspect["ExitCode"]), (&json!(true), &Value::Null));
    wait_until("the pid", || (daemon.exec_inspect(&exec)["Pid"].as_i64()? > 1).then_some(()));
    assert_eq!(daemon.inspect(&id)["ExecIDs"], json!([exec]));
    stream.write(b"\n");
    read_output(&mut stream);
    let inspect = daemon.exec_inspect(&exec);
    assert_eq!((&inspect["Running"], &inspect["ExitCode"]), (&json!(false), &json!(4)));
}

#[test]
fn an_execs_stdin_is_half_closed() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let exec = daemon.exec_create(&id, &["sha256sum"], json!({"AttachStdin": true}));
    let mut stream = daemon.exec_start(&exec, json!({}));
    let bytes = vec![b'z'; 500_000];
    stream.write(&bytes);
    stream.close_write();
    assert_eq!(read_output(&mut stream).out(), format!("{}  -\n", sha256(&bytes)));
}

#[test]
fn an_unknown_command_is_127_and_a_directory_is_126() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    for (command, code, words) in [
        ("nowhere", 127, "executable file not found in $PATH"),
        ("/etc", 126, "permission denied"),
        ("/etc/passwd", 126, "permission denied"),
    ] {
        let exec = daemon.exec_create(&id, &[command], json!({}));
        let mut stream = daemon.exec_start(&exec, json!({}));
        let said = String::from_utf8_lossy(&stream.rest()).into_owned();
        assert!(said.contains(words), "{command}: {said:?}");
        // Before 23.0 dockerd said 126 whatever the reason.
        let code = if daemon.is_own() { code } else { 126 };
        wait_until("the exit code", || (daemon.exec_inspect(&exec)["ExitCode"] == code).then_some(()));
    }
    assert_eq!(daemon.status(&id), "running");
}

#[test]
fn user_environment_and_directory_are_the_execs_own() {
    let daemon = Daemon::start();
    let id = daemon
        .run(&["sh", "-c", containers::IDLE], json!({"Env": ["BASE=1"], "WorkingDir": "/home", "User": "worker"}));
    let script = ["sh", "-c", "id -u; id -g; pwd; echo $BASE $MORE $HOME"];
    assert_eq!(daemon.exec(&id, &script, json!({})).out(), "1000\n1000\n/home\n1 /home/worker\n");
    let more = json!({"User": "0:50", "WorkingDir": "/tmp", "Env": ["MORE=2"]});
    assert_eq!(daemon.exec(&id, &script, more).out(), "0\n50\n/tmp\n1 2 /root\n");
    let exec = daemon.exec_create(&id, &["true"], json!({"User": "stranger"}));
    let mut stream = daemon.api().try_hijack(&format!("/exec/{exec}/start"), Some(&json!({"Detach": false})));
    let said = String::from_utf8_lossy(&stream.rest()).into_owned();
    assert!(said.contains("unable to find user stranger"), "{said}");
}

#[test]
fn a_detached_exec_answers_at_once_and_runs_on() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let exec = daemon.exec_create(&id, &["sh", "-c", "echo here >/tmp/mark; exit 6"], json!({}));
    let answer = daemon.api().post_json(&format!("/exec/{exec}/start"), &json!({"Detach": true})).expect(200);
    assert!(answer.body.is_empty());
    wait_until("its exit code", || (daemon.exec_inspect(&exec)["ExitCode"] == 6).then_some(()));
    assert_eq!(daemon.exec(&id, &["cat", "/tmp/mark"], json!({})).out(), "here\n");
}

#[test]
fn an_exec_starts_once() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let exec = daemon.exec_create(&id, &["true"], json!({}));
    read_output(&mut daemon.exec_start(&exec, json!({})));
    // On a hijacked connection it is too late for a status, and dockerd says it in the stream.
    let again = daemon.api().post_json(&format!("/exec/{exec}/start"), &json!({"Detach": true})).expect(409).message();
    assert!(again.contains("has already run"), "{again}");
    daemon.api().post_json("/exec/0123456789/start", &json!({})).expect(404);
    daemon.api().get("/exec/0123456789/json").expect(404);
}

#[test]
fn an_exec_with_a_terminal_has_a_size_and_can_be_resized() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let script = "trap 'stty size' WINCH; tty; echo ready; while :; do sleep 0.05; done";
    let exec = daemon.exec_create(&id, &["sh", "-c", script], json!({"Tty": true, "AttachStdin": true}));
    let mut stream = daemon.exec_start(&exec, json!({"Tty": true}));
    let greeting = stream.until(b"ready\r\n");
    assert!(greeting.starts_with(b"/dev/pts/"), "{:?}", String::from_utf8_lossy(&greeting));
    daemon.api().post(&format!("/exec/{exec}/resize?h=41&w=142")).expect(200);
    stream.until(b"41 142\r\n");
    daemon.api().post(&format!("/exec/{exec}/resize?h=x&w=1")).expect(400);
    stream.write(&[3]);
    stream.rest();
    wait_until("its end", || (daemon.exec_inspect(&exec)["Running"] == false).then_some(()));
}

#[test]
fn execs_are_refused_when_they_make_no_sense() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let stopped = daemon.create(&["true"], json!({}));
    let message =
        api.post_json(&format!("/containers/{stopped}/exec"), &json!({"Cmd": ["true"]})).expect(409).message();
    assert!(message.contains(&format!("ontainer {stopped} is not running")), "{message}");
    let id = daemon.run_idle();
    let message = api.post_json(&format!("/containers/{id}/exec"), &json!({"Cmd": []})).expect(400).message();
    assert_eq!(message, "No exec command specified");
    let body = json!({"Cmd": ["true"], "DetachKeys": "ctrl-nonsense"});
    let answer = api.post_json(&format!("/containers/{id}/exec"), &body);
    assert!(answer.status == 400 || !daemon.is_own(), "{}", answer.status);
    assert!(answer.message().contains("ctrl-nonsense"), "{}", answer.message());
}

#[test]
fn execs_end_with_their_container() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let exec = daemon.exec_create(&id, &["sleep", "1000"], json!({}));
    let mut stream = daemon.exec_start(&exec, json!({}));
    wait_until("the exec", || (daemon.exec_inspect(&exec)["Running"] == true).then_some(()));
    daemon.api().post(&format!("/containers/{id}/kill")).expect(204);
    read_output(&mut stream);
    wait_until("its end", || (daemon.exec_inspect(&exec)["Running"] == false).then_some(()));
    if daemon.is_own() {
        assert_eq!(daemon.exec_inspect(&exec)["ExitCode"], 137, "dockerd 20.10 forgets it");
    }
    daemon.remove(&id);
    daemon.api().get(&format!("/exec/{exec}/json")).expect(404);
}

#[test]
fn a_privileged_exec_has_all_capabilities_and_a_plain_one_the_containers() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let effective = |more: Value| {
        let output = daemon.exec(&id, &["grep", "CapEff", "/proc/self/status"], more);
        u64::from_str_radix(output.out().split_whitespace().last().expect("a mask"), 16)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    assert_eq!(effective(json!({})), 0xa804_25fb, "Docker's default capabilities");
    if daemon.is_own() {
        // dockerd 20.10 asks for capabilities that it may not have itself.
        assert!(effective(json!({"Privileged": true})) & (1 << 21) != 0, "CAP_SYS_ADMIN");
    }
}

#[test]
fn thirty_execs_at_once_keep_their_output_apart() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    std::thread::scope(|scope| {
        for number in 0..30 {
            let (daemon, id) = (&daemon, &id);
            scope.spawn(move || {
                let output = daemon.exec(id, &["sh", "-c", &format!("seq {number} 500; exit {number}")], json!({}));
                let expected: String = (number..=500).map(|n| format!("{n}\n")).collect();
                assert_eq!((output.code, output.out()), (number, expected));
            });
        }
    });
}
