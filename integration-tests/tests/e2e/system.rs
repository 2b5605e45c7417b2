//! The parts of the API that are about the daemon itself, and about requests as such.

use integration_tests::*;

#[test]
fn ping_answers_get_and_head_with_the_headers_that_clients_negotiate_by() {
    let daemon = Daemon::start_empty(&[]);
    for method in ["GET", "HEAD"] {
        for path in ["/_ping", "/v1.24/_ping", "/v1.41/_ping"] {
            let answer = daemon.api().request(method, path, &[], b"").expect(200);
            assert_eq!(answer.text(), if method == "GET" { "OK" } else { "" }, "{method} {path}");
            let version = answer.header("api-version").expect("Api-Version");
            assert_eq!(version, if daemon.is_own() { "1.51" } else { "1.41" });
            assert_eq!(answer.header("ostype"), Some("linux"));
            assert_eq!(answer.header("docker-experimental"), Some("false"));
            assert!(answer.header("builder-version").is_some() || !daemon.is_own());
            assert!(answer.header("server").expect("Server").contains("(linux)"));
            assert_eq!(answer.header("cache-control"), Some("no-cache, no-store, must-revalidate"));
        }
    }
}

#[test]
fn version_and_info_have_what_clients_read() {
    let daemon = Daemon::start();
    let version = daemon.api().get("/version").expect(200).json();
    for member in ["Version", "ApiVersion", "MinAPIVersion", "Os", "Arch", "KernelVersion", "GitCommit", "BuildTime"] {
        assert!(version[member].is_string(), "{member} in {version}");
    }
    assert_eq!((&version["Os"], &version["Arch"]), (&json!("linux"), &json!("amd64")));
    assert!(version["Components"].as_array().is_some_and(|components| !components.is_empty()));
    daemon.run_idle();
    let paused = daemon.run_idle();
    daemon.api().post(&format!("/containers/{paused}/pause")).expect(204);
    daemon.create(&["true"], json!({}));
    let info = daemon.api().get("/info").expect(200).json();
    let images = if daemon.is_own() { Some(1) } else { info["Images"].as_i64() };
    let counts = ["Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped", "Images"];
    assert_eq!(counts.map(|count| info[count].as_i64()), [Some(3), Some(1), Some(1), Some(1), images], "{info}");
    assert_eq!((&info["OSType"], &info["Architecture"]), (&json!("linux"), &json!("x86_64")));
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert!(
        info["NCPU"].as_i64().is_some_and(|count| count > 0) && info["MemTotal"].as_i64().is_some_and(|size| size > 0)
    );
    for member in
        ["ServerVersion", "OperatingSystem", "Driver", "CgroupDriver", "CgroupVersion", "KernelVersion", "ID", "Name"]
    {
        assert!(info[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {info}");
    }
    let security = info["SecurityOptions"].as_array().expect("a list");
    assert!(
        security.iter().any(|option| option.as_str().is_some_and(|text| text.starts_with("name=seccomp"))),
        "{security:?}"
    );
}

#[test]
fn every_path_exists_with_and_without_a_version() {
    let daemon = Daemon::start_empty(&[]);
    for path in ["/version", "/v1.24/version", "/v1.41/version", "/v1.30/containers/json", "/v1.40/images/json"] {
        daemon.api().get(path).expect(200);
    }
    if !daemon.is_own() {
        return; // dockerd 20.10 says it as plain text
    }
    let message = daemon.api().get("/v1.99/version").expect(400).message();
    assert!(message.starts_with("client version 1.99 is too new. Maximum supported API version is 1.51"), "{message}");
    let message = daemon.api().get("/v1.1/version").expect(400).message();
    assert!(message.starts_with("client version 1.1 is too old. Minimum supported API version is "), "{message}");
}

#[test]
fn an_unknown_path_or_method_is_a_page_that_was_not_found() {
    let daemon = Daemon::start_empty(&[]);
    for (method, path) in
        [("GET", "/nothing"), ("PUT", "/version"), ("GET", "/v1.41/nothing/at/all"), ("POST", "/nothing")]
    {
        let answer = daemon.api().request(method, path, &[], b"").expect(404);
        assert_eq!(answer.message(), "page not found", "{method} {path}");
    }
}

#[test]
fn errors_carry_the_headers_of_every_answer() {
    let daemon = Daemon::start_empty(&[]);
    for path in ["/nothing", "/containers/nobody/json", "/v1.1/version"] {
        let answer = daemon.api().get(path);
        if !daemon.is_own() && path != "/containers/nobody/json" {
            continue;
        }
        assert!(answer.header("api-version").is_some(), "{path}: {:?}", answer.headers);
        assert!(answer.header("server").is_some_and(|server| server.starts_with("Docker/")), "{:?}", answer.headers);
    }
}

#[test]
fn a_body_that_is_not_what_it_should_be_is_refused_and_the_daemon_lives_on() {
    let daemon = Daemon::start();
    let post = |content_type: &str, body: &[u8]| {
        daemon.api().request("POST", "/containers/create", &[("Content-Type", content_type)], body)
    };
    let cases: &[&[u8]] = &[
        b"{",
        b"[]",
        b"nonsense",
        b"{\"Image\": 5}",
        b"{\"Image\":\"busybox\",\"Env\":\"A=1\"}",
        b"{\"Image\":\"busybox\",\"HostConfig\":[]}",
        b"{\"Image\":\"busybox\",\"Labels\":{\"a\":1}}",
        b"{\"Image\":\"busybox\",\"Tty\":\"yes\"}",
        b"{\"Image\":\"busybox\"} trailing",
        b"\xff\xfe",
    ];
    for body in cases {
        let answer = post("application/json", body);
        assert!(answer.status == 400 || !daemon.is_own(), "{:?}: {}", String::from_utf8_lossy(body), answer.status);
        assert!(!daemon.is_own() || !answer.message().is_empty());
    }
    let refused = post("text/plain", b"{}");
    assert!(refused.status == 400 || !daemon.is_own(), "{}", refused.text());
    assert!(refused.message().contains("ontent-Type"), "{}", refused.message());
    let empty = post("application/json", b"");
    assert!(empty.status == 400 || !daemon.is_own(), "{}", empty.text());
    daemon.api().get("/_ping").expect(200);
    let made = daemon.api().get("/containers/json?all=1").json();
    assert!(made == json!([]) || !daemon.is_own(), "{made}");
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return;
    }
    let body = format!(r#"{{"Image":"busybox","Labels":{{"a":"{}"}}}}"#, "x".repeat(32 << 20));
    let answer =
        daemon.api().request("POST", "/containers/create", &[("Content-Type", "application/json")], body.as_bytes());
    assert!(matches!(answer.status, 400 | 413), "{}", answer.status);
    assert!(!answer.message().is_empty());
    daemon.api().get("/_ping").expect(200);
}

#[test]
fn names_in_bodies_are_read_in_any_case_and_nulls_are_nothing() {
    let daemon = Daemon::start();
    let body = json!({"image": "busybox", "CMD": ["echo", "hi"], "env": null, "labels": null, "hostconfig": {"networkmode": "none", "binds": null}});
    let id = daemon.api().post_json("/containers/create", &body).expect(201).json()["Id"]
        .as_str()
        .expect("an id")
        .to_owned();
    daemon.start_container(&id);
    daemon.wait(&id);
    assert_eq!(daemon.logs(&id).out(), "hi\n");
}

#[test]
fn garbage_on_the_socket_does_not_harm_the_daemon() {
    use std::io::Write;
    let daemon = Daemon::start_empty(&[]);
    for garbage in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        b"GET /_ping HTTP/9.9\r\n\r\n",
        &[0; 4096],
        b"POST /containers/create HTTP/1.1\r\nContent-Length: 99999\r\n\r\n{",
    ] {
        let mut socket = std::os::unix::net::UnixStream::connect(&daemon.api().socket).expect("connect");
        drop(socket.write_all(garbage));
    }
    // A slow client holds up no other one.
    let mut slow = std::os::unix::net::UnixStream::connect(&daemon.api().socket).expect("connect");
    slow.write_all(b"GET /_pi").expect("write");
    daemon.api().get("/_ping").expect(200);
}

#[test]
fn one_connection_serves_many_requests() {
    use std::io::Write;
    let daemon = Daemon::start_empty(&[]);
    let mut stream = daemon.api().raw(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").expect("an answer");
    for _ in 0..3 {
        assert_eq!(stream.exactly(2), b"OK");
        stream.socket().write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").expect("write");
        let mut next = stream.next_answer().expect("the connection is kept");
        std::mem::swap(&mut stream, &mut next);
    }
}

#[test]
fn what_is_not_served_yet_answers_as_dockerd_does_when_it_is_off() {
    let daemon = Daemon::start_empty(&[]);
    let message = daemon.api().get("/services").expect(503).message();
    assert!(message.starts_with("This node is not a swarm manager."), "{message}");
    assert_eq!(daemon.api().get("/plugins").expect(200).json(), json!([]));
}
