//! Linux capabilities: their names and numbers, sets of them, and which ones a container gets.
//!
//! Everything here is decided before a launch; the helper only applies the numbers.

use std::fmt;

/// Names by number (`linux/capability.h`), without the `CAP_` that all of them begin with.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What asks for every capability in `CapAdd` and `CapDrop`.
const ALL_WORD: &str = "ALL";

/// One capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

impl Capability {
    /// Returns the capability of that kernel number, 0 to 40.
    pub fn from_number(number: u8) -> Option<Self> {
        (usize::from(number) < NAMES.len()).then_some(Self(number))
    }

    /// Returns the capability with exactly this name: upper case, beginning with `CAP_`.
    pub fn from_name(name: &str) -> Option<Self> {
        let bare = name.strip_prefix("CAP_")?;
        let index = NAMES.iter().position(|known| *known == bare)?;
        u8::try_from(index).ok().map(Self)
    }

    /// Returns the kernel's number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CAP_{}", NAMES[usize::from(self.0)])
    }
}

/// A set of capabilities, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    pub const EMPTY: Self = Self(0);
    /// Every capability that has a name here.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);
    /// What Docker gives a container that asks for nothing: CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP
    /// NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP.
    pub const DOCKER_DEFAULT: Self = Self(
        1 | 1 << 1
            | 1 << 3
            | 1 << 4
            | 1 << 5
            | 1 << 6
            | 1 << 7
            | 1 << 8
            | 1 << 10
            | 1 << 13
            | 1 << 18
            | 1 << 27
            | 1 << 29
            | 1 << 31,
    );

    /// Reads the bounding set out of the text of `/proc/<pid>/status`; bits without a name here are left out.
    pub fn bounding_from_status(status: &str) -> Option<Self> {
        let hex = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
        let bits = u64::from_str_radix(hex.trim(), 16).ok()?;
        Some(Self(bits).intersection(Self::ALL))
    }

    pub fn insert(&mut self, capability: Capability) {
        self.0 |= 1 << capability.0;
    }

    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns what is in `self` and not in `other`.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Yields the members by rising number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0..NAMES.len() as u8).map(Capability).filter(move |capability| self.contains(*capability))
    }

    /// Returns the members' numbers, rising, as the launch specification wants them.
    pub fn numbers(self) -> Vec<u8> {
        self.iter().map(Capability::number).collect()
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        let mut set = Self::EMPTY;
        for capability in capabilities {
            set.insert(capability);
        }
        set
    }
}

/// A capability that a request named and that cannot be had; the words are dockerd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid {field}: unknown capability: {name:?}")]
    Unknown { field: &'static str, name: String },
    #[error(
        "invalid {field}: capability not supported by your kernel or not available in the current environment: {name:?}"
    )]
    Unavailable { field: &'static str, name: String },
}

/// Names as a request gave them, normalised.
struct Named {
    all: bool,
    set: CapabilitySet,
}

fn normalise(field: &'static str, names: &[String], available: CapabilitySet) -> Result<Named, Error> {
    let mut named = Named { all: false, set: CapabilitySet::EMPTY };
    for given in names {
        let mut name = given.to_uppercase();
        if name == ALL_WORD {
            named.all = true;
            continue;
        }
        if !name.starts_with("CAP_") {
            name.insert_str(0, "CAP_");
        }
        match Capability::from_name(&name) {
            None => return Err(Error::Unknown { field, name }),
            Some(capability) if !available.contains(capability) => return Err(Error::Unavailable { field, name }),
            Some(capability) => named.set.insert(capability),
        }
    }
    Ok(named)
}

