//! Configs written by hand, for the corners. Generated ones are [`generate`]'s.
//!
//! [`generate`]: super::generate

mod contents;
mod documented;
mod merge;
mod nodes;
mod passwd;
mod refused;
mod storage;
mod system;
mod units;

use serde_json::{Value, json};

use super::explained::{self, Difference};

pub use contents::{packed, sha256};
pub use documented::cases as documented;

/// One config, and what is known of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// A name for people, unique.
    pub name: String,
    /// The config.
    pub config: Vec<u8>,
    /// Configs that come with the system, by their paths in its directory.
    pub system: Vec<(&'static str, Vec<u8>)>,
    /// A variable that is set.
    pub variable: Option<(&'static str, &'static str)>,
    /// Why the programs differ; else they must not.
    pub explained: Option<&'static Difference>,
    /// That both end it the same is not enough: they must have carried it out.
    pub carried_out: bool,
    /// What the root directory has for other configs, and not for this one.
    pub missing: &'static [&'static str],
}

/// All of them.
pub fn all() -> Vec<Case> {
    let lists = [
        ("storage", storage::cases()),
        ("storage", nodes::cases()),
        ("contents", contents::cases()),
        ("passwd", passwd::cases()),
        ("units", units::cases()),
        ("merge", merge::cases()),
        ("refused", refused::cases()),
        ("system", system::cases()),
    ];
    let named = |(list, cases): (&'static str, Vec<Case>)| {
        cases.into_iter().map(move |case| {
            let name = format!("{list}/{}", case.name);
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
    /// The config `body` of spec 3.3.0.
    fn new(name: &str, body: Value) -> Self {
        Self::of("3.3.0", name, body)
    }

    /// The config `body` of a spec; what it says of `ignition` itself is kept.
    fn of(version: &str, name: &str, mut body: Value) -> Self {
        body["ignition"]["version"] = json!(version);
        Self::text(name, &body.to_string())
    }

    /// The config as it stands.
    pub fn text(name: &str, config: &str) -> Self {
        Self {
            name: name.to_owned(),
            config: config.as_bytes().to_vec(),
            system: Vec::new(),
            variable: None,
            explained: None,
            carried_out: false,
            missing: &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_many_and_each_has_its_own_name_and_config() {
        let cases = all();
        let what = |case: &'_ Case| (case.config.clone(), case.system.clone(), case.variable);
        let mut configs = BTreeSet::new();
        let twice = cases.iter().filter(|case| !configs.insert(what(case)));
        let twice: Vec<_> = twice.map(|case| &case.name).collect();
        assert!(twice.is_empty(), "{twice:?}");
        assert!(cases.len() >= 150, "{}", cases.len());
        let documented = documented().unwrap();
        assert!(documented.len() >= 80, "{}", documented.len());
        let both = || cases.iter().chain(&documented);
        let names: BTreeSet<_> = both().map(|case| &case.name).collect();
        assert_eq!(names.len(), both().count());
        for name in explained::names() {
            assert!(names.iter().any(|known| *known == name), "{name}");
        }
    }
}
