//! Turns a policy into classic BPF.
//!
//! The program checks the architecture, then finds the call's number by binary search over ranges with equal verdicts, so
//! that a call costs about eight comparisons, and looks at arguments last.
//!
//! All jumps go forward, so code is made from the last instruction to the first: whatever is jumped to exists already,
//! and each jump's length is known when it is written. Conditional jumps reach 255 instructions; what is farther away is
//! reached by a copy of the return or by an unconditional jump nearby.

use std::collections::HashMap;

use super::abi::{Abi, X32_BIT};
use super::policy::{Action, Comparison, Condition, Decision, Policy, Table};

/// One instruction: `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jump_true: u8,
    pub(super) jump_false: u8,
    pub(super) k: u32,
}

/// The operations that are used here, all of which the kernel allows in a filter (`linux/bpf_common.h`).
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQ: u16 = 0x15;
pub(super) const JUMP_GT: u16 = 0x25;
pub(super) const JUMP_GE: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The farthest that a conditional jump reaches.
const REACH: usize = u8::MAX as usize;

/// A place to jump to, counted from the end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label(usize);

/// Returns the program for a policy, whatever its length.
pub(super) fn assemble(policy: &Policy) -> Vec<Instruction> {
    let mut code = Backwards::default();
    let mut next = code.ret(policy.foreign);
    let mut arches: Vec<u32> = Vec::new();
    for abi in policy.tables.iter().map(|table| table.abi).chain(policy.denied.iter().copied()) {
        if !arches.contains(&abi.audit_arch()) {
            arches.push(abi.audit_arch());
        }
    }
    // The machine's own architecture is first in the policy, and so it is compared first.
    for arch in arches.into_iter().rev() {
        let ranges = ranges(policy, arch);
        let search = code.search(&ranges);
        code.fall_into(search);
        let number = code.load(NUMBER);
        next = code.branch(JUMP_EQ, arch, number, next);
    }
    code.fall_into(next);
    code.load(ARCH);
    code.finish()
}

/// Numbers from `start` to the next range's start.
#[derive(Debug)]
struct Range {
    start: u32,
    decision: Decision,
}

/// Returns ranges that cover all numbers of an architecture, neighbours of equal decision merged.
fn ranges(policy: &Policy, arch: u32) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut add = |start: u32, decision: Decision| match ranges.last_mut() {
        Some(last) if last.decision == decision => {}
        _ => ranges.push(Range { start, decision }),
    };
    let table = |abi: Abi| policy.tables.iter().find(|table| table.abi == abi);
    let mut tables = policy.tables.iter().filter(|table| table.abi != Abi::X32 && table.abi.audit_arch() == arch);
    match tables.next() {
        Some(table) => add_table(&mut add, table, 0, policy),
        None => add(0, Action::errno(Action::EPERM).into()),
    }
    if arch == Abi::X32.audit_arch() {
        match table(Abi::X32) {
            Some(table) => add_table(&mut add, table, X32_BIT, policy),
            None if policy.denied.contains(&Abi::X32) => add(X32_BIT, Action::errno(Action::EPERM).into()),
            None => add(X32_BIT, policy.foreign.into()),
        }
        // Number -1 is what a tracer writes to skip a call, and no x32 call.
        add(u32::MAX, policy.default.into());
    }
    ranges
}

fn add_table(add: &mut impl FnMut(u32, Decision), table: &Table, start: u32, policy: &Policy) {
    let gap = |number: u32| if number > table.newest { policy.newer } else { policy.default };
    let mut next = start;
    let mut fill = |add: &mut dyn FnMut(u32, Decision), until: u32| {
        // A gap may begin among known numbers and end among newer ones.
        if next < until {
            add(next, gap(next).into());
            if (next..until).contains(&(table.newest + 1)) {
                add(table.newest + 1, policy.newer.into());
            }
        }
        next = until.saturating_add(1);
    };
    for (number, decision) in &table.decisions {
        fill(add, *number);
        add(*number, decision.clone());
    }
    fill(add, u32::MAX);
}

/// Code in reverse order of execution.
#[derive(Default)]
struct Backwards {
    code: Vec<Instruction>,
    /// The latest return of each action.
    returns: HashMap<Action, Label>,
}

impl Backwards {
    fn push(&mut self, code: u16, jump_true: u8, jump_false: u8, k: u32) -> Label {
        self.code.push(Instruction { code, jump_true, jump_false, k });
        Label(self.code.len() - 1)
    }

    fn load(&mut self, offset: u32) -> Label {
        self.push(LOAD, 0, 0, offset)
    }

    /// Returns how many instructions a jump would skip if it were written after `more` other ones.
    fn distance(&self, label: Label, more: usize) -> usize {
        self.code.len() + more - label.0 - 1
    }

