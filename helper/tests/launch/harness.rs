//! Plays the daemon: spawns the helper with one end of a `SOCK_SEQPACKET` pair as standard input.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use pinnace_helper::protocol::log::{self, HEADER_SIZE, Stream};
use pinnace_helper::protocol::{
    Attachment, CONTROL_SOCKET, CgroupHierarchy, CgroupSpec, CgroupVersion, EtcFiles, ExecSpec, ExitRecord, Framing,
    LaunchError, LaunchSpec, LogSpec, MountSource, MountSpec, NamespaceMode, Namespaces, ProcessSpec, Propagation,
    Report, Request, Rootfs, StdinMode, packet,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tempfile::TempDir;

/// How long any single step may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The hierarchies of this machine that the tests use.
const HIERARCHIES: [&str; 5] = ["freezer", "memory", "pids", "cpu", "devices"];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A container's directories and specification.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) spec: LaunchSpec,
    cgroup: PathBuf,
}

/// A spawned helper and the first control connection.
pub(crate) struct Helper {
    pub(crate) child: Child,
    pub(crate) control: OwnedFd,
    listener: Option<OwnedFd>,
}

/// The helper under test: the one that cargo built, or another one such as the static build.
fn executable() -> PathBuf {
    std::env::var_os("PINNACE_HELPER").map_or_else(|| env!("CARGO_BIN_EXE_pinnace-helper").into(), PathBuf::from)
}

/// A cgroup of one fixture's own, with a parent that no other fixture removes.
fn own_cgroup() -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!("pinnace-helper-test-{}-{number}/container", std::process::id()))
}

impl Fixture {
    /// A container that runs this shell script.
    pub(crate) fn script(script: &str) -> Self {
        Self::new(&["/bin/sh", "-c", script])
    }

