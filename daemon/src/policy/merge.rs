//! Fragments in order become one policy that remembers where each value came from.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::fragment::{self, Roots};
use super::problem::{Origin, Problem, Severity};
use super::schema::{self, Schema, Section};

/// The values that count, in sections whose keys were checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    sections: BTreeMap<&'static str, BTreeMap<String, Set>>,
}

/// A value that a fragment set.
#[derive(Debug, Clone, PartialEq)]
struct Set {
    value: Value,
    origin: Origin,
}

/// The keys of one section do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("section [{section}] of the policy: {message}")]
pub struct SectionError {
    /// Name of the section.
    pub section: &'static str,
    /// What is wrong.
    pub message: String,
}

/// One value of a policy and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// With its section: `update.channel`.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Where it was set; nowhere if it is the default.
    pub origin: Option<Origin>,
}

impl Policy {
    /// Section `T`, with defaults for what nobody set.
    pub fn section<T: Section>(&self) -> Result<T, SectionError> {
        let keys = self.sections.get(T::NAME).into_iter().flatten();
        let table: Table = keys
            .map(|(key, set)| (key.clone(), set.value.clone()))
            .collect();
        schema::read(table).map_err(|message| SectionError {
            section: T::NAME,
            message,
        })
    }

    /// Where a key was set, if it was: `origin("update", "channel")`.
    pub fn origin(&self, section: &str, key: &str) -> Option<&Origin> {
        let set = self.sections.get(section)?.get(key)?;
        Some(&set.origin)
    }

    /// Every key that has a value, in the order of the names.
    pub fn entries(&self, schema: &Schema) -> Vec<Entry> {
        let mut entries: BTreeMap<String, Entry> = schema
            .defaults()
            .map(|(key, value)| {
                let entry = Entry {
                    key: key.clone(),
                    value,
                    origin: None,
                };
                (key, entry)
            })
            .collect();
        for (section, keys) in &self.sections {
            for (name, set) in keys {
                let key = format!("{section}.{name}");
                let entry = Entry {
                    key: key.clone(),
                    value: set.value.clone(),
                    origin: Some(set.origin.clone()),
                };
                entries.insert(key, entry);
            }
        }
        entries.into_values().collect()
    }
}

