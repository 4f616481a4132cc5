//! Example configs of other systems' documentation, and what becomes of them here.
//!
//! `tests/documented/examples.toml` names each example and the config in the same directory
//! that has its keys and shapes, in words of our own. Each config is translated and checked
//! by unit tests, carried out alone in a tree by the comparison with Go Ignition, and
//! provisions a machine in the scenarios of [`crate::scenarios`]; unless the table says
//! that it is refused, or names what Ballast does not ship.

mod expected;
#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use ignition::config::{Problem, parse};
use ignition::tools::butane::{Files, translate};
use serde::Deserialize;
use serde_json::Value;

pub use expected::{Expectation, of_configs};

/// Where configs say that their server is.
const PLACEHOLDER: &str = "http://orchard.example";
/// Directory of what the configs refer to.
const FILES: &str = "files";
/// The machine of a config that the table says nothing else about.
const HOSTS: &str = "hosts";

/// All examples.
pub struct Corpus {
    documentation: Documentation,
    outcomes: BTreeMap<String, Outcome>,
    directory: PathBuf,
}

/// What becomes of a config.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outcome {
    machine: Option<String>,
    /// The test that shows it, where no machine of the scenarios does.
    pub shown: Option<String>,
    /// What a shell on the host says, by command.
    pub effect: BTreeMap<String, String>,
    /// Software that is not shipped.
    pub needs: Vec<String>,
    /// The key at which translating or validating refuses it.
    pub refused: Option<String>,
    /// Why it is refused.
    pub why: Option<String>,
    /// Why provisioning refuses what is valid.
    pub at_boot: Option<String>,
    /// What translating and validating warn of.
    pub warns: Vec<String>,
    /// What else is to be known.
    pub note: Option<String>,
}

impl Outcome {
    /// Whether a host of Ballast is provisioned with it, and all of it works.
    pub fn provisions(&self) -> bool {
        self.needs.is_empty() && self.refused.is_none() && self.at_boot.is_none()
    }
}

/// An example is one config or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn configs(&self) -> &[String] {
        match self {
            Self::One(config) => std::slice::from_ref(config),
            Self::More(configs) => configs,
        }
    }
}

/// What the pages of each documentation show, and the configs that have the same keys and
/// shapes.
type Documentation = BTreeMap<String, BTreeMap<String, BTreeMap<String, OneOrMore>>>;

/// The table: pages by documentation, and outcomes.
#[derive(Deserialize)]
struct Table {
    outcomes: BTreeMap<String, Outcome>,
    #[serde(flatten)]
    documentation: Documentation,
}

impl Corpus {
    /// Reads the table.
    pub fn read() -> Result<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("documented");
        let path = directory.join("examples.toml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let table: Table =
            toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self {
            documentation: table.documentation,
            outcomes: table.outcomes,
            directory,
        })
    }

    /// The configs that examples name, in order.
    pub fn configs(&self) -> BTreeSet<&str> {
        let pages = self.documentation.values().flat_map(BTreeMap::values);
        let shown = pages.flat_map(BTreeMap::values);
        let configs = shown.flat_map(OneOrMore::configs);
        configs.map(String::as_str).collect()
    }

    /// What becomes of `config`.
    pub fn outcome(&self, config: &str) -> Outcome {
        self.outcomes.get(config).cloned().unwrap_or_default()
    }

    /// What `machine` is provisioned with.
    pub fn provisioned(&self, machine: &str) -> Vec<&str> {
        let of_machine = |config: &&str| {
            let outcome = self.outcome(config);
            outcome.provisions() && outcome.machine.as_deref().unwrap_or(HOSTS) == machine
        };
        self.configs().into_iter().filter(of_machine).collect()
    }

    /// What the configs fetch, by path on their server.
    pub fn served(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let directory = self.directory.join(FILES);
        let entries =
            fs::read_dir(&directory).with_context(|| format!("listing {}", directory.display()))?;
        let mut served = BTreeMap::new();
        for entry in entries {
            let path = entry?.path();
            if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                let bytes =
                    fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                served.insert(name.to_string_lossy().into_owned(), bytes);
            }
        }
        Ok(served)
    }

    /// `config` as Ignition reads it, with the address of its server, and what was warned of.
    pub fn translated(&self, config: &str, server: &str) -> Result<(Value, Vec<String>)> {
        let path = self.directory.join(config);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut warnings = Vec::new();
        let mut json = match config.ends_with(".yaml") {
            false => String::from_utf8(bytes).with_context(|| format!("reading {config}"))?,
            true => {
                let mut files = Files::new(Some(&self.directory.join(FILES)))?;
                let translation = translate(config, &bytes, &mut files);
                warnings.extend(translation.found.warnings.iter().map(line));
                match translation.json {
                    Some(json) => json.to_string(),
                    None => bail!(refusal(&translation.found.errors)),
                }
            }
        };
        json = json.replace(PLACEHOLDER, server.trim_end_matches('/'));
        let parsed =
            parse(config, json.as_bytes()).map_err(|invalid| anyhow!(refusal(&invalid.0)))?;
        let parsed = parsed.with_context(|| format!("{config} is empty"))?;
        for warning in parsed.warnings.iter().map(line) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        let json = serde_json::from_str(&json).with_context(|| format!("reading {config}"))?;
        Ok((json, warnings))
    }
}

/// A problem in one line.
fn line(problem: &Problem) -> String {
    format!("{}: {}", problem.place.key, problem.message)
}

fn refusal(errors: &[Problem]) -> String {
    let lines: Vec<_> = errors.iter().map(line).collect();
    lines.join("\n")
}

/// What the stages that need no disk and no boot loader can carry out of a config, in the
/// newest spec that `newest` names; none if they can nothing.
pub fn without_disks(mut json: Value, newest: &str) -> Result<Option<Value>> {
    let storage = json.get("storage");
    let on_disks = |key: &&str| storage.is_some_and(|storage| !storage[*key].is_null());
    if ["disks", "filesystems", "luks", "raid"]
        .iter()
        .any(on_disks)
    {
        return Ok(None);
    }
    let version = json["ignition"]["version"].as_str();
    let version = version.context("a config without a version")?.to_owned();
    if let Some(object) = json.as_object_mut() {
        object.remove("kernelArguments");
    }
    let known = |version: &str| version.len() == newest.len() && version <= newest;
    if !known(&version) {
        json["ignition"]["version"] = Value::from(newest);
    }
    Ok(Some(json))
}
