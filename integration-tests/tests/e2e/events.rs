//! What happened, told live and afterwards.

use integration_tests::*;

/// Asks for the events of one container up to now.
fn past(daemon: &Daemon, id: &str) -> Vec<Value> {
    let filters: String = json!({"container": [id]}).to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    daemon.api().get(&format!("/events?since=0&until={until}&filters={filters}")).expect(200).json_lines()
}

fn actions(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["Action"].as_str().expect("an action").to_owned()).collect()
}

#[test]
fn a_containers_life_is_told_in_order() {
    let daemon = Daemon::start();
    let id = daemon.create_named(Some("told"), &["sh", "-c", "exit 3"], json!({"Labels": {"a": "b"}}));
    daemon.start_container(&id);
    daemon.wait(&id);
    daemon.remove(&id);
    let events = past(&daemon, &id);
    let without_network: Vec<String> = actions(&events);
    assert_eq!(without_network, ["create", "start", "die", "destroy"]);
    let die = &events[2];
    assert_eq!((&die["Type"], &die["scope"]), (&json!("container"), &json!("local")));
    assert_eq!(die["Actor"]["ID"], id.as_str());
    let attributes = &die["Actor"]["Attributes"];
    assert_eq!(attributes["name"], "told");
    assert_eq!(attributes["image"], "busybox");
    assert_eq!(attributes["exitCode"], "3");
    assert_eq!(attributes["a"], "b");
    assert!(die["timeNano"].as_i64().expect("ns") / 1_000_000_000 == die["time"].as_i64().expect("s"));
    // What clients from before 1.52 look at.
    assert_eq!((&die["status"], &die["id"], &die["from"]), (&json!("die"), &json!(id), &json!("busybox")));
}

#[test]
fn events_are_sent_as_they_happen() {
    let daemon = Daemon::start();
    let mut live = daemon.api().open("GET", "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D", &[], b"");
    assert_eq!((live.status, live.header("content-type")), (200, Some("application/json")));
    let id = daemon.create(&["true"], json!({}));
    assert_eq!(live.json_line()["Action"], "create");
    daemon.start_container(&id);
    assert_eq!(live.json_line()["Action"], "start");
    assert_eq!(live.json_line()["Action"], "die");
    daemon.remove(&id);
    assert_eq!(live.json_line()["Action"], "destroy");
}

#[test]
fn stop_kill_pause_rename_resize_and_exec_are_events_too() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let id = daemon.run_idle();
    let post = |what: &str| drop(api.post(&format!("/containers/{id}/{what}")).expect(204));
    post("pause");
    post("unpause");
    post("rename?name=other");
    assert_eq!(daemon.exec(&id, &["true"], json!({})).code, 0);
    post("stop");
    post("start");
    post("kill");
    daemon.wait(&id);
    let events = wait_until("the second die", || {
        let events = past(&daemon, &id);
        (events.iter().filter(|event| event["Action"] == "die").count() == 2).then_some(events)
    });
    let actions = actions(&events);
    for expected in
        ["pause", "unpause", "rename", "exec_create: true ", "exec_start: true ", "exec_die", "kill", "stop"]
    {
        assert!(actions.iter().any(|action| action.trim() == expected.trim()), "{expected} in {actions:?}");
    }
    let rename = events.iter().find(|event| event["Action"] == "rename").expect("rename");
    assert_eq!(rename["Actor"]["Attributes"]["name"], "other");
    assert!(rename["Actor"]["Attributes"]["oldName"].as_str().expect("a name").starts_with('/'));
    let kill = events.iter().find(|event| event["Action"] == "kill").expect("kill");
    assert_eq!(kill["Actor"]["Attributes"]["signal"], "15");
    let die = events.iter().find(|event| event["Action"] == "exec_die").expect("exec_die");
    assert_eq!(die["Actor"]["Attributes"]["exitCode"], "0");
}

#[test]
fn filters_choose_by_type_action_and_label() {
    let daemon = Daemon::start();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let id = daemon.create(&["true"], json!({"Labels": {"wanted": "yes"}}));
    daemon.create(&["true"], json!({}));
    daemon.start_container(&id);
    daemon.wait(&id);
    let ask = |filters: Value| {
        let filters: String = filters.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
        let until = since + 3600;
        let path = format!("/events?since={since}&until={until}&filters={filters}");
        let mut stream = daemon.api().open("GET", &path, &[], b"");
        stream.json_line()
    };
    let labelled = ask(json!({"type": ["container"], "label": ["wanted=yes"], "event": ["start"]}));
    assert_eq!((&labelled["Action"], &labelled["Actor"]["ID"]), (&json!("start"), &json!(id)));
    let image = ask(json!({"image": ["busybox"], "event": ["die"], "container": [id]}));
    assert_eq!(image["Actor"]["ID"], id.as_str());
}
