//! The system call interfaces that a filter can meet: their names in profiles, their marks in `struct seccomp_data`,
//! and their numbers for a call.

use super::syscall_table::SYSCALLS;

/// One call's numbers; `u32::MAX` where an ABI lacks it.
pub(super) struct Numbers {
    pub(super) name: &'static str,
    pub(super) numbers: [u32; 5],
}

/// A system call interface. The order is that of the columns of [`SYSCALLS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Abi {
    X86_64,
    I386,
    X32,
    Aarch64,
    Arm,
}

/// Bit 30 of the number marks an x32 call; the architecture it reports is that of x86-64 (`asm/unistd.h`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Where i386 hides a family of calls behind one number, its first argument says which is meant.
pub(super) struct Multiplexed {
    pub(super) number: u32,
    pub(super) selector: u64,
    /// The bits of the first argument that select; those above are a version in `ipc` (`sys_ipc` in the kernel).
    pub(super) mask: u64,
}

impl Abi {
    pub(super) const EVERY: [Self; 5] = [Self::X86_64, Self::I386, Self::X32, Self::Aarch64, Self::Arm];

    /// Returns the value of `seccomp_data.arch` (`linux/audit.h`).
    pub(super) fn audit_arch(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Returns the bits that are compared of an argument, and of the value in a rule, as in libseccomp. An x32 program can
    /// put something into the high half of a register, but the kernel ignores it where it takes 32 bits.
    pub(super) fn argument_mask(self) -> u64 {
        match self {
            Self::X86_64 | Self::Aarch64 => u64::MAX,
            Self::I386 | Self::X32 | Self::Arm => u32::MAX.into(),
        }
    }

    /// Returns the name that profiles use.
    pub(super) fn profile_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::I386 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// Returns the number of a call as `seccomp_data.nr` has it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let index = SYSCALLS.binary_search_by(|numbers| numbers.name.cmp(name)).ok()?;
        let number = SYSCALLS[index].numbers[self as usize];
        let mark = if self == Self::X32 { X32_BIT } else { 0 };
        (number != u32::MAX).then_some(number | mark)
    }

    /// Returns the second way to a call that i386 has: `socketcall` (`linux/net.h`) or `ipc` (`linux/ipc.h`).
    pub(super) fn multiplexed(self, name: &str) -> Option<Multiplexed> {
        const SOCKETCALL: u32 = 102;
        const IPC: u32 = 117;
        if self != Self::I386 {
            return None;
        }
        let (number, selector) = match name {
            "socket" => (SOCKETCALL, 1),
            "bind" => (SOCKETCALL, 2),
            "connect" => (SOCKETCALL, 3),
            "listen" => (SOCKETCALL, 4),
            "accept" => (SOCKETCALL, 5),
            "getsockname" => (SOCKETCALL, 6),
            "getpeername" => (SOCKETCALL, 7),
            "socketpair" => (SOCKETCALL, 8),
            "send" => (SOCKETCALL, 9),
            "recv" => (SOCKETCALL, 10),
            "sendto" => (SOCKETCALL, 11),
            "recvfrom" => (SOCKETCALL, 12),
            "shutdown" => (SOCKETCALL, 13),
            "setsockopt" => (SOCKETCALL, 14),
            "getsockopt" => (SOCKETCALL, 15),
            "sendmsg" => (SOCKETCALL, 16),
            "recvmsg" => (SOCKETCALL, 17),
            "accept4" => (SOCKETCALL, 18),
            "recvmmsg" => (SOCKETCALL, 19),
            "sendmmsg" => (SOCKETCALL, 20),
            "semop" => (IPC, 1),
            "semget" => (IPC, 2),
            "semctl" => (IPC, 3),
            "semtimedop" => (IPC, 4),
            "msgsnd" => (IPC, 11),
            "msgrcv" => (IPC, 12),
            "msgget" => (IPC, 13),
            "msgctl" => (IPC, 14),
            "shmat" => (IPC, 21),
            "shmdt" => (IPC, 22),
            "shmget" => (IPC, 23),
            "shmctl" => (IPC, 24),
            _ => return None,
        };
        let mask = if number == IPC { 0xffff } else { u64::MAX };
        Some(Multiplexed { number, selector, mask })
    }
}

/// The machine that a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// The machine that this daemon runs on.
    pub(super) const HOST: Self = if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else {
        assert!(cfg!(target_arch = "x86_64"), "there is no system call table for this architecture");
        Self::X86_64
    };

    pub(super) fn native(self) -> Abi {
        match self {
            Self::X86_64 => Abi::X86_64,
            Self::Aarch64 => Abi::Aarch64,
        }
    }

    /// Returns whether this machine's kernel can run calls of that ABI.
    pub(super) fn runs(self, abi: Abi) -> bool {
        match self {
            Self::X86_64 => matches!(abi, Abi::X86_64 | Abi::I386 | Abi::X32),
            Self::Aarch64 => matches!(abi, Abi::Aarch64 | Abi::Arm),
        }
    }

    /// Returns the name that `includes` and `excludes` of a rule use.
    pub(super) fn go_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_for_the_binary_search() {
        assert!(SYSCALLS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn numbers_are_those_of_the_kernel() {
        for (name, numbers) in [
            ("read", [Some(0), Some(3), Some(X32_BIT), Some(63), Some(3)]),
            ("execve", [Some(59), Some(11), Some(X32_BIT | 520), Some(221), Some(11)]),
            ("chown32", [None, Some(212), None, None, Some(212)]),
            ("fchmodat2", [Some(452), Some(452), Some(X32_BIT | 452), Some(452), Some(452)]),
            ("uretprobe", [Some(335), None, None, None, None]),
            ("no_such_call", [None; 5]),
        ] {
            assert_eq!(Abi::EVERY.map(|abi| abi.number(name)), numbers, "{name}");
        }
    }
}
