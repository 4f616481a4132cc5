//! Filters for system calls: from the rules of a spec to a program of the kernel.
//!
//! The program looks a number up by halving ranges, so that an allowed call costs about
//! seven comparisons however long the rules are. Rules of one call are asked in the order
//! of the spec; the first whose conditions all hold decides, then the one without
//! conditions, then the default.

mod assemble;
pub mod profile;
pub mod table;

use std::collections::BTreeMap;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};

use crate::runtime::error::{Error, Result};
use crate::runtime::sys::process::Instruction;
use assemble::{Leaf, Rule, Table};

/// Rules with conditions that one call may have.
const MAX_RULES: usize = 256;
/// Names in all rules together.
const MAX_NAMES: usize = 16_384;
/// What the kernel takes at most.
const MAX_LENGTH: usize = 4096;
/// Bit of numbers of x32's calls.
const X32: u32 = 0x4000_0000;

const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// A filter that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// For the kernel.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// The filter for the rules of a spec.
///
/// Fails if they ask for what a filter alone cannot do: another process that decides
/// (`SCMP_ACT_NOTIFY`), other processors, more than the kernel takes.
pub fn compile(rules: &LinuxSeccomp) -> Result<Filter> {
    if rules.listener_path().is_some() {
        return Err(Error::spec(
            "linux.seccomp.listenerPath",
            "rocket has no notifications to a listener: take SCMP_ACT_NOTIFY out of the profile",
        ));
    }
    let default = verdict(
        "linux.seccomp.defaultAction",
        rules.default_action(),
        rules.default_errno_ret(),
    )?;
    let wanted = architectures(rules)?;
    let calls = rules.syscalls().as_deref().unwrap_or_default();
    let named: usize = calls.iter().map(|call| call.names().len()).sum();
    if named > MAX_NAMES {
        return Err(Error::spec(
            "linux.seccomp.syscalls",
            "more than 16384 names",
        ));
    }
    let mut tables = Vec::new();
    for (architecture, number) in wanted {
        tables.push((architecture, ranges(calls, number, default)?));
    }
    let program = assemble::program(&tables, default);
    if program.len() > MAX_LENGTH {
        return Err(Error::spec(
            "linux.seccomp",
            format!(
                "the rules make {} instructions, the kernel takes {MAX_LENGTH}",
                program.len()
            ),
        ));
    }
    Ok(Filter {
        program,
        flags: flags(rules)?,
    })
}

/// Which numbers of the table an architecture has.
type Number = fn(&table::Call) -> u16;

fn architectures(rules: &LinuxSeccomp) -> Result<Vec<(assemble::Architecture, Number)>> {
    use assemble::Architecture;
    let mut wanted: Vec<(Architecture, Number)> = vec![(Architecture::X86_64, |c| c.x86_64)];
    for architecture in rules.architectures().iter().flatten() {
        let (name, number): (Architecture, Number) = match architecture {
            Arch::ScmpArchNative | Arch::ScmpArchX86_64 => continue,
            Arch::ScmpArchX86 => (Architecture::X86, |c| c.x86),
            Arch::ScmpArchX32 => (Architecture::X32, |c| c.x32),
            // Of processors that this kernel does not run on: there is nothing to filter.
            _ => continue,
        };
        if wanted.iter().all(|(known, _)| *known != name) {
            wanted.push((name, number));
        }
    }
    Ok(wanted)
}

fn flags(rules: &LinuxSeccomp) -> Result<u32> {
    let mut all = 0;
    for flag in rules.flags().iter().flatten() {
        all |= match flag {
            // There is one thread when the filter is loaded.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => 2,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 4,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                return Err(Error::spec(
                    "linux.seccomp.flags",
                    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is for notifications, which rocket does not have",
                ));
            }
        };
    }
    Ok(all)
}

