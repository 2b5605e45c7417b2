//! Clients in another language: the SDK that most people have, and a websocket library that is not ours.

use integration_tests::*;

fn passes(program: &str) {
    let daemon = Daemon::start();
    let ran = daemon.python(program);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "passed\n"), "{}\n{}", ran.stdout, ran.stderr);
}

#[test]
fn docker_py_runs_containers() {
    passes(
        r#"
import docker
client = docker.from_env(timeout=30)
assert client.ping() is True
assert client.version()["ApiVersion"]
assert client.info()["OSType"] == "linux"
out = client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], remove=True, network_mode="none")
assert out == b"out\n", out
try:
    client.containers.run("busybox", "sh -c 'exit 3'", remove=True, network_mode="none")
    raise SystemExit("no error")
except docker.errors.ContainerError as error:
    assert error.exit_status == 3, error
try:
    client.containers.create("busybox", name="no good")
    raise SystemExit("no error")
except docker.errors.APIError as error:
    assert error.status_code == 400 and "Invalid container name" in error.explanation, error
c = client.containers.run("busybox", ["sh", "-c", "trap 'exit 0' TERM; echo hello; while :; do sleep 0.05; done"],
                          detach=True, name="py", network_mode="none", labels={"a": "b"}, environment={"X": "1"})
assert [x.name for x in client.containers.list()] == ["py"]
assert client.containers.list(filters={"label": "a=b"})[0].id == c.id
assert client.containers.list(filters={"label": "a=c"}) == []
c.reload()
assert c.status == "running" and c.attrs["Config"]["Labels"] == {"a": "b"}
code, output = c.exec_run(["sh", "-c", "echo $X; echo e >&2; exit 5"], demux=True)
assert (code, output) == (5, (b"1\n", b"e\n")), (code, output)
assert c.exec_run("echo stream", stream=True).output.__next__() == b"stream\n"
assert next(c.logs(stream=True, follow=True)) == b"hello\n"
assert c.logs() == b"hello\n"
assert any("sleep" in str(p) or "sh" in str(p) for p in c.top()["Processes"])
c.pause(); c.reload(); assert c.status == "paused"; c.unpause()
c.rename("py2"); c.reload(); assert c.name == "py2"
c.restart(timeout=5)
while c.logs() != b"hello\nhello\n":
    pass
c.stop(timeout=5)
assert c.wait()["StatusCode"] == 0
c.remove()
try:
    client.containers.get("py2")
    raise SystemExit("no error")
except docker.errors.NotFound:
    pass
print("passed")
"#,
    );
}

#[test]
fn docker_py_keeps_images_and_reads_events() {
    passes(
        r#"
import docker, io, tarfile
client = docker.from_env(timeout=30)
image = client.images.get("busybox")
assert "busybox:latest" in image.tags
image.tag("py/image", "v1")
assert "py/image:v1" in client.images.get("py/image:v1").tags
assert len(image.history()) == 1
events = client.events(decode=True, filters={"type": "container"})
c = client.containers.create("busybox", "true", network_mode="none")
assert next(events)["Action"] == "create"
c.start()
assert [next(events)["Action"] for _ in range(2)] == ["start", "die"]
events.close()
c.remove()
client.images.remove("py/image:v1")
try:
    client.images.get("py/image:v1")
    raise SystemExit("no error")
except docker.errors.ImageNotFound:
    pass
print("passed")
"#,
    );
}

#[test]
fn docker_py_attaches_over_sockets_and_websockets() {
    passes(
        r#"
import docker, struct, socket as s
client = docker.from_env(timeout=30)
c = client.containers.create("busybox", "cat", stdin_open=True, network_mode="none")
sock = c.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
c.start()
raw = sock._sock
raw.sendall(b"ping\n")
frame = b""
while len(frame) < 13:
    frame += raw.recv(13 - len(frame))
assert frame == b"\x01\0\0\0" + struct.pack(">I", 5) + b"ping\n", frame
raw.close()
c.remove(force=True)
print("passed")
"#,
    );
}

#[test]
fn a_python_websocket_client_speaks_channels() {
    let daemon = Daemon::start();
    if !daemon.is_own() {
        return;
    }
    let id = daemon.run_idle();
    let exec =
        daemon.exec_create(&id, &["sh", "-c", "read x; echo got $x; echo e >&2; exit 3"], json!({"AttachStdin": true}));
    let program = format!(
        r#"
import json, os, socket, websocket
sock = socket.socket(socket.AF_UNIX)
sock.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))
ws = websocket.WebSocket()
ws.connect("ws://localhost/exec/{exec}/ws", socket=sock, subprotocols=["v5.channel.k8s.io"], suppress_origin=True)
assert ws.getsubprotocol() == "v5.channel.k8s.io"
ws.send_binary(b"\x00hello\n")
messages = []
while True:
    opcode, data = ws.recv_data()
    if opcode == websocket.ABNF.OPCODE_CLOSE:
        break
    messages.append((data[0], data[1:]))
out = b"".join(data for channel, data in messages if channel == 1)
err = b"".join(data for channel, data in messages if channel == 2)
assert (out, err) == (b"got hello\n", b"e\n"), messages
channel, status = messages[-1]
status = json.loads(status)
assert channel == 3 and status["status"] == "Failure" and status["details"]["causes"][0]["message"] == "3", messages
print("passed")
"#
    );
    let ran = daemon.python(&program);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "passed\n"), "{}\n{}", ran.stdout, ran.stderr);
}

#[test]
fn curl_can_do_it_all() {
    let daemon = Daemon::start();
    let script = r#"
set -eu
curl() { command curl -sS --fail-with-body --unix-socket "$SOCKET" "$@"; }
id=$(curl -H 'Content-Type: application/json' http://d/containers/create -d '{"Image":"busybox","Cmd":["echo","from curl"],"HostConfig":{"NetworkMode":"none"}}' | sed 's/.*"Id":"\([0-9a-f]*\)".*/\1/')
curl -X POST http://d/v1.41/containers/$id/start
curl -X POST http://d/containers/$id/wait
curl "http://d/containers/$id/logs?stdout=1" | tail -c +9
curl -X DELETE http://d/containers/$id
"#;
    let mut shell = std::process::Command::new("bash");
    let ran = command::run(shell.args(["-c", script]).env("SOCKET", &daemon.api().socket), b"").ok();
    assert!(ran.contains("\"StatusCode\":0") && ran.ends_with("from curl\n"), "{ran:?}");
}
