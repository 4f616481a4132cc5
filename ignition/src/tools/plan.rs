//! What a machine will do with a config, in order, before it happens.

mod disks;
mod holding;
mod host;
mod volumes;

use std::fmt;

use ignition_config::v3_6::Storage;
use serde::Serialize;

use crate::config::{self, Config, Invalid, Problem, Resource, filled, list};
use crate::fetch::{Source, public_name};
use crate::stage::disks::{DisksError, Phase};
use crate::stage::files::RECORD;
use crate::stage::kargs;

pub use disks::{Disks, Given};
pub use holding::{Contents, Disk, Partition};

/// Most configs that are merged, as on the machine.
const CONFIGS: usize = 64;

/// All steps of a first boot, in the order in which they happen.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The disks that were given, as they are.
    pub disks: Vec<Disk>,
    /// The steps.
    pub steps: Vec<Step>,
    /// What is in the way; then the machine stops after the last step.
    pub refusals: Vec<String>,
}

/// One step.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The stage that does it.
    pub stage: &'static str,
    /// What is done: `fetch`, `write`, `link`, …
    pub action: String,
    /// To what: a path, a name, an address.
    pub target: String,
    /// More about it, in words.
    pub details: Vec<String>,
    /// Whether data that is there before is lost.
    pub destroys: bool,
}

/// Merges what `config` brings along and says what comes of it.
///
/// What has to be fetched is not: it is a step, and says so. Of disks that
/// `disks` has, it is said what they hold and what becomes of that.
pub fn plan(config: Config, disks: &Disks) -> Result<Plan, PlanError> {
    let mut plan = Plan::default();
    let mut left = CONFIGS;
    let config = plan.resolve(config, &mut left)?;
    plan.authorities(&config);
    plan.arguments(&config);
    let storage = config.storage.clone().unwrap_or_default();
    plan.storage(&storage, disks)?;
    if !plan.refusals.is_empty() {
        return Ok(plan);
    }
    plan.accounts(&config);
    plan.entries(&config);
    plan.units(&config);
    plan.step("files", "write", RECORD)
        .says("the record: after it, the machine is never provisioned again");
    Ok(plan)
}

