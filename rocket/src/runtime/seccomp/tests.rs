use oci_spec::runtime::{
    LinuxSeccompArgBuilder, LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscallBuilder,
};
use proptest::prelude::*;

use super::*;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const ALLOW: u32 = 0x7fff_0000;

/// Runs a program as the kernel would.
fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        0 => number,
        4 => architecture,
        _ => {
            let argument = arguments[(offset as usize - 16) / 8];
            (argument >> (offset % 8 * 8)) as u32
        }
    };
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        at += 1;
        match code {
            0x20 => accumulator = word(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += branch(accumulator == k),
            0x25 => at += branch(accumulator > k),
            0x35 => at += branch(accumulator >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn profile() -> Vec<Instruction> {
    compile(&profile::default(|_| false)).unwrap().program
}

fn number(name: &str) -> u32 {
    u32::from(table::find(name).unwrap().x86_64)
}

#[test]
fn the_default_profile_is_a_short_program() {
    let length = profile().len();
    assert!(length < 800, "{length}");
}

#[test]
fn the_default_profile_decides_by_number_argument_and_architecture() {
    let program = profile();
    let ask = |name: &str, arguments| run(&program, X86_64, number(name), arguments);
    assert_eq!(ask("read", [0; 6]), ALLOW);
    assert_eq!(ask("kexec_load", [0; 6]), RET_ERRNO | EPERM);
    assert_eq!(ask("io_uring_setup", [0; 6]), RET_ERRNO | ENOSYS);
    assert_eq!(ask("personality", [8, 0, 0, 0, 0, 0]), ALLOW);
    // ADDR_NO_RANDOMIZE
    assert_eq!(
        ask("personality", [0x4_0000, 0, 0, 0, 0, 0]),
        RET_ERRNO | ENOSYS
    );
    assert_eq!(ask("socket", [16, 3, 9, 0, 0, 0]), RET_ERRNO | 22);
    assert_eq!(ask("socket", [16, 3, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&program, X86_64, 5000, [0; 6]), RET_ERRNO | ENOSYS);
    assert_eq!(run(&program, X86_64, u32::MAX, [0; 6]), RET_ERRNO | ENOSYS);
    assert_eq!(run(&program, 0xc000_00b7, 0, [0; 6]), RET_KILL_PROCESS);
    // 283 is kexec_load there, and pselect6 is 270 on x86-64.
    assert_eq!(run(&program, X86, 283, [0; 6]), RET_ERRNO | EPERM);
    assert_eq!(run(&program, X86_64, X32 | 528, [0; 6]), RET_ERRNO | EPERM);
    assert_eq!(run(&program, X86_64, X32, [0; 6]), ALLOW);
}

#[test]
fn architectures_that_are_not_named_end_the_process() {
    let rules = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActAllow)
        .build()
        .unwrap();
    let program = compile(&rules).unwrap().program;
    assert_eq!(run(&program, X86_64, 1, [0; 6]), ALLOW);
    assert_eq!(run(&program, X86_64, X32 | 1, [0; 6]), RET_KILL_PROCESS);
    assert_eq!(run(&program, X86, 1, [0; 6]), RET_KILL_PROCESS);
}

#[test]
fn calls_newer_than_a_profile_do_not_exist_instead_of_being_refused() {
    let rules = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .syscalls(vec![call("statx", LinuxSeccompAction::ScmpActAllow, &[])])
        .build()
        .unwrap();
    let program = compile(&rules).unwrap().program;
    assert_eq!(run(&program, X86_64, number("statx"), [0; 6]), ALLOW);
    assert_eq!(
        run(&program, X86_64, number("read"), [0; 6]),
        RET_ERRNO | EPERM
    );
    assert_eq!(
        run(&program, X86_64, number("clone3"), [0; 6]),
        RET_ERRNO | ENOSYS
    );
}

#[test]
fn what_a_filter_cannot_do_is_refused_by_its_place() {
    let mut rules = LinuxSeccomp::default();
    rules.set_syscalls(Some(vec![call(
        "read",
        LinuxSeccompAction::ScmpActNotify,
        &[],
    )]));
    let error = compile(&rules).unwrap_err().to_string();
    assert!(error.contains("linux.seccomp.syscalls[0]"), "{error}");
    let mut rules = LinuxSeccomp::default();
    let wrong = condition(6, LinuxSeccompOperator::ScmpCmpEq, 0, 0);
    rules.set_syscalls(Some(vec![call(
        "read",
        LinuxSeccompAction::ScmpActLog,
        &[wrong],
    )]));
    assert!(
        compile(&rules)
            .unwrap_err()
            .to_string()
            .contains("argument 6")
    );
}

fn call(name: &str, action: LinuxSeccompAction, conditions: &[LinuxSeccompArg]) -> LinuxSyscall {
    LinuxSyscallBuilder::default()
        .names([name.to_owned()])
        .action(action)
        .args(conditions)
        .build()
        .unwrap()
}

fn condition(index: usize, op: LinuxSeccompOperator, value: u64, two: u64) -> LinuxSeccompArg {
    LinuxSeccompArgBuilder::default()
        .index(index)
        .op(op)
        .value(value)
        .value_two(two)
        .build()
        .unwrap()
}

fn holds(condition: &LinuxSeccompArg, arguments: [u64; 6]) -> bool {
    let (found, value) = (arguments[condition.index()], condition.value());
    match condition.op() {
        LinuxSeccompOperator::ScmpCmpEq => found == value,
        LinuxSeccompOperator::ScmpCmpNe => found != value,
        LinuxSeccompOperator::ScmpCmpLt => found < value,
        LinuxSeccompOperator::ScmpCmpLe => found <= value,
        LinuxSeccompOperator::ScmpCmpGt => found > value,
        LinuxSeccompOperator::ScmpCmpGe => found >= value,
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            found & value == condition.value_two().unwrap_or(0)
        }
    }
}

/// Values that differ in one word, the other, or both.
fn word() -> impl Strategy<Value = u64> {
    (0..4_u64, 0..4_u64).prop_map(|(high, low)| high << 32 | low)
}

fn conditions() -> impl Strategy<Value = Vec<LinuxSeccompArg>> {
    use LinuxSeccompOperator as Op;
    let op = prop::sample::select(vec![
        Op::ScmpCmpEq,
        Op::ScmpCmpNe,
        Op::ScmpCmpLt,
        Op::ScmpCmpLe,
        Op::ScmpCmpGt,
        Op::ScmpCmpGe,
        Op::ScmpCmpMaskedEq,
    ]);
    prop::collection::vec((op, word(), word()), 0..4).prop_map(|all| {
        let number = |(at, (op, value, two))| condition(at, op, value, two);
        all.into_iter().enumerate().map(number).collect()
    })
}

proptest! {
    #[test]
    fn programs_decide_as_their_rules_read(
        rules in prop::collection::vec((0..6_usize, 1..4000_u32, conditions()), 0..40),
        asked in 0..6_usize,
        arguments in [word(), word(), word(), word(), word(), word()],
    ) {
        let names = ["read", "write", "open", "clone3", "statx", "mseal"];
        let calls: Vec<LinuxSyscall> = rules
            .iter()
            .map(|(name, errno, conditions)| {
                let mut call = call(names[*name], LinuxSeccompAction::ScmpActErrno, conditions);
                call.set_errno_ret(Some(*errno));
                call
            })
            .collect();
        let seccomp = LinuxSeccompBuilder::default()
            .default_action(LinuxSeccompAction::ScmpActAllow)
            .syscalls(calls)
            .build()
            .unwrap();
        let program = compile(&seccomp).unwrap().program;
        let mine = || rules.iter().filter(|(name, ..)| *name == asked);
        let first = mine()
            .find(|(_, _, all)| !all.is_empty() && all.iter().all(|c| holds(c, arguments)));
        let fixed = mine().find(|(_, _, all)| all.is_empty());
        let expected = first.or(fixed).map_or(ALLOW, |(_, errno, _)| RET_ERRNO | errno);
        prop_assert_eq!(run(&program, X86_64, number(names[asked]), arguments), expected);
    }
}
