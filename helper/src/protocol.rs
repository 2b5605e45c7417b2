//! The conversation between `pinnaced` and one `pinnace-helper`, over `SOCK_SEQPACKET` unix sockets.
//!
//! One packet is one JSON message ([`packet`]), with file descriptors beside it (`SCM_RIGHTS`) where the message says so.
//! Bulk data never travels in packets: it goes through the descriptors that were passed.
//!
//! ```text
//!   daemon                                              helper
//!   spawn, stdin = one end of a socketpair        -->   (waits; end of file here means: exit, nothing was asked)
//!   Launch + [spec, listener, attachment fds…]    -->
//!                                                 <--   Started{pid}            after the workload's execve succeeded
//!                                                 <--   Failed(LaunchError)     instead; the helper cleans up and exits
//!   Attach + [stream] / Exec + [spec, stream?]    -->
//!   Signal / Resize / Pause / Unpause / Status    -->
//!                                                 <--   Done / Refused / Attached / ExecStarted / Status
//!                                                 <--   AttachmentClosed, ExecExited, OutOfMemory (unasked)
//!                                                 <--   Exited(ExitRecord)      the last message; all output is written
//!   Collected                                     -->   the helper removes the cgroup's directories and exits
//! ```
//!
//! The socketpair's other end stays open as the first control connection. The daemon also binds `control.sock`, and
//! passes the *listening* descriptor: a daemon that was restarted connects to it and gets [`Report::Hello`] and then
//! [`Report::Status`] unasked, and goes on from there. When the workload has exited and no connected daemon says
//! [`Request::Collected`] the helper writes [`EXIT_FILE`] beside the control socket (temporary name, then rename) and
//! exits, so that the record is there for the next daemon.
//!
//! Requests and their direct answers are matched by `seq`, which the daemon chooses and the helper repeats.
//!
//! [`LaunchSpec`] and [`ExecSpec`] are read only by the helper that the writing daemon spawned, so they deny unknown
//! fields. [`Request`] and [`Report`] must survive an upgrade of the daemon under running helpers: variants and fields
//! are only ever added, with a new [`PROTOCOL_VERSION`], and the daemon speaks the version that the helper's
//! [`Report::Hello`] names.

pub mod log;
pub mod packet;
mod spec;

use serde::{Deserialize, Serialize};

pub use spec::{
    CgroupHierarchy, CgroupSpec, CgroupVersion, DeviceNode, EtcFiles, ExecSpec, LaunchSpec, LogSpec, MountSource,
    MountSpec, NamespaceMode, Namespaces, ProcessSpec, Propagation, Rlimit, Rootfs, StdinMode, TmpfsOptions,
};

/// The version of the control messages that this source speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// Name of the exit record that a helper leaves beside its control socket when no daemon collected it.
pub const EXIT_FILE: &str = "exit.json";

/// Name of the control socket in a container's run directory.
pub const CONTROL_SOCKET: &str = "control.sock";

/// What the daemon asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// Launch the container. Descriptors: the [`LaunchSpec`] as JSON in a sealed memfd, the listening control socket,
    /// then one stream for each attachment, in order.
    Launch {
        /// Clients that attached before the start; they see every byte.
        attachments: Vec<Attachment>,
    },
    /// Connect one stream descriptor (a connected stream socket) to the container's stdio.
    Attach { seq: u64, attachment: Attachment },
    /// Run another process. Descriptors: the [`ExecSpec`] in a sealed memfd, then the stream if `attachment` is set.
    Exec { seq: u64, exec: String, attachment: Option<Attachment> },
    /// Send a signal.
    Signal { seq: u64, target: Target, signal: i32 },
    /// Set the size of a terminal, in character cells.
    Resize { seq: u64, target: Target, rows: u16, columns: u16 },
    /// Freeze every process of the container.
    Pause { seq: u64 },
    /// Undo `Pause`.
    Unpause { seq: u64 },
    /// Ask for [`Report::Status`].
    Status { seq: u64 },
    /// The daemon has recorded the exit: the helper may clean up and go.
    Collected,
}

/// What a signal or a resize is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", content = "id", rename_all = "snake_case")]
pub enum Target {
    /// The container's first process.
    Init,
    /// Every process in the container's cgroup.
    All,
    /// The first process of one exec.
    Exec(String),
}

/// How one client's stream is connected to a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Chosen by the daemon; [`Report::AttachmentClosed`] repeats it.
    pub id: u64,
    /// Whether bytes read from the stream are written to the process's stdin. They are read and thrown away otherwise.
    pub stdin: bool,
    /// Whether the process's stdout (a terminal's only output) is written to the stream.
    pub stdout: bool,
    /// Whether the process's stderr is written to the stream.
    pub stderr: bool,
    /// How output is framed on the stream.
    pub framing: Framing,
    /// Bytes which, read one after another from the stream, detach it instead of being written to stdin.
    /// Empty: none. Docker's default is `[16, 17]` (ctrl-p, ctrl-q).
    pub detach_keys: Vec<u8>,
}