/// What the filter returns for an action.
fn verdict(field: &str, action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    let takes_errno = matches!(
        action,
        LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace
    );
    if action == LinuxSeccompAction::ScmpActNotify {
        return Err(Error::spec(field, "rocket has no SCMP_ACT_NOTIFY"));
    }
    if errno.is_some_and(|errno| errno > 4095) {
        return Err(Error::spec(field, "an errnoRet is at most 4095"));
    }
    Ok(action.as_u32(errno.filter(|_| takes_errno)))
}

/// The rules of all calls of one architecture, as ranges of numbers.
fn ranges(calls: &[LinuxSyscall], number: Number, default: u32) -> Result<Table> {
    let mut by_number: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    for (at, call) in calls.iter().enumerate() {
        let field = format!("linux.seccomp.syscalls[{at}]");
        let rules = rules_of(&field, call)?;
        for name in call.names() {
            // A name of another processor or of a newer kernel: the default decides.
            let Some(known) = table::find(name).map(number).filter(|&n| n != table::NONE) else {
                continue;
            };
            let all = by_number.entry(u32::from(known)).or_default();
            all.extend(rules.iter().cloned());
            if all.len() > MAX_RULES {
                return Err(Error::spec(
                    field,
                    format!("more than {MAX_RULES} rules for {name}"),
                ));
            }
        }
    }
    Ok(table_of(by_number, default))
}

fn table_of(by_number: BTreeMap<u32, Vec<Rule>>, default: u32) -> Table {
    let mut table = Table::new(default);
    let last = by_number.last_key_value().map(|(number, _)| *number);
    for (number, rules) in by_number {
        table.put(number, leaf(rules, default));
    }
    // A program asks for a call that is newer than the profile in order to know whether the
    // kernel has it. "Not permitted" would be taken for an answer about its arguments.
    if let (Some(last), true) = (last, default == RET_ERRNO | EPERM) {
        table.from(last + 1, Leaf::Always(RET_ERRNO | ENOSYS));
    }
    table
}

/// Rules of one call, in their order; of several without conditions the strictest stays.
fn leaf(rules: Vec<Rule>, default: u32) -> Leaf {
    let otherwise = rules
        .iter()
        .filter(|rule| rule.conditions.is_empty())
        .map(|rule| rule.verdict)
        .min_by_key(|&verdict| strictness(verdict))
        .unwrap_or(default);
    let mut conditional: Vec<Rule> = rules
        .into_iter()
        .filter(|rule| !rule.conditions.is_empty())
        .collect();
    while conditional
        .last()
        .is_some_and(|rule| rule.verdict == otherwise)
    {
        conditional.pop();
    }
    if conditional.is_empty() {
        return Leaf::Always(otherwise);
    }
    Leaf::Rules(conditional, otherwise)
}

/// The kernel's order of actions: killing the process before all, allowing last.
fn strictness(verdict: u32) -> i32 {
    (verdict & 0xffff_0000) as i32
}

/// One entry of the spec as rules. Conditions about the same argument are alternatives,
/// as other runtimes have it since profiles rely on it; otherwise all must hold.
fn rules_of(field: &str, call: &LinuxSyscall) -> Result<Vec<Rule>> {
    let verdict = verdict(field, call.action(), call.errno_ret())?;
    let conditions = call.args().as_deref().unwrap_or_default();
    if let Some(wrong) = conditions.iter().find(|condition| condition.index() > 5) {
        return Err(Error::spec(
            field,
            format!("a system call has no argument {}", wrong.index()),
        ));
    }
    let repeated = (0..6).any(|index| conditions.iter().filter(|c| c.index() == index).count() > 1);
    let group = |conditions: &[LinuxSeccompArg]| Rule {
        conditions: conditions.to_vec(),
        verdict,
    };
    if repeated {
        Ok(conditions.chunks(1).map(group).collect())
    } else {
        Ok(vec![group(conditions)])
    }
}

#[cfg(test)]
mod tests;
