//! Capability sets and identity of a process.

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::user::User;
use crate::fault::{Call, Fault};

/// The sets that a workload gets, from capability numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Granted(CapabilitySet);

impl Granted {
    /// Takes capability numbers. Numbers that the kernel does not know are refused when they are set.
    pub(crate) fn from_numbers(numbers: &[u8]) -> Result<Self, Fault> {
        numbers
            .iter()
            .try_fold(0_u64, |bits, number| 1_u64.checked_shl(u32::from(*number)).map(|bit| bits | bit))
            .map(|bits| Self(CapabilitySet::from_bits_retain(bits)))
            .ok_or_else(|| Fault::rule("a capability number is over 63"))
    }

    /// Leaves out what the daemon itself does not have, and removes everything else from the bounding set, so that no
    /// execve can bring it back.
    pub(crate) fn bound(self) -> Result<Self, Fault> {
        let known = rustix::thread::capabilities(None).call(|| "capget()".into())?.permitted;
        for capability in known.difference(self.0).iter() {
            rustix::thread::remove_capability_from_bounding_set(capability)
                .call(|| format!("prctl(PR_CAPBSET_DROP, {capability:?})"))?;
        }
        Ok(Self(self.0.intersection(known)))
    }

    /// Sets the final sets: a user other than 0 keeps none effective, as execve(2) would have it.
    pub(crate) fn set(self, user: &User) -> Result<(), Fault> {
        let sets = CapabilitySets {
            effective: if user.uid == 0 { self.0 } else { CapabilitySet::empty() },
            permitted: if user.uid == 0 { self.0 } else { CapabilitySet::empty() },
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, sets).call(|| format!("capset({:#x})", sets.permitted.bits()))
    }
}

/// Becomes the user with its groups, and keeps the permitted capabilities for what is left to do.
pub(crate) fn become_user(user: &User) -> Result<(), Fault> {
    rustix::thread::set_keep_capabilities(true).call(|| "prctl(PR_SET_KEEPCAPS, 1)".into())?;
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups).call(|| format!("setgroups({:?})", user.groups))?;
    let gid = Gid::from_raw(user.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).call(|| format!("setresgid({})", user.gid))?;
    let uid = Uid::from_raw(user.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).call(|| format!("setresuid({})", user.uid))?;
    rustix::thread::set_keep_capabilities(false).call(|| "prctl(PR_SET_KEEPCAPS, 0)".into())
}

/// Makes every permitted capability effective again, which becoming another user has undone.
pub(crate) fn raise() -> Result<(), Fault> {
    let mut sets = rustix::thread::capabilities(None).call(|| "capget()".into())?;
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets).call(|| "capset(effective = permitted)".into())
}
