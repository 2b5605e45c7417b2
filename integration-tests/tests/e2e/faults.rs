//! What goes wrong, and everything at once: the daemon answers, stays, and leaves nothing.

use std::time::{Duration, Instant};

use integration_tests::image::Tar;
use integration_tests::*;

#[test]
fn a_full_disk_is_an_error_and_nothing_more() {
    let daemon = Daemon::start_on_small_disk("24m");
    daemon.load(&image::busybox_archive());
    let used = || {
        let status = nix::sys::statvfs::statvfs(&daemon.directory().join("data")).expect("statvfs");
        (status.blocks() - status.blocks_free()) * status.fragment_size()
    };
    let before = used();
    let noise: Vec<u8> = (0..30_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let large = image::docker_archive(
        &["large:1"],
        &image::busybox_config(),
        &[Tar::new().file("noise", 0o644, &noise).finish()],
    );
    let answer = daemon.api().request("POST", "/images/load", &[], &large);
    assert!(answer.status == 500 || answer.text().contains("error"), "{} {}", answer.status, answer.text());
    assert!(answer.text().to_lowercase().contains("no space left on device"), "{}", answer.text());
    daemon.api().get("/images/large:1/json").expect(404);
    // What was written is given back, if not at once.
    wait_until("the space", || (used() < before + 2_000_000).then_some(()));

    // A container that fills the disk meets the error itself, and its log does not stop it.
    let output = daemon.sh("head -c 30000000 /dev/zero >/fill; echo $?; rm /fill; echo freed", json!({}));
    assert_eq!(output.out(), "1\nfreed\n", "{output:?}");
    assert_eq!(daemon.sh("echo fine", json!({})).out(), "fine\n");
}

#[test]
fn a_container_whose_log_cannot_be_written_runs_on() {
    let daemon = Daemon::start_on_small_disk("16m");
    daemon.load(&image::busybox_archive());
    let id =
        daemon.create(&["sh", "-c", "head -c 20000000 /dev/zero >/fill; seq 1 20000; rm /fill; echo end"], json!({}));
    let mut attached = daemon.attach(&id);
    daemon.start_container(&id);
    let output = frames::read_output(&mut attached);
    let expected: String = (1..=20000).map(|number| format!("{number}\n")).chain(["end\n".to_owned()]).collect();
    assert!(output.out() == expected, "attached clients get everything: {} bytes", output.stdout.len());
    assert_eq!(daemon.wait(&id), 0);
}

/// A source of numbers that depends on nothing but its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Does one thing at random with one of a few containers, and returns what the daemon said.
fn random_step(daemon: &Daemon, dice: &mut Dice) -> (String, Response) {
    let api = daemon.api();
    let name = format!("soak{}", dice.roll(6));
    let post = |path: String| (path.clone(), api.post(&path));
    match dice.roll(16) {
        0..3 => {
            let script = ["exit 3", containers::IDLE, "echo hello; sleep 0.05", "while :; do echo x; sleep 0.01; done"];
            let remove = dice.roll(4) == 0;
            let body = json!({
                "Image": "busybox", "Cmd": ["sh", "-c", script[dice.roll(4) as usize]], "Tty": dice.roll(3) == 0,
                "OpenStdin": dice.roll(2) == 0, "HostConfig": {"NetworkMode": "none", "AutoRemove": remove},
            });
            let answer = api.post_json(&format!("/containers/create?name={name}"), &body);
            ("create".to_owned(), answer)
        }
        3..6 => post(format!("/containers/{name}/start")),
        6 => post(format!("/containers/{name}/stop?t=0")),
        7 => post(format!("/containers/{name}/kill")),
        8 => post(format!("/containers/{name}/pause")),
        9 => post(format!("/containers/{name}/unpause")),
        10 => post(format!("/containers/{name}/restart?t=0")),
        11 => {
            let created = api.post_json(
                &format!("/containers/{name}/exec"),
                &json!({"Cmd": ["echo", "exec"], "AttachStdout": true}),
            );
            if created.status != 201 {
                return ("exec".to_owned(), created);
            }
            let id = created.json()["Id"].as_str().expect("an id").to_owned();
            (
                "exec start".to_owned(),
                api.post_json(&format!("/exec/{id}/start"), &json!({"Detach": dice.roll(2) == 0})),
            )
        }
        12 => ("logs".to_owned(), api.get(&format!("/containers/{name}/logs?stdout=1&tail=3"))),
        13 => ("inspect".to_owned(), api.get(&format!("/containers/{name}/json"))),
        14 => ("list".to_owned(), api.get("/containers/json?all=1")),
        _ => ("remove".to_owned(), api.delete(&format!("/containers/{name}?force=1"))),
    }
}

#[test]
fn random_operations_from_four_clients_never_fail_inside_and_leave_nothing() {
    let daemon = Daemon::start();
    let end = Instant::now() + Duration::from_secs(8);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4_u64)
            .map(|seed| {
                let daemon = &daemon;
                scope.spawn(move || {
                    let mut dice = Dice(seed.wrapping_mul(7919) + 1);
                    while Instant::now() < end {
                        let (what, answer) = random_step(daemon, &mut dice);
                        assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.text());
                    }
                })
            })
            .collect();
        std::thread::sleep(end - Instant::now());
        // An exec waits while its container is paused, and nobody else is left to unpause it.
        while clients.iter().any(|client| !client.is_finished()) {
            for number in 0..6 {
                let status = daemon.api().post(&format!("/containers/soak{number}/unpause")).status;
                assert!(status < 500, "unpause: {status}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    for container in daemon.api().get("/containers/json?all=1").expect(200).json().as_array().expect("a list") {
        let id = container["Id"].as_str().expect("an id");
        daemon.remember(id);
        daemon.api().get(&format!("/containers/{id}/json")).expect(200);
    }
}

#[test]
fn clients_that_go_away_in_the_middle_leave_nothing() {
    use std::io::Write;
    let daemon = Daemon::start();
    let idle = daemon.run_idle();
    for round in 0..20_u64 {
        let id = daemon.create(&["sh", "-c", "sleep 0.01; echo x"], json!({}));
        let paths = [
            format!("POST /containers/{id}/start"),
            format!("POST /containers/{id}/wait"),
            format!("GET /containers/{idle}/logs?follow=1&stdout=1"),
            "GET /events".to_owned(),
            format!("POST /containers/{idle}/attach?stream=1&stdout=1"),
            format!("DELETE /containers/{id}?force=1"),
        ];
        for path in &paths {
            let mut socket = std::os::unix::net::UnixStream::connect(&daemon.api().socket).expect("connect");
            socket
                .write_all(format!("{path} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n").as_bytes())
                .expect("write");
            std::thread::sleep(Duration::from_micros(round * 200));
        }
    }
    assert_eq!(daemon.status(&idle), "running");
    // A descriptor for each connection, pipe or watch that is still held would show.
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("fd").count();
    wait_until("descriptors to be closed", || (descriptors() < 80).then_some(()));
}
