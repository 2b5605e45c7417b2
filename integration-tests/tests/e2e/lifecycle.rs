//! What becomes of a container between create and remove.

use std::time::{Duration, Instant};

use integration_tests::containers::IDLE;
use integration_tests::*;

#[test]
fn a_created_container_is_described_in_full() {
    let daemon = Daemon::start();
    let body = json!({
        "Labels": {"who": "me"}, "Env": ["A=1"], "WorkingDir": "/tmp", "User": "worker", "Hostname": "box",
        "StopSignal": "SIGINT", "StopTimeout": 3, "OpenStdin": true, "StdinOnce": true, "Entrypoint": ["sh", "-c"],
    });
    let id = daemon.create_named(Some("described"), &["exit 3"], body);
    let inspect = daemon.inspect(&id);
    assert_eq!(inspect["Id"], id.as_str());
    assert_eq!(inspect["Name"], "/described");
    assert_eq!(inspect["Path"], "sh");
    assert_eq!(inspect["Args"], json!(["-c", "exit 3"]));
    assert!(inspect["Image"].as_str().expect("an id").starts_with("sha256:"));
    assert!(inspect["Created"].as_str().expect("a time").starts_with("20"));
    let state = &inspect["State"];
    assert_eq!(state["Status"], "created");
    assert_eq!(state["Running"], false);
    assert_eq!(state["Pid"], 0);
    assert_eq!(state["ExitCode"], 0);
    assert_eq!(state["StartedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(state["FinishedAt"], "0001-01-01T00:00:00Z");
    let config = &inspect["Config"];
    assert_eq!(config["Labels"], json!({"who": "me"}));
    assert_eq!(config["WorkingDir"], "/tmp");
    assert_eq!(config["User"], "worker");
    assert_eq!(config["Hostname"], "box");
    assert_eq!(config["StopSignal"], "SIGINT");
    assert_eq!(config["StopTimeout"], 3);
    assert_eq!(config["Image"], "busybox");
    assert_eq!(config["Entrypoint"], json!(["sh", "-c"]));
    assert_eq!(config["Cmd"], json!(["exit 3"]));
    let env = config["Env"].as_array().expect("a list");
    assert!(
        env.contains(&json!("A=1")) && env.iter().any(|e| e.as_str().expect("text").starts_with("PATH=")),
        "{env:?}"
    );
    assert_eq!(inspect["HostConfig"]["NetworkMode"], "none");
}

#[test]
fn a_container_runs_and_its_exit_code_is_kept() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("exit 7");
    assert_eq!(daemon.wait(&id), 7);
    let state = &daemon.inspect(&id)["State"];
    assert_eq!(state["Status"], "exited");
    assert_eq!(state["ExitCode"], 7);
    assert_eq!(state["Pid"], 0);
    assert!(state["FinishedAt"].as_str() >= state["StartedAt"].as_str(), "{state}");
    assert!(state["StartedAt"].as_str().expect("a time").ends_with('Z'));
}

#[test]
fn a_signal_is_told_as_128_and_its_number() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("kill -9 $$");
    assert_eq!(daemon.wait(&id), 0, "the init of a pid namespace does not take signals from inside");
    let id = daemon.run(&["sleep", "100"], json!({}));
    daemon.api().post(&format!("/containers/{id}/kill")).expect(204);
    assert_eq!(daemon.wait(&id), 137);
}

#[test]
fn starting_twice_and_stopping_twice_changes_nothing() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let api = daemon.api();
    assert!(api.post(&format!("/containers/{id}/start")).expect(304).body.is_empty());
    api.post(&format!("/containers/{id}/stop")).expect(204);
    api.post(&format!("/containers/{id}/stop")).expect(304);
    assert_eq!(daemon.inspect(&id)["State"]["ExitCode"], 0, "it handled SIGTERM");
}

