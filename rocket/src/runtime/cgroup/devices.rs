//! Which devices the processes of a group may open or make nodes of.
//!
//! The rules become a program that the kernel runs for each attempt. Rules are asked from
//! the last to the first; what has no answer is refused.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::Cgroup;
use crate::runtime::error::{During, Error, Result};
use crate::runtime::sys::bpf::{self, Instruction};

/// Rules of one spec.
const MAX_RULES: usize = 4096;

const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MAKE | READ | WRITE;

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// One rule. What is missing matches everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    kind: Option<i32>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

const fn allowed(kind: i32, major: Option<u32>, minor: Option<u32>, access: u32) -> Rule {
    Rule {
        allow: true,
        kind: Some(kind),
        major,
        minor,
        access,
    }
}

/// What every container may do, whatever the spec says: make nodes (which is of no use
/// unless they may be opened), and the devices that each `/dev` has.
const STANDARD: [Rule; 10] = [
    allowed(CHARACTER, None, None, MAKE),
    allowed(BLOCK, None, None, MAKE),
    allowed(CHARACTER, Some(1), Some(3), ALL),
    allowed(CHARACTER, Some(1), Some(5), ALL),
    allowed(CHARACTER, Some(1), Some(7), ALL),
    allowed(CHARACTER, Some(1), Some(8), ALL),
    allowed(CHARACTER, Some(1), Some(9), ALL),
    allowed(CHARACTER, Some(5), Some(0), ALL),
    allowed(CHARACTER, Some(5), Some(2), ALL),
    allowed(CHARACTER, Some(136), None, ALL),
];

/// Restricts a group. Without rules only the standard devices are left.
pub fn restrict(group: &Cgroup, rules: Option<&[LinuxDeviceCgroup]>) -> Result<()> {
    let rules = parse(rules.unwrap_or_default())?;
    if rules.last().is_some_and(allows_everything) {
        return Ok(());
    }
    let all: Vec<Rule> = rules.into_iter().chain(STANDARD).collect();
    let step = || {
        let group = group.path().display();
        format!("restricting devices of the cgroup {group} (needs CONFIG_CGROUP_BPF and CAP_BPF)")
    };
    let before = bpf::device_programs(group.directory()).during(step)?;
    let program = bpf::load_device_program(&program(&all)).during(step)?;
    bpf::attach_device_program(group.directory(), &program).during(step)?;
    for old in before {
        bpf::detach_device_program(group.directory(), &old).during(step)?;
    }
    Ok(())
}

fn allows_everything(rule: &Rule) -> bool {
    rule.allow
        && rule.access == ALL
        && rule.kind.is_none()
        && rule.major.is_none()
        && rule.minor.is_none()
}

fn parse(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>> {
    if rules.len() > MAX_RULES {
        return Err(Error::spec(
            "linux.resources.devices",
            format!("more than {MAX_RULES}"),
        ));
    }
    rules
        .iter()
        .enumerate()
        .map(|(at, rule)| one(&format!("linux.resources.devices[{at}]"), rule))
        .collect()
}

fn one(field: &str, rule: &LinuxDeviceCgroup) -> Result<Rule> {
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(BLOCK),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
        Some(LinuxDeviceType::P) => return Err(Error::spec(field, "a pipe is no device")),
    };
    let number = |number: Option<i64>| match number {
        // Engines write -1 for all.
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| Error::spec(field, format!("{number} is not a device number"))),
    };
    let mut access = 0;
    for letter in rule.access().as_deref().unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MAKE,
            _ => return Err(Error::spec(field, "access is made of r, w and m")),
        };
    }
    Ok(Rule {
        allow: rule.allow(),
        kind,
        major: number(rule.major())?,
        minor: number(rule.minor())?,
        access: if access == 0 { ALL } else { access },
    })
}

/// Registers: kind, what is still asked for, major and minor number.
const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: source << 4 | destination,
        offset,
        immediate,
    }
}

const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const COPY: u8 = 0xbc;
const SET: u8 = 0xb7;
const IF_NOT_EQUAL: u8 = 0x56;
const IF_ANY_BIT: u8 = 0x46;
const JUMP: u8 = 0x05;
const EXIT: u8 = 0x95;

/// The kernel tells the access in the high half of a word and the kind in the low one,
/// then the major and the minor number.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut code = vec![
        op(LOAD_WORD, KIND, 1, 0, 0),
        op(COPY, ASKED, KIND, 0, 0),
        op(AND, KIND, 0, 0, 0xffff),
        op(SHIFT_RIGHT, ASKED, 0, 0, 16),
        op(LOAD_WORD, MAJOR, 1, 4, 0),
        op(LOAD_WORD, MINOR, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        code.extend(block(rule));
    }
    code.extend(answer(false));
    code
}

fn answer(allow: bool) -> [Instruction; 2] {
    [op(SET, 0, 0, 0, i32::from(allow)), op(EXIT, 0, 0, 0, 0)]
}

