//! Output and input, exact to the byte.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use pinnace_helper::protocol::{CloseReason, Framing, Report, Request, StdinMode, log};

use crate::harness::{Fixture, attachment, demultiplex, eventually, in_mount_namespace, read_all, read_until};

/// Bytes that never repeat in step with a buffer.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

#[test]
fn ten_mebibytes_on_each_stream_arrive_exactly_in_log_and_client() {
    let fixture = Fixture::script("cat /data & cat /data >&2; wait");
    let data = noise(10 << 20);
    std::fs::write(fixture.path("layer/data"), &data).expect("write");
    let (attached, theirs, ours) = attachment(1, Framing::Multiplexed);
    let mut helper = fixture.start(vec![(attached, theirs)]);
    let received = read_all(&ours);
    drop(ours);
    assert_eq!(helper.exited().exit.code, 0);
    helper.collect();
    let (stdout, stderr) = demultiplex(&received);
    assert!(stdout == data && stderr == data, "{} {}", stdout.len(), stderr.len());
    assert!(fixture.log() == (data.clone(), data));
}

#[test]
fn output_right_before_the_exit_is_never_lost() {
    for _ in 0..20 {
        let fixture = Fixture::new(&["/bin/echo", "last words"]);
        let (attached, theirs, ours) = attachment(1, Framing::Raw);
        let mut helper = fixture.start(vec![(attached, theirs)]);
        assert_eq!(read_all(&ours), b"last words\n");
        drop(ours);
        helper.exited();
        helper.collect();
        assert_eq!(fixture.log().0, b"last words\n");
    }
}

#[test]
fn an_attached_stream_begins_where_its_position_says() {
    let mut fixture = Fixture::script("seq 1 200000; read x; echo end");
    fixture.spec.stdin = StdinMode::Open;
    let mut helper = fixture.start(Vec::new());
    std::thread::sleep(Duration::from_millis(20));
    let (attached, theirs, mut ours) = attachment(9, Framing::Raw);
    helper.ask(&Request::Attach { seq: 3, attachment: attached }, &[theirs.as_fd()]);
    drop(theirs);
    let Report::Attached { seq: 3, position } = helper.receive() else { panic!("not attached") };
    ours.write_all(b"go\n").expect("write");
    let live = read_all(&ours);
    helper.exited();
    helper.collect();
    let bytes = std::fs::read(fixture.path("log").join(log::segment_name(position.segment))).expect("segment");
    let mut logged = Vec::new();
    let mut rest = &bytes[usize::try_from(position.offset).expect("offset")..];
    while !rest.is_empty() {
        let header = log::decode_header(rest[..24].try_into().expect("header")).expect("a record");
        logged.extend_from_slice(&rest[24..24 + header.length as usize]);
        rest = &rest[24 + header.length as usize..];
    }
    assert!(logged == live, "{} {}", logged.len(), live.len());
    assert!(live.ends_with(b"end\n"));
}

#[test]
fn a_half_closed_client_still_gets_the_output() {
    let mut fixture = Fixture::script("sha256sum; echo done");
    fixture.spec.stdin = StdinMode::OpenOnce;
    let data = noise(3 << 20);
    let (attached, theirs, mut ours) = attachment(1, Framing::Raw);
    let mut plain = attached;
    plain.detach_keys.clear();
    let mut helper = fixture.start(vec![(plain, theirs)]);
    ours.write_all(&data).expect("write");
    ours.shutdown(Shutdown::Write).expect("shutdown");
    let output = String::from_utf8(read_all(&ours)).expect("text");
    let expected = std::process::Command::new("sh")
        .args(["-c", "sha256sum"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            child.stdin.take().expect("stdin").write_all(&data)?;
            child.wait_with_output()
        });
    let expected = String::from_utf8(expected.expect("sha256sum").stdout).expect("text");
    assert_eq!(output, format!("{expected}done\n"));
    helper.exited();
    helper.collect();
}