#[test]
fn stop_sends_the_containers_signal_and_kills_after_the_timeout() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let polite =
        daemon.run(&["sh", "-c", "trap 'exit 5' INT; while :; do sleep 0.05; done"], json!({"StopSignal": "SIGINT"}));
    daemon.wait_for_trap(&polite, 2);
    api.post(&format!("/containers/{polite}/stop")).expect(204);
    assert_eq!(daemon.wait(&polite), 5);

    let stubborn = daemon.run_sh("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    daemon.wait_for_log(&stubborn, "ready");
    let begun = Instant::now();
    api.post(&format!("/containers/{stubborn}/stop?t=1")).expect(204);
    let took = begun.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert_eq!(daemon.wait(&stubborn), 137);

    let default =
        daemon.run(&["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"], json!({"StopTimeout": 0}));
    daemon.wait_for_log(&default, "ready");
    let begun = Instant::now();
    api.post(&format!("/containers/{default}/stop")).expect(204);
    assert!(begun.elapsed() < Duration::from_secs(5), "StopTimeout was not used");
}

#[test]
fn kill_takes_names_and_numbers_and_refuses_others() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let id = daemon.run_sh("trap 'echo usr1' USR1; trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done");
    daemon.wait_for_log(&id, "ready");
    api.post(&format!("/containers/{id}/kill?signal=SIGUSR1")).expect(204);
    daemon.wait_for_log(&id, "usr1");
    api.post(&format!("/containers/{id}/kill?signal=1")).expect(204);
    daemon.wait_for_log(&id, "hup");
    let refused = api.post(&format!("/containers/{id}/kill?signal=SIGNONE")).expect(400).message();
    assert!(refused.to_lowercase().contains("invalid signal: signone"), "{refused}");
    api.post(&format!("/containers/{id}/kill?signal=KILL")).expect(204);
    assert_eq!(daemon.wait(&id), 137);
    let refused = api.post(&format!("/containers/{id}/kill")).expect(409).message();
    assert!(refused.contains(&format!("ontainer {id} is not running")), "{refused}");
}

#[test]
fn restart_gives_a_new_process_and_keeps_the_file_system() {
    let daemon = Daemon::start();
    let id = daemon.run_sh(&format!("echo again >>/tmp/count; cat /tmp/count; {IDLE}"));
    daemon.wait_for_log(&id, "again");
    daemon.wait_for_trap(&id, 15);
    let before = daemon.inspect(&id)["State"]["Pid"].clone();
    daemon.api().post(&format!("/containers/{id}/restart?t=5")).expect(204);
    let inspect = daemon.inspect(&id);
    assert_eq!(inspect["State"]["Status"], "running");
    assert_ne!(inspect["State"]["Pid"], before);
    daemon.wait_for_log(&id, "again\nagain\nagain\n");
    daemon.wait_for_trap(&id, 15);
    daemon.api().post(&format!("/containers/{id}/stop")).expect(204);
    daemon.api().post(&format!("/containers/{id}/restart")).expect(204);
    assert_eq!(daemon.status(&id), "running", "restart starts what is stopped");
}

#[test]
fn a_paused_container_stands_still_until_it_is_unpaused() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let id = daemon.run_sh("while :; do echo tick; sleep 0.01; done");
    daemon.wait_for_log(&id, "tick");
    api.post(&format!("/containers/{id}/pause")).expect(204);
    let state = daemon.inspect(&id)["State"].clone();
    assert_eq!((&state["Status"], &state["Running"], &state["Paused"]), (&json!("paused"), &json!(true), &json!(true)));
    let before = daemon.logs(&id).stdout.len();
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(daemon.logs(&id).stdout.len(), before, "it wrote while it was paused");
    let message = api.post(&format!("/containers/{id}/pause")).expect(409).message();
    assert!(message.contains("is already paused"), "{message}");
    let exec = api.post_json(&format!("/containers/{id}/exec"), &json!({"Cmd": ["true"]})).expect(409).message();
    assert!(exec.contains("is paused, unpause the container before exec"), "{exec}");
    api.post(&format!("/containers/{id}/unpause")).expect(204);
    wait_until("more output", || (daemon.logs(&id).stdout.len() > before).then_some(()));
    let message = api.post(&format!("/containers/{id}/unpause")).message();
    assert!(message.contains("is not paused"), "{message}");
}

