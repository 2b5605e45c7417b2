//! What a filter decides, before it is machine code: for each ABI and each call a list of conditions and verdicts.
//!
//! Of a call's rules the first without conditions wins over all others, as in libseccomp. Among rules with conditions the
//! most restrictive action that matches wins; libseccomp promises no order there.

use std::collections::BTreeMap;

use super::abi::{Abi, Machine};
use super::profile::{Deltas, Document};
use crate::capability::CapabilitySet;

/// A filter's verdict: a value that a seccomp program returns (`linux/seccomp.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Action(u32);

impl Action {
    pub(super) const EPERM: u32 = 1;
    const ENOSYS: u32 = 38;

    pub(super) const KILL_PROCESS: Self = Self(0x8000_0000);
    pub(super) const KILL_THREAD: Self = Self(0);
    pub(super) const TRAP: Self = Self(0x0003_0000);
    pub(super) const LOG: Self = Self(0x7ffc_0000);
    pub(super) const ALLOW: Self = Self(0x7fff_0000);

    /// Fails the call with that error, at most 4095.
    pub(super) const fn errno(errno: u32) -> Self {
        Self(0x0005_0000 | errno)
    }

    /// Asks a tracer, which is told `message`, at most 0xffff; ENOSYS if there is none.
    pub(super) const fn trace(message: u32) -> Self {
        Self(0x7ff0_0000 | message)
    }

    pub(super) fn value(self) -> u32 {
        self.0
    }

    /// Returns 0 for the harshest action; the kernel has this order between several filters.
    fn severity(self) -> i32 {
        // KILL_PROCESS is the one action with the sign bit, and the order is that of signed numbers.
        (self.0 & 0xffff_0000).cast_signed()
    }

    /// Returns whether a call goes through, if perhaps with a note or by leave of a tracer.
    fn lets_pass(self) -> bool {
        self.severity() >= Self::trace(0).severity()
    }
}

/// One comparison of an argument, unsigned: `argument & mask` against `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument, 0 to 5.
    pub(super) index: u8,
    pub(super) comparison: Comparison,
    pub(super) mask: u64,
    pub(super) value: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Ne,
    Lt,
    Le,
    Eq,
    Ge,
    Gt,
}

/// A rule of a profile that holds for the container at hand.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: Action,
    pub(super) conditions: Vec<Condition>,
}

/// A verdict that needs all of its conditions to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Branch {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: Action,
}

/// The verdict on one call: the first branch that matches, or what is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) branches: Vec<Branch>,
    pub(super) otherwise: Action,
}

impl From<Action> for Decision {
    fn from(action: Action) -> Self {
        Self { branches: Vec::new(), otherwise: action }
    }
}

/// The verdicts on the calls of one ABI.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) abi: Abi,
    /// By `seccomp_data.nr`.
    pub(super) decisions: BTreeMap<u32, Decision>,
    /// The largest number that the profile knows, whatever it says about it.
    pub(super) newest: u32,
}

/// Everything a filter decides.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) tables: Vec<Table>,
    /// For a call without a rule.
    pub(super) default: Action,
    /// For a call that is newer than the profile: ENOSYS unless the default lets calls pass, so that programs fall back to
    /// an older call instead of taking EPERM for an answer (as runc does).
    pub(super) newer: Action,
    /// ABIs that the kernel knows and that the policy answers with EPERM.
    pub(super) denied: Vec<Abi>,
    /// For every other ABI.
    pub(super) foreign: Action,
}

impl Policy {
    pub(super) fn new(
        document: &Document,
        deltas: Option<&Deltas>,
        machine: Machine,
        capabilities: CapabilitySet,
        kernel: (u32, u32),
    ) -> Self {
        let default = document.default_action;
        let rules: Vec<&Rule> = document.rules(machine, capabilities, kernel).collect();
        let (denied, abis): (Vec<Abi>, Vec<Abi>) = document
            .abis(machine)
            .into_iter()
            .partition(|abi| *abi != machine.native() && deltas.is_some_and(|deltas| deltas.deny_sub_architectures));
        Self {
            tables: abis.into_iter().map(|abi| table(abi, &rules, deltas, default)).collect(),
            default,
            newer: if default.lets_pass() { default } else { Action::errno(Action::ENOSYS) },
            denied,
            foreign: Action::KILL_THREAD,
        }
    }
}

