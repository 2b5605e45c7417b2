//! Measures the helper alone, without a daemon: `cargo bench -p pinnace-helper` as root.
#![expect(clippy::print_stdout, reason = "figures are for people")]
#![expect(clippy::expect_used, reason = "a measurement that fails has nothing to say")]

#[path = "../tests/launch/harness.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod harness;

use std::io::Read;
use std::time::{Duration, Instant};

use pinnace_helper::protocol::{ExecSpec, Framing, Report, StdinMode};

use harness::{Fixture, Helper, attachment, bind, process, read_all};

fn main() {
    launch_to_exit();
    exec_to_exit();
    throughput();
    memory_of_helpers();
}

/// Holds a helper in reserve, as the daemon does, and gives it time to be ready.
fn ready() -> Helper {
    let helper = Helper::spawn();
    std::thread::sleep(Duration::from_millis(20));
    helper
}

/// Time from the launch request to the report of the exit, with the helper waiting as it does in the daemon's pool.
fn launch_to_exit() {
    const COUNT: usize = 100;
    let _reserve = ready();
    for base in [false, true] {
        println!("base layer: {base}; {}", launch_times(COUNT, base));
    }
}

/// With `base` a lowest layer has everything that is mounted upon, so that nothing is made in the upper one.
fn launch_times(count: usize, base: bool) -> String {
    let mut whole = Vec::new();
    let mut started = Vec::new();
    let mut phases = Vec::new();
    for _ in 0..count {
        let mut fixture = Fixture::new(&["/bin/true"]);
        if base {
            for name in ["dev", "proc", "sys", "etc"] {
                std::fs::create_dir_all(fixture.path("base").join(name)).expect("mkdir");
            }
            for name in ["hostname", "hosts", "resolv.conf"] {
                std::fs::write(fixture.path("base/etc").join(name), "").expect("write");
            }
            fixture.spec.rootfs.lower.push(fixture.path("base"));
        }
        let helper = ready();
        let begun = Instant::now();
        let mut helper = helper.launch(&fixture, Vec::new());
        let Report::Started { phases: measured, .. } = helper.receive() else { unreachable!("not started") };
        started.push(begun.elapsed());
        assert_eq!(helper.exited().exit.code, 0);
        whole.push(begun.elapsed());
        phases = measured;
        helper.collect();
    }
    let phases: Vec<_> = phases.iter().map(|phase| format!("{:?} {}", phase.stage, phase.micros)).collect();
    let (started, whole) = (percentiles(started), percentiles(whole));
    format!("launch to started {started}, to exited {whole}; µs of the last one: {}", phases.join(", "))
}

/// Time from an exec's request to its start and to its end.
fn exec_to_exit() {
    const COUNT: usize = 200;
    let mut fixture = Fixture::script("read x");
    fixture.spec.stdin = StdinMode::Open;
    let helper = fixture.start(Vec::new());
    let spec = ExecSpec { process: process(&["/bin/true"]), stdin: false, stdout: true, stderr: true };
    let mut started = Vec::new();
    let mut whole = Vec::new();
    for number in 0..COUNT {
        let begun = Instant::now();
        let stream = helper.exec(&number.to_string(), &spec, Framing::Multiplexed);
        let report = helper.wait_for(|report| matches!(report, Report::ExecStarted { .. } | Report::ExecFailed { .. }));
        assert!(matches!(report, Report::ExecStarted { .. }), "{report:?}");
        started.push(begun.elapsed());
        assert_eq!(read_all(&stream), b"");
        whole.push(begun.elapsed());
        drop(stream);
        helper.exec_exited();
    }
    println!("exec to started {}, to end of stream {}", percentiles(started), percentiles(whole));
}

/// 64-byte lines through the log and one attached client.
fn throughput() {
    const SIZE: usize = 512 << 20;
    for (name, log) in [("log and client", true), ("client alone", false)] {
        let mut fixture = Fixture::script("cat /source/data");
        let source = tempfile::tempdir_in("/dev/shm").expect("tempdir");
        let line = [&[b'x'; 63][..], b"\n"].concat();
        std::fs::write(source.path().join("data"), line.repeat(SIZE / 64)).expect("write");
        fixture.spec.mounts.push(bind(source.path(), "/source", true));
        if !log {
            fixture.spec.log = None;
        }
        let (attached, theirs, ours) = attachment(1, Framing::Multiplexed);
        let begun = Instant::now();
        let mut helper = fixture.start(vec![(attached, theirs)]);
        let mut received = 0;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = (&ours).read(&mut buffer).expect("read");
            received += count;
            if count == 0 {
                break;
            }
        }
        let elapsed = begun.elapsed();
        assert!(received > SIZE);
        drop(ours);
        helper.exited();
        println!("{name}: {:.0} MB/s", SIZE as f64 / 1e6 / elapsed.as_secs_f64());
        println!("memory after it: {}", memory(helper.child.id()));
        helper.collect();
    }
}

/// What an idle helper costs.
fn memory_of_helpers() {
    let mut fixture = Fixture::script("read x");
    fixture.spec.stdin = StdinMode::Open;
    let waiting = ready();
    println!("waiting for its launch: {}", memory(waiting.child.id()));
    let helper = fixture.start(Vec::new());
    println!("with a container: {}", memory(helper.child.id()));
}

fn memory(pid: u32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    let wanted = ["Rss", "Pss", "Pss_Anon", "Private_Dirty", "Private_Clean"];
    let lines = text.lines().filter(|line| wanted.iter().any(|name| line.starts_with(&format!("{name}:"))));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    format!("p50 {:?} p90 {:?} min {:?}", times[times.len() / 2], times[times.len() * 9 / 10], times[0])
}
