//! The container's first process, from clone3 to execve.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chdir, execve, pivot_root, sethostname};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::{Container, Failure, sys};

/// The child's phases, in order.
const PHASES: [&str; 9] = [
    "clone3 with namespaces",
    "cgroups joined",
    "overlay mounted",
    "proc, dev, sys and etc mounted",
    "paths masked",
    "pivot_root",
    "loopback up",
    "capabilities dropped",
    "seccomp program loaded",
];

/// Docker's default capabilities.
const KEPT: [CapabilitySet; 14] = [
    CapabilitySet::CHOWN,
    CapabilitySet::DAC_OVERRIDE,
    CapabilitySet::FOWNER,
    CapabilitySet::FSETID,
    CapabilitySet::KILL,
    CapabilitySet::SETGID,
    CapabilitySet::SETUID,
    CapabilitySet::SETPCAP,
    CapabilitySet::NET_BIND_SERVICE,
    CapabilitySet::NET_RAW,
    CapabilitySet::SYS_CHROOT,
    CapabilitySet::MKNOD,
    CapabilitySet::AUDIT_WRITE,
    CapabilitySet::SETFCAP,
];

/// Docker's masked paths, relative to the root.
const MASKED: [&str; 13] = [
    "proc/asound",
    "proc/acpi",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
    "sys/devices/virtual/powercap",
    "sys/kernel/security",
];

/// Docker's read-only paths, relative to the root.
const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

/// Becomes the container's program; returns only with the reason why it could not.
///
/// The moments of the phases go to `stamps` just before execve.
pub(crate) fn become_container(
    container: &Container<'_>,
    filter: &[libc::sock_filter],
    stamps: BorrowedFd<'_>,
    now: &dyn Fn() -> u64,
) -> Failure {
    match set_up(container, filter, stamps, now) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

/// The moments that the child wrote, with their names.
pub(crate) fn decode_stamps(bytes: &[u8]) -> impl Iterator<Item = (&'static str, u64)> {
    let (chunks, _) = bytes.as_chunks::<8>();
    PHASES.into_iter().zip(chunks.iter().map(|chunk| u64::from_ne_bytes(*chunk)))
}

fn set_up(
    container: &Container<'_>,
    filter: &[libc::sock_filter],
    stamps: BorrowedFd<'_>,
    now: &dyn Fn() -> u64,
) -> Result<std::convert::Infallible, Failure> {
    let mut moments = vec![now()];
    for cgroup in &container.cgroups {
        // `tasks`, not `cgroup.procs`: a thread that moves itself needs no cgroup_threadgroup_rwsem, whose writers wait
        // for an RCU grace period (15 ms) when the last one was long ago.
        fs::OpenOptions::new().write(true).open(cgroup.join("tasks"))?.write_all(b"0")?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP)?;
    moments.push(now());

    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let root = container.directory.join("merged");
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        container.shape.lower,
        container.directory.join("upper").display(),
        container.directory.join("work").display(),
    );
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    moments.push(now());

    chdir(&root)?;
    standard_mounts(container)?;
    // Docker's settings of a private network namespace, while /proc/sys can be written.
    fs::write("proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
    fs::write("proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
    moments.push(now());
    mask()?;
    moments.push(now());

    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    moments.push(now());

    sys::loopback_up()?;
    sethostname("floor")?;
    moments.push(now());
    drop_capabilities()?;
    moments.push(now());
    sys::load_seccomp(filter)?;
    moments.push(now());

    let bytes: Vec<u8> = moments.iter().flat_map(|moment| moment.to_ne_bytes()).collect();
    nix::unistd::write(stamps, &bytes)?;
    let args = container.shape.args.iter().map(|arg| CString::new(arg.as_str())).collect::<Result<Vec<_>, _>>()?;
    Ok(execve(
        &args[0],
        &args,
        &[c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", c"HOSTNAME=floor"],
    )?)
}

/// proc, dev with its nodes, devpts, shm, mqueue, sysfs and the files in etc, in the current directory.
fn standard_mounts(container: &Container<'_>) -> Result<(), Failure> {
    let none = None::<&str>;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "proc", Some("proc"), quiet, none)?;
    mount(Some("tmpfs"), "dev", Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755,size=65536k"))?;
    for directory in ["dev/pts", "dev/shm", "dev/mqueue"] {
        fs::create_dir(directory)?;
    }
    let permissions = Mode::from_bits_truncate(0o666);
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        mknod(&Path::new("dev").join(name), SFlag::S_IFCHR, permissions, makedev(1, minor))?;
    }
    mknod("dev/tty", SFlag::S_IFCHR, permissions, makedev(5, 0))?;
    for (target, link) in [
        ("/proc/self/fd", "dev/fd"),
        ("/proc/self/fd/0", "dev/stdin"),
        ("/proc/self/fd/1", "dev/stdout"),
        ("/proc/self/fd/2", "dev/stderr"),
        ("/proc/kcore", "dev/core"),
        ("pts/ptmx", "dev/ptmx"),
    ] {
        symlink(target, link)?;
    }
    let pts = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    mount(Some("devpts"), "dev/pts", Some("devpts"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some(pts))?;
    mount(Some("shm"), "dev/shm", Some("tmpfs"), quiet, Some("mode=1777,size=65536k"))?;
    mount(Some("mqueue"), "dev/mqueue", Some("mqueue"), quiet, none)?;
    mount(Some("sysfs"), "sys", Some("sysfs"), quiet | MsFlags::MS_RDONLY, none)?;
    if container.shape.cgroup_mounts {
        mount(Some("tmpfs"), "sys/fs/cgroup", Some("tmpfs"), quiet, Some("mode=755"))?;
        for hierarchy in &container.shape.hierarchies {
            let name = hierarchy.file_name().and_then(|name| name.to_str()).ok_or("a hierarchy has a name")?;
            let target = Path::new("sys/fs/cgroup").join(name);
            fs::create_dir(&target)?;
            let options = if name == "systemd" { "none,name=systemd" } else { name };
            mount(Some("cgroup"), &target, Some("cgroup"), quiet | MsFlags::MS_RDONLY, Some(options))?;
        }
    }
    for file in ["hostname", "hosts", "resolv.conf"] {
        let target = Path::new("etc").join(file);
        mount(Some(&container.directory.join(file)), &target, none, MsFlags::MS_BIND, none)?;
    }
    Ok(())
}

/// Hides and write-protects what Docker does. One empty tmpfs serves every masked directory.
fn mask() -> Result<(), Failure> {
    let none = None::<&str>;
    let mut empty = None;
    for path in MASKED {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => match empty {
                None => {
                    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_RDONLY, Some("size=0k"))?;
                    empty = Some(path);
                }
                Some(first) => mount(Some(first), path, none, MsFlags::MS_BIND, none)?,
            },
            Ok(_) => mount(Some("dev/null"), path, none, MsFlags::MS_BIND, none)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    for path in READ_ONLY {
        match mount(Some(path), path, none, MsFlags::MS_BIND | MsFlags::MS_REC, none) {
            Ok(()) => {
                let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
                mount(none, path, none, flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, none)?;
            }
            Err(nix::errno::Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Leaves Docker's default capabilities in the bounding, permitted and effective sets.
fn drop_capabilities() -> Result<(), Failure> {
    let kept = KEPT.into_iter().fold(CapabilitySet::empty(), |set, capability| set | capability);
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !kept.contains(capability) && rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
            break; // above the last one that this kernel knows
        }
    }
    rustix::thread::set_no_new_privs(true)?; // seccomp asks for it when CAP_SYS_ADMIN is gone
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}
