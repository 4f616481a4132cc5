//! The commands that the pages for operators have, and who runs them.
//!
//! A command is what begins with the name of a program, in a block of code or with words
//! behind it in a span of code. One scenario runs them; for those that it cannot, a table says
//! what does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

/// Whose command lines are looked at.
const PROGRAMS: [&str; 22] = [
    "VBoxManage",
    "blockdev",
    "cargo",
    "cat",
    "ctr",
    "etcd",
    "etcdctl",
    "findmnt",
    "ignition",
    "journalctl",
    "locksmithctl",
    "locksmithd",
    "mount",
    "openssl",
    "podman",
    "rocket",
    "sh",
    "systemctl",
    "systemd-analyze",
    "updatectl",
    "wdctl",
    "systemd-run",
];

/// Figures and tables of differences: they have commands only to name who did what.
const NOT_FOR_OPERATORS: [&str; 2] = ["benchmarks.md", "compatibility.md"];

/// Who runs a command that the scenario of the pages does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A scenario or step of this name.
    Scenario(&'static str),
    /// Every run of this program does it before anything else, through the same code.
    EveryRun,
    /// It is a pattern of commands that have lines of their own.
    Pattern,
    /// Nobody: why it cannot be.
    Nobody(&'static str),
}

use By::{EveryRun, Nobody, Pattern, Scenario};

const OTHERS: &[(&str, By)] = &[
    ("cargo e2e", EveryRun),
    ("systemctl status", Pattern),
    ("cargo e2e -- NAME", EveryRun),
    (
        "cargo e2e -- --soak 50",
        Nobody("an hour long; the scenario an_update_cut_off… cuts the power in the same way"),
    ),
    (
        "cargo e2e -- containers_five_hundred",
        Scenario("containers_five_hundred_in_a_row_leave_nothing"),
    ),
    (
        "cargo e2e -- every_command",
        Scenario("every_command_of_the_pages_works"),
    ),
    ("cargo vm", Pattern),
    ("cargo vm -- …", Pattern),
    ("cargo vm -- --ignition FILE", Pattern),
    (
        "cargo vm -- --exec 'systemctl is-system-running --wait' --exec 'findmnt -no FSTYPE,OPTIONS /usr'",
        Scenario("the_example_runs_with_cargo_vm"),
    ),
    (
        "cargo vm -- --ignition examples/single-host.ign",
        Scenario("the_example_runs_with_cargo_vm"),
    ),
    (
        "cargo vm -- --ignition examples/follow-updates.ign --exec 'updatectl check'",
        Nobody("wants port 8000; a_host_takes_good_releases… has its parts"),
    ),
    (
        "cargo vm -- --ignition examples/http-merge.ign",
        Nobody("wants port 8000; the scenarios of fetching merge configs over http"),
    ),
    (
        "cargo vm -- --ignition quick-start.ign --disk first.img --forward 8080:80",
        Scenario("every_command_of_the_pages_works"),
    ),
    (
        "cargo vm -- --ignition three/host-1.ign --disk three/host-1.img --forward 8081:8080",
        Scenario(THREE),
    ),
    (
        "cargo vm -- --ignition three/host-2.ign --disk three/host-2.img --forward 8082:8080",
        Nobody("the same with another number"),
    ),
    (
        "cargo vm -- --ignition three/host-3.ign --disk three/host-3.img --forward 8083:8080",
        Nobody("the same with another number"),
    ),
    ("sh three/certificates.sh", Scenario(THREE)),
    (START_ETCD, Scenario(THREE)),
    (TRANSLATE_NODES, Scenario(THREE)),
    (LIST_NODES, Scenario(THREE)),
    ("sudo ignition cluster check", Scenario(THREE)),
    (
        "cargo image -- publish --repo three/repo --channel stable --from ~/.cache/ballast/images/0.2.0",
        Nobody("the same with another directory"),
    ),
    (
        "cargo image -- serve three/repo",
        Nobody("the same with another directory"),
    ),
    (
        "cargo image -- reproduce",
        Nobody("two whole builds; the writer of a release runs it"),
    ),
    ("cargo image -- build --version 1.2.3", EveryRun),
    ("cargo image -- build --version 0.2.0", EveryRun),
    (
        "VBoxManage guestproperty set MACHINE /Ignition/Config \"$(cat config.ign)\"",
        Nobody("VirtualBox is not free to run here"),
    ),
    ("podman save", Nobody("names a format")),
    (
        "podman --runtime=/usr/bin/rocket run …",
        Scenario("engines_run_containers_with_rocket_as_their_runtime"),
    ),
    (
        "ctr run --runc-binary=/usr/bin/rocket …",
        Scenario("engines_run_containers_with_rocket_as_their_runtime"),
    ),
    (
        "rocket oci create …",
        Scenario("containers_on_this_host_do_what_they_say"),
    ),
    (
        "rocket run [POD OPTIONS] IMAGE [APP OPTIONS] [-- ARGUMENTS] [--- IMAGE …]",
        Pattern,
    ),
];

/// Who runs what the page about three hosts has.
const THREE: &str = "the_page_about_three_hosts_makes_a_node";

/// Commands of that page.
pub const START_ETCD: &str = "etcd --data-dir=three/etcd --client-cert-auth \
    --trusted-ca-file=three/ca.crt --cert-file=three/server.crt --key-file=three/server.key \
    --listen-client-urls=https://127.0.0.1:2379 --advertise-client-urls=https://127.0.0.1:2379";
pub const TRANSLATE_NODES: &str =
    "cargo ignition translate --files-dir three three/host-$n.yaml > three/host-$n.ign";
pub const LIST_NODES: &str = "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=three/ca.crt \
    --cert=three/operator.crt --key=three/operator.key get --prefix /nodes/";

/// Commands of the pages.
pub struct Pages {
    /// With where they are.
    commands: BTreeMap<String, String>,
    shown: BTreeSet<String>,
}

impl Pages {
    /// Reads all pages below `source`.
    pub fn read(source: &Path) -> Result<Self> {
        let mut pages = vec!["README.md".into(), "examples/README.md".into()];
        let docs = fs::read_dir(source.join("docs")).context("listing docs")?;
        for entry in docs {
            let name = entry.context("listing docs")?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".md") && !NOT_FOR_OPERATORS.contains(&&*name) {
                pages.push(format!("docs/{name}"));
            }
        }
        pages.sort_unstable();
        let mut commands = BTreeMap::new();
        for page in pages {
            let path = source.join(&page);
            let text = fs::read_to_string(&path);
            let text = text.with_context(|| format!("reading {}", path.display()))?;
            for (line, command) in commands_of(&text) {
                commands.entry(command).or_insert(format!("{page}:{line}"));
            }
        }
        ensure!(!commands.is_empty(), "the pages have no commands");
        Ok(Self {
            commands,
            shown: BTreeSet::new(),
        })
    }

    /// A command that the pages have, which is about to be run.
    pub fn command<'a>(&mut self, text: &'a str) -> Result<&'a str> {
        ensure!(
            self.commands.contains_key(text),
            "no page has the command {text:?}; it was changed there, or here"
        );
        self.shown.insert(text.to_owned());
        Ok(text)
    }

    /// Fails if there are commands that nobody runs.
    pub fn nothing_is_left(&self) -> Result<()> {
        let others: BTreeSet<&str> = OTHERS.iter().map(|(text, _)| *text).collect();
        let left: Vec<String> = self
            .commands
            .iter()
            .filter(|(text, _)| !self.shown.contains(*text) && !others.contains(text.as_str()))
            .map(|(text, place)| format!("{place}: {text}"))
            .collect();
        if !left.is_empty() {
            bail!("commands that nothing runs:\n{}", left.join("\n"));
        }
        Ok(())
    }
}

