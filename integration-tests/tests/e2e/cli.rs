//! The docker client and `pinnace` side by side: what one can do, the other can, with the same words and exit codes.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use integration_tests::containers::IDLE;
use integration_tests::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Client {
    Docker,
    Pinnace,
}

use Client::{Docker, Pinnace};

impl Client {
    fn run(self, daemon: &Daemon, arguments: &[&str]) -> Finished {
        self.run_with(daemon, arguments, b"")
    }

    fn run_with(self, daemon: &Daemon, arguments: &[&str], input: &[u8]) -> Finished {
        command::run(self.command(daemon).args(arguments), input)
    }

    fn command(self, daemon: &Daemon) -> Command {
        match self {
            Docker => daemon.docker_command(),
            Pinnace => daemon.pinnace_command(),
        }
    }

    /// Starts a program with a terminal.
    fn terminal(self, daemon: &Daemon, arguments: &[&str]) -> Pty {
        let mut command = self.command(daemon);
        command.args(arguments);
        Pty::spawn(&command, 24, 80)
    }
}

/// Makes a test of each scenario with each client.
macro_rules! with_both {
    ($($scenario:ident)*) => {
        mod docker { $(#[test] fn $scenario() { super::$scenario(super::Docker); })* }
        mod pinnace { $(#[test] fn $scenario() { super::$scenario(super::Pinnace); })* }
    };
}

with_both! {
    run_passes_output_and_exit_code_on
    run_passes_stdin_on
    run_in_the_background_is_listed_stopped_and_removed
    the_default_network_does_not_make_run_fail
    what_cannot_run_has_dockers_exit_codes
    options_of_run_reach_the_container
    create_then_start_attached
    exec_runs_commands
    inspect_knows_templates
    ps_knows_filters_and_formats
    logs_are_shown_and_followed
    lifecycle_verbs_work
    images_come_and_go
    events_are_told
    version_and_info_are_told
    errors_are_the_daemons_words
    a_terminal_works
    a_terminal_can_be_left_and_taken_again
    exec_with_a_terminal_works
    signals_are_passed_on
    attach_shows_what_comes
}

fn run_passes_output_and_exit_code_on(client: Client) {
    let daemon = Daemon::start();
    let script = "echo out; echo err >&2; exit 3";
    let ran = client.run(&daemon, &["run", "--rm", "--network", "none", "busybox", "sh", "-c", script]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (3, "out\n", "err\n"));
    assert_eq!(daemon.api().get("/containers/json?all=1").json(), json!([]), "--rm");
    for code in [0, 1, 42, 255] {
        let script = format!("exit {code}");
        let ran = client.run(&daemon, &["run", "--rm", "--network=none", "busybox", "sh", "-c", &script]);
        assert_eq!(ran.code, code, "{ran:?}");
    }
}

fn run_passes_stdin_on(client: Client) {
    let daemon = Daemon::start();
    let input: Vec<u8> = (0..300_000).map(|number| b'a' + (number % 26) as u8).collect();
    let ran = client.run_with(&daemon, &["run", "--rm", "-i", "--network", "none", "busybox", "cat"], &input);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.as_bytes() == input, "{} bytes came back", ran.stdout.len());
    let ran = client.run_with(&daemon, &["run", "--rm", "-i", "--network", "none", "busybox", "sha256sum"], &input);
    assert_eq!(ran.ok(), format!("{}  -\n", sha256(&input)));
}

fn run_in_the_background_is_listed_stopped_and_removed(client: Client) {
    let daemon = Daemon::start();
    let id =
        client.run(&daemon, &["run", "-d", "--network", "none", "--name", "back", "busybox", "sh", "-c", IDLE]).ok();
    let id = id.trim();
    assert_eq!(id.len(), 64);
    let list = client.run(&daemon, &["ps"]).ok();
    let mut lines = list.lines();
    let header = lines.next().expect("a header");
    assert!(header.starts_with("CONTAINER ID") && header.trim_end().ends_with("NAMES"), "{header}");
    let row = lines.next().expect("a row");
    assert!(
        row.starts_with(&id[..12]) && row.contains("busybox") && row.contains("Up ") && row.ends_with("back"),
        "{row}"
    );
    daemon.wait_for_trap("back", 15);
    assert_eq!(client.run(&daemon, &["stop", "back"]).ok(), "back\n");
    assert_eq!(client.run(&daemon, &["ps"]).ok().lines().count(), 1);
    let all = client.run(&daemon, &["ps", "-a"]).ok();
    assert!(all.contains("Exited (0)"), "{all}");
    assert_eq!(client.run(&daemon, &["rm", "back"]).ok(), "back\n");
    assert_eq!(client.run(&daemon, &["ps", "-aq"]).ok(), "");
}

fn the_default_network_does_not_make_run_fail(client: Client) {
    let daemon = Daemon::start();
    if daemon.is_own() {
        assert_eq!(client.run(&daemon, &["run", "--rm", "busybox", "echo", "hi"]).ok(), "hi\n");
    }
}

fn what_cannot_run_has_dockers_exit_codes(client: Client) {
    let daemon = Daemon::start();
    let run = |command: &str| client.run(&daemon, &["run", "--rm", "--network", "none", "busybox", command]);
    let missing = run("nowhere");
    assert_eq!(missing.code, 127, "{missing:?}");
    assert!(missing.stderr.contains("executable file not found in $PATH"), "{missing:?}");
    let directory = run("/etc");
    assert_eq!(directory.code, 126, "{directory:?}");
    let forbidden = run("/etc/passwd");
    assert_eq!(forbidden.code, 126, "{forbidden:?}");
    assert!(forbidden.stderr.contains("permission denied"), "{forbidden:?}");
    if daemon.is_own() {
        let unknown = client.run(&daemon, &["run", "--rm", "nothing", "true"]);
        assert_eq!(unknown.code, 125, "{unknown:?}");
        assert!(unknown.stderr.contains("nothing"), "{unknown:?}");
    }
    assert_eq!(daemon.api().get("/containers/json?all=1").json(), json!([]));
}

fn options_of_run_reach_the_container(client: Client) {
    let daemon = Daemon::start();
    let host = tempfile::tempdir().expect("a directory");
    std::fs::write(host.path().join("f"), "bound").expect("write");
    let volume = format!("{}:/bound:ro", host.path().display());
    let script = "echo $A; pwd; id -u; hostname; cat /bound/f; echo; echo x >/scratch/x && cat /scratch/x; touch /no 2>&1; grep CapEff /proc/self/status";
    let ran = client.run(
        &daemon,
        &[
            "run",
            "--network",
            "none",
            "--name",
            "opts",
            "-e",
            "A=1 2",
            "-w",
            "/home",
            "-u",
            "worker",
            "-h",
            "me",
            "-v",
            &volume,
            "--tmpfs",
            "/scratch",
            "--read-only",
            "--cap-drop",
            "ALL",
            "-l",
            "k=v",
            "--entrypoint",
            "sh",
            "busybox",
            "-c",
            script,
        ],
    );
    let out = ran.ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..6], ["1 2", "/home", "1000", "me", "bound", "x"]);
    assert!(lines[6].contains("Read-only file system") && lines[7].ends_with("0000000000000000"), "{lines:?}");
    assert_eq!(daemon.inspect("opts")["Config"]["Labels"]["k"], "v");
    let privileged =
        client.run(&daemon, &["create", "--network", "none", "--privileged", "--cap-add", "SYS_TIME", "busybox"]).ok();
    let inspect = daemon.inspect(privileged.trim());
    assert_eq!(
        (&inspect["HostConfig"]["Privileged"], inspect["HostConfig"]["CapAdd"].to_string().contains("SYS_TIME")),
        (&json!(true), true)
    );
}

fn create_then_start_attached(client: Client) {
    let daemon = Daemon::start();
    client
        .run(&daemon, &["create", "-i", "--network", "none", "--name", "later", "busybox", "sh", "-c", "cat; exit 4"])
        .ok();
    let started = client.run_with(&daemon, &["start", "-ai", "later"], b"hello\n");
    assert_eq!((started.code, started.stdout.as_str()), (4, "hello\n"), "{started:?}");
    client.run(&daemon, &["create", "--network", "none", "--name", "quiet", "busybox", "true"]).ok();
    assert_eq!(client.run(&daemon, &["start", "quiet"]).ok(), "quiet\n");
}

fn exec_runs_commands(client: Client) {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let ran = client.run(&daemon, &["exec", &id, "sh", "-c", "echo out; echo err >&2; exit 6"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (6, "out\n", "err\n"));
    let ran = client.run_with(&daemon, &["exec", "-i", &id, "cat"], b"through\n");
    assert_eq!(ran.ok(), "through\n");
    let ran = client.run(
        &daemon,
        &["exec", "-e", "B=2", "-w", "/tmp", "-u", "1000:50", &id, "sh", "-c", "echo $B; pwd; id -u; id -g"],
    );
    assert_eq!(ran.ok(), "2\n/tmp\n1000\n50\n");
    client.run(&daemon, &["exec", "-d", &id, "touch", "/tmp/detached"]).ok();
    wait_until("the detached exec", || (daemon.exec(&id, &["ls", "/tmp/detached"], json!({})).code == 0).then_some(()));
    let missing = client.run(&daemon, &["exec", &id, "nowhere"]);
    let expected = if daemon.is_own() { 127 } else { 126 };
    assert_eq!(missing.code, expected, "{missing:?}");
    assert!(format!("{}{}", missing.stdout, missing.stderr).contains("executable file not found"), "{missing:?}");
    let nobody = client.run(&daemon, &["exec", "nobody", "true"]);
    assert_eq!(nobody.code, 1);
    assert!(nobody.stderr.contains("No such container: nobody"), "{nobody:?}");
}

fn inspect_knows_templates(client: Client) {
    let daemon = Daemon::start();
    let id = daemon.create_named(Some("seen"), &["sh", "-c", IDLE], json!({"Env": ["A=1"]}));
    let format = |template: &str| client.run(&daemon, &["inspect", "--format", template, "seen"]).ok();
    assert_eq!(format("{{.State.Status}} {{.State.Running}}"), "created false\n");
    assert_eq!(format("{{json .Config.Cmd}}"), format!("[\"sh\",\"-c\",{}]\n", json!(IDLE)));
    assert_eq!(format("{{.Id}}"), format!("{id}\n"));
    let all: Value = serde_json::from_str(&client.run(&daemon, &["inspect", "seen"]).ok()).expect("JSON");
    assert_eq!(all[0]["Name"], "/seen");
    let image: Value = serde_json::from_str(&client.run(&daemon, &["image", "inspect", "busybox"]).ok()).expect("JSON");
    assert_eq!(image[0]["RepoTags"], json!(["busybox:latest"]));
    let nothing = client.run(&daemon, &["inspect", "nobody"]);
    assert!(nothing.code == 1 && nothing.stderr.to_lowercase().contains("no such"), "{nothing:?}");
}

fn ps_knows_filters_and_formats(client: Client) {
    let daemon = Daemon::start();
    daemon.create_named(Some("one"), &["true"], json!({"Labels": {"l": "1"}}));
    let two = daemon.create_named(Some("two"), &["sh", "-c", IDLE], json!({}));
    daemon.start_container(&two);
    let ps = |arguments: &[&str]| client.run(&daemon, &[&["ps"], arguments].concat()).ok();
    assert_eq!(
        ps(&["-a", "--format", "{{.Names}} {{.Image}} {{.Command}}", "--filter", "name=one"]),
        "one busybox \"true\"\n"
    );
    assert_eq!(ps(&["-q", "--no-trunc"]), format!("{two}\n"));
    assert_eq!(ps(&["-aq", "--filter", "label=l=1"]).lines().count(), 1);
    assert_eq!(ps(&["-a", "-f", "status=created", "--format", "{{.Names}}"]), "one\n");
    assert_eq!(ps(&["-n", "1", "-q"]), format!("{}\n", &two[..12]));
}

fn logs_are_shown_and_followed(client: Client) {
    let daemon = Daemon::start();
    let id = daemon.run_sh("echo one; echo two; echo bad >&2");
    daemon.wait(&id);
    let all = client.run(&daemon, &["logs", &id]);
    assert_eq!((all.code, all.stdout.as_str(), all.stderr.as_str()), (0, "one\ntwo\n", "bad\n"));
    let stamped = client.run(&daemon, &["logs", "-t", "--tail", "1", &id]);
    let line = format!("{}{}", stamped.stdout, stamped.stderr);
    assert!(line.starts_with("20") && line.contains("Z ") && line.lines().count() == 1, "{line}");
    let slow = daemon.run_sh("for i in 1 2 3 4 5; do echo $i; sleep 0.1; done");
    assert_eq!(client.run(&daemon, &["logs", "-f", &slow]).ok(), "1\n2\n3\n4\n5\n");
}

fn lifecycle_verbs_work(client: Client) {
    let daemon = Daemon::start();
    let run = |arguments: &[&str]| client.run(&daemon, arguments).ok();
    run(&["run", "-d", "--network", "none", "--name", "life", "busybox", "sh", "-c", IDLE]);
    assert_eq!(run(&["pause", "life"]), "life\n");
    assert_eq!(daemon.status("life"), "paused");
    assert_eq!(run(&["unpause", "life"]), "life\n");
    let top = run(&["top", "life"]);
    assert!(top.starts_with("UID") && top.contains("trap 'exit 0' TERM"), "{top}");
    assert_eq!(run(&["rename", "life", "new-life"]), "");
    daemon.wait_for_trap("new-life", 15);
    assert_eq!(run(&["restart", "-t", "5", "new-life"]), "new-life\n");
    assert_eq!(daemon.status("new-life"), "running");
    daemon.wait_for_trap("new-life", 15);
    assert_eq!(run(&["kill", "-s", "TERM", "new-life"]), "new-life\n");
    assert_eq!(run(&["wait", "new-life"]), "0\n");
    assert_eq!(run(&["start", "new-life"]), "new-life\n");
    let refused = client.run(&daemon, &["rm", "new-life"]);
    assert!(refused.code == 1 && refused.stderr.contains("ontainer"), "{refused:?}");
    assert_eq!(run(&["rm", "-f", "new-life"]), "new-life\n");
}

fn images_come_and_go(client: Client) {
    let daemon = Daemon::start();
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("image.tar");
    let layers = [image::busybox_rootfs().to_vec(), image::Tar::new().file("cli", 0o644, b"").finish()];
    let archive = image::docker_archive(&["fromcli:1"], &image::busybox_config(), &layers);
    std::fs::write(&file, &archive).expect("write");
    let run = |arguments: &[&str]| client.run(&daemon, arguments).ok();
    assert!(run(&["load", "-i", file.to_str().expect("UTF-8")]).ends_with("Loaded image: fromcli:1\n"));
    assert!(client.run_with(&daemon, &["load"], &archive).ok().ends_with("Loaded image: fromcli:1\n"));
    run(&["tag", "fromcli:1", "other:2"]);
    let list = run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(list.contains("fromcli:1\n") && list.contains("other:2\n"), "{list}");
    let table = run(&["images"]);
    assert!(table.starts_with("REPOSITORY") && table.contains("busybox"), "{table}");
    let history = run(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "fromcli:1"]);
    assert_eq!(history, "layer 1\nlayer 0\n");
    let imported =
        client.run_with(&daemon, &["import", "-c", "CMD echo imported", "-", "imp:1"], image::busybox_rootfs()).ok();
    assert!(imported.starts_with("sha256:"), "{imported}");
    // What is imported has no PATH, and the daemon's default one is used.
    assert_eq!(run(&["run", "--rm", "--network", "none", "imp:1"]), "imported\n");
    assert!(run(&["rmi", "other:2"]).contains("Untagged: other:2"));
    let removed = run(&["rmi", "fromcli:1", "imp:1"]);
    assert!(removed.contains("Untagged: fromcli:1") && removed.contains("Deleted: sha256:"), "{removed}");
    let nothing = client.run(&daemon, &["rmi", "nothing"]);
    assert!(nothing.code == 1 && nothing.stderr.contains("No such image: nothing"), "{nothing:?}");
}

fn events_are_told(client: Client) {
    let daemon = Daemon::start();
    let id = daemon.run(&["true"], json!({}));
    daemon.wait(&id);
    let filter = format!("container={id}");
    let until = format!(
        "{}",
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() + 1
    );
    let told = client.run(&daemon, &["events", "--since", "0", "--until", &until, "--filter", &filter]).ok();
    let actions: Vec<&str> = told.lines().map(|line| line.split(' ').nth(2).expect("an action")).collect();
    assert_eq!(actions, ["create", "start", "die"], "{told}");
    assert!(told.lines().all(|line| line.contains(" container ") && line.contains("image=busybox")), "{told}");
}

fn version_and_info_are_told(client: Client) {
    let daemon = Daemon::start();
    let version = client.run(&daemon, &["version"]).ok();
    assert!(version.contains("Server") && version.contains("API version"), "{version}");
    let info = client.run(&daemon, &["info"]).ok();
    for line in ["Server Version:", "Kernel Version:", "Containers: 0", "Cgroup Driver:"] {
        assert!(info.contains(line), "{line} in {info}");
    }
}

fn errors_are_the_daemons_words(client: Client) {
    let daemon = Daemon::start();
    let run = |arguments: &[&str]| {
        let ran = client.run(&daemon, arguments);
        assert!(ran.stdout.is_empty(), "{ran:?}");
        (ran.code, ran.stderr)
    };
    for verb in ["stop", "start", "kill", "pause", "logs", "top", "attach", "wait", "rm"] {
        let (code, said) = run(&[verb, "nobody"]);
        assert!(code == 1 && said.contains("No such container: nobody"), "{verb}: {code} {said}");
    }
    daemon.create_named(Some("mine"), &["true"], json!({}));
    let (code, said) = run(&["run", "--network", "none", "--name", "mine", "busybox", "true"]);
    assert!(code == 125 && said.contains("is already in use by container"), "{code} {said}");
    let (code, said) = run(&["exec", "mine", "true"]);
    assert!(code == 1 && said.contains("is not running"), "{code} {said}");
    let (code, _) = run(&["run", "--no-such-flag", "busybox"]);
    assert_eq!(code, 125);
    let unreachable = command::run(
        Command::new(client.command(&daemon).get_program()).args(["-H", "unix:///nowhere.sock", "ps"]),
        b"",
    );
    assert!(unreachable.code == 1 && unreachable.stderr.to_lowercase().contains("nowhere.sock"), "{unreachable:?}");
}

fn a_terminal_works(client: Client) {
    let daemon = Daemon::start();
    let mut pty = client.terminal(&daemon, &["run", "--rm", "-it", "--network", "none", "busybox", "sh"]);
    pty.expect("# ");
    pty.write("tty; stty size; echo $TERM\r");
    pty.expect("/dev/pts/");
    pty.expect("24 80\r\n");
    pty.expect("xterm\r\n");
    assert!(!pty.is_cooked(), "the terminal is raw while it belongs to the container");
    pty.resize(50, 132);
    pty.write("while [ \"$(stty size)\" != '50 132' ]; do sleep 0.05; done; echo resi''zed\r");
    pty.expect("resized\r\n");
    pty.write("sh -c \"echo a''sleep; sleep 100\"\r");
    pty.expect("asleep\r\n");
    pty.write("\x03");
    pty.expect("# ");
    pty.write("exit 23\r");
    assert_eq!(pty.wait(), 23);
    assert!(pty.is_cooked(), "the terminal is as it was");
}

fn a_terminal_can_be_left_and_taken_again(client: Client) {
    let daemon = Daemon::start();
    let mut pty = client.terminal(&daemon, &["run", "-it", "--name", "left", "--network", "none", "busybox", "sh"]);
    pty.expect("# ");
    pty.write("x=kept\r");
    pty.expect("# ");
    pty.write("\x10\x11");
    pty.wait();
    assert!(pty.is_cooked(), "the terminal is as it was");
    assert_eq!(daemon.status("left"), "running");
    let mut pty = client.terminal(&daemon, &["attach", "--detach-keys", "ctrl-x", "left"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    pty.write("echo $x\r");
    pty.expect("kept\r\n");
    pty.write("\x18");
    pty.wait();
    assert!(pty.is_cooked(), "the terminal is as it was");
    assert_eq!(daemon.status("left"), "running");
}

fn exec_with_a_terminal_works(client: Client) {
    let daemon = Daemon::start();
    let id = daemon.run_idle();
    let mut pty = client.terminal(&daemon, &["exec", "-it", &id, "sh"]);
    pty.expect("# ");
    pty.write("stty size; exit 9\r");
    pty.expect("24 80\r\n");
    assert_eq!(pty.wait(), 9);
    assert!(pty.is_cooked(), "the terminal is as it was");
    // Without a terminal of its own there is none to give.
    let refused = client.run(&daemon, &["exec", "-it", &id, "true"]);
    assert!(refused.code != 0 && refused.stderr.to_lowercase().contains("tty"), "{refused:?}");
}

fn signals_are_passed_on(client: Client) {
    use nix::sys::signal::{Signal, kill};
    let daemon = Daemon::start();
    let script = "trap 'echo caught; exit 11' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = client.command(&daemon);
    command.args(["run", "--rm", "--name", "target", "--network", "none", "busybox", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("spawn");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut said = String::new();
    stdout.read_line(&mut said).expect("a line");
    assert_eq!(said, "ready\n");
    kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGTERM).expect("kill");
    stdout.read_to_string(&mut said).expect("the rest");
    assert_eq!((said.as_str(), child.wait().expect("wait").code()), ("ready\ncaught\n", Some(11)));
}

fn attach_shows_what_comes(client: Client) {
    let daemon = Daemon::start();
    let script =
        "echo before; while [ ! -e /tmp/go ]; do sleep 0.02; done; sleep 0.3; echo after; echo bad >&2; exit 12";
    let id = daemon.run_sh(script);
    daemon.wait_for_log(&id, "before");
    let mut command = client.command(&daemon);
    let child = command
        .args(["attach", "--no-stdin", &id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    // It has attached when the daemon says so.
    wait_until("the attach", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let events = daemon.api().get(&format!("/events?since=0&until={now}.999")).json_lines();
        events.iter().any(|event| event["Action"] == "attach" && event["Actor"]["ID"] == id.as_str()).then_some(())
    });
    daemon.exec(&id, &["touch", "/tmp/go"], json!({}));
    let output = child.wait_with_output().expect("wait");
    assert_eq!(
        (String::from_utf8_lossy(&output.stdout).as_ref(), String::from_utf8_lossy(&output.stderr).as_ref()),
        ("after\n", "bad\n")
    );
    assert_eq!(output.status.code(), Some(12));
}