    /// A container that runs these arguments in a tree with busybox.
    pub(crate) fn new(args: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("pinnace-helper-").tempdir().expect("tempdir");
        let path = |name: &str| dir.path().join(name);
        for name in ["layer/bin", "layer/etc", "layer/tmp", "run", "log", "root"] {
            std::fs::create_dir_all(path(name)).expect("mkdir");
        }
        std::fs::copy("/bin/busybox", path("layer/bin/busybox")).expect("busybox-static is installed");
        for name in [
            "sh",
            "cat",
            "echo",
            "true",
            "stty",
            "sleep",
            "ls",
            "id",
            "mount",
            "touch",
            "head",
            "dd",
            "stat",
            "hostname",
            "tr",
            "grep",
            "ip",
            "tty",
            "seq",
            "readlink",
            "mkdir",
            "test",
            "kill",
            "wc",
            "sha256sum",
            "pwd",
            "env",
            "yes",
            "nproc",
            "ps",
            "cut",
            "unshare",
            "pivot_root",
            "umount",
        ] {
            std::os::unix::fs::symlink("busybox", path("layer/bin").join(name)).expect("symlink");
        }
        std::fs::write(path("layer/etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\n")
            .expect("passwd");
        std::fs::write(path("layer/etc/group"), "root:x:0:\nweb:x:1001:\nmedia:x:44:web\n").expect("group");
        let cgroup = own_cgroup();
        let hierarchies = HIERARCHIES
            .iter()
            .map(|name| CgroupHierarchy {
                version: CgroupVersion::V1,
                controllers: vec![(*name).to_owned()],
                mount_point: Path::new("/sys/fs/cgroup").join(name),
                path: cgroup.clone(),
                settings: if *name == "pids" { vec![("pids.max".to_owned(), "500".to_owned())] } else { Vec::new() },
            })
            .collect();
        let spec = LaunchSpec {
            container: "c".repeat(64),
            run_dir: path("run"),
            rootfs: Rootfs {
                lower: vec![path("layer")],
                upper: path("upper"),
                work: path("work"),
                volatile: false,
                readonly: false,
                mount_point: path("root"),
            },
            namespaces: Namespaces {
                pid: NamespaceMode::Private,
                network: NamespaceMode::Private,
                ipc: NamespaceMode::Private,
                uts: NamespaceMode::Private,
                cgroup: NamespaceMode::Private,
            },
            hostname: "testhost".into(),
            domainname: String::new(),
            etc: EtcFiles {
                hostname: Some("testhost\n".into()),
                hosts: Some("127.0.0.1 localhost\n".into()),
                resolv_conf: Some("nameserver 192.0.2.1\n".into()),
            },
            mounts: Vec::new(),
            shm_size: 64 << 20,
            devices: Vec::new(),
            writable_system: false,
            masked_paths: [
                "/proc/kcore",
                "/proc/keys",
                "/proc/timer_list",
                "/proc/acpi",
                "/sys/firmware",
                "/proc/nothing",
            ]
            .map(str::to_owned)
            .to_vec(),
            readonly_paths: ["/proc/bus", "/proc/sys", "/proc/sysrq-trigger"].map(str::to_owned).to_vec(),
            sysctls: Vec::new(),
            cgroup: CgroupSpec { hierarchies, mount: true },
            log: Some(LogSpec { directory: path("log"), max_size: 64 << 20, max_files: 2 }),
            stdin: StdinMode::Closed,
            process: process(args),
        };
        Self { dir, spec, cgroup }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Spawns a helper and asks it to launch, with these clients attached.
    pub(crate) fn launch(&self, attachments: Vec<(Attachment, UnixStream)>) -> Helper {
        let helper = Helper::spawn();
        helper.launch(self, attachments)
    }

    /// Launches and waits until the workload runs.
    pub(crate) fn start(&self, attachments: Vec<(Attachment, UnixStream)>) -> Helper {
        let helper = self.launch(attachments);
        match helper.receive() {
            Report::Started { .. } => helper,
            other => unreachable!("not started: {other:?}"),
        }
    }

    /// Launches, which must fail, and checks that nothing is left.
    pub(crate) fn fails(&self) -> LaunchError {
        let mut helper = self.launch(Vec::new());
        let error = match helper.receive() {
            Report::Failed(error) => error,
            other => unreachable!("not failed: {other:?}"),
        };
        assert!(helper.child.wait().expect("wait").success());
        self.assert_nothing_left();
        error
    }

    /// Runs to the end and returns the record and the log's stdout and stderr.
    pub(crate) fn run(&self) -> (ExitRecord, String, String) {
        let mut helper = self.start(Vec::new());
        let record = helper.exited();
        helper.collect();
        self.assert_nothing_left();
        let (stdout, stderr) = self.log();
        (record, String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
    }

    /// Runs a script's worth of checks: exit status 0 is asserted, stdout returned.
    pub(crate) fn output(&self) -> String {
        let (record, stdout, stderr) = self.run();
        assert_eq!(record.exit.code, 0, "stdout: {stdout}\nstderr: {stderr}");
        stdout
    }

    /// The bytes of both streams in the log.
    pub(crate) fn log(&self) -> (Vec<u8>, Vec<u8>) {
        let mut segments: Vec<u64> = std::fs::read_dir(self.path("log"))
            .expect("log directory")
            .filter_map(|entry| log::parse_segment_name(entry.expect("entry").file_name().to_str()?))
            .collect();
        segments.sort_unstable();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        for segment in segments {
            let bytes = std::fs::read(self.path("log").join(log::segment_name(segment))).expect("segment");
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let header = log::decode_header(rest[..HEADER_SIZE].try_into().expect("header")).expect("a record");
                let payload = &rest[HEADER_SIZE..HEADER_SIZE + header.length as usize];
                assert!(header.matches(payload), "checksum");
                if header.stream == Stream::Stdout { &mut stdout } else { &mut stderr }.extend_from_slice(payload);
                rest = &rest[HEADER_SIZE + header.length as usize..];
            }
        }
        (stdout, stderr)
    }

    /// The container's cgroup in one hierarchy.
    pub(crate) fn cgroup(&self, hierarchy: &str) -> PathBuf {
        Path::new("/sys/fs/cgroup").join(hierarchy).join(&self.cgroup)
    }

    /// Puts the container into one cgroup of the unified hierarchy instead.
    pub(crate) fn use_unified(&mut self) {
        self.spec.cgroup.hierarchies = vec![CgroupHierarchy {
            version: CgroupVersion::V2,
            controllers: Vec::new(),
            mount_point: "/sys/fs/cgroup/unified".into(),
            path: self.cgroup.clone(),
            settings: Vec::new(),
        }];
    }

    /// No cgroup of the container's is there any more.
    pub(crate) fn assert_nothing_left(&self) {
        for name in HIERARCHIES.into_iter().chain(["unified"]) {
            assert!(!self.cgroup(name).exists(), "{:?} is left", self.cgroup(name));
        }
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let path = self.dir.path().to_str().expect("utf-8");
        assert!(!mountinfo.contains(path), "a mount is left: {mountinfo}");
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // A test that ends while its container runs leaves that to the death of the helper.
        for name in HIERARCHIES.into_iter().chain(["unified"]) {
            let begun = Instant::now();
            while std::fs::remove_dir(self.cgroup(name)).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
                && begun.elapsed() < PATIENCE
            {
                std::thread::sleep(Duration::from_millis(2));
            }
            if let Some(parent) = self.cgroup(name).parent() {
                drop(std::fs::remove_dir(parent));
            }
        }
    }
}

/// A process with Docker's defaults.
pub(crate) fn process(args: &[&str]) -> ProcessSpec {
    ProcessSpec {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
        cwd: "/".into(),
        user: String::new(),
        additional_groups: Vec::new(),
        terminal: false,
        terminal_size: None,
        capabilities: vec![0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31],
        no_new_privileges: false,
        seccomp: None,
        rlimits: Vec::new(),
        oom_score_adj: None,
        umask: 0o022,
    }
}

/// A recursive bind without propagation.
pub(crate) fn bind(source: &Path, destination: &str, readonly: bool) -> MountSpec {
    MountSpec {
        source: MountSource::Bind {
            path: source.to_owned(),
            recursive: true,
            propagation: Propagation::RecursivePrivate,
            create: false,
        },
        destination: destination.into(),
        readonly,
        nosuid: false,
        nodev: false,
        noexec: false,
    }
}

/// A seccomp program that answers one system call with EPERM and allows all others.
pub(crate) fn deny(call: i64) -> String {
    let instruction = |code: u16, jt: u8, jf: u8, k: u32| {
        let mut bytes = code.to_ne_bytes().to_vec();
        bytes.extend([jt, jf]);
        bytes.extend(k.to_ne_bytes());
        bytes
    };
    let program = [
        instruction(0x20, 0, 0, 0),                                    // load the number
        instruction(0x15, 0, 1, u32::try_from(call).expect("number")), // equal?
        instruction(0x06, 0, 0, 0x0005_0000 | 1),                      // EPERM
        instruction(0x06, 0, 0, 0x7fff_0000),                          // allow
    ];
    base64::engine::general_purpose::STANDARD.encode(program.concat())
}

/// An attachment to everything, and our end of its stream.
pub(crate) fn attachment(id: u64, framing: Framing) -> (Attachment, UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("pair");
    ours.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let attachment = Attachment { id, stdin: true, stdout: true, stderr: true, framing, detach_keys: vec![16, 17] };
    (attachment, theirs, ours)
}

/// Reads a stream to its end.
pub(crate) fn read_all(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("read to the end");
    bytes
}

/// Reads until the stream has said this.
pub(crate) fn read_until(mut stream: &UnixStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(wanted) {
        let count = stream.read(&mut buffer).expect("read");
        assert!(count > 0, "ended without {wanted:?}: {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

/// Takes Docker's framing apart: stdout and stderr.
pub(crate) fn demultiplex(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[4..8].try_into().expect("length")) as usize;
        if bytes[0] == 1 { &mut stdout } else { &mut stderr }.extend_from_slice(&bytes[8..8 + length]);
        bytes = &bytes[8 + length..];
    }
    (stdout, stderr)
}

impl Helper {
    /// Spawns a helper that waits for its launch.
    pub(crate) fn spawn() -> Self {
        let (control, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .expect("socketpair");
        let child = Command::new(executable()).stdin(theirs).spawn().expect("spawn");
        Self { child, control, listener: None }
    }

    /// Asks for the launch.
    pub(crate) fn launch(mut self, fixture: &Fixture, attachments: Vec<(Attachment, UnixStream)>) -> Self {
        let spec = packet::sealed_json("spec", &fixture.spec).expect("memfd");
        let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("socket");
        let address = SocketAddrUnix::new(fixture.path("run").join(CONTROL_SOCKET)).expect("address");
        rustix::net::bind(&listener, &address).expect("bind");
        rustix::net::listen(&listener, 8).expect("listen");
        let mut fds = vec![spec.as_fd(), listener.as_fd()];
        fds.extend(attachments.iter().map(|(_, stream)| stream.as_fd()));
        let request =
            Request::Launch { attachments: attachments.iter().map(|(attachment, _)| attachment.clone()).collect() };
        packet::send(&self.control, &request, &fds).expect("send");
        drop(fds);
        // The helper has them now, and the end of file must come from it.
        drop(attachments);
        self.listener = Some(listener);
        self
    }

    pub(crate) fn ask(&self, request: &Request, fds: &[BorrowedFd<'_>]) {
        packet::send(&self.control, request, fds).expect("send");
    }

    /// Asks and expects the direct answer, ignoring what is unasked.
    pub(crate) fn done(&self, request: &Request) {
        self.ask(request, &[]);
        let report = self.wait_for(|report| matches!(report, Report::Done { .. } | Report::Refused { .. }));
        assert!(matches!(report, Report::Done { .. }), "{report:?}");
    }

    pub(crate) fn receive(&self) -> Report {
        receive(&self.control)
    }

    pub(crate) fn wait_for(&self, wanted: impl Fn(&Report) -> bool) -> Report {
        loop {
            let report = self.receive();
            if wanted(&report) {
                return report;
            }
        }
    }

    /// Waits for the exit.
    pub(crate) fn exited(&self) -> ExitRecord {
        match self.wait_for(|report| matches!(report, Report::Exited(_))) {
            Report::Exited(record) => record,
            _ => unreachable!(),
        }
    }

    /// Says that the exit is recorded, and waits for the helper's end.
    pub(crate) fn collect(&mut self) {
        packet::send(&self.control, &Request::Collected, &[]).expect("send");
        self.ends();
    }

    /// Waits until the helper has exited with success.
    pub(crate) fn ends(&mut self) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                assert!(status.success(), "{status:?}");
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the helper does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts an exec with an attachment and returns our end of its stream.
    pub(crate) fn exec(&self, id: &str, spec: &ExecSpec, framing: Framing) -> UnixStream {
        let (attachment, theirs, ours) = attachment(1000, framing);
        let fd = packet::sealed_json("exec", spec).expect("memfd");
        let request = Request::Exec { seq: 7, exec: id.to_owned(), attachment: Some(attachment) };
        self.ask(&request, &[fd.as_fd(), theirs.as_fd()]);
        ours
    }

    /// Waits for an exec's end.
    pub(crate) fn exec_exited(&self) -> i32 {
        match self.wait_for(|report| {
            matches!(report, Report::ExecExited { .. } | Report::ExecFailed { .. } | Report::Refused { .. })
        }) {
            Report::ExecExited { exit, .. } => exit.code,
            other => unreachable!("{other:?}"),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Receives one report within the patience.
pub(crate) fn receive(control: &OwnedFd) -> Report {
    let timeout = Timespec { tv_sec: PATIENCE.as_secs().try_into().expect("seconds"), tv_nsec: 0 };
    let ready = rustix::event::poll(&mut [PollFd::new(control, PollFlags::IN)], Some(&timeout)).expect("poll");
    assert!(ready > 0, "nothing was reported");
    packet::receive(control).expect("receive").expect("a report").0
}

/// Runs an ignored test of this binary in a mount namespace of its own, after a script, and returns what it prints.
pub(crate) fn in_mount_namespace(setup: &str, test: &str, variable: (&str, &str)) -> String {
    let executable = std::env::current_exe().expect("exe");
    let script = format!("set -e; {setup}; exec {} --exact {test} --ignored --nocapture", executable.display());
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", &script])
        .env(variable.0, variable.1)
        .output()
        .expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
