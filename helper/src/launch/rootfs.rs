//! The container's root: the overlay over the image's layers, assembled detached, and the switch to it.

use std::os::fd::{AsRawFd, OwnedFd};

use pinnace_helper::protocol::Rootfs;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsOpenFlags, MountAttrFlags, UnmountFlags, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsopen,
};

use super::detached;
use crate::fault::{Call, Fault};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Assembles the overlay. The result is attached nowhere.
pub(crate) fn assemble(rootfs: &Rootfs) -> Result<OwnedFd, Fault> {
    let lower = rootfs.lower.iter().map(|layer| open_layer(layer)).collect::<Result<Vec<_>, _>>()?;
    let upper = open_or_make(&rootfs.upper, 0o755)?;
    let work = open_or_make(&rootfs.work, 0o700)?;
    if rootfs.volatile {
        // The kernel leaves this mark so that an upper directory is not used again after a crash. Here it is used
        // again only by a restart of the same container on the same boot.
        for (name, flags) in
            [("work/incompat/volatile/dirty", AtFlags::empty()), ("work/incompat/volatile", AtFlags::REMOVEDIR)]
        {
            match rustix::fs::unlinkat(&work, name, flags) {
                Ok(()) | Err(Errno::NOENT) => {}
                failed => failed.call(|| format!("unlinkat({name:?})"))?,
            }
        }
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).call(|| "fsopen(\"overlay\")".into())?;
    let set = |key: &str, value: &str| {
        fsconfig_set_string(&context, key, value).call(|| format!("fsconfig(overlay, {key:?}, {value:?})"))
    };
    match append_layers(&context, &lower) {
        Ok(()) => {
            for (key, fd) in [("upperdir", &upper), ("workdir", &work)] {
                fsconfig_set_fd(&context, key, fd).call(|| format!("fsconfig(overlay, {key:?}, fd)"))?;
            }
        }
        Err(_before_6_13) => return assemble_by_names(rootfs, &lower, &upper, &work),
    }
    // What a kernel turns on by default must not decide what an upper directory looks like.
    set("index", "off")?;
    set("metacopy", "off")?;
    if rootfs.volatile {
        fsconfig_set_flag(&context, "volatile").call(|| "fsconfig(overlay, \"volatile\")".into())?;
    }
    detached::mount(&context, "overlay", MountAttrFlags::empty())
}

fn append_layers(context: &OwnedFd, lower: &[OwnedFd]) -> rustix::io::Result<()> {
    lower.iter().try_for_each(|layer| fsconfig_set_fd(context, "lowerdir+", layer))
}

/// For kernels that take no descriptors: names of the descriptors, relative to `/proc/self/fd`, because a value of
/// `fsconfig(2)` is at most 255 bytes long and the layers' own names are longer.
fn assemble_by_names(rootfs: &Rootfs, lower: &[OwnedFd], upper: &OwnedFd, work: &OwnedFd) -> Result<OwnedFd, Fault> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).call(|| "fsopen(\"overlay\")".into())?;
    let name = |fd: &OwnedFd| fd.as_raw_fd().to_string();
    let layers = lower.iter().map(name).collect::<Vec<_>>().join(":");
    let mut options = vec![("lowerdir", layers), ("upperdir", name(upper)), ("workdir", name(work))];
    options.push(("index", "off".into()));
    options.push(("metacopy", "off".into()));
    rustix::process::chdir("/proc/self/fd").call(|| "chdir(\"/proc/self/fd\")".into())?;
    for (key, value) in &options {
        fsconfig_set_string(&context, *key, value.as_str())
            .call(|| format!("fsconfig(overlay, {key:?}, {value:?})"))?;
    }
    if rootfs.volatile {
        fsconfig_set_flag(&context, "volatile").call(|| "fsconfig(overlay, \"volatile\")".into())?;
    }
    let mounted = detached::mount(&context, "overlay", MountAttrFlags::empty());
    rustix::process::chdir("/").call(|| "chdir(\"/\")".into())?;
    mounted
}

fn open_layer(path: &std::path::Path) -> Result<OwnedFd, Fault> {
    rustix::fs::open(path, DIRECTORY, Mode::empty()).call(|| format!("open({path:?}, O_DIRECTORY)"))
}

fn open_or_make(path: &std::path::Path, mode: u32) -> Result<OwnedFd, Fault> {
    match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {
            rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(mode)).call(|| format!("mkdir({path:?}, {mode:#o})"))?;
            open_layer(path)
        }
        other => other.call(|| format!("open({path:?}, O_DIRECTORY)")),
    }
}

/// Makes our own mount the root of the mount namespace, and lets go of every mount of the host's.
pub(crate) fn leave_host(new_root: &OwnedFd) -> Result<(), Fault> {
    rustix::process::fchdir(new_root).call(|| "fchdir(root)".into())?;
    rustix::process::pivot_root(".", ".").call(|| "pivot_root(\".\", \".\")".into())?;
    // The old root is on top of the new one now, and "." is the old one.
    rustix::mount::unmount(".", UnmountFlags::DETACH).call(|| "umount2(\".\", MNT_DETACH)".into())?;
    rustix::process::chdir("/").call(|| "chdir(\"/\")".into())
}

/// Attaches the container's root on top of the present one, so that mounts can be attached to it.
pub(crate) fn attach(root: &OwnedFd) -> Result<(), Fault> {
    let place = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).call(|| "open(\"/\")".into())?;
    detached::attach(root, place).call(|| "move_mount(root, \"/\")".into())
}

/// Makes the attached root the process's own.
///
/// It is the topmost mount at the root of the namespace, so that the kernel takes nobody in it for chrooted, and what
/// is below cannot be reached: `..` of the lower root is the upper one again. That lower root is the staging tmpfs
/// and nothing of the host: [`leave_host`] has pivoted away from that, when the container was not waiting for the
/// unmount and the RCU grace period that it takes.
pub(crate) fn enter(root: &OwnedFd) -> Result<(), Fault> {
    rustix::process::fchdir(root).call(|| "fchdir(root)".into())?;
    rustix::process::chroot(".").call(|| "chroot(\".\")".into())
}