#[test]
fn a_paused_container_can_be_killed_and_removed() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    daemon.api().post(&format!("/containers/{id}/pause")).expect(204);
    daemon.api().delete(&format!("/containers/{id}?force=1")).expect(204);
    daemon.api().get(&format!("/containers/{id}/json")).expect(404);
}

#[test]
fn wait_for_not_running_answers_at_once_when_it_does_not_run() {
    let daemon = Daemon::start();
    let created = daemon.create(&["true"], json!({}));
    assert_eq!(daemon.wait(&created), 0);
    let exited = daemon.run_sh("exit 9");
    assert_eq!(daemon.wait(&exited), 9);
    assert_eq!(daemon.wait(&exited), 9);
}

#[test]
fn wait_for_next_exit_waits_for_an_exit_that_is_still_to_come() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "sleep 0.1; exit 4"], json!({}));
    let path = format!("/containers/{id}/wait?condition=next-exit");
    let mut waiting = daemon.api().open("POST", &path, &[], b"");
    assert_eq!(waiting.status, 200, "the head comes before the exit");
    daemon.start_container(&id);
    assert_eq!(waiting.json_line()["StatusCode"], 4);
}

#[test]
fn wait_for_removed_answers_after_the_removal_with_the_exit_code() {
    let daemon = Daemon::start();
    let id = daemon.create(&["sh", "-c", "exit 6"], json!({"HostConfig": {"AutoRemove": true}}));
    let mut waiting = daemon.api().open("POST", &format!("/containers/{id}/wait?condition=removed"), &[], b"");
    daemon.start_container(&id);
    assert_eq!(waiting.json_line()["StatusCode"], 6);
    daemon.api().get(&format!("/containers/{id}/json")).expect(404);
}

#[test]
fn an_unknown_wait_condition_is_refused() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return; // dockerd checks it since 23.0
    }
    let id = daemon.create(&["true"], json!({}));
    let message = daemon.api().post(&format!("/containers/{id}/wait?condition=someday")).expect(400).message();
    assert_eq!(message, "invalid condition: \"someday\"");
}

#[test]
fn a_container_with_auto_remove_is_gone_after_its_exit() {
    let daemon = Daemon::start();
    let id = daemon.run(&["true"], json!({"HostConfig": {"AutoRemove": true}}));
    wait_until("its removal", || (daemon.api().get(&format!("/containers/{id}/json")).status == 404).then_some(()));
}

#[test]
fn a_running_container_is_removed_only_by_force() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let message = daemon.api().delete(&format!("/containers/{id}")).expect(409).message();
    assert!(message.contains("ontainer") && message.contains("remov"), "{message}");
    assert_eq!(daemon.status(&id), "running");
    daemon.remove(&id);
    let message = daemon.api().delete(&format!("/containers/{id}")).expect(404).message();
    assert_eq!(message, format!("No such container: {id}"));
}

#[test]
fn a_container_is_found_by_name_id_and_unique_prefix() {
    let daemon = Daemon::start();
    let id = daemon.create_named(Some("found"), &["true"], json!({}));
    for key in [id.as_str(), &id[..12], &id[..4], "found"] {
        assert_eq!(daemon.inspect(key)["Id"], id.as_str(), "{key}");
    }
    // Seventeen ids share a first digit somewhere.
    let ids: Vec<String> = (0..16).map(|_| daemon.create(&["true"], json!({}))).chain([id]).collect();
    let first = |digit: char| ids.iter().filter(|id| id.starts_with(digit)).count();
    let shared = "0123456789abcdef".chars().find(|&digit| first(digit) > 1).expect("pigeons and holes");
    let answer = daemon.api().get(&format!("/containers/{shared}/json"));
    // Before 24.0 dockerd said 500.
    assert!(answer.status == 400 || !daemon.is_own(), "{}", answer.status);
    assert!(
        answer.message().to_lowercase().contains("multiple ids found with provided prefix"),
        "{}",
        answer.message()
    );
}