/// Returns the capabilities of a container from its `CapAdd`, `CapDrop` and `Privileged`.
///
/// `available` is the daemon's own bounding set: nothing outside of it can be given. What a container would get by
/// default, by `ALL` or by being privileged is cut down to it silently; what is named and lacking is an error. As in
/// dockerd, names are checked even if the container is privileged, `CapAdd: ALL` wins over `CapDrop: ALL`, and a
/// capability that is both added and dropped is added unless it was added through `ALL`.
pub fn resolve(
    cap_add: &[String],
    cap_drop: &[String],
    privileged: bool,
    available: CapabilitySet,
) -> Result<CapabilitySet, Error> {
    let add = normalise("CapAdd", cap_add, available)?;
    let drop = normalise("CapDrop", cap_drop, available)?;
    let wanted = if privileged {
        CapabilitySet::ALL
    } else if add.all {
        CapabilitySet::ALL.difference(drop.set)
    } else if drop.all {
        add.set
    } else {
        CapabilitySet::DOCKER_DEFAULT.difference(drop.set).union(add.set)
    };
    Ok(wanted.intersection(available))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &str) -> CapabilitySet {
        names.split_whitespace().map(|name| Capability::from_name(&format!("CAP_{name}")).unwrap()).collect()
    }

    fn strings(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_default_set_is_dockers_fourteen() {
        let docker =
            set("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE \
                          SYS_CHROOT KILL AUDIT_WRITE");
        assert_eq!(CapabilitySet::DOCKER_DEFAULT, docker);
        assert_eq!(docker.numbers().len(), 14);
        assert_eq!(docker.numbers(), [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31]);
    }

    #[test]
    fn names_and_numbers_agree_both_ways() {
        for capability in CapabilitySet::ALL.iter() {
            assert_eq!(Capability::from_name(&capability.to_string()), Some(capability));
            assert_eq!(Capability::from_number(capability.number()), Some(capability));
        }
        // Spot checks against linux/capability.h, since the table itself is what could be wrong.
        for (name, number) in [("CAP_CHOWN", 0), ("CAP_SETPCAP", 8), ("CAP_SYS_ADMIN", 21), ("CAP_SYSLOG", 34)] {
            assert_eq!(Capability::from_name(name).unwrap().number(), number);
        }
        assert_eq!(Capability::from_name("CAP_CHECKPOINT_RESTORE").unwrap().number(), 40);
        assert_eq!(Capability::from_number(41), None);
        assert_eq!(Capability::from_name("CHOWN"), None);
    }

    #[test]
    fn adds_and_drops_combine_as_in_dockerd() {
        let default = CapabilitySet::DOCKER_DEFAULT;
        let all = CapabilitySet::ALL;
        for (add, drop, privileged, expected) in [
            ("", "", false, default),
            ("net_admin", "", false, default.union(set("NET_ADMIN"))),
            ("CAP_NET_ADMIN Cap_Sys_Admin", "", false, default.union(set("NET_ADMIN SYS_ADMIN"))),
            ("", "MKNOD cap_net_raw", false, default.difference(set("MKNOD NET_RAW"))),
            ("", "ALL", false, CapabilitySet::EMPTY),
            ("chown", "all", false, set("CHOWN")),
            ("ALL", "", false, all),
            ("ALL", "SYS_ADMIN", false, all.difference(set("SYS_ADMIN"))),
            ("ALL SYS_ADMIN", "SYS_ADMIN", false, all.difference(set("SYS_ADMIN"))),
            ("ALL", "ALL", false, all),
            ("MKNOD", "MKNOD", false, default),
            ("", "ALL", true, all),
        ] {
            let resolved = resolve(&strings(add), &strings(drop), privileged, all);
            assert_eq!(resolved, Ok(expected), "add {add:?} drop {drop:?} privileged {privileged}");
        }
    }

    #[test]
    fn what_the_host_lacks_is_masked_unless_it_is_named() {
        let available = CapabilitySet::ALL.difference(set("SYS_RESOURCE MKNOD"));
        assert_eq!(resolve(&[], &[], true, available), Ok(available));
        assert_eq!(resolve(&strings("ALL"), &[], false, available), Ok(available));
        let default = CapabilitySet::DOCKER_DEFAULT.difference(set("MKNOD"));
        assert_eq!(resolve(&[], &[], false, available), Ok(default));
        assert_eq!(
            resolve(&strings("sys_resource"), &[], false, available).unwrap_err().to_string(),
            "invalid CapAdd: capability not supported by your kernel or not available in the current environment: \
             \"CAP_SYS_RESOURCE\""
        );
    }

    #[test]
    fn unknown_names_are_refused_in_dockers_words() {
        for (add, drop, privileged, message) in [
            ("foo", "", false, "invalid CapAdd: unknown capability: \"CAP_FOO\""),
            ("", "CAP_FOO", true, "invalid CapDrop: unknown capability: \"CAP_FOO\""),
            ("CAP_ALL", "", false, "invalid CapAdd: unknown capability: \"CAP_ALL\""),
        ] {
            let error = resolve(&strings(add), &strings(drop), privileged, CapabilitySet::ALL).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let empty = resolve(&[String::new()], &[], false, CapabilitySet::ALL).unwrap_err();
        assert_eq!(empty.to_string(), "invalid CapAdd: unknown capability: \"CAP_\"");
    }

    #[test]
    fn the_bounding_set_is_read_from_proc_status() {
        let status = "Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t000001fffeffffff\nCapAmb:\t0\n";
        let expected = CapabilitySet::ALL.difference(set("SYS_RESOURCE"));
        assert_eq!(CapabilitySet::bounding_from_status(status), Some(expected));
        let newer_kernel = CapabilitySet::bounding_from_status("CapBnd:\tffffffffffffffff\n");
        assert_eq!(newer_kernel, Some(CapabilitySet::ALL));
        assert_eq!(CapabilitySet::bounding_from_status("Name:\tx\n"), None);
        assert_eq!(CapabilitySet::bounding_from_status("CapBnd:\tzz\n"), None);
    }
}
