//! From ranges of numbers to instructions of the kernel's packet filter.

use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator as Operator};

use super::{RET_KILL_PROCESS, X32};
use crate::runtime::sys::process::Instruction;

/// Word at an absolute offset of the call's description.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;
const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_X86: u32 = 0x4000_0003;
/// The number of no call: what a tracer puts in to skip one.
const SKIPPED: u32 = u32::MAX;

/// Ways to call this kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    X86_64,
    X86,
    X32,
}

/// Conditions that must all hold, and what is returned then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub conditions: Vec<LinuxSeccompArg>,
    pub verdict: u32,
}

/// What decides about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// The same for all arguments.
    Always(u32),
    /// The first rule that holds, or else the last.
    Rules(Vec<Rule>, u32),
}

/// Ranges that together are all numbers; each begins where the one before ends.
#[derive(Debug)]
pub struct Table {
    default: u32,
    ranges: Vec<(u32, Leaf)>,
}

impl Table {
    pub fn new(default: u32) -> Self {
        Self {
            default,
            ranges: vec![(0, Leaf::Always(default))],
        }
    }

    /// Sets one number; numbers come in ascending order.
    pub fn put(&mut self, number: u32, leaf: Leaf) {
        self.from(number, leaf);
        self.from(number + 1, Leaf::Always(self.default));
    }

    /// Sets all numbers from this one on.
    pub fn from(&mut self, number: u32, leaf: Leaf) {
        if self
            .ranges
            .last()
            .is_some_and(|(start, _)| *start == number)
        {
            self.ranges.pop();
        }
        if self.ranges.last().is_none_or(|(_, before)| *before != leaf) {
            self.ranges.push((number, leaf));
        }
    }
}

/// The whole program. A call in a way that has no table ends the process.
pub fn program(tables: &[(Architecture, Table)], default: u32) -> Vec<Instruction> {
    let table = |wanted: Architecture| {
        tables
            .iter()
            .find(|(architecture, _)| *architecture == wanted)
            .map_or_else(
                || vec![ret(RET_KILL_PROCESS)],
                |(_, table)| search(&table.ranges),
            )
    };
    let mut long = vec![
        load(OFFSET_NUMBER),
        jump(EQUAL, SKIPPED, 0, 1),
        ret(default),
    ];
    let x32 = [vec![op(AND, X32 - 1)], table(Architecture::X32)].concat();
    long.extend(split(X32, table(Architecture::X86_64), x32));
    let short = [vec![load(OFFSET_NUMBER)], table(Architecture::X86)].concat();

    let mut all = vec![load(OFFSET_ARCHITECTURE), jump(EQUAL, AUDIT_X86_64, 1, 0)];
    all.push(op(JUMP, long.len() as u32));
    all.extend(long);
    all.extend([jump(EQUAL, AUDIT_X86, 1, 0), ret(RET_KILL_PROCESS)]);
    all.extend(short);
    all
}

/// Halves the ranges until one is left.
fn search(ranges: &[(u32, Leaf)]) -> Vec<Instruction> {
    match ranges {
        [] => vec![ret(RET_KILL_PROCESS)],
        [(_, leaf)] => decide(leaf),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            split(high[0].0, search(low), search(high))
        }
    }
}

/// `low` for numbers below `start`, `high` for the others.
fn split(start: u32, low: Vec<Instruction>, high: Vec<Instruction>) -> Vec<Instruction> {
    let mut code = match u8::try_from(low.len()) {
        Ok(length) => vec![jump(GREATER_OR_EQUAL, start, length, 0)],
        // Too far for a conditional jump.
        Err(_) => vec![
            jump(GREATER_OR_EQUAL, start, 0, 1),
            op(JUMP, low.len() as u32),
        ],
    };
    code.extend(low);
    code.extend(high);
    code
}

fn decide(leaf: &Leaf) -> Vec<Instruction> {
    match leaf {
        Leaf::Always(verdict) => vec![ret(*verdict)],
        Leaf::Rules(rules, otherwise) => {
            let mut code: Vec<Instruction> = rules.iter().flat_map(rule).collect();
            code.push(ret(*otherwise));
            code
        }
    }
}

/// Falls through to what follows unless all conditions hold.
fn rule(rule: &Rule) -> Vec<Instruction> {
    let mut code = vec![ret(rule.verdict)];
    for wanted in rule.conditions.iter().rev() {
        // At most 6 conditions of 6 instructions: the end is never too far for a jump.
        let mut before = condition(wanted, code.len() as u8);
        before.extend(code);
        code = before;
    }
    code
}

/// Goes on after its last instruction if the condition holds, else skips `rest` more.
fn condition(wanted: &LinuxSeccompArg, rest: u8) -> Vec<Instruction> {
    let low_word = OFFSET_ARGUMENTS + 8 * wanted.index() as u32;
    let (high, low) = ((wanted.value() >> 32) as u32, wanted.value() as u32);
    match wanted.op() {
        Operator::ScmpCmpEq => vec![
            load(low_word + 4),
            jump(EQUAL, high, 0, rest + 2),
            load(low_word),
            jump(EQUAL, low, 0, rest),
        ],
        Operator::ScmpCmpNe => vec![
            load(low_word + 4),
            jump(EQUAL, high, 0, 2),
            load(low_word),
            jump(EQUAL, low, rest, 0),
        ],
        Operator::ScmpCmpGt => ordered(low_word, high, GREATER, low, Holds::Above, rest),
        Operator::ScmpCmpGe => ordered(low_word, high, GREATER_OR_EQUAL, low, Holds::Above, rest),
        Operator::ScmpCmpLt => ordered(low_word, high, GREATER_OR_EQUAL, low, Holds::Below, rest),
        Operator::ScmpCmpLe => ordered(low_word, high, GREATER, low, Holds::Below, rest),
        Operator::ScmpCmpMaskedEq => {
            let datum = wanted.value_two().unwrap_or(0);
            vec![
                load(low_word + 4),
                op(AND, high),
                jump(EQUAL, (datum >> 32) as u32, 0, rest + 3),
                load(low_word),
                op(AND, low),
                jump(EQUAL, datum as u32, 0, rest),
            ]
        }
    }
}

/// On which side of the value an argument must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Above,
    Below,
}

/// The high words decide unless they are equal; `test` compares the low ones.
fn ordered(word: u32, high: u32, test: u16, low: u32, holds: Holds, rest: u8) -> Vec<Instruction> {
    let (greater, smaller) = match holds {
        Holds::Above => (3, rest + 2),
        Holds::Below => (rest + 3, 2),
    };
    let last = match holds {
        Holds::Above => jump(test, low, 0, rest),
        Holds::Below => jump(test, low, rest, 0),
    };
    vec![
        load(word + 4),
        jump(GREATER, high, greater, 0),
        jump(EQUAL, high, 0, smaller),
        load(word),
        last,
    ]
}

fn op(code: u16, k: u32) -> Instruction {
    jump(code, k, 0, 0)
}

fn load(offset: u32) -> Instruction {
    op(LOAD, offset)
}

fn ret(verdict: u32) -> Instruction {
    op(RETURN, verdict)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}
