//! What must differ between two runs, and why. Everything else is compared.

use std::collections::BTreeSet;

use super::tree::Tree;

/// What is not compared at all, and why.
const LEFT_OUT: [(&str, &str); 8] = [
    ("/etc/.pwd.lock", LOCK),
    ("/etc/group-", BACKUP),
    ("/etc/gshadow-", BACKUP),
    ("/etc/passwd-", BACKUP),
    ("/etc/shadow-", BACKUP),
    ("/etc/subgid-", BACKUP),
    ("/etc/subuid-", BACKUP),
    (
        "/tmp",
        "the shadow tools' temporary files are made there and removed",
    ),
];

const LOCK: &str = "the shadow tools lock the directory in which they work: theirs is /etc, \
                    ours a copy that is removed";
const BACKUP: &str = "the shadow tools keep the file as it was before their last change; ours \
                      change a copy, of which nothing is left";

/// The record of provisioning.
const RECORD: &str = "/etc/.ignition-result.json";
/// Its keys whose values are different in every run.
const OF_THE_RUN: [&str; 1] = ["provisioningDate"];

/// Presets that the config asks for.
const PRESET: &str = "/etc/systemd/system-preset/20-ignition.preset";

/// Makes two trees comparable.
pub fn normalise(tree: &mut Tree) {
    for (path, _why) in LEFT_OUT {
        tree.leave_out(path);
    }
    if let Some(bytes) = tree.bytes_of(RECORD) {
        let text = String::from_utf8_lossy(bytes);
        let kept = text
            .lines()
            .filter(|line| !OF_THE_RUN.iter().any(|key| line.contains(key)));
        *bytes = kept.collect::<Vec<_>>().join("\n").into_bytes();
    }
    // Theirs come in the order of a hash table, another one in every run. The order of
    // lines of which no two are about the same unit has no effect.
    if let Some(bytes) = tree.bytes_of(PRESET) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        // Behind a template without instances theirs has a space.
        let lines: BTreeSet<&str> = text.lines().map(str::trim_end).collect();
        *bytes = lines
            .into_iter()
            .flat_map(|line| [line.as_bytes(), b"\n"])
            .flatten()
            .copied()
            .collect();
    }
}