#[test]
fn an_open_stdin_outlives_its_clients() {
    let mut fixture = Fixture::script("read a; read b; echo $a $b");
    fixture.spec.stdin = StdinMode::Open;
    let (first, theirs, mut ours) = attachment(1, Framing::Raw);
    let mut helper = fixture.start(vec![(first, theirs)]);
    ours.write_all(b"one\n").expect("write");
    drop(ours);
    let closed = helper.wait_for(|report| matches!(report, Report::AttachmentClosed { .. }));
    assert_eq!(closed, Report::AttachmentClosed { id: 1, reason: CloseReason::ClientGone });
    let (second, theirs, mut ours) = attachment(2, Framing::Raw);
    helper.ask(&Request::Attach { seq: 1, attachment: second }, &[theirs.as_fd()]);
    drop(theirs);
    ours.write_all(b"two\n").expect("write");
    assert_eq!(read_all(&ours), b"one two\n");
    helper.exited();
    helper.collect();
}

#[test]
fn a_client_that_may_not_type_types_nothing() {
    let mut fixture = Fixture::script("read -t 1 x; echo \"<$x>\"");
    fixture.spec.stdin = StdinMode::Open;
    let (mut attached, theirs, mut ours) = attachment(1, Framing::Raw);
    attached.stdin = false;
    let mut helper = fixture.start(vec![(attached, theirs)]);
    ours.write_all(b"secret\n").expect("write");
    assert_eq!(read_all(&ours), b"<>\n");
    helper.exited();
    helper.collect();
}

#[test]
fn detach_keys_end_the_attachment_and_nothing_else() {
    let mut fixture = Fixture::script("read a; echo \"got $a\"; read b; exit 3");
    fixture.spec.stdin = StdinMode::Open;
    let (attached, theirs, mut ours) = attachment(5, Framing::Raw);
    let mut helper = fixture.start(vec![(attached, theirs)]);
    ours.write_all(b"x\x10y\n").expect("write");
    assert_eq!(read_until(&ours, "\n"), "got x\x10y\n");
    ours.write_all(b"z\x10").expect("write");
    ours.write_all(b"\x11").expect("write");
    assert_eq!(read_all(&ours), b"");
    assert_eq!(helper.receive(), Report::AttachmentClosed { id: 5, reason: CloseReason::Detached });
    helper.done(&Request::Signal { seq: 1, target: pinnace_helper::protocol::Target::Init, signal: libc::SIGKILL });
    assert_eq!(helper.exited().exit.code, 137);
    helper.collect();
}

#[test]
fn logs_rotate_and_continue_after_the_newest_segment() {
    let mut fixture = Fixture::script("seq 1 20000");
    let spec = fixture.spec.log.as_mut().expect("log");
    (spec.max_size, spec.max_files) = (16 * 1024, 3);
    std::fs::write(fixture.path("log/log.4"), b"torn").expect("write");
    std::fs::write(fixture.path("log/log.5"), b"torn").expect("write");
    fixture.output();
    let mut names: Vec<u64> = std::fs::read_dir(fixture.path("log"))
        .expect("log")
        .filter_map(|entry| log::parse_segment_name(entry.expect("entry").file_name().to_str()?))
        .collect();
    names.sort_unstable();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[0] > 6 && names[2] == names[0] + 2, "{names:?}");
    for name in names {
        assert!(
            std::fs::metadata(fixture.path("log").join(log::segment_name(name))).expect("segment").len() <= 16 * 1024
        );
    }
    assert!(fixture.log().0.ends_with(b"19999\n20000\n"));
}

#[test]
fn a_full_disk_loses_log_and_not_output() {
    in_mount_namespace("mount -t tmpfs -o size=1m none /mnt", "streams::full_disk_child", ("X", ""));
}