/// The commands of a page, with the lines on which they, or their paragraphs, begin.
fn commands_of(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    let mut lines = (1..).zip(text.lines()).peekable();
    while let Some((number, line)) = lines.next() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        let mut whole = line.trim().trim_start_matches("$ ").to_owned();
        if is_fenced || line.starts_with(INDENT) {
            while whole.ends_with('\\')
                && let Some((_, more)) = lines.next()
            {
                whole.pop();
                whole.push_str(more.trim());
            }
            found.extend(command(&whole).map(|command| (number, command)));
            continue;
        }
        // A span may go on in the next line of its paragraph.
        while let Some((_, more)) =
            lines.next_if(|(_, line)| !line.trim().is_empty() && !line.starts_with("```"))
        {
            whole.push(' ');
            whole.push_str(more.trim());
        }
        let spans = whole.split('`').skip(1).step_by(2);
        let with_words = spans.filter(|span| span.split_whitespace().count() > 1);
        found.extend(with_words.filter_map(|span| Some((number, command(span)?))));
    }
    found
}

/// What blocks of code begin with.
const INDENT: &str = "    ";

/// A line without its comment, if it is a command and not a row of columns.
fn command(line: &str) -> Option<String> {
    let line = line.split("  #").next()?.trim();
    if line.contains("   ") {
        return None;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let program = match words.first() {
        Some(&"sudo") => words.get(1),
        first => first,
    };
    PROGRAMS.contains(program?).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn pages() -> Pages {
        Pages::read(&image::build::source_dir()).unwrap()
    }

    #[test]
    fn commands_are_found_in_blocks_and_spans() {
        let text = "Say `rocket list` or `rocket`, `no command`.\n\n    $ cargo vm -- --exec 'a' \\\n\
                    \x20         --exec b   # why\n    output\n\n```sh\nsudo updatectl check\n```\n";
        let found = commands_of(text);
        let expected = [
            (1, "rocket list"),
            (3, "cargo vm -- --exec 'a' --exec b"),
            (8, "sudo updatectl check"),
        ];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn what_is_shown_elsewhere_is_on_a_page_and_its_scenario_is_there() {
        let pages = pages();
        let mut known = Plan::of(None).to_string();
        known += &Plan::of(Some("")).to_string();
        for (command, by) in OTHERS {
            assert!(pages.commands.contains_key(*command), "{command}");
            match by {
                Scenario(name) => assert!(known.contains(name), "{name}"),
                Nobody(why) => assert!(!why.is_empty()),
                EveryRun | Pattern => {}
            }
        }
    }

    #[test]
    fn a_command_that_nothing_runs_is_named_with_its_place() {
        let mut pages = pages();
        assert!(pages.command("rocket no-such-verb").is_err());
        pages.command("updatectl status").unwrap();
        let left = pages.nothing_is_left().unwrap_err().to_string();
        assert!(left.contains("docs/reboots.md:"), "{left}");
        assert!(!left.contains(": updatectl status\n"), "{left}");
    }
}