/// How output is framed on an attached stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Bytes as they come, stdout and stderr mixed: terminals, and Docker's plain websocket.
    Raw,
    /// Docker's 8-byte header `[stream, 0, 0, 0, length: u32 big-endian]` before each run of bytes.
    Multiplexed,
}

/// What the helper says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Report {
    /// The first message on a connection made through the control socket.
    Hello { version: u32, helper_pid: i32 },
    /// The workload runs: its `execve` succeeded.
    Started {
        /// Pid of the container's first process in the daemon's pid namespace.
        pid: i32,
        /// Wall clock, nanoseconds since the epoch.
        started_at_ns: i64,
        /// How long each phase of the launch took, for the daemon's spans.
        phases: Vec<PhaseTime>,
    },
    /// The launch failed and everything it made is undone; the helper exits after this message.
    Failed(LaunchError),
    /// The request was carried out.
    Done { seq: u64 },
    /// The request was not carried out.
    Refused { seq: u64, reason: Refusal },
    /// The stream is connected. Output before `position` is in the log and will not be on the stream; everything after
    /// it will be.
    Attached { seq: u64, position: log::Position },
    /// The stream of an attachment was closed by the helper or by its client.
    AttachmentClosed { id: u64, reason: CloseReason },
    /// The exec's process runs.
    ExecStarted { seq: u64, exec: String, pid: i32 },
    /// The exec could not be started; its stream was closed without a byte written to it.
    ExecFailed { seq: u64, exec: String, error: LaunchError },
    /// The exec's process ended and all that it wrote has been passed on.
    ExecExited { exec: String, exit: ProcessExit },
    /// Answer to `Status`, and sent unasked after `Hello`.
    Status(Status),
    /// The workload ended, and all that it wrote is in the log and in the streams. The last message.
    Exited(ExitRecord),
}

/// What a helper knows of its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The request answered; 0 when sent unasked.
    pub seq: u64,
    pub container: String,
    pub pid: i32,
    pub started_at_ns: i64,
    pub paused: bool,
    /// Execs that run, by id, with their pids in the daemon's pid namespace.
    pub execs: Vec<(String, i32)>,
    /// Execs that ended while no daemon was connected.
    pub ended_execs: Vec<(String, ProcessExit)>,
    /// Open attachments.
    pub attachments: Vec<u64>,
    /// Set when the workload has ended and waits for [`Request::Collected`].
    pub exited: Option<ExitRecord>,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Refusal {
    /// The process that the request is for has ended.
    NotRunning,
    /// There is no such exec.
    NoSuchExec,
    /// A resize of a process that has no terminal.
    NoTerminal,
    /// The message or its descriptors were malformed.
    Malformed { detail: String },
    /// A system call failed.
    Failed { call: String, errno: i32 },
}

/// Why an attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The process ended and everything was delivered.
    ProcessExited,
    /// The client typed the detach keys.
    Detached,
    /// The client closed its side.
    ClientGone,
    /// The client did not take its output within the bound; see the helper's `fanout` module.
    TooSlow,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessExit {
    /// Exit status as a shell says it: 0 to 255, or 128 + signal.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Wall clock, nanoseconds since the epoch.
    pub finished_at_ns: i64,
}

/// How a container's run ended; also the content of [`EXIT_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub container: String,
    pub pid: i32,
    pub started_at_ns: i64,
    pub exit: ProcessExit,
    /// Whether the kernel killed a process of this container's cgroup for lack of memory.
    pub oom_killed: bool,
}

/// The time one phase of a launch took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTime {
    pub stage: Stage,
    pub micros: u64,
}

/// A stage of a launch, in order. The exit code of a failed start follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Spec,
    Cgroup,
    Rootfs,
    Clone,
    Namespaces,
    Mounts,
    Devices,
    Terminal,
    PivotRoot,
    Masks,
    Network,
    Hostname,
    Sysctls,
    Rlimits,
    User,
    WorkingDir,
    Capabilities,
    Seccomp,
    /// Looking the workload's executable up and executing it.
    Exec,
}

/// Why a launch or an exec failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchError {
    pub stage: Stage,
    /// The system call or step with its arguments, as strace would print it.
    pub call: String,
    /// The kernel's answer, if a system call failed.
    pub errno: Option<i32>,
    /// What the failure is about, in words, for stages where the call does not say it: the user or the executable.
    pub subject: Option<String>,
}
