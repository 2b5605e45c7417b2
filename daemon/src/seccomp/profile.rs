//! Docker's seccomp profile format: read, checked, and narrowed to the rules that hold for one container.
//!
//! Words and defaults are those of moby and runc, so that a profile which they refuse is refused here with the same
//! sentence. Keys that say nothing about verdicts (`comment`, `flags`, and any unknown one) are ignored.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Error;
use super::abi::{Abi, Machine};
use super::policy::{Action, Comparison, Condition, Rule};
use crate::capability::{Capability, CapabilitySet};

/// A profile as it is written, after the checks that need no container.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) default_action: Action,
    /// Architecture sections; at most one holds for a machine.
    arch_map: Vec<ArchSection>,
    /// ABIs named without a map.
    architectures: Vec<String>,
    rules: Vec<ConditionalRule>,
    /// SHA-256 of the text.
    pub(super) digest: [u8; 32],
    /// The capabilities that decide whether a rule holds.
    pub(super) capabilities: CapabilitySet,
}

#[derive(Debug)]
struct ArchSection {
    architecture: String,
    sub_architectures: Vec<String>,
}

#[derive(Debug)]
struct ConditionalRule {
    includes: Filter,
    excludes: Filter,
    rule: Rule,
}

/// What must be so (or not so) for a rule to hold.
#[derive(Debug)]
struct Filter {
    /// `None` stands for a name that is no capability, and which therefore nobody has.
    capabilities: Vec<Option<Capability>>,
    arches: Vec<String>,
    min_kernel: Option<(u32, u32)>,
}

impl Document {
    pub(super) fn parse(json: &str) -> Result<Self, Error> {
        let raw: RawProfile = serde_json::from_str(json).map_err(Error::Json)?;
        if !raw.architectures.is_empty() && !raw.arch_map.is_empty() {
            return Err(Error::BothArchitectures);
        }
        if !raw.listener_path.is_empty() {
            return Err(Error::Unsupported("listenerPath"));
        }
        for name in raw.architectures.iter().chain(raw.arch_map.iter().flat_map(RawArchSection::names)) {
            check_architecture(name)?;
        }
        let rules = raw.syscalls.into_iter().map(ConditionalRule::try_from).collect::<Result<Vec<_>, _>>()?;
        let capabilities = rules
            .iter()
            .flat_map(|rule| rule.includes.capabilities.iter().chain(&rule.excludes.capabilities))
            .filter_map(|capability| *capability)
            .collect();
        let arch_map = raw
            .arch_map
            .into_iter()
            .map(|section| ArchSection {
                architecture: section.architecture,
                sub_architectures: section.sub_architectures.unwrap_or_default(),
            })
            .collect();
        Ok(Self {
            default_action: action(&raw.default_action, raw.default_errno_ret)?,
            arch_map,
            architectures: raw.architectures,
            rules,
            digest: Sha256::digest(json.as_bytes()).into(),
            capabilities,
        })
    }

    /// Returns the ABIs that the profile lets through to its rules. The machine's own is always one of them.
    pub(super) fn abis(&self, machine: Machine) -> Vec<Abi> {
        let native = machine.native();
        let section = self.arch_map.iter().find(|section| section.architecture == native.profile_name());
        let named = |abi: Abi| {
            let is_it = |name: &String| name == abi.profile_name();
            abi == native
                || self.architectures.iter().any(is_it)
                || section.is_some_and(|section| section.sub_architectures.iter().any(is_it))
        };
        Abi::EVERY.into_iter().filter(|abi| machine.runs(*abi) && named(*abi)).collect()
    }

    /// Returns the rules that hold, in the order of the profile.
    pub(super) fn rules(
        &self,
        machine: Machine,
        capabilities: CapabilitySet,
        kernel: (u32, u32),
    ) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter_map(move |conditional| {
            let held = |capability: &Option<Capability>| capability.is_some_and(|it| capabilities.contains(it));
            let here = |arch: &String| arch == machine.go_name();
            let excludes = &conditional.excludes;
            let includes = &conditional.includes;
            let excluded = excludes.arches.iter().any(here)
                || excludes.capabilities.iter().any(held)
                || excludes.min_kernel.is_some_and(|least| kernel >= least);
            let included = (includes.arches.is_empty() || includes.arches.iter().any(here))
                && includes.capabilities.iter().all(held)
                && includes.min_kernel.is_none_or(|least| kernel >= least);
            (included && !excluded).then_some(&conditional.rule)
        })
    }
}

/// What Pinnace's default profile changes in Docker's: see `daemon/data/seccomp-deltas.json`.
#[derive(Debug)]
pub(super) struct Deltas {
    /// Whether the ABIs beside the machine's own are answered EPERM.
    pub(super) deny_sub_architectures: bool,
    /// Looked at before the rules of the profile.
    pub(super) precede: Vec<Rule>,
    /// These calls lose the rules that the profile has for them.
    pub(super) replace: Vec<Rule>,
}

impl Deltas {
    pub(super) fn parse(json: &str) -> Result<Self, Error> {
        let raw: RawDeltas = serde_json::from_str(json).map_err(Error::Json)?;
        let rules = |rules: Vec<RawRule>| {
            rules.into_iter().map(|raw| ConditionalRule::try_from(raw).map(|it| it.rule)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            deny_sub_architectures: raw.deny_sub_architectures,
            precede: rules(raw.precede)?,
            replace: rules(raw.replace)?,
        })
    }
}

impl TryFrom<RawRule> for ConditionalRule {
    type Error = Error;

