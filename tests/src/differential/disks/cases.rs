//! Configs about disks that are written by hand: each rule of the spec and of upstream's
//! operator notes, on disks where it shows.

mod filesystems;
mod partitions;
mod tables;
mod together;

use serde_json::{Value, json};

use super::explained::{self, Difference};
use super::start::{ALL, Start};

/// What stands for the first disk and for the second one in configs.
pub const PLACEHOLDERS: [&str; 2] = ["{a}", "{b}"];

/// One config, and the disks that it is carried out on.
#[derive(Debug, Clone)]
pub struct Case {
    /// A name for people, unique.
    pub name: String,
    /// What the disks hold before.
    pub starts: Vec<&'static Start>,
    /// The config, with placeholders for disks.
    pub config: String,
    /// Why the programs differ; else they must not.
    pub explained: Option<&'static Difference>,
    /// Whether it shows only when something is written already that it cannot be done: then
    /// ours may fail with disks changed.
    pub late: bool,
}

/// All of them.
pub fn all() -> Vec<Case> {
    let lists = [
        ("table", tables::cases()),
        ("partition", partitions::cases()),
        ("filesystem", filesystems::cases()),
        ("together", together::cases()),
    ];
    let named = |(list, cases): (&'static str, Vec<Case>)| {
        cases.into_iter().map(move |case| {
            let name = format!("disks/{list}/{}", case.name);
            Case {
                explained: explained::of(&name),
                name,
                ..case
            }
        })
    };
    lists.into_iter().flat_map(named).collect()
}

impl Case {
    /// The config of spec 3.3.0 whose storage is `storage`, for one disk in each of `states`.
    pub fn new(name: &str, states: &[&str], storage: Value) -> Self {
        let config = json!({"ignition": {"version": "3.3.0"}, "storage": storage});
        let starts = states.iter().filter_map(|state| named(state));
        Self {
            name: name.to_owned(),
            starts: starts.collect(),
            config: config.to_string(),
            explained: None,
            late: false,
        }
    }

    /// The same for what shows late.
    fn late(self) -> Self {
        Self { late: true, ..self }
    }
}

/// The state of this name.
fn named(name: &str) -> Option<&'static Start> {
    ALL.iter().find(|start| start.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_many_and_each_has_its_own_name_config_and_disks() {
        let cases = all();
        let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
        assert_eq!(names.len(), cases.len());
        let mut configs = BTreeSet::new();
        for case in &cases {
            let states: Vec<_> = case.starts.iter().map(|start| start.name).collect();
            assert!(!states.is_empty() && states.len() <= PLACEHOLDERS.len());
            let used = PLACEHOLDERS.iter().filter(|p| case.config.contains(**p));
            assert!(used.count() <= states.len(), "{}", case.name);
            assert!(
                configs.insert((case.config.clone(), states)),
                "{}",
                case.name
            );
        }
        for name in explained::names() {
            assert!(names.iter().any(|known| *known == name), "{name}");
        }
        assert!(cases.len() >= 200, "{}", cases.len());
    }
}