/// Each access is decided by the last rule that names it: a rule that allows takes it off
/// what is asked for, and when nothing is left all was allowed.
fn block(rule: &Rule) -> Vec<Instruction> {
    let mut decide = if rule.allow {
        vec![
            op(AND, ASKED, 0, 0, !(rule.access as i32)),
            op(IF_NOT_EQUAL, ASKED, 0, 2, 0),
        ]
    } else {
        vec![
            op(IF_ANY_BIT, ASKED, 0, 1, rule.access as i32),
            op(JUMP, 0, 0, 2, 0),
        ]
    };
    decide.extend(answer(rule.allow));
    let conditions = [
        rule.kind.map(|kind| (KIND, kind)),
        rule.major.map(|major| (MAJOR, major as i32)),
        rule.minor.map(|minor| (MINOR, minor as i32)),
    ];
    let mut code = Vec::new();
    let conditions: Vec<(u8, i32)> = conditions.into_iter().flatten().collect();
    for (at, (register, value)) in conditions.iter().enumerate() {
        let rest = conditions.len() - at - 1 + decide.len();
        code.push(op(IF_NOT_EQUAL, *register, 0, rest as i16, *value));
    }
    code.extend(decide);
    code
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], kind: i32, access: u32, major: u32, minor: u32) -> bool {
        let words = [access << 16 | kind as u32, major, minor];
        let (mut registers, mut at) = ([0_u32; 11], 0_usize);
        loop {
            let now = program[at];
            let (to, from) = (
                usize::from(now.registers & 15),
                usize::from(now.registers >> 4),
            );
            at += 1;
            let jump = |at: usize, holds: bool| if holds { at + now.offset as usize } else { at };
            match now.code {
                LOAD_WORD => registers[to] = words[now.offset as usize / 4],
                COPY => registers[to] = registers[from],
                AND => registers[to] &= now.immediate as u32,
                SHIFT_RIGHT => registers[to] >>= now.immediate,
                SET => registers[to] = now.immediate as u32,
                IF_NOT_EQUAL => at = jump(at, registers[to] != now.immediate as u32),
                IF_ANY_BIT => at = jump(at, registers[to] & now.immediate as u32 != 0),
                JUMP => at = jump(at, true),
                EXIT => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn rules(json: &str) -> Vec<Rule> {
        parse(&serde_json::from_str::<Vec<LinuxDeviceCgroup>>(json).unwrap()).unwrap()
    }

    #[test]
    fn without_rules_only_standard_devices_open() {
        let program = program(&STANDARD);
        assert!(run(&program, CHARACTER, READ | WRITE, 1, 3));
        assert!(run(&program, BLOCK, MAKE, 8, 0));
        assert!(!run(&program, BLOCK, READ, 8, 0));
        assert!(!run(&program, CHARACTER, READ, 1, 1));
        assert!(!run(&program, CHARACTER, READ | MAKE, 1, 11));
    }

    #[test]
    fn the_last_rule_that_names_an_access_decides() {
        let rules = rules(
            r#"[{"allow": false, "access": "rwm"},
                {"allow": true, "type": "b", "major": 8, "minor": -1, "access": "rw"},
                {"allow": false, "type": "b", "major": 8, "minor": 1, "access": "w"}]"#,
        );
        let program = program(&rules);
        assert!(run(&program, BLOCK, READ | WRITE, 8, 0));
        assert!(run(&program, BLOCK, READ, 8, 1));
        assert!(!run(&program, BLOCK, READ | WRITE, 8, 1));
        assert!(!run(&program, CHARACTER, READ, 8, 0));
    }

    #[test]
    fn privileged_containers_are_seen_as_such() {
        assert!(allows_everything(
            &rules(r#"[{"allow": true, "access": "rwm"}]"#)[0]
        ));
        assert!(!allows_everything(
            &rules(r#"[{"allow": true, "access": "rw"}]"#)[0]
        ));
        let wrong: Vec<LinuxDeviceCgroup> =
            serde_json::from_str(r#"[{"allow": true, "access": "x"}]"#).unwrap();
        assert!(parse(&wrong).is_err());
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let kind = prop::option::of(1..3_i32);
        let number = || prop::option::of(0..3_u32);
        (any::<bool>(), kind, number(), number(), 1..8_u32).prop_map(
            |(allow, kind, major, minor, access)| Rule {
                allow,
                kind,
                major,
                minor,
                access,
            },
        )
    }

    proptest! {
        #[test]
        fn programs_decide_as_their_rules_read(
            rules in prop::collection::vec(any_rule(), 0..12),
            (kind, access, major, minor) in (1..3_i32, 1..8_u32, 0..3_u32, 0..3_u32),
        ) {
            let matches = |rule: &&Rule| {
                rule.kind.is_none_or(|k| k == kind)
                    && rule.major.is_none_or(|m| m == major)
                    && rule.minor.is_none_or(|m| m == minor)
            };
            let one = |bit: u32| {
                let mut of_bit = rules.iter().rev().filter(matches).filter(|r| r.access & bit != 0);
                of_bit.next().is_some_and(|rule| rule.allow)
            };
            let expected = [MAKE, READ, WRITE].iter().all(|bit| access & bit == 0 || one(*bit));
            prop_assert_eq!(run(&program(&rules), kind, access, major, minor), expected);
        }
    }
}