#[test]
#[ignore = "run by the test above in a mount namespace of its own"]
fn full_disk_child() {
    let mut fixture = Fixture::script("cat /data; read go; echo end");
    let data = noise(4 << 20);
    std::fs::write(fixture.path("layer/data"), &data).expect("write");
    fixture.spec.log.as_mut().expect("log").directory = "/mnt".into();
    fixture.spec.stdin = StdinMode::Open;
    let (attached, theirs, mut ours) = attachment(1, Framing::Raw);
    let mut helper = fixture.start(vec![(attached, theirs)]);
    let mut output = vec![0; data.len()];
    ours.read_exact(&mut output).expect("read");
    assert!(output == data);
    let full = std::fs::read("/mnt/log.0").expect("log");
    assert!(full.len() > 100_000 && full.len() < 1 << 20, "{}", full.len());
    // A record is in the log again as soon as there is room, and what is before it is whole.
    let remount = std::process::Command::new("mount").args(["-o", "remount,size=8m", "/mnt"]).status();
    assert!(remount.expect("mount").success());
    ours.write_all(b"go\n").expect("write");
    assert_eq!(read_all(&ours), b"end\n");
    assert_eq!(helper.exited().exit.code, 0);
    helper.collect();
    let log = std::fs::read("/mnt/log.0").expect("log");
    assert_eq!(log.len(), full.len() + log::HEADER_SIZE + 4);
    assert!(log.starts_with(&full) && log.ends_with(b"end\n"));
}

#[test]
fn a_stuck_client_is_dropped_and_another_gets_every_byte() {
    let fixture = Fixture::script("cat /data; echo end");
    let data = noise(8 << 20);
    std::fs::write(fixture.path("layer/data"), &data).expect("write");
    let (stuck, theirs_stuck, ours_stuck) = attachment(1, Framing::Raw);
    let (good, theirs_good, ours_good) = attachment(2, Framing::Multiplexed);
    let begun = Instant::now();
    let mut helper = fixture.start(vec![(stuck, theirs_stuck), (good, theirs_good)]);
    let output = demultiplex(&read_all(&ours_good)).0;
    assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
    assert!(output.len() == data.len() + 4 && output.starts_with(&data));
    let slow = helper.wait_for(|report| matches!(report, Report::AttachmentClosed { id: 1, .. }));
    assert_eq!(slow, Report::AttachmentClosed { id: 1, reason: CloseReason::TooSlow });
    assert_eq!(helper.exited().exit.code, 0);
    drop(ours_stuck);
    drop(ours_good);
    helper.collect();
    assert_eq!(fixture.log().0.len(), data.len() + 4);
}

#[test]
fn a_slow_client_gets_every_byte() {
    let fixture = Fixture::script("cat /data");
    let data = noise(6 << 20);
    std::fs::write(fixture.path("layer/data"), &data).expect("write");
    let (slow, theirs, mut ours) = attachment(1, Framing::Raw);
    let mut helper = fixture.start(vec![(slow, theirs)]);
    let mut received = Vec::new();
    let mut buffer = vec![0; 300_000];
    loop {
        let count = ours.read(&mut buffer).expect("read");
        if count == 0 {
            break;
        }
        received.extend_from_slice(&buffer[..count]);
        std::thread::sleep(Duration::from_millis(3));
    }
    assert!(received == data, "{}", received.len());
    drop(ours);
    helper.exited();
    helper.collect();
}

#[test]
fn a_stuck_client_holds_the_report_of_the_exit_only_shortly() {
    // Less than what is buffered, so that the process itself is never blocked.
    let fixture = Fixture::script("head -c 700000 /dev/zero");
    let (stuck, theirs, ours) = attachment(1, Framing::Raw);
    let begun = Instant::now();
    let mut helper = fixture.start(vec![(stuck, theirs)]);
    helper.exited();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // It can still have its bytes.
    assert_eq!(read_all(&ours).len(), 700_000);
    drop(ours);
    helper.collect();
}

#[test]
fn everything_in_a_shared_pid_namespace_ends_with_the_first_process() {
    let mut fixture = Fixture::script("sleep 1000 & echo $!; exit 4");
    fixture.spec.namespaces.pid = pinnace_helper::protocol::NamespaceMode::Host;
    let (record, stdout, _) = fixture.run();
    assert_eq!(record.exit.code, 4);
    let pid: i32 = stdout.trim().parse().expect("pid");
    eventually("the grandchild is gone", || !std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
}