/// The rules for one call while they are collected.
#[derive(Default)]
struct Collected {
    unconditional: Option<Action>,
    branches: Vec<Branch>,
}

impl Collected {
    fn add(&mut self, rule: &Rule, argument_mask: u64, default: Action) {
        // runc leaves such rules out, so that they do not hide one with conditions.
        if rule.action == default {
            return;
        }
        let narrow = |condition: &Condition| Condition {
            mask: condition.mask & argument_mask,
            value: condition.value & argument_mask,
            ..*condition
        };
        let conditions: Vec<Condition> = rule.conditions.iter().map(narrow).collect();
        let branch = |conditions| Branch { conditions, action: rule.action };
        let repeated = (0..6).any(|index| rule.conditions.iter().filter(|it| it.index == index).count() > 1);
        if rule.conditions.is_empty() {
            self.unconditional.get_or_insert(rule.action);
        } else if repeated {
            // Several conditions on one argument are alternatives in runc, although different arguments add up.
            self.branches.extend(conditions.into_iter().map(|condition| branch(vec![condition])));
        } else {
            self.branches.push(branch(conditions));
        }
    }

    fn decide(mut self, default: Action) -> Decision {
        if let Some(action) = self.unconditional {
            return action.into();
        }
        self.branches.sort_by_key(|branch| branch.action.severity());
        Decision { branches: self.branches, otherwise: default }
    }
}

fn table(abi: Abi, rules: &[&Rule], deltas: Option<&Deltas>, default: Action) -> Table {
    /// Numbers from here on belong to the architecture (arm's `set_tls` and so on) and say nothing about age.
    const PRIVATE: u32 = 0xf_0000;
    let mut collected: BTreeMap<u32, Collected> = BTreeMap::new();
    let mut newest = 0;
    for rule in rules {
        for name in &rule.names {
            if let Some(number) = abi.number(name) {
                collected.entry(number).or_default().add(rule, abi.argument_mask(), default);
                if number < PRIVATE || abi == Abi::X32 {
                    newest = newest.max(number);
                }
            }
            add_multiplexed(&mut collected, abi, name, rule, default);
        }
    }
    let mut decisions: BTreeMap<u32, Decision> =
        collected.into_iter().map(|(number, rules)| (number, rules.decide(default))).collect();
    if let Some(deltas) = deltas {
        apply(deltas, abi, &mut decisions, default);
    }
    Table { abi, decisions, newest }
}

/// Covers the way around a rule that i386's `socketcall` and `ipc` are.
///
/// Their real arguments lie in memory, where a filter cannot look. So a rule with conditions counts there as if it had
/// none if it is a restriction, and not at all if it is a permission.
fn add_multiplexed(collected: &mut BTreeMap<u32, Collected>, abi: Abi, name: &str, rule: &Rule, default: Action) {
    let restricts = rule.action.severity() < default.severity();
    if let Some(call) = abi.multiplexed(name)
        && (rule.conditions.is_empty() || restricts)
    {
        let selected = Condition { index: 0, comparison: Comparison::Eq, mask: call.mask, value: call.selector };
        let rule = Rule { names: Vec::new(), action: rule.action, conditions: vec![selected] };
        collected.entry(call.number).or_default().add(&rule, abi.argument_mask(), default);
    }
}

fn apply(deltas: &Deltas, abi: Abi, decisions: &mut BTreeMap<u32, Decision>, default: Action) {
    let numbers = |rule: &Rule| rule.names.iter().filter_map(|name| abi.number(name)).collect::<Vec<_>>();
    let replaced: Vec<u32> = deltas.replace.iter().flat_map(numbers).collect();
    for number in replaced {
        decisions.insert(number, default.into());
    }
    let first = deltas.precede.iter().rev().map(|rule| (rule, 0));
    let last = deltas.replace.iter().map(|rule| (rule, usize::MAX));
    for (rule, position) in first.chain(last) {
        for number in numbers(rule) {
            let decision = decisions.entry(number).or_insert_with(|| default.into());
            let branch = Branch { conditions: rule.conditions.clone(), action: rule.action };
            decision.branches.insert(position.min(decision.branches.len()), branch);
        }
    }
}
