#!/bin/bash
# What Pinnace does, on one screen: real containers through curl, the docker client, pinnace and a websocket, and a
# daemon that is killed in between. Everything it makes is in one directory and gone when it ends.
set -eu
cd "$(dirname "$0")/.."
PATH="${PINNACE_BIN:-$PWD/target/release}:$PATH"
[ -x target/docker-cli/docker ] && PATH="$PWD/target/docker-cli:$PATH"

work=$(mktemp -d /tmp/pinnace-demo.XXXXXX)
socket=$work/api.sock
cgroup=/pinnace-demo-$$
daemon=

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }
api() { curl -sS --fail-with-body --unix-socket "$socket" -X "$1" "http://pinnace$2" "${@:3}"; }
field() { python3 -c 'import json,sys; print(eval("json.load(sys.stdin)"+sys.argv[1]))' "$1"; }
docker="docker --config $work/docker -H unix://$socket"
docker() { command $docker "$@"; }
pinnace() { command pinnace -H "unix://$socket" "$@"; }

start_daemon() {
    pinnaced --data-root "$work/data" --run-dir "$work/run" -H "unix://$socket" --cgroup-parent "$cgroup" \
        --log-level warn 2>>"$work/log" &
    daemon=$!
    for _ in $(seq 500); do
        curl -s --unix-socket "$socket" http://pinnace/_ping >/dev/null && return
        kill -0 "$daemon" 2>/dev/null || break
        sleep 0.01
    done
    echo "the daemon did not start:" >&2
    cat "$work/log" >&2
    exit 1
}

left_behind() {
    find /sys/fs/cgroup -path "*$cgroup/*" -type d 2>/dev/null
    grep -F "$work" /proc/self/mountinfo || true
}

clean_up() {
    status=$?
    [ $status = 0 ] || { echo "the demonstration failed; the daemon's log:" >&2; cat "$work/log" >&2 || true; }
    if [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null; then
        ids=$(docker ps -aq 2>/dev/null || true)
        [ -z "$ids" ] || docker rm -f $ids >/dev/null 2>&1 || true
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
    fi
    # Whatever a failure left running is in our cgroup, and in no other one.
    for cgroups in $(find /sys/fs/cgroup -path "*$cgroup*" -name cgroup.procs 2>/dev/null); do
        while read -r pid; do kill -9 "$pid" 2>/dev/null || true; done <"$cgroups"
    done
    find /sys/fs/cgroup -depth -path "*$cgroup*" -type d -exec rmdir {} + 2>/dev/null || true
    rm -rf "$work"
    exit $status
}
trap clean_up EXIT

step "A daemon of our own: its state under $work/data, its socket $socket"
start_daemon
echo "pinnaced has pid $daemon"
api GET /version | python3 -m json.tool | grep -E '"(Version|ApiVersion|MinAPIVersion|KernelVersion)"'

step "An image, made of one busybox and imported through curl"
mkdir -p "$work/rootfs/bin" "$work/rootfs/etc" "$work/rootfs/tmp"
cp /bin/busybox "$work/rootfs/bin/busybox"
for applet in sh ls cat echo ps sleep date seq id hostname mount stty head tail wc sha256sum touch true false; do
    ln -s busybox "$work/rootfs/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$work/rootfs/etc/passwd"
tar -C "$work/rootfs" -c . | api POST "/images/create?fromSrc=-&repo=demo&tag=latest&changes=CMD%20sh" -T -
api GET /images/demo/json | python3 -m json.tool | grep -E '"(Id|Size)"|demo:'

step "curl: create, start, wait, logs, remove"
id=$(api POST /containers/create -H 'Content-Type: application/json' \
    -d '{"Image":"demo","Cmd":["sh","-c","echo hello from $(hostname), pid $$; exit 3"],"HostConfig":{"NetworkMode":"none"}}' | field '["Id"]')
echo "created ${id:0:12}"
api POST "/containers/$id/start"
api POST "/containers/$id/wait"
api GET "/containers/$id/logs?stdout=1" | tail -c +9
api DELETE "/containers/$id"

step "the docker client, as it came from its package: $(command docker --version)"
show docker run --rm demo echo "hello from docker run"
echo "(until there are bridge networks a container has loopback only, and is told so; from here on --network none)"
echo "stdin and exit code:"
printf 'one\ntwo\n' | show docker run --rm -i --network none demo sh -c 'cat; exit 7' || echo "exit code $?"
echo "a terminal:"
script -qec "stty rows 30 cols 100; $docker run --rm -it --network none demo sh -c 'stty size; ls -l /proc/self/fd/0'" /dev/null </dev/null
show docker run -d --name worker --network none demo sh -c 'i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.2; done'
sleep 0.5
show docker exec worker ps
show docker ps
show docker logs --tail 2 worker
show timeout 1 $docker logs -f --tail 1 worker || true
show docker inspect --format 'pid {{.State.Pid}}, {{.State.Status}}' worker

step "pinnace, our own client, which speaks the websocket"
show pinnace run --rm --network none demo echo "hello from pinnace run"
show pinnace exec worker sh -c 'echo "in the same container:"; hostname'
show pinnace ps
show pinnace top worker

step "a websocket by hand: exec with separate streams, and the exit status last"
exec_id=$(api POST /containers/worker/exec -H 'Content-Type: application/json' \
    -d '{"Cmd":["sh","-c","read line; echo you said $line; echo to stderr >&2; exit 5"],"AttachStdin":true,"AttachStdout":true,"AttachStderr":true}' | field '["Id"]')
echo "hello websocket" | python3 docs/demo_ws.py "$socket" "/exec/$exec_id/ws" v5.channel.k8s.io

step "kill -9 of the daemon"
pid_before=$(docker inspect --format '{{.State.Pid}}' worker)
docker run -d --name short --network none demo sh -c 'sleep 1; echo I ended while nobody looked; exit 42' >/dev/null
kill -9 "$daemon"
wait "$daemon" 2>/dev/null || true
sleep 1.5
start_daemon
echo "pinnaced has pid $daemon now"
pid_after=$(docker inspect --format '{{.State.Pid}}' worker)
echo "worker had pid $pid_before and has pid $pid_after"
[ "$pid_before" = "$pid_after" ]
show docker ps -a
show docker logs short
lines=$(docker logs worker | wc -l)
docker logs worker | awk -v n="$lines" '$2 != NR - 1 { print "line", NR, "is", $0; exit 1 } END { print n, "ticks, none is missing" }'
[ "$(docker inspect --format '{{.State.ExitCode}}' short)" = 42 ]

step "the end: containers removed, daemon stopped"
show docker rm -f worker short
show docker rmi demo
kill "$daemon"
wait "$daemon"
daemon=
left=$(left_behind)
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
[ ! -e "$socket" ]
echo "no socket, no mount, no cgroup is left"
