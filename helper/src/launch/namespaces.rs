//! Which namespaces a container has of its own.

use std::ffi::c_int;

use pinnace_helper::protocol::{NamespaceMode, Namespaces};
use rustix::thread::ThreadNameSpaceType;

/// Nothing shared with the host.
pub(crate) const STANDARD: Namespaces = Namespaces {
    pid: NamespaceMode::Private,
    network: NamespaceMode::Private,
    ipc: NamespaceMode::Private,
    uts: NamespaceMode::Private,
    cgroup: NamespaceMode::Private,
};

/// Returns the flags of the clone that makes the first process.
///
/// The cgroup namespace is not among them: its root is the cgroup that the process is in when it is made, so that the
/// process makes it itself when it has joined.
pub(crate) fn clone_flags(namespaces: &Namespaces) -> c_int {
    [
        (&namespaces.pid, libc::CLONE_NEWPID),
        (&namespaces.network, libc::CLONE_NEWNET),
        (&namespaces.ipc, libc::CLONE_NEWIPC),
        (&namespaces.uts, libc::CLONE_NEWUTS),
    ]
    .into_iter()
    .filter(|(mode, _)| **mode == NamespaceMode::Private)
    .fold(libc::CLONE_NEWNS, |flags, (_, flag)| flags | flag)
}

/// Returns the namespaces that an exec enters, beside the pid namespace that it is born in.
pub(crate) fn to_enter(namespaces: &Namespaces) -> ThreadNameSpaceType {
    [
        (&namespaces.network, ThreadNameSpaceType::NETWORK),
        (&namespaces.ipc, ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
        (&namespaces.uts, ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
        (&namespaces.cgroup, ThreadNameSpaceType::CONTROL_GROUP),
    ]
    .into_iter()
    .filter(|(mode, _)| **mode == NamespaceMode::Private)
    .fold(ThreadNameSpaceType::MOUNT, |entered, (_, namespace)| entered | namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_namespace_is_always_private() {
        let all_host = Namespaces {
            pid: NamespaceMode::Host,
            network: NamespaceMode::Host,
            ipc: NamespaceMode::Host,
            uts: NamespaceMode::Host,
            cgroup: NamespaceMode::Host,
        };
        assert_eq!(clone_flags(&all_host), libc::CLONE_NEWNS);
        assert_eq!(to_enter(&all_host), ThreadNameSpaceType::MOUNT);
    }

    #[test]
    fn the_cgroup_namespace_is_left_to_the_process() {
        assert_eq!(clone_flags(&STANDARD) & libc::CLONE_NEWCGROUP, 0);
        assert!(to_enter(&STANDARD).contains(ThreadNameSpaceType::CONTROL_GROUP));
    }
}