#[test]
fn a_name_is_taken_once_and_can_be_changed() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let id = daemon.create_named(Some("taken"), &["true"], json!({}));
    let body = json!({"Image": "busybox", "HostConfig": {"NetworkMode": "none"}});
    let message = api.post_json("/containers/create?name=taken", &body).expect(409).message();
    let expected = format!(
        "Conflict. The container name \"/taken\" is already in use by container \"{id}\". You have to remove (or rename) \
         that container to be able to reuse that name."
    );
    assert_eq!(message, expected);
    api.post(&format!("/containers/{id}/rename?name=given")).expect(204);
    assert_eq!(daemon.inspect("given")["Name"], "/given");
    api.get("/containers/taken/json").expect(404);
    daemon.create_named(Some("taken"), &["true"], json!({}));
    api.post("/containers/taken/rename?name=given").expect(409);
    let message = api.post("/containers/taken/rename?name=").expect(400).message();
    assert!(message.contains("may be empty") || message.contains("empty"), "{message}");
    api.post("/containers/taken/rename?name=no%20good").expect(400);
    api.post("/containers/nobody/rename?name=x1").expect(404);
}

#[test]
fn a_running_container_can_be_renamed() {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    daemon.api().post(&format!("/containers/{id}/rename?name=walking")).expect(204);
    assert_eq!(daemon.status("walking"), "running");
}

#[test]
fn the_list_shows_running_ones_first_all_on_request_and_newest_first() {
    let daemon = Daemon::start();
    let running = daemon.run_idle();
    let exited = daemon.run_sh("exit 2");
    daemon.wait(&exited);
    let created = daemon.create_named(Some("third"), &["echo", "a b"], json!({"Labels": {"x": "y"}}));
    let list = |query: &str| -> Vec<Value> {
        daemon.api().get(&format!("/containers/json{query}")).expect(200).json().as_array().expect("a list").clone()
    };
    let ids =
        |list: &[Value]| -> Vec<String> { list.iter().map(|c| c["Id"].as_str().expect("id").to_owned()).collect() };
    assert_eq!(ids(&list("")), [running.as_str()]);
    let all = list("?all=1");
    assert_eq!(ids(&all), [created.clone(), exited.clone(), running.clone()]);
    assert_eq!(ids(&list("?limit=1")), [created.as_str()]);
    let third = &all[0];
    assert_eq!(third["Names"], json!(["/third"]));
    assert_eq!(third["State"], "created");
    assert_eq!(third["Status"], "Created");
    assert_eq!(third["Image"], "busybox");
    assert_eq!(third["Command"], "echo 'a b'");
    assert_eq!(third["Labels"], json!({"x": "y"}));
    assert_eq!(third["Ports"], json!([]));
    assert!(third["Created"].is_i64());
    assert_eq!(third["HostConfig"]["NetworkMode"], "none");
    assert!(all[1]["Status"].as_str().expect("text").starts_with("Exited (2) "), "{}", all[1]["Status"]);
    assert!(all[2]["Status"].as_str().expect("text").starts_with("Up "), "{}", all[2]["Status"]);
}

