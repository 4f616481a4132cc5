//! `fetch-offline` and `fetch`: the merged config goes into the cache.

mod network;
mod node;
mod places;

use std::path::Path;

use base64::Engine as _;

use crate::config::{self, Config, Document, Invalid, Locate as _, Origins, Parsed, Problem};
use crate::config::{Accepts, Resource, Spec, list};
use crate::fetch::{FetchError, Fetcher, Network, public_name};
use crate::log;
use crate::provider::{self, Cmdline, Provider, ProviderError, Raw};
use crate::report::Asked;
use crate::state::{self, FetchedConfig, State};

use super::{Settings, StageError, disks, kargs};
use places::places;

/// Flag files, next to the config cache: one asks for the stages from `disks` to
/// `umount`, one for `kargs`.
const DISKS_FLAG: &str = "disks";
const KARGS_FLAG: &str = "kargs";

/// How deep configs may refer to configs, and how many there may be.
const DEPTH: usize = 16;
const CONFIGS: usize = 256;

/// Finds, merges, checks and caches the config. Without the network, leaves
/// the flag file instead if the config or what it names needs it.
pub fn run(settings: &Settings, network: Network) -> Result<(), StageError> {
    if network == Network::Present && settings.config_cache.exists() {
        log::info("the config was complete without the network");
        return check_cached(settings);
    }
    let mut collector = Collector {
        fetcher: Fetcher::new(network, settings.fetch_timeout).on_platform(&settings.platform),
        parts: Vec::new(),
        state: State::default(),
        asked: None,
        accepts: settings.accepts,
    };
    let merged = collector.collect(settings);
    if let Some(asked) = &collector.asked {
        asked.save(settings)?;
    }
    match merged.and_then(|merged| collector.accept(merged)) {
        Ok(config) => {
            state::save(&settings.config_cache, &config)?;
            collector.state.save(&settings.state_file)?;
            let asked = [
                (kargs::asked(&config), KARGS_FLAG),
                (disks::asked(&config), DISKS_FLAG),
            ];
            // Without the flag, the units of these stages are skipped.
            for (_, flag) in asked.into_iter().filter(|(asked, _)| *asked) {
                touch(&settings.config_cache.with_file_name(flag))?;
            }
            log::info(&format!(
                "merged {} configs into {}",
                collector.state.fetched_configs.len(),
                settings.config_cache.display()
            ));
            match network::needed(&config) {
                Some(key) if network == Network::Absent => ask_for_network(settings, &key),
                None if Asked::waits(settings, network)? => {
                    ask_for_network(settings, "telling of a failure, if there is one")
                }
                _ => Ok(()),
            }
        }
        Err(error) => match needed_network(&error) {
            Some(reason) if network == Network::Absent => ask_for_network(settings, &reason),
            None if Asked::waits(settings, network)? => {
                log::warn(&error.to_string());
                ask_for_network(settings, "telling of this")
            }
            _ => Err(error),
        },
    }
}

/// The config is complete, but not all that it names could be judged without the network.
fn check_cached(settings: &Settings) -> Result<(), StageError> {
    let (mut config, state) = super::cached(settings)?;
    let mut fetcher =
        Fetcher::new(Network::Present, settings.fetch_timeout).on_platform(&settings.platform);
    fetcher
        .configure(&config)
        .map_err(|source| StageError::Fetch {
            place: "ignition.security.tls.certificateAuthorities".to_owned(),
            source,
        })?;
    node::check(&fetcher, &mut config, &|key| state.place(key))?;
    Ok(state::save(&settings.config_cache, &config)?)
}

