//! What to launch, with everything resolved: the helper looks nothing up on the host and decides nothing.
//!
//! Two things are looked up by the container's first process itself, because the answer is only in the container's
//! merged file system: names of users and groups, and the executable on the workload's `PATH`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A container to launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchSpec {
    /// The container's id, 64 hexadecimal digits.
    pub container: String,
    /// The container's run directory on the host; [`super::EXIT_FILE`] is written there.
    pub run_dir: PathBuf,
    pub rootfs: Rootfs,
    pub namespaces: Namespaces,
    /// Set in a private UTS namespace; ignored otherwise.
    pub hostname: String,
    /// Set in a private UTS namespace if not empty.
    pub domainname: String,
    /// Contents of the files that are mounted over the image's.
    pub etc: EtcFiles,
    /// Mounts beside the standard ones, in the order in which they are made; a destination that equals a standard one
    /// replaces it.
    pub mounts: Vec<MountSpec>,
    /// Size of `/dev/shm`, in bytes.
    pub shm_size: u64,
    /// Device nodes beside Docker's standard ones (null, zero, full, random, urandom, tty).
    pub devices: Vec<DeviceNode>,
    /// Whether `/sys` and `/proc/sys` are left writable, the cgroup file system too (`--privileged`).
    pub writable_system: bool,
    /// Hidden by an empty read-only mount where they exist. Absolute paths in the container.
    pub masked_paths: Vec<String>,
    /// Made read-only where they exist. Absolute paths in the container.
    pub readonly_paths: Vec<String>,
    /// `(key with dots, value)`, written inside the namespaces.
    pub sysctls: Vec<(String, String)>,
    pub cgroup: CgroupSpec,
    pub log: Option<LogSpec>,
    pub stdin: StdinMode,
    pub process: ProcessSpec,
}

/// The union mount that is the container's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rootfs {
    /// Unpacked layers on the host, the topmost first. At least one.
    pub lower: Vec<PathBuf>,
    /// The container's writable layer on the host; made by the helper if it is missing.
    pub upper: PathBuf,
    /// Overlay's work directory, on the same file system as `upper`; made by the helper if it is missing.
    pub work: PathBuf,
    /// Mount with `volatile`: no sync at all, for containers that nobody keeps.
    pub volatile: bool,
    /// Mounted read-only in the container (`--read-only`).
    pub readonly: bool,
    /// An existing empty directory on the host, on which the root is mounted inside the new mount namespace.
    pub mount_point: PathBuf,
}

/// The namespaces of a container. The mount namespace is always its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespaces {
    pub pid: NamespaceMode,
    pub network: NamespaceMode,
    pub ipc: NamespaceMode,
    pub uts: NamespaceMode,
    pub cgroup: NamespaceMode,
}

/// Where one namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    /// A new one.
    Private,
    /// The one that the daemon is in.
    Host,
}

/// Contents of the files in `/etc` that belong to the container. `None`: the image's own file stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcFiles {
    pub hostname: Option<String>,
    pub hosts: Option<String>,
    pub resolv_conf: Option<String>,
}

/// One mount in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountSpec {
    pub source: MountSource,
    /// Absolute path in the container, resolved inside its root; made if it is missing.
    pub destination: String,
    pub readonly: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        path: PathBuf,
        /// Submounts come along.
        recursive: bool,
        propagation: Propagation,
        /// Make `path` as a directory if nothing is there, as `Binds` asks.
        create: bool,
    },
    /// A new tmpfs.
    Tmpfs(TmpfsOptions),
}

/// Options of a tmpfs, as the kernel takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TmpfsOptions {
    /// `(key, value)` for `fsconfig(2)`: size, mode, uid, gid, nr_inodes.
    pub options: Vec<(String, String)>,
}

/// Propagation between the container's mount and its source: mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    Private,
    RecursivePrivate,
    Slave,
    RecursiveSlave,
    Shared,
    RecursiveShared,
}

/// A device node to make in the container's `/dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceNode {
    /// Absolute path in the container.
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// The container's cgroup in each hierarchy that is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CgroupSpec {
    /// Made by the helper, and removed by it when the container has ended.
    pub hierarchies: Vec<CgroupHierarchy>,
    /// Whether the file systems are mounted at `/sys/fs/cgroup` in the container (read-only unless `writable_system`).
    pub mount: bool,
}

/// One cgroup directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CgroupHierarchy {
    pub version: CgroupVersion,
    /// Controllers of this hierarchy (`freezer`, `cpu`); one name such as `name=systemd` for a named one.
    pub controllers: Vec<String>,
    /// The hierarchy's mount point on the host, such as `/sys/fs/cgroup/freezer`.
    pub mount_point: PathBuf,
    /// The container's directory, relative to the mount point. Missing parents are made; only the last is removed.
    pub path: PathBuf,
    /// `(file, value)` written before a process joins, in order.
    pub settings: Vec<(String, String)>,
}

/// The cgroup interface of one hierarchy: cgroups(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupVersion {
    V1,
    V2,
}

/// Where the log goes: see [`super::log`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSpec {
    /// The directory of the segments; exists.
    pub directory: PathBuf,
    /// A segment that reached this size is followed by a new one, in bytes.
    pub max_size: u64,
    /// How many segments are kept. At least 1.
    pub max_files: u32,
}

/// What the workload's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdinMode {
    /// `/dev/null` (for a terminal: nothing is ever typed).
    Closed,
    /// Open until the process ends.
    Open,
    /// Open until the first attached client that sends stdin has ended it (`StdinOnce`). A terminal stays open.
    OpenOnce,
}

/// A process to execute in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    /// Executable and arguments; at least one. Without a slash the first is looked up on the `PATH` of `env`.
    pub args: Vec<String>,
    /// `NAME=value`. `HOME` is added from the container's passwd file if it is missing.
    pub env: Vec<String>,
    /// Absolute path in the container; made if it is missing (for an exec: an error).
    pub cwd: String,
    /// `user`, `uid`, `user:group` and so on as in `docker run --user`; empty means 0. Digits are always an id.
    pub user: String,
    /// Supplementary groups beside those of the container's group file, by name or number.
    pub additional_groups: Vec<String>,
    pub terminal: bool,
    /// `(rows, columns)` that the terminal has at first.
    pub terminal_size: Option<(u16, u16)>,
    /// Capability numbers in the bounding and permitted sets; the effective set follows the user as execve(2) has it
    /// (all of them for uid 0, none otherwise). Inheritable and ambient are always empty.
    pub capabilities: Vec<u8>,
    pub no_new_privileges: bool,
    /// A compiled classic BPF program (`struct sock_filter`, native byte order) in base64. `None`: unconfined.
    pub seccomp: Option<String>,
    pub rlimits: Vec<Rlimit>,
    pub oom_score_adj: Option<i32>,
    pub umask: u32,
}

/// One resource limit: setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// An exec: another process in a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecSpec {
    pub process: ProcessSpec,
    /// Whether standard input is open. Otherwise it is `/dev/null`.
    pub stdin: bool,
    /// Whether output is wanted; what is not goes to `/dev/null`.
    pub stdout: bool,
    pub stderr: bool,
}
