//! The system calls that no safe crate wraps, and the only `unsafe` of the helper.
#![expect(unsafe_code, reason = "raw system calls; every block says why it is sound")]

use std::ffi::{c_int, c_long, c_uint};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::mount::MountAttrFlags;

/// The two sides of a [`clone`].
#[derive(Debug)]
pub(crate) enum Cloned {
    /// The caller, with the new process's pid and a descriptor of it.
    Parent { pid: i32, pidfd: OwnedFd },
    /// The new process.
    Child,
}

fn check(answer: c_long) -> Result<c_long> {
    // The C library's `syscall` leaves the error number in errno.
    if answer == -1 { Err(last_error()) } else { Ok(answer) }
}

fn last_error() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

/// Flag of `clone3(2)`; the C library's constant does not hold it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a process by `clone3(2)` with these namespaces, in `cgroup` if one is given (cgroup v2).
pub(crate) fn clone(namespaces: c_int, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    let mut pidfd: c_int = -1;
    let into_cgroup = cgroup.map_or(0, |_| CLONE_INTO_CGROUP);
    let args = libc::clone_args {
        flags: namespaces as u64 | libc::CLONE_PIDFD as u64 | into_cgroup,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: no memory is shared and no stack is given, so that this is a fork. The helper has one thread, so that
    // no lock can be held by another one. `args` and `pidfd` live until the call returns.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel made this descriptor for us and nobody else has it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pid: pid as i32, pidfd })
}

/// Leaves the process's cgroup namespace for a new one, whose root is the present cgroup.
pub(crate) fn unshare_cgroup() -> Result<()> {
    // SAFETY: a cgroup namespace has nothing to do with memory or descriptors.
    check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_NEWCGROUP) }).map(drop)
}

/// How a mount and those below it change: `mount_setattr(2)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MountChange {
    pub(crate) set: MountAttrFlags,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, or 0 for no change.
    pub(crate) propagation: u64,
    pub(crate) recursive: bool,
}

/// Changes the mount that `mount` is the root of.
pub(crate) fn mount_setattr(mount: impl AsFd, change: MountChange) -> Result<()> {
    let attributes = libc::mount_attr {
        attr_set: u64::from(change.set.bits()),
        attr_clr: 0,
        propagation: change.propagation,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and `attributes` lives until the call returns.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of_val(&attributes),
        )
    })
    .map(drop)
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: c_uint) -> Result<()> {
    // SAFETY: called before any descriptor from `first` on has an owner, or where no owner is used or dropped again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, 0) }).map(drop)
}

/// Closes every descriptor from 3 on but these: what a forked process has no business with.
pub(crate) fn close_all_but(kept: &[BorrowedFd<'_>]) -> Result<()> {
    let mut kept: Vec<c_uint> = kept.iter().map(|fd| fd.as_raw_fd() as c_uint).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if first < fd {
            // SAFETY: the caller is a forked process that uses no other descriptor again and never returns, so that
            // no owner of one is dropped.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) })?;
        }
        first = first.max(fd + 1);
    }
    close_from(first)
}

/// Makes the allocator give large blocks back as soon as they are free, instead of growing with the largest.
pub(crate) fn keep_heap_small() {
    // SAFETY: sets parameters of the allocator, before there is a second thread, which there never is.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 * 1024);
    }
}

/// Marks every descriptor from 3 on close-on-exec.
pub(crate) fn cloexec_everything() -> Result<()> {
    // SAFETY: changes a flag of descriptors and closes none.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Joins a new anonymous session keyring. A kernel without keyrings has nothing to hide.
pub(crate) fn new_session_keyring() -> Result<()> {
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    match check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0) }) {
        Err(Errno::NOSYS) | Ok(_) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// One instruction of a classic BPF program, in the bytes that the kernel takes.
pub(crate) const BPF_INSTRUCTION_SIZE: usize = size_of::<libc::sock_filter>();

/// Installs a seccomp filter. `program` is a sequence of `struct sock_filter` in native byte order.
pub(crate) fn install_seccomp(program: &[u8]) -> Result<()> {
    let mut filter: Vec<libc::sock_filter> = program
        .chunks_exact(BPF_INSTRUCTION_SIZE)
        .map(|bytes| libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let length = u16::try_from(filter.len()).map_err(|_too_long| Errno::INVAL)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points at `length` instructions that live until the call returns; the kernel checks them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}

/// Sends any signal, real-time ones included, to the process of a pidfd.
pub(crate) fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, 0, 0) }).map(drop)
}

/// Sends any signal to a process by number.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_kill, pid, signal) }).map(drop)
}

/// Sets one resource limit of the calling process, by its number.
pub(crate) fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` lives until the call returns, and no old value is asked for.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, 0) }).map(drop)
}

/// Gives every signal its default action and unblocks all of them.
pub(crate) fn reset_signals() {
    for signal in 1..=KERNEL_SIGNALS {
        set_action(signal, libc::SIG_DFL);
    }
    let mask: u64 = 0;
    // SAFETY: `mask` is the kernel's 64-bit signal set and lives until the call returns.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, 0, size_of_val(&mask)) };
}

/// Ignores or restores `SIGPIPE`: a write to a closed pipe is an error here and a signal in the workload.
pub(crate) fn ignore_sigpipe(ignore: bool) {
    set_action(libc::SIGPIPE as usize, if ignore { libc::SIG_IGN } else { libc::SIG_DFL });
}

/// How many signals the kernel has. The C library hides two of them, which can be ignored all the same.
const KERNEL_SIGNALS: usize = 64;

fn set_action(signal: usize, action: libc::sighandler_t) {
    /// `struct sigaction` as the kernel has it.
    #[repr(C)]
    struct Action {
        handler: libc::sighandler_t,
        flags: libc::c_ulong,
        restorer: usize,
        mask: u64,
    }
    let action = Action { handler: action, flags: 0, restorer: 0, mask: 0 };
    // SAFETY: neither of the two actions that are passed runs code, and `action` lives until the call returns. That
    // SIGKILL and SIGSTOP refuse is expected.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, 0, size_of_val(&action.mask)) };
}

/// Sets the loopback interface of the present network namespace up.
pub(crate) fn loopback_up() -> Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` is the ifreq that this ioctl reads and lives until the call returns.
    check(unsafe { c_long::from(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)) }).map(drop)
}
