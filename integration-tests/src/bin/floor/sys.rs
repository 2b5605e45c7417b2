//! The system calls of the floor that have no safe wrapper: clone3, the loopback's flags, the seccomp filter.
#![expect(unsafe_code, reason = "a benchmark of system calls; clone3 and seccomp have no safe wrapper")]

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::Pid;

/// Forks into new mount, pid, uts, ipc and network namespaces; `None` in the child.
///
/// The cgroup namespace comes later, when the child has joined its cgroups: its root is where the process is then.
pub(crate) fn clone_into_namespaces() -> io::Result<Option<Pid>> {
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET;
    // SAFETY: clone_args is a plain struct of integers, for which zero means "not asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(flags.cast_unsigned());
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: the arguments outlive the call; without CLONE_VM the child has a copy of this single-threaded process.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match i32::try_from(pid) {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Some(Pid::from_raw(pid))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the loopback interface of the current network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: ifreq is a plain struct, for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which outlives the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A filter of about `instructions` instructions that allows everything: a binary search over the system call's number,
/// as a good compiler makes it.
///
/// The kernel copies, checks and compiles it, and runs it once per system call number to fill its cache of calls that
/// are always allowed: for a linear list of 512 comparisons that alone takes more than a millisecond.
pub(crate) fn seccomp_program(instructions: usize) -> Vec<libc::sock_filter> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS, offset 0 is the system call's number
    let leaves = u32::try_from(instructions / 3).unwrap_or(1).max(1);
    let mut program = vec![libc::sock_filter { code: LOAD, jt: 0, jf: 0, k: 0 }];
    program.extend(search(0, leaves));
    program
}

/// The search among the leaves `from..to`.
fn search(from: u32, to: u32) -> Vec<libc::sock_filter> {
    const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
    const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    if to - from <= 1 {
        return vec![libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
    }
    let middle = from.midpoint(to);
    let below = search(from, middle);
    let mut program = vec![
        libc::sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: middle },
        libc::sock_filter { code: JUMP, jt: 0, jf: 0, k: u32::try_from(below.len()).unwrap_or(0) },
    ];
    program.extend(below);
    program.extend(search(middle, to));
    program
}

/// Loads a seccomp filter for the calling thread.
pub(crate) fn load_seccomp(program: &[libc::sock_filter]) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions, which outlive the call, and writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