fn needed_network(error: &StageError) -> Option<String> {
    match error {
        StageError::Fetch { source, .. }
        | StageError::Provider(ProviderError::Fetch { source, .. }) => match source {
            FetchError::NeedsNetwork { name } => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn ask_for_network(settings: &Settings, reason: &str) -> Result<(), StageError> {
    touch(&settings.need_network)?;
    log::info(&format!("the network is needed for {reason}"));
    Ok(())
}

/// Leaves an empty file.
fn touch(path: &Path) -> Result<(), StageError> {
    let touch = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::File::create(path).map(drop)
    };
    touch().map_err(|source| StageError::Flag {
        path: path.to_owned(),
        source,
    })
}

/// Follows the references of configs, depth first.
struct Collector {
    fetcher: Fetcher,
    parts: Vec<(Document, Config)>,
    state: State,
    asked: Option<Asked>,
    accepts: Accepts,
}

impl Collector {
    fn collect(&mut self, settings: &Settings) -> Result<Config, StageError> {
        let base = self.base(settings)?;
        let user = self.user(settings)?;
        Ok(config::merge(&base, &user)?)
    }

    /// What the system itself wants of every machine.
    fn base(&mut self, settings: &Settings) -> Result<Config, StageError> {
        let mut base = config::empty();
        for raw in settings.system.base(&settings.platform)? {
            let parsed = config::parse_accepting(&raw.source, &raw.bytes, self.accepts)?;
            let parsed = parsed.ok_or_else(|| empty_part(&raw.source))?;
            self.note(&raw.source, &parsed, BASE);
            let part = self.render(parsed, 0)?;
            base = config::merge(&base, &part)?;
        }
        Ok(base)
    }

    /// The config of this machine.
    fn user(&mut self, settings: &Settings) -> Result<Config, StageError> {
        let Some((name, raw)) = self.find(settings)? else {
            log::info("no config was given to this machine; it gets the defaults");
            return Ok(config::empty());
        };
        let Some(parsed) = config::parse_accepting(&raw.source, &raw.bytes, self.accepts)? else {
            log::info(&format!("the config from {} is empty", raw.source));
            return Ok(config::empty());
        };
        let kind = Kind {
            source: name,
            ..USER
        };
        self.note(&raw.source, &parsed, kind);
        self.configure(&parsed.config)?;
        self.render(parsed, 0)
    }

    fn find(&self, settings: &Settings) -> Result<Option<(&'static str, Raw)>, StageError> {
        let cmdline = Cmdline::new(settings.cmdline.clone());
        if let Some(raw) = cmdline.config(&self.fetcher)? {
            return Ok(Some((cmdline.name(), raw)));
        }
        if let Some(raw) = settings.system.user()? {
            return Ok(Some(("system", raw)));
        }
        let Some(platform) = provider::of_platform(&settings.platform)? else {
            return Ok(None);
        };
        let raw = platform.config(&self.fetcher)?;
        Ok(raw.map(|raw| (platform.name(), raw)))
    }

    /// The config with everything it refers to merged in.
    fn render(&mut self, parsed: Parsed, depth: usize) -> Result<Config, StageError> {
        let Parsed {
            config, document, ..
        } = parsed;
        let references = config.ignition.config.clone().unwrap_or_default();
        if let Some(replace) = references.replace.filter(|r| r.source.is_some()) {
            let child = self.child(&document, "ignition.config.replace", &replace, depth)?;
            self.configure(&child.config)?;
            return self.render(child, depth + 1);
        }
        self.asked = Asked::by(&config).or_else(|| self.asked.take());
        let merge = list(references.merge.as_ref());
        let places: Vec<_> = (0..merge.len())
            .map(|number| format!("ignition.config.merge.{number}"))
            .collect();
        // The document moves into the parts; its children come after it.
        let at = self.parts.len();
        self.parts.push((document, config.clone()));
        let mut merged = config;
        for (key, reference) in places.iter().zip(merge) {
            let child = self.child_of(at, key, reference, depth)?;
            self.configure(&config::merge(&merged, &child.config)?)?;
            let child = self.render(child, depth + 1)?;
            merged = config::merge(&merged, &child)?;
        }
        Ok(merged)
    }

    fn child_of(
        &mut self,
        part: usize,
        key: &str,
        reference: &Resource,
        depth: usize,
    ) -> Result<Parsed, StageError> {
        let place = self.parts[part].0.place(key);
        self.fetch_child(&place.to_string(), key, reference, depth)
            .map_err(|error| bounded(error, place))
    }

    fn child(
        &mut self,
        document: &Document,
        key: &str,
        reference: &Resource,
        depth: usize,
    ) -> Result<Parsed, StageError> {
        let place = document.place(key);
        self.fetch_child(&place.to_string(), key, reference, depth)
            .map_err(|error| bounded(error, place))
    }

    fn fetch_child(
        &mut self,
        place: &str,
        key: &str,
        reference: &Resource,
        depth: usize,
    ) -> Result<Parsed, ChildError> {
        if depth >= DEPTH || self.state.fetched_configs.len() >= CONFIGS {
            return Err(ChildError::Bound);
        }
        let fetched = self.fetcher.read(reference);
        let bytes = fetched.map_err(|source| {
            ChildError::Stage(StageError::Fetch {
                place: place.to_owned(),
                source,
            })
        })?;
        let source = reference.source.as_deref().unwrap_or_default();
        let name = if source.starts_with("data:") {
            format!("the data URL of {key}")
        } else {
            public_name(source)
        };
        let parsed = config::parse_accepting(&name, &bytes, self.accepts)
            .map_err(|invalid| ChildError::Stage(invalid.into()))?
            .ok_or(ChildError::Empty)?;
        self.note(&name, &parsed, REFERENCED);
        Ok(parsed)
    }

    fn configure(&mut self, config: &Config) -> Result<(), StageError> {
        self.fetcher
            .configure(config)
            .map_err(|source| StageError::Fetch {
                place: "ignition.security.tls.certificateAuthorities".to_owned(),
                source,
            })
    }

    fn note(&mut self, name: &str, parsed: &Parsed, kind: Kind) {
        for warning in &parsed.warnings {
            log::warn(&warning.to_string());
        }
        log::info(&format!("fetched {} config from {name}", kind.kind));
        let referenced = kind == REFERENCED;
        self.state.fetched_configs.push(FetchedConfig {
            kind: kind.kind.to_owned(),
            source: if referenced { name } else { kind.source }.to_owned(),
            referenced,
        });
    }

    /// Checks the merged config and makes it ready for the cache.
    fn accept(&mut self, mut config: Config) -> Result<Config, StageError> {
        config.ignition.config = None;
        let origins = Origins::new(&config, std::mem::take(&mut self.parts))?;
        let mut errors = config::validate(&config, Spec::NEWEST, &origins).errors;
        errors.extend(config::unsupported(&config, &origins));
        if !errors.is_empty() {
            return Err(Invalid(errors).into());
        }
        self.state.origins = places(&config, &origins);
        self.embed_authorities(&mut config)?;
        node::check(&self.fetcher, &mut config, &|key| self.state.place(key))?;
        Ok(config)
    }

    /// Later stages must not depend on fetching the authorities again.
    fn embed_authorities(&self, config: &mut Config) -> Result<(), StageError> {
        let tls = config
            .ignition
            .security
            .as_mut()
            .and_then(|s| s.tls.as_mut());
        let authorities = tls.and_then(|tls| tls.certificate_authorities.as_mut());
        for authority in authorities.into_iter().flatten() {
            let bytes = self
                .fetcher
                .read(authority)
                .map_err(|source| StageError::Fetch {
                    place: "ignition.security.tls.certificateAuthorities".to_owned(),
                    source,
                })?;
            let packed = base64::engine::general_purpose::STANDARD.encode(bytes);
            *authority = Resource {
                source: Some(format!("data:;base64,{packed}")),
                ..Resource::default()
            };
        }
        Ok(())
    }
}

/// What a config is, as upstream's report says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    kind: &'static str,
    source: &'static str,
}

const BASE: Kind = Kind {
    kind: "base",
    source: "system",
};
const USER: Kind = Kind {
    kind: "user",
    source: "",
};
/// Its source is where it came from.
const REFERENCED: Kind = Kind {
    kind: "user",
    source: "referenced",
};

/// Why a referenced config is not there.
enum ChildError {
    Stage(StageError),
    Empty,
    Bound,
}

/// A part of the system's own config is empty only if the image is damaged.
fn empty_part(source: &str) -> Invalid {
    let place = config::Place {
        source: source.to_owned(),
        position: None,
        key: String::new(),
        excerpt: None,
    };
    let message = "it is empty; write a config, or remove the file".to_owned();
    Problem { place, message }.into()
}

fn bounded(error: ChildError, place: config::Place) -> StageError {
    let message = match error {
        ChildError::Stage(error) => return error,
        ChildError::Empty => "the referenced config is empty".to_owned(),
        ChildError::Bound => format!(
            "configs refer to configs more than {DEPTH} levels deep or {CONFIGS} times; \
             is there a loop?"
        ),
    };
    Invalid::from(Problem { place, message }).into()
}
