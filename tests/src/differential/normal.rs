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
    // Theirs come in the order of a hash table, another one in every run.
    if let Some(bytes) = tree.bytes_of(PRESET) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines: BTreeSet<String> = text.lines().flat_map(preset).collect();
        *bytes = lines.into_iter().collect::<String>().into_bytes();
    }
}

/// What a line of the preset file is about, a line each: theirs counts a template itself
/// as an instance without a name, which shows as a space too many.
fn preset(line: &str) -> Vec<String> {
    let mut words = line.splitn(3, ' ');
    let (verb, unit) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let instances: Vec<&str> = words
        .next()
        .map_or_else(Vec::new, |w| w.split(' ').collect());
    let itself = instances.is_empty() || instances.contains(&"");
    let named: Vec<&str> = instances.into_iter().filter(|n| !n.is_empty()).collect();
    let template = itself.then(|| format!("{verb} {unit}\n"));
    let named = (!named.is_empty()).then(|| format!("{verb} {unit} {}\n", named.join(" ")));
    template.into_iter().chain(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_and_its_instances_are_told_apart() {
        for (line, expected) in [
            ("enable a.service", vec!["enable a.service\n"]),
            ("enable t@.service ", vec!["enable t@.service\n"]),
            ("disable t@.service x y", vec!["disable t@.service x y\n"]),
            (
                "enable t@.service x  y",
                vec!["enable t@.service\n", "enable t@.service x y\n"],
            ),
            (
                "enable t@.service  y",
                vec!["enable t@.service\n", "enable t@.service y\n"],
            ),
        ] {
            assert_eq!(preset(line), expected, "{line:?}");
        }
    }
}
