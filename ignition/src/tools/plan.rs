//! What a machine will do with a config, in order, before it happens.

mod disks;
mod volumes;

use std::fmt;

use ignition_config::v3_6::Storage;
use serde::Serialize;

use crate::config::{
    self, Config, File, Invalid, NodeGroup, NodeUser, Problem, Resource, Unit, User, filled, list,
};
use crate::fetch::{Source, public_name};
use crate::stage::disks::DisksError;
use crate::stage::files::{Item, RECORD, items};
use crate::stage::kargs;

pub use disks::{Disks, Given};

/// Most configs that are merged, as on the machine.
const CONFIGS: usize = 64;

/// All steps of a first boot, in the order in which they happen.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The stage that does it.
    pub stage: &'static str,
    /// What is done: `fetch`, `write`, `link`, …
    pub action: &'static str,
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
/// `disks` has, it is said what becomes of every partition.
pub fn plan(config: Config, disks: &Disks) -> Result<Plan, PlanError> {
    let mut plan = Plan { steps: Vec::new() };
    let mut left = CONFIGS;
    let config = plan.resolve(config, &mut left)?;
    plan.authorities(&config);
    plan.arguments(&config);
    if let Some(storage) = &config.storage {
        plan.disks(storage, disks)?;
        plan.volumes(storage);
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
    fn step(&mut self, stage: &'static str, action: &'static str, target: &str) -> &mut Step {
        self.steps.push(Step {
            stage,
            action,
            target: target.to_owned(),
            details: Vec::new(),
            destroys: false,
        });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
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

    fn accounts(&mut self, config: &Config) {
        let Some(passwd) = &config.passwd else {
            return;
        };
        for group in list(passwd.groups.as_ref()) {
            let step = self.step("files", action(group.should_exist), &group.name);
            step.says("group");
            if let Some(gid) = group.gid {
                step.says(format!("gid {gid}"));
            }
        }
        for user in list(passwd.users.as_ref()) {
            self.user(user);
        }
    }

    fn user(&mut self, user: &User) {
        let step = self.step("files", action(user.should_exist), &user.name);
        step.says("user");
        if user.should_exist == Some(false) {
            return;
        }
        if let Some(uid) = user.uid {
            step.says(format!("uid {uid}"));
        }
        let groups = list(user.groups.as_ref());
        if !groups.is_empty() {
            step.says(format!("in {}", groups.join(", ")));
        }
        match list(user.ssh_authorized_keys.as_ref()).len() {
            0 => step.says("no SSH key"),
            1 => step.says("1 SSH key"),
            keys => step.says(format!("{keys} SSH keys")),
        };
        step.says_if(
            filled(user.password_hash.as_ref()).is_some(),
            "with a password",
        );
    }

    fn entries(&mut self, config: &Config) {
        for item in items(config) {
            let path = item.path();
            let (overwrites, owner) = match &item {
                Item::Directory(_, d) => (d.overwrite, owner(d.user.as_ref(), d.group.as_ref())),
                Item::File(_, f) => (f.overwrite, owner(f.user.as_ref(), f.group.as_ref())),
                Item::Link(_, l) => (l.overwrite, owner(l.user.as_ref(), l.group.as_ref())),
            };
            let step = match &item {
                Item::Directory(_, directory) => {
                    let step = self.step("files", "make directory", path);
                    step.says(mode(directory.mode, 0o755))
                }
                Item::File(_, file) => self.file(file),
                Item::Link(_, link) => {
                    let hard = link.hard == Some(true);
                    let verb = if hard { "link hard" } else { "link" };
                    let target = link.target.as_deref().unwrap_or_default();
                    let step = self.step("files", verb, path);
                    step.says(format!("to {target}"))
                }
            };
            step.details.extend(owner);
            if overwrites == Some(true) {
                step.destroys = true;
                step.says("replaces what is there");
            }
        }
    }

    fn file(&mut self, file: &File) -> &mut Step {
        let contents = file.contents.as_ref().filter(|c| c.source.is_some());
        let fragments = list(file.append.as_ref());
        let adds = contents.is_none() && !fragments.is_empty();
        let verb = if adds { "append to" } else { "write" };
        let step = self.step("files", verb, &file.path);
        step.says(mode(file.mode, 0o644));
        for resource in contents.into_iter().chain(fragments) {
            step.says(origin(resource));
        }
        let empty = contents.is_none() && fragments.is_empty();
        step.says_if(empty, "empty, if it is not there")
    }

    fn units(&mut self, config: &Config) {
        let units = config.systemd.as_ref().and_then(|s| s.units.as_ref());
        for unit in list(units) {
            let step = self.step("files", "set up", &unit.name);
            step.details.extend(unit_words(unit));
        }
    }
}

fn action(should_exist: Option<bool>) -> &'static str {
    match should_exist {
        Some(false) => "remove",
        _ => "make or change",
    }
}

fn unit_words(unit: &Unit) -> Vec<String> {
    let mut words = Vec::new();
    let masked = unit.mask == Some(true);
    if masked {
        words.push("masked".to_owned());
    } else if filled(unit.contents.as_ref()).is_some() {
        words.push(format!("written to /etc/systemd/system/{}", unit.name));
    }
    for dropin in list(unit.dropins.as_ref()) {
        words.push(format!("drop-in {}", dropin.name));
    }
    match unit.enabled {
        Some(true) => words.push("enabled".to_owned()),
        Some(false) => words.push("disabled".to_owned()),
        None => {}
    }
    words
}

fn mode(mode: Option<i64>, default: i64) -> String {
    format!("mode {:04o}", mode.unwrap_or(default))
}

fn owner(user: Option<&NodeUser>, group: Option<&NodeGroup>) -> Option<String> {
    let shown = |id: Option<i64>, name: Option<&String>| match (id, name) {
        (Some(id), _) => id.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => "root".to_owned(),
    };
    if user.is_none() && group.is_none() {
        return None;
    }
    let user = user.map_or_else(|| "root".to_owned(), |u| shown(u.id, u.name.as_ref()));
    let group = group.map_or_else(|| "root".to_owned(), |g| shown(g.id, g.name.as_ref()));
    Some(format!("owner {user}:{group}"))
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

/// One numbered line per step, under a heading per stage.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        Ok(())
    }
}
