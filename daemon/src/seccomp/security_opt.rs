//! `HostConfig.SecurityOpt`: what each option asks for, in dockerd's grammar and with its error words.
//!
//! The host is taken to have no AppArmor and no SELinux: options that switch them off hold already, and options that ask
//! them for something are refused, since a confinement that was asked for and is not there is a hole.

use super::Profile;

/// What all `SecurityOpt` strings of a container come to. Where two contradict each other the last one wins.
#[derive(Debug, Clone, Default)]
pub struct SecurityOptions {
    pub seccomp: Seccomp,
    /// `None` if nothing was said: the daemon's default holds.
    pub no_new_privileges: Option<bool>,
}

/// Which seccomp profile a container asks for.
#[derive(Debug, Clone, Default)]
pub enum Seccomp {
    /// None in particular.
    #[default]
    Unspecified,
    Builtin,
    Unconfined,
    Custom(Profile),
}

impl Seccomp {
    /// Returns the profile that is in force, or `None` for none. As in dockerd a privileged container is unconfined unless
    /// it asks for a profile.
    pub fn profile(&self, privileged: bool) -> Option<Profile> {
        match self {
            Self::Unspecified if privileged => None,
            Self::Unspecified | Self::Builtin => Some(Profile::default()),
            Self::Unconfined => None,
            Self::Custom(profile) => Some(profile.clone()),
        }
    }
}

/// A `SecurityOpt` that cannot be honoured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid --security-opt 1: {0:?}")]
    NoValue(String),
    #[error("invalid --security-opt 2: {0:?}")]
    Invalid(String),
    /// It is valid in dockerd, but not here; the reason follows the option.
    #[error("--security-opt {option} is not supported: {reason}")]
    Unsupported { option: String, reason: &'static str },
    #[error("invalid --security-opt seccomp")]
    Profile(#[from] super::Error),
}

impl SecurityOptions {
    /// Reads the options of a create request.
    pub fn parse(options: &[String]) -> Result<Self, Error> {
        let mut parsed = Self::default();
        for option in options {
            parsed.apply(option)?;
        }
        Ok(parsed)
    }

    fn apply(&mut self, option: &str) -> Result<(), Error> {
        match option {
            "no-new-privileges" => {
                self.no_new_privileges = Some(true);
                return Ok(());
            }
            // The label separator's oldest spelling of "off".
            "disable" => return Ok(()),
            _ => {}
        }
        // The colon is the older form; a profile's JSON contains colons, so the equals sign is looked for first.
        let Some((key, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
            return Err(Error::NoValue(option.to_owned()));
        };
        let invalid = || Error::Invalid(option.to_owned());
        let unsupported = |reason| Err(Error::Unsupported { option: option.to_owned(), reason });
        match (key, value) {
            ("seccomp", _) => self.seccomp = seccomp(value)?,
            ("no-new-privileges", _) => self.no_new_privileges = Some(go_bool(value).ok_or_else(invalid)?),
            ("label", "disable") | ("apparmor", "unconfined" | "") => {}
            ("label", _) => return unsupported("this host has no SELinux"),
            ("apparmor", _) => return unsupported("this host has no AppArmor"),
            ("writable-cgroups", _) => {
                if go_bool(value).ok_or_else(invalid)? {
                    return unsupported("the container's cgroups are always read-only");
                }
            }
            _ => return Err(invalid()),
        }
        Ok(())
    }
}

fn seccomp(value: &str) -> Result<Seccomp, super::Error> {
    Ok(match value {
        "" => Seccomp::Unspecified,
        "builtin" => Seccomp::Builtin,
        "unconfined" => Seccomp::Unconfined,
        json => Seccomp::Custom(Profile::parse(json)?),
    })
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<SecurityOptions, Error> {
        SecurityOptions::parse(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_options_that_docker_clients_send_are_read() {
        for (options, seccomp, no_new_privileges) in [
            (vec![], "Unspecified", None),
            (vec!["no-new-privileges"], "Unspecified", Some(true)),
            (vec!["no-new-privileges:true"], "Unspecified", Some(true)),
            (vec!["no-new-privileges=false"], "Unspecified", Some(false)),
            (vec!["no-new-privileges=1", "no-new-privileges=0"], "Unspecified", Some(false)),
            (vec!["seccomp=unconfined"], "Unconfined", None),
            (vec!["seccomp:unconfined"], "Unconfined", None),
            (vec!["seccomp=builtin"], "Builtin", None),
            (vec!["seccomp="], "Unspecified", None),
            (vec![r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW","comment":"a=b:c"}"#], "Custom", None),
            (vec![r#"seccomp:{"defaultAction":"SCMP_ACT_ALLOW"}"#], "Custom", None),
            (vec!["label=disable", "label:disable", "disable", "apparmor=unconfined"], "Unspecified", None),
            (vec!["writable-cgroups=false"], "Unspecified", None),
        ] {
            let parsed = parse(&options).unwrap();
            assert!(format!("{:?}", parsed.seccomp).starts_with(seccomp), "{options:?}: {parsed:?}");
            assert_eq!(parsed.no_new_privileges, no_new_privileges, "{options:?}");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (option, message) in [
            ("label", r#"invalid --security-opt 1: "label""#),
            ("unknown", r#"invalid --security-opt 1: "unknown""#),
            ("", r#"invalid --security-opt 1: """#),
            ("unknown=something", r#"invalid --security-opt 2: "unknown=something""#),
            ("no-new-privileges=maybe", r#"invalid --security-opt 2: "no-new-privileges=maybe""#),
            ("writable-cgroups=dang", r#"invalid --security-opt 2: "writable-cgroups=dang""#),
            (
                "writable-cgroups=true",
                "--security-opt writable-cgroups=true is not supported: the container's cgroups are always read-only",
            ),
            ("label=type:spc_t", "--security-opt label=type:spc_t is not supported: this host has no SELinux"),
            ("apparmor=mine", "--security-opt apparmor=mine is not supported: this host has no AppArmor"),
        ] {
            assert_eq!(parse(&[option]).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_broken_profile_says_what_is_wrong_with_it() {
        let error = parse(&["seccomp=/etc/profile.json"]).unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "decoding seccomp profile failed");
    }

    #[test]
    fn privileged_containers_are_confined_only_if_they_ask_for_it() {
        assert!(Seccomp::Unspecified.profile(false).is_some());
        assert!(Seccomp::Unspecified.profile(true).is_none());
        assert!(Seccomp::Builtin.profile(true).is_some());
        assert!(Seccomp::Unconfined.profile(false).is_none());
        let custom = parse(&[r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#]).unwrap().seccomp;
        assert!(custom.profile(true).is_some());
    }
}
