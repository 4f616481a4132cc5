//! How far a boot has come, read from the lines of its console.

use std::fmt;
use std::time::Duration;

/// A step of the boot, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The firmware runs.
    Firmware,
    /// The selector has chosen a slot.
    Selector,
    /// The kernel runs.
    Kernel,
    /// systemd runs in the initrd.
    Initrd,
    /// systemd runs on the host's own root.
    Host,
    /// `boot-complete.target` is reached.
    BootComplete,
}

/// A step was reached, this long after power on or reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The step.
    pub stage: Stage,
    /// Since the boot began.
    pub after: Duration,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Firmware => "firmware",
            Self::Selector => "selector",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Host => "host",
            Self::BootComplete => "boot complete",
        })
    }
}

/// The step that a console line announces.
pub fn stage_of(line: &str) -> Option<Stage> {
    if line.contains("BdsDxe: starting") {
        Some(Stage::Firmware)
    } else if line.contains("ballast: boot-complete ") {
        Some(Stage::BootComplete)
    } else if line.contains("Linux version ") {
        Some(Stage::Kernel)
    } else if line.contains("ballast: booting ") {
        Some(Stage::Selector)
    } else if line.contains("Booting initrd of ") {
        Some(Stage::Initrd)
    } else if line.contains("Welcome to ") {
        Some(Stage::Host)
    } else {
        None
    }
}

/// Steps of the last boot in `lines`, each with the time of its first line.
///
/// A boot ends where the firmware or the kernel starts over.
pub fn last_boot<'a>(lines: impl IntoIterator<Item = (Duration, &'a str)>) -> Vec<Reached> {
    let mut reached: Vec<Reached> = Vec::new();
    let mut begin = Duration::ZERO;
    for (at, line) in lines {
        let Some(stage) = stage_of(line) else {
            continue;
        };
        let again = reached.last().is_some_and(|last| stage < last.stage)
            && matches!(stage, Stage::Firmware | Stage::Selector | Stage::Kernel);
        if again {
            begin = at;
            reached.clear();
        }
        if reached.last().is_none_or(|last| stage > last.stage) {
            let after = at.saturating_sub(begin);
            reached.push(Reached { stage, after });
        }
    }
    reached
}

/// Why a boot cannot succeed, if `line` says so.
///
/// A guest that says this reboots or waits for a human; waiting longer for
/// [`Stage::BootComplete`] is of no use unless another slot can take over.
pub fn failure_of(line: &str) -> Option<&str> {
    const SIGNS: [&str; 5] = [
        "ballast: initrd failed:",
        "ballast: provisioning stopped:",
        "Kernel panic - not syncing",
        "UEFI Interactive Shell",
        "You are in emergency mode",
    ];
    let at = SIGNS.iter().find_map(|sign| line.find(sign))?;
    Some(line[at..].trim_end())
}

/// `line` without terminal control sequences, as a human reads it.
pub fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            c if c.is_control() && c != '\t' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(lines: &[(u64, &str)]) -> Vec<(Stage, u64)> {
        let lines = lines.iter().map(|(s, l)| (Duration::from_secs(*s), *l));
        let reached = last_boot(lines);
        reached
            .iter()
            .map(|r| (r.stage, r.after.as_secs()))
            .collect()
    }

    const BOOT: [(u64, &str); 8] = [
        (
            1,
            "BdsDxe: starting Boot0001 \"UEFI Misc Device\" from PciRoot",
        ),
        (
            2,
            "ballast: booting 0.1.0 from slot a (normal), tries left 0",
        ),
        (3, "[    0.000000] Linux version 6.12.48+deb13-cloud-amd64"),
        (5, "Booting initrd of Ballast 0.1.0."),
        (
            6,
            "[  OK  ] Created slice system-modprobe.slice - Slice /system/modprobe.",
        ),
        (9, "Welcome to Ballast 0.1.0!"),
        (
            12,
            "ballast: boot-complete version=0.1.0 slot=a reason=normal",
        ),
        (13, "guest login:"),
    ];

    #[test]
    fn stages_of_one_boot_are_in_order_and_once() {
        use Stage::*;
        let stages = [
            (Firmware, 1),
            (Selector, 2),
            (Kernel, 3),
            (Initrd, 5),
            (Host, 9),
            (BootComplete, 12),
        ];
        assert_eq!(boot(&BOOT), stages);
    }

    #[test]
    fn a_reset_starts_over() {
        let mut lines = BOOT.to_vec();
        lines.extend([(20, BOOT[0].1), (23, BOOT[2].1)]);
        assert_eq!(boot(&lines), [(Stage::Firmware, 0), (Stage::Kernel, 3)]);
    }

    #[test]
    fn failures_are_found_and_ordinary_lines_are_not() {
        let line = "[ 9.1] ballast: initrd failed: no root; rebooting in 10 s\r";
        let message = "ballast: initrd failed: no root; rebooting in 10 s";
        assert_eq!(failure_of(line), Some(message));
        for (_, line) in BOOT {
            assert_eq!(failure_of(line), None);
        }
    }

    #[test]
    fn plain_drops_colours_and_keeps_text() {
        assert_eq!(
            plain("[\u{1b}[0;32m  OK  \u{1b}[0m] ü\t1\r"),
            "[  OK  ] ü\t1"
        );
        assert_eq!(plain("\u{1b}["), "");
    }
}
