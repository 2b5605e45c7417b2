//! Kernel parameters of the container's namespaces.

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::staging::Staging;
use crate::fault::{Call, Fault};

/// Writes each `(key with dots, value)` through our own procfs, before anything is mounted over it.
pub(crate) fn write(staging: &Staging, sysctls: &[(String, String)]) -> Result<(), Fault> {
    for (key, value) in sysctls {
        let path = format!("sys/{}", key.replace('.', "/"));
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let what = || format!("write(/proc/{path}, {value:?})");
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat2(&staging.proc, &path, flags, Mode::empty(), resolve)
            .call(what)
            .map_err(|fault| fault.about(key))?;
        rustix::io::write(&file, value.as_bytes()).call(what).map_err(|fault| fault.about(key))?;
    }
    Ok(())
}
