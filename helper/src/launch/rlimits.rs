//! Resource limits of a process.

use pinnace_helper::protocol::Rlimit;
use rustix::process::{Resource, getrlimit};

use crate::fault::{Call, Fault};
use crate::sys;

/// The kernel's "no limit".
const INFINITY: u64 = u64::MAX;

/// Makes the helper a process that never dumps its memory.
pub(crate) fn forbid_core_dumps() -> rustix::io::Result<()> {
    sys::set_rlimit(libc::RLIMIT_CORE, 0, hard_core_limit())
}

/// Sets each limit. The helper's own limit on core dumps is not the workload's: it is undone where none is asked for.
pub(crate) fn set(limits: &[Rlimit]) -> Result<(), Fault> {
    if !limits.iter().any(|limit| limit.resource == libc::RLIMIT_CORE) {
        let hard = hard_core_limit();
        set_one(Rlimit { resource: libc::RLIMIT_CORE, soft: hard, hard })?;
    }
    limits.iter().copied().try_for_each(set_one)
}

fn hard_core_limit() -> u64 {
    getrlimit(Resource::Core).maximum.unwrap_or(INFINITY)
}

fn set_one(limit: Rlimit) -> Result<(), Fault> {
    sys::set_rlimit(limit.resource, limit.soft, limit.hard)
        .call(|| format!("prlimit64({}, {}, {})", limit.resource, limit.soft, limit.hard))
}