#[test]
fn the_list_is_filtered_by_what_clients_ask_for() {
    let daemon = Daemon::start();
    let labelled = daemon.create_named(Some("with-label"), &["true"], json!({"Labels": {"color": "red", "size": "1"}}));
    let other = daemon.run_idle();
    let exited = daemon.run_sh("exit 3");
    daemon.wait(&exited);
    let cases: &[(&str, &[&str])] = &[
        (r#"{"label":["color"]}"#, &[&labelled]),
        (r#"{"label":{"color=red":true,"size=1":true}}"#, &[&labelled]),
        (r#"{"label":["color=blue"]}"#, &[]),
        (r#"{"name":["with-"]}"#, &[&labelled]),
        (r#"{"status":["running"]}"#, &[&other]),
        (r#"{"status":["exited","created"]}"#, &[&exited, &labelled]),
        (r#"{"exited":["3"]}"#, &[&exited]),
        (r#"{"ancestor":["busybox"]}"#, &[&exited, &other, &labelled]),
        (r#"{"ancestor":["nothing"]}"#, &[]),
    ];
    for (filters, expected) in cases {
        let query: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let list = daemon.api().get(&format!("/containers/json?all=1&filters={query}")).expect(200).json();
        let ids: Vec<&str> = list.as_array().expect("a list").iter().map(|c| c["Id"].as_str().expect("id")).collect();
        assert_eq!(ids, *expected, "{filters}");
    }
    let message = daemon.api().get("/containers/json?filters=%7B%22bogus%22%3A%5B%22x%22%5D%7D").expect(400).message();
    assert!(message.contains("invalid filter 'bogus'") || message.contains("Invalid filter 'bogus'"), "{message}");
    let malformed = daemon.api().get("/containers/json?filters=nonsense");
    assert!(malformed.status == 400 || !daemon.is_own(), "{}", malformed.status);
}

#[test]
fn top_shows_the_processes_as_the_host_sees_them() {
    let daemon = Daemon::start();
    let id = daemon.run_sh("sleep 1234 & sleep 4321; true");
    let top = wait_until("both sleeps", || {
        let top = daemon.api().get(&format!("/containers/{id}/top")).expect(200).json();
        ["\"sleep 1234\"", "\"sleep 4321\""].iter().all(|sleep| top.to_string().contains(sleep)).then_some(top)
    });
    assert_eq!(top["Processes"].as_array().expect("rows").len(), 3);
    let titles = top["Titles"].as_array().expect("titles");
    let column =
        |name: &str| titles.iter().position(|title| title == name).unwrap_or_else(|| panic!("{name} in {titles:?}"));
    let (pid, command) = (column("PID"), column("CMD"));
    let rows = top["Processes"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row[command] == "sleep 1234"), "{rows:?}");
    let init = daemon.inspect(&id)["State"]["Pid"].to_string();
    assert!(rows.iter().any(|row| row[pid] == init.as_str()), "{init} in {rows:?}");
    let custom = daemon.api().get(&format!("/containers/{id}/top?ps_args=-o%20pid,comm")).expect(200).json();
    assert_eq!(custom["Titles"], json!(["PID", "COMMAND"]));
    daemon.api().post(&format!("/containers/{id}/kill")).expect(204);
    daemon.wait(&id);
    let message = daemon.api().get(&format!("/containers/{id}/top")).expect(409).message();
    assert!(message.contains("is not running"), "{message}");
}

#[test]
fn a_terminal_has_the_size_that_it_is_given_before_and_after_the_start() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let script = "stty size; trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    let sized = json!({"Tty": true, "OpenStdin": true, "HostConfig": {"ConsoleSize": [11, 22]}});
    let id = daemon.create(&["sh", "-c", script], sized);
    let message = api.post(&format!("/containers/{id}/resize?h=30&w=100")).expect(409).message();
    assert!(message.contains("is not running"), "{message}");
    let mut attached = daemon.attach(&id);
    daemon.start_container(&id);
    let greeting = String::from_utf8_lossy(&attached.until(b"ready\r\n")).into_owned();
    if daemon.is_own() {
        assert!(greeting.contains("11 22\r\n"), "ConsoleSize: {greeting:?}");
    }
    api.post(&format!("/containers/{id}/resize?h=30&w=100")).expect(200);
    attached.until(b"30 100\r\n");
    api.post(&format!("/containers/{id}/resize?h=x&w=100")).expect(400);
    api.post(&format!("/containers/{id}/resize?h=30")).expect(400);
}

#[test]
fn many_containers_start_at_once_and_all_of_them_end_well() {
    let daemon = Daemon::start();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let daemon = &daemon;
            scope.spawn(move || {
                let output = daemon.sh(&format!("echo {number}; exit {number}"), json!({}));
                assert_eq!((output.code, output.out()), (number, format!("{number}\n")));
            });
        }
    });
}

#[test]
fn a_missing_program_fails_the_start_with_127_and_leaves_the_container_created() {
    let daemon = Daemon::start();
    let cases = [
        (json!(["nowhere"]), 127, "executable file not found in $PATH"),
        (json!(["/no/where"]), 127, "no such file or directory"),
        (json!(["/etc/passwd"]), 126, "permission denied"),
        (json!(["/etc"]), 126, "permission denied"),
    ];
    for (command, code, words) in cases {
        let id = daemon.create(&[], json!({"Cmd": command}));
        let answer = daemon.api().post(&format!("/containers/{id}/start")).expect(400);
        assert!(answer.message().contains(words), "{command}: {}", answer.message());
        let state = &daemon.inspect(&id)["State"];
        assert_eq!((&state["Status"], &state["ExitCode"]), (&json!("created"), &json!(code)), "{command}: {state}");
        assert!(state["Error"].as_str().expect("text").contains(words), "{state}");
        daemon.remove(&id);
    }
}

#[test]
fn a_failed_start_with_auto_remove_removes_the_container() {
    let daemon = Daemon::start();
    let id = daemon.create(&["nowhere"], json!({"HostConfig": {"AutoRemove": true}}));
    let mut waiting = daemon.api().open("POST", &format!("/containers/{id}/wait?condition=removed"), &[], b"");
    daemon.api().post(&format!("/containers/{id}/start")).expect(400);
    waiting.rest();
    daemon.api().get(&format!("/containers/{id}/json")).expect(404);
}

#[test]
fn everything_about_a_container_that_is_not_there_is_404() {
    let daemon = Daemon::start();
    let api = daemon.api();
    for (method, path) in [
        ("GET", "json"),
        ("GET", "top"),
        ("GET", "logs?stdout=1"),
        ("POST", "start"),
        ("POST", "stop"),
        ("POST", "restart"),
        ("POST", "kill"),
        ("POST", "pause"),
        ("POST", "unpause"),
        ("POST", "wait"),
        ("POST", "resize?h=1&w=1"),
        ("POST", "rename?name=newname"),
        ("POST", "attach?stream=1&stdout=1"),
    ] {
        let answer = api.request(method, &format!("/containers/nobody/{path}"), &[], b"");
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(answer.text().contains("No such container: nobody"), "{path}: {}", answer.text());
    }
    let exec = json!({"Cmd": ["true"]});
    api.post_json("/containers/nobody/exec", &exec).expect(404);
    let message = api.delete("/containers/nobody").expect(404).message();
    assert_eq!(message, "No such container: nobody");
}

#[test]
fn a_container_that_is_being_started_can_be_removed_by_force() {
    let daemon = Daemon::start();
    for delay in 0..25 {
        let id = daemon.create(&["sh", "-c", IDLE], json!({}));
        std::thread::scope(|scope| {
            scope.spawn(|| daemon.api().post(&format!("/containers/{id}/start")));
            std::thread::sleep(Duration::from_micros(delay * 200));
            daemon.api().delete(&format!("/containers/{id}?force=1")).expect(204);
        });
        daemon.api().get(&format!("/containers/{id}/json")).expect(404);
    }
}