    /// Returns a place that returns the action, perhaps an earlier one.
    fn ret(&mut self, action: Action) -> Label {
        // Half the reach leaves room for what is written before the jump.
        if let Some(label) = self.returns.get(&action).copied().filter(|label| self.distance(*label, 0) < REACH / 2) {
            return label;
        }
        let label = self.push(RETURN, 0, 0, action.value());
        self.returns.insert(action, label);
        label
    }

    /// Makes the next instruction written continue at `label`.
    fn fall_into(&mut self, label: Label) {
        if self.distance(label, 0) > 0 {
            self.forward(label);
        }
    }

    /// Writes an instruction that amounts to being at `label`.
    fn forward(&mut self, label: Label) -> Label {
        let target = self.code[label.0];
        if target.code == RETURN {
            return self.push(RETURN, 0, 0, target.k);
        }
        let distance = u32::try_from(self.distance(label, 0)).expect("a program is far shorter than 2^32");
        self.push(JUMP, 0, 0, distance)
    }

    /// Writes a conditional jump on the accumulator.
    fn branch(&mut self, code: u16, k: u32, when_true: Label, when_false: Label) -> Label {
        let mut near = [when_true, when_false];
        for label in &mut near {
            // The other label may get an instruction of its own after this check.
            if self.distance(*label, 1) > REACH {
                *label = self.forward(*label);
            }
        }
        let [jump_true, jump_false] =
            near.map(|label| u8::try_from(self.distance(label, 0)).expect("far labels were brought near"));
        self.push(code, jump_true, jump_false, k)
    }

    /// Writes the search for the range that the number in the accumulator lies in.
    fn search(&mut self, ranges: &[Range]) -> Label {
        if let [range] = ranges {
            return self.decision(&range.decision);
        }
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let when_high = self.search(high);
        let when_low = self.search(low);
        self.branch(JUMP_GE, high[0].start, when_high, when_low)
    }

    fn decision(&mut self, decision: &Decision) -> Label {
        let mut next = self.ret(decision.otherwise);
        for branch in decision.branches.iter().rev() {
            let fail = next;
            next = self.ret(branch.action);
            for condition in branch.conditions.iter().rev() {
                next = self.condition(*condition, next, fail);
            }
        }
        next
    }

    /// Writes one comparison of an argument, high half first.
    fn condition(&mut self, condition: Condition, when_true: Label, when_false: Label) -> Label {
        let compare = Halves::of(condition);
        match condition.comparison {
            Comparison::Eq => self.equal(&compare, when_true, when_false),
            Comparison::Ne => self.equal(&compare, when_false, when_true),
            Comparison::Gt => self.greater(&compare, JUMP_GT, when_true, when_false),
            Comparison::Ge => self.greater(&compare, JUMP_GE, when_true, when_false),
            Comparison::Le => self.greater(&compare, JUMP_GT, when_false, when_true),
            Comparison::Lt => self.greater(&compare, JUMP_GE, when_false, when_true),
        }
    }

    fn equal(&mut self, compare: &Halves, when_true: Label, when_false: Label) -> Label {
        let mut next = when_true;
        for half in [&compare.low, &compare.high] {
            if half.mask != 0 {
                self.branch(JUMP_EQ, half.value, next, when_false);
                next = self.load_half(half);
            }
        }
        next
    }

    /// `low_code` is what decides between the low halves if the high ones are equal.
    fn greater(&mut self, compare: &Halves, low_code: u16, when_true: Label, when_false: Label) -> Label {
        let Halves { low, high } = compare;
        self.branch(low_code, low.value, when_true, when_false);
        let when_tied = self.load_half(low);
        if high.mask == 0 {
            return when_tied;
        }
        let not_greater = self.branch(JUMP_EQ, high.value, when_tied, when_false);
        self.branch(JUMP_GT, high.value, when_true, not_greater);
        self.load_half(high)
    }

    fn load_half(&mut self, half: &Half) -> Label {
        if half.mask != u32::MAX {
            self.push(AND, 0, 0, half.mask);
        }
        self.load(half.offset)
    }

    fn finish(mut self) -> Vec<Instruction> {
        self.code.reverse();
        self.code
    }
}

/// An argument's comparison in two halves, since the machine has 32 bits.
struct Halves {
    low: Half,
    high: Half,
}

struct Half {
    offset: u32,
    /// 0 if this half of the argument is not looked at; its value is 0 then.
    mask: u32,
    value: u32,
}

impl Halves {
    fn of(condition: Condition) -> Self {
        // Both machines are little-endian: the low half comes first.
        let half = |index: u32| Half {
            offset: ARGUMENTS + 8 * u32::from(condition.index) + 4 * index,
            mask: (condition.mask >> (32 * index)) as u32,
            value: (condition.value >> (32 * index)) as u32,
        };
        Self { low: half(0), high: half(1) }
    }
}