    fn try_from(raw: RawRule) -> Result<Self, Error> {
        let mut names = raw.names.unwrap_or_default();
        if !raw.name.is_empty() {
            if !names.is_empty() {
                return Err(Error::BothNames);
            }
            names.push(raw.name);
        }
        let conditions = raw.args.unwrap_or_default().iter().map(condition).collect::<Result<_, _>>()?;
        Ok(Self {
            includes: raw.includes.unwrap_or_default().try_into()?,
            excludes: raw.excludes.unwrap_or_default().try_into()?,
            rule: Rule { names, action: action(&raw.action, raw.errno_ret)?, conditions },
        })
    }
}

impl TryFrom<RawFilter> for Filter {
    type Error = Error;

    fn try_from(raw: RawFilter) -> Result<Self, Error> {
        let min_kernel =
            raw.min_kernel.filter(|text| !text.is_empty()).map(|text| kernel_version(&text)).transpose()?;
        let capabilities = raw.caps.unwrap_or_default().iter().map(|name| Capability::from_name(name)).collect();
        Ok(Self { capabilities, arches: raw.arches.unwrap_or_default(), min_kernel })
    }
}

fn kernel_version(text: &str) -> Result<(u32, u32), Error> {
    let parsed = text.split_once('.').and_then(|(version, major)| Some((version.parse().ok()?, major.parse().ok()?)));
    parsed.ok_or_else(|| Error::KernelVersion(text.to_owned()))
}

/// Returns the action of that name; `errno` is what ERRNO answers and what TRACE tells the tracer, EPERM if not given.
fn action(name: &str, errno: Option<u32>) -> Result<Action, Error> {
    /// `MAX_ERRNO` of the kernel, to which it would cut larger values silently.
    const MAX_ERRNO: u32 = 4095;
    let value = || match errno {
        Some(errno) if errno > MAX_ERRNO => Err(Error::Errno(errno)),
        errno => Ok(errno.unwrap_or(Action::EPERM)),
    };
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => Action::KILL_PROCESS,
        "SCMP_ACT_TRAP" => Action::TRAP,
        "SCMP_ACT_ERRNO" => Action::errno(value()?),
        "SCMP_ACT_TRACE" => Action::trace(value()?),
        "SCMP_ACT_LOG" => Action::LOG,
        "SCMP_ACT_ALLOW" => Action::ALLOW,
        "SCMP_ACT_NOTIFY" => return Err(Error::Unsupported("SCMP_ACT_NOTIFY")),
        unknown => return Err(Error::UnknownAction(unknown.to_owned())),
    })
}

fn condition(raw: &RawArgument) -> Result<Condition, Error> {
    /// A call has six arguments.
    const MAX_INDEX: u8 = 5;
    let index = u8::try_from(raw.index).ok().filter(|index| *index <= MAX_INDEX);
    let (comparison, mask, value) = match raw.op.as_str() {
        "SCMP_CMP_NE" => (Comparison::Ne, u64::MAX, raw.value),
        "SCMP_CMP_LT" => (Comparison::Lt, u64::MAX, raw.value),
        "SCMP_CMP_LE" => (Comparison::Le, u64::MAX, raw.value),
        "SCMP_CMP_EQ" => (Comparison::Eq, u64::MAX, raw.value),
        "SCMP_CMP_GE" => (Comparison::Ge, u64::MAX, raw.value),
        "SCMP_CMP_GT" => (Comparison::Gt, u64::MAX, raw.value),
        // libseccomp masks the expected value too: bits outside of the mask never prevent a match.
        "SCMP_CMP_MASKED_EQ" => (Comparison::Eq, raw.value, raw.value_two & raw.value),
        unknown => return Err(Error::UnknownOperator(unknown.to_owned())),
    };
    Ok(Condition { index: index.ok_or(Error::ArgumentIndex(raw.index))?, comparison, mask, value })
}

/// Refuses what is no architecture of libseccomp's; those without tables here can be named and mean nothing.
fn check_architecture(name: &str) -> Result<(), Error> {
    const OTHERS: [&str; 17] = [
        "LOONGARCH64",
        "M68K",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PARISC",
        "PARISC64",
        "PPC",
        "PPC64",
        "PPC64LE",
        "RISCV64",
        "S390",
        "S390X",
        "SHEB",
    ];
    let known = Abi::EVERY.iter().any(|abi| abi.profile_name() == name)
        || name.strip_prefix("SCMP_ARCH_").is_some_and(|bare| OTHERS.contains(&bare));
    if known { Ok(()) } else { Err(Error::UnknownArchitecture(name.to_owned())) }
}

/// The JSON. Go reads `null` as "not given", so every list may be null.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawProfile {
    #[serde(default)]
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_as_default")]
    architectures: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    arch_map: Vec<RawArchSection>,
    #[serde(default, deserialize_with = "null_as_default")]
    syscalls: Vec<RawRule>,
    #[serde(default, deserialize_with = "null_as_default")]
    listener_path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawArchSection {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

impl RawArchSection {
    fn names(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.architecture).chain(self.sub_architectures.iter().flatten())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRule {
    #[serde(default, deserialize_with = "null_as_default")]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<RawArgument>>,
    #[serde(default)]
    includes: Option<RawFilter>,
    #[serde(default)]
    excludes: Option<RawFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawArgument {
    #[serde(default)]
    index: u64,
    #[serde(default)]
    value: u64,
    #[serde(default)]
    value_two: u64,
    #[serde(default)]
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawFilter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDeltas {
    deny_sub_architectures: bool,
    precede: Vec<RawRule>,
    replace: Vec<RawRule>,
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