/// A config that cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An embedded config is wrong.
    #[error("a config that is embedded is wrong")]
    Embedded(#[source] Invalid),
    /// Configs contain configs without end.
    #[error("more than {CONFIGS} configs are embedded in each other")]
    Bound,
    /// A disk cannot become what the config wants.
    #[error(transparent)]
    Disk(#[from] DisksError),
    /// The config does not have the disk that was given.
    #[error("--disk: {0}")]
    Which(String),
    /// An empty disk cannot be made.
    #[error("making a file for an empty disk")]
    Empty(#[source] std::io::Error),
    /// Two configs cannot be merged.
    #[error("merging configs")]
    Merge(#[source] serde_json::Error),
}

impl Step {
    fn says(&mut self, detail: impl Into<String>) -> &mut Self {
        self.details.push(detail.into());
        self
    }

    fn says_if(&mut self, said: bool, detail: &str) -> &mut Self {
        if said {
            self.details.push(detail.to_owned());
        }
        self
    }
}

impl Plan {
    fn step(&mut self, stage: &'static str, action: &str, target: &str) -> &mut Step {
        self.steps.push(Step {
            stage,
            action: action.to_owned(),
            target: target.to_owned(),
            details: Vec::new(),
            destroys: false,
        });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    /// What the stage `disks` does, until something is in the way.
    fn storage(&mut self, storage: &Storage, disks: &Disks) -> Result<(), PlanError> {
        let foretold = disks.foretell(storage)?;
        self.disks = foretold.holdings.iter().map(Disk::from).collect();
        let stop = foretold.stop();
        let goes_on = |phase: Phase| stop.is_none_or(|stop| stop > phase);
        if goes_on(Phase::Tables) {
            self.tables(storage, &foretold);
        }
        if goes_on(Phase::Arrays) {
            self.arrays(storage, &foretold);
        }
        if goes_on(Phase::Volumes) {
            self.volumes(storage, &foretold);
        }
        if goes_on(Phase::Filesystems) {
            self.filesystems(storage, &foretold);
        }
        let refusals = foretold.refusals.into_iter();
        let words = |(_, error)| format!("{:#}", anyhow::Error::from(error));
        self.refusals = refusals.map(words).collect();
        Ok(())
    }

    /// `config` with everything that is embedded in it; a step for every
    /// config that is elsewhere.
    fn resolve(&mut self, config: Config, left: &mut usize) -> Result<Config, PlanError> {
        *left = left.checked_sub(1).ok_or(PlanError::Bound)?;
        let Some(references) = config.ignition.config.clone() else {
            return Ok(config);
        };
        if let Some(replace) = references.replace.filter(|r| r.source.is_some()) {
            return match self.child(&replace, "replaced by")? {
                Some(child) => self.resolve(child, left),
                None => Ok(config::empty()),
            };
        }
        let mut merged = config;
        for reference in list(references.merge.as_ref()) {
            if let Some(child) = self.child(reference, "merged with")? {
                let child = self.resolve(child, left)?;
                merged = config::merge(&merged, &child).map_err(PlanError::Merge)?;
            }
        }
        Ok(merged)
    }

    /// The config at `reference`, if it is embedded.
    fn child(&mut self, reference: &Resource, how: &str) -> Result<Option<Config>, PlanError> {
        let source = reference.source.as_deref().unwrap_or_default();
        let Ok(Source::Data(bytes)) = Source::parse(source) else {
            self.step("fetch", "fetch", &public_name(source))
                .says(format!(
                    "the config is {how} this one, which is not known here"
                ))
                .says_if(is_checked(reference), "checked against its hash");
            return Ok(None);
        };
        let bytes = match reference.compression.as_deref() {
            Some("gzip") => unpack(&bytes).map_err(PlanError::Embedded)?,
            _ => bytes,
        };
        let parsed = config::parse("an embedded config", &bytes).map_err(PlanError::Embedded)?;
        Ok(parsed.map(|parsed| parsed.config))
    }

    fn authorities(&mut self, config: &Config) {
        let tls = config
            .ignition
            .security
            .as_ref()
            .and_then(|s| s.tls.as_ref());
        let authorities = tls.and_then(|tls| tls.certificate_authorities.as_ref());
        for authority in list(authorities) {
            let source = authority.source.as_deref().unwrap_or_default();
            self.step("fetch", "trust", &public_name(source))
                .says("a certificate authority, for what is fetched on this boot");
        }
    }

    fn arguments(&mut self, config: &Config) {
        let Some(arguments) = &config.kernel_arguments else {
            return;
        };
        for (action, list) in [
            ("add", &arguments.should_exist),
            ("remove", &arguments.should_not_exist),
        ] {
            for argument in config::list(list.as_ref()) {
                let step = self.step("kargs", action, argument);
                step.says("kernel argument");
            }
        }
        if kargs::asked(config) {
            self.step("kargs", "reboot", "the machine")
                .says("once, unless it runs with these arguments already");
        }
    }
}

/// Where contents come from, and how many they are.
fn origin(resource: &Resource) -> String {
    let source = resource.source.as_deref().unwrap_or_default();
    let checked = if is_checked(resource) {
        ", checked against a hash"
    } else {
        ""
    };
    let Ok(Source::Data(bytes)) = Source::parse(source) else {
        return format!("from {}{checked}", public_name(source));
    };
    let length = match resource.compression.as_deref() {
        Some("gzip") => unpack(&bytes).map_or(0, |bytes| bytes.len()),
        _ => bytes.len(),
    };
    format!("{length} bytes{checked}")
}

fn is_checked(resource: &Resource) -> bool {
    let hash = resource.verification.as_ref().and_then(|v| v.hash.as_ref());
    filled(hash).is_some()
}

/// Unpacks embedded contents, up to a bound.
fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Invalid> {
    use std::io::Read as _;
    const MAX: u64 = 128 << 20;
    let mut unpacked = Vec::new();
    let decoder = flate2::read::GzDecoder::new(bytes);
    match decoder.take(MAX).read_to_end(&mut unpacked) {
        Ok(_) => Ok(unpacked),
        Err(error) => Err(Invalid::from(Problem {
            place: config::Place {
                source: "embedded contents".to_owned(),
                position: None,
                key: String::new(),
                excerpt: None,
            },
            message: format!("not gzip: {error}"),
        })),
    }
}

/// The disks, then one numbered line per step, under a heading per stage.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for disk in &self.disks {
            write!(f, "{disk}")?;
        }
        let mut stage = "";
        for (number, step) in self.steps.iter().enumerate() {
            if step.stage != stage {
                stage = step.stage;
                writeln!(f, "{stage}")?;
            }
            let Step { action, target, .. } = step;
            write!(f, "{:4}. {action} {target}", number + 1)?;
            if !step.details.is_empty() {
                write!(f, ": {}", step.details.join(", "))?;
            }
            writeln!(f, "{}", if step.destroys { " [destroys]" } else { "" })?;
        }
        if self.refusals.is_empty() {
            return Ok(());
        }
        writeln!(f, "refused; the machine stops here")?;
        self.refusals
            .iter()
            .try_for_each(|refusal| writeln!(f, "  {refusal}"))
    }
}