/// Reads, checks and merges the fragments below `roots`. A fragment with an error in it
/// is left out whole; the problems say so.
pub fn load(roots: &Roots, schema: &Schema) -> (Policy, Vec<Problem>) {
    let (fragments, mut problems) = fragment::read_all(roots);
    let mut policy = Policy::default();
    for mut fragment in fragments {
        let (keys, mut found) = schema.take(&mut fragment);
        let good = found.iter().all(|p| p.severity == Severity::Warning);
        problems.append(&mut found);
        for key in keys.into_iter().filter(|_| good) {
            let set = Set {
                value: key.value,
                origin: fragment.origin(key.line),
            };
            let section = policy.sections.entry(key.section).or_default();
            section.insert(key.name, set);
        }
    }
    (policy, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};
    use std::fs;
    use std::path::Path;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Update {
        enabled: bool,
        channel: String,
        wave: Option<u8>,
        mirrors: Vec<String>,
    }

    impl Default for Update {
        fn default() -> Self {
            Self {
                enabled: true,
                channel: "stable".into(),
                wave: None,
                mirrors: Vec::new(),
            }
        }
    }

    impl Section for Update {
        const NAME: &'static str = "update";
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Etcd {
        endpoint: String,
    }

    impl Section for Etcd {
        const NAME: &'static str = "reboot.etcd";
    }

    fn schema() -> Schema {
        Schema::default().with::<Update>().with::<Etcd>()
    }

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let roots = Roots::below(root.path());
        (root, roots)
    }

    fn shown(root: &Path, problems: &[Problem]) -> Vec<String> {
        let root = format!("{}/", root.display());
        let text = |p: &Problem| p.to_string().replace(&root, "/");
        problems.iter().map(text).collect()
    }

    const USR: &str = "usr/lib/ballast/config.d";
    const RUN: &str = "run/ballast/config.d";
    const ETC: &str = "etc/ballast/config.d";

    #[test]
    fn a_host_without_fragments_has_the_defaults() {
        let (_root, roots) = host(&[]);
        let (policy, problems) = load(&roots, &schema());
        assert_eq!(policy.section::<Update>().unwrap(), Update::default());
        assert_eq!(problems, []);
    }

    #[test]
    fn the_last_name_wins_whatever_directory_it_is_in() {
        let (_root, roots) = host(&[
            (&format!("{ETC}/10-a.toml"), "[update]\nchannel = \"a\"\n"),
            (
                &format!("{USR}/20-b.toml"),
                "\n[update]\nchannel = \"b\"\nenabled = false\n",
            ),
            (&format!("{RUN}/30-c.toml"), "[update]\nmirrors = [\"m\"]\n"),
        ]);
        let (policy, problems) = load(&roots, &schema());
        assert_eq!(problems, []);
        let update: Update = policy.section().unwrap();
        assert_eq!(update.channel, "b");
        assert!(!update.enabled);
        assert_eq!(update.mirrors, ["m"]);
        let origin = policy.origin("update", "channel").unwrap();
        assert!(origin.file.ends_with("usr/lib/ballast/config.d/20-b.toml"));
        assert_eq!(origin.line, 3);
    }

    #[test]
    fn a_file_replaces_its_namesake_of_a_lower_directory_whole() {
        let (_root, roots) = host(&[
            (&format!("{USR}/50-x.toml"), "[update]\nenabled = false\n"),
            (&format!("{RUN}/50-x.toml"), "[update]\nwave = 1\n"),
            (
                &format!("{ETC}/50-x.toml"),
                "[update]\nchannel = \"beta\"\n",
            ),
        ]);
        let (policy, _) = load(&roots, &schema());
        let update: Update = policy.section().unwrap();
        assert!(update.enabled);
        assert_eq!(update.wave, None);
        assert_eq!(update.channel, "beta");
    }

    #[test]
    fn a_link_to_dev_null_removes_the_lower_file() {
        let (root, roots) = host(&[(&format!("{USR}/50-x.toml"), "[update]\nenabled = false\n")]);
        fs::create_dir_all(root.path().join(ETC)).unwrap();
        std::os::unix::fs::symlink("/dev/null", root.path().join(ETC).join("50-x.toml")).unwrap();
        let (policy, problems) = load(&roots, &schema());
        assert!(policy.section::<Update>().unwrap().enabled);
        assert_eq!(problems, []);
    }

    #[test]
    fn a_wrong_value_names_file_line_and_key_and_its_file_does_not_count() {
        let (root, roots) = host(&[
            (
                &format!("{ETC}/10-a.toml"),
                "[update]\nchannel = \"a\"\n# more\nwave = \"first\"\n",
            ),
            (&format!("{ETC}/20-b.toml"), "[update]\nenabled = false\n"),
        ]);
        let (policy, problems) = load(&roots, &schema());
        let shown = shown(root.path(), &problems);
        assert_eq!(shown.len(), 1);
        assert!(
            shown[0].starts_with("/etc/ballast/config.d/10-a.toml:4: update.wave: invalid type"),
            "{shown:?}"
        );
        let update: Update = policy.section().unwrap();
        assert_eq!(update.channel, "stable");
        assert!(!update.enabled);
    }

    #[test]
    fn broken_toml_names_its_line() {
        let (root, roots) = host(&[(&format!("{ETC}/10-a.toml"), "[update]\nchannel = \n")]);
        let (_, problems) = load(&roots, &schema());
        let shown = shown(root.path(), &problems);
        assert!(
            shown[0].starts_with("/etc/ballast/config.d/10-a.toml:2: is not TOML: "),
            "{shown:?}"
        );
    }

    #[test]
    fn unknown_keys_and_sections_warn_and_the_rest_counts() {
        let (root, roots) = host(&[(
            &format!("{ETC}/10-a.toml"),
            "[update]\nchanel = \"x\"\nenabled = false\n[updates]\na = 1\n[reboot]\nb = 1\n\
             [reboot.etcd]\nendpoint = \"e\"\nport = 1\n[rocket]\nc = 1\n",
        )]);
        let (policy, problems) = load(&roots, &schema());
        assert!(problems.iter().all(|p| p.severity == Severity::Warning));
        let file = "/etc/ballast/config.d/10-a.toml";
        assert_eq!(
            shown(root.path(), &problems),
            [
                format!("{file}:10: reboot.etcd.port: no key of this name is known"),
                format!("{file}:2: update.chanel: no key of this name is known"),
                format!("{file}:4: updates: no section of this name is known"),
            ]
        );
        assert!(!policy.section::<Update>().unwrap().enabled);
        assert_eq!(policy.section::<Etcd>().unwrap().endpoint, "e");
    }

    #[test]
    fn a_section_that_is_a_value_is_an_error() {
        let (root, roots) = host(&[(&format!("{ETC}/10-a.toml"), "update = true\n")]);
        let (_, problems) = load(&roots, &schema());
        assert_eq!(problems[0].severity, Severity::Error);
        assert!(shown(root.path(), &problems)[0].contains(":1: update: is a section"));
    }

    #[test]
    fn what_is_no_file_or_too_long_is_a_problem_and_not_a_hang() {
        let long = format!("# {}\n", "x".repeat(fragment::MAX_BYTES as usize));
        let (root, roots) = host(&[
            (&format!("{ETC}/10-dir.toml/file"), ""),
            (&format!("{ETC}/20-long.toml"), &long),
        ]);
        let pipe = root.path().join(ETC).join("30-pipe.toml");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let (_, problems) = load(&roots, &schema());
        let shown = shown(root.path(), &problems);
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert!(shown[1].contains("longer than 65536 bytes"), "{shown:?}");
        assert!(shown[2].contains("not a regular file"), "{shown:?}");
    }

    #[test]
    fn every_value_can_be_shown_with_its_origin() {
        let (_root, roots) = host(&[(&format!("{ETC}/10-a.toml"), "[update]\nwave = 7\n")]);
        let (policy, _) = load(&roots, &schema());
        let entries = policy.entries(&schema());
        let set: Vec<_> = entries
            .iter()
            .map(|e| (e.key.as_str(), e.origin.is_some()))
            .collect();
        assert_eq!(
            set,
            [
                ("reboot.etcd.endpoint", false),
                ("update.channel", false),
                ("update.enabled", false),
                ("update.mirrors", false),
                ("update.wave", true),
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_in_a_fragment_make_it_panic(bytes in proptest::collection::vec(0..=255u8, 0..200)) {
            let (root, roots) = host(&[]);
            let directory = root.path().join(ETC);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("x.toml"), bytes).unwrap();
            let _ = load(&roots, &schema());
        }
    }
}
