//! Configs in YAML, by Butane's conventions, to Ignition configs.
//!
//! The keys are tables ([`shape`]); one walk along them ([`value`]) checks
//! types and copies; what has no counterpart in JSON is added by a function
//! per kind of sugar. The result is checked by the code that a machine uses,
//! and every complaint of that is led back to the text that was written.

mod cluster;
mod local;
mod mounts;
mod policy;
mod resource;
mod shape;
mod suggest;
mod trees;
mod units;
mod users;
mod value;
mod variant;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::config::{self, Accepts, Config, Findings, Locate, Place, Problem};

use super::text::{Spot, Text};
use super::yaml::{self, Node};

pub use local::{Files, LocalError};

use value::{Object, Path};
use variant::{Family, Variant};

/// Longest text, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// What became of a text.
#[derive(Debug)]
pub struct Translation {
    /// The Ignition config, in the spec that the variant's version stands
    /// for; none with an error.
    pub json: Option<Value>,
    /// The same, in the newest spec.
    pub config: Option<Config>,
    /// What is wrong.
    pub found: Findings,
}

/// Translates the config `bytes`, which messages call `name`. Local files are
/// those of `files`.
pub fn translate(name: &str, bytes: &[u8], files: &mut Files) -> Translation {
    let mut found = Findings::default();
    let result = read(name, bytes, files, &mut found);
    if let Err(problem) = &result {
        found.errors.push(problem.clone());
    }
    match result {
        Ok((json, config)) if found.errors.is_empty() => Translation {
            json: Some(json),
            config: Some(config),
            found,
        },
        _ => Translation {
            json: None,
            config: None,
            found,
        },
    }
}

fn read(
    name: &str,
    bytes: &[u8],
    files: &mut Files,
    found: &mut Findings,
) -> Result<(Value, Config), Problem> {
    let raw = match std::str::from_utf8(bytes) {
        Ok(raw) => raw.strip_prefix('\u{feff}').unwrap_or(raw),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            return Err(not_utf8(name, &good));
        }
    };
    let text = Text::new(name, raw);
    let refuse = |message: &str| text.problem(Spot::START, "", message);
    if raw.len() > MAX_BYTES {
        return Err(refuse(
            "longer than 4 MiB; put large contents into files and name them with local",
        ));
    }
    if raw.starts_with("#cloud-config") {
        return Err(refuse(
            "this is a cloud-config, which is another format; write a config that starts with \
             \"variant: ballast\"",
        ));
    }
    let root = yaml::parse(&text, raw)?;
    if !matches!(root.content, yaml::Content::Map(_)) {
        return Err(refuse(
            "expected a config that starts with \"variant: ballast\" and \"version: 1.0.0\"",
        ));
    }
    let variant = Variant::read(&text, &root)?;
    let mut translator = Translator {
        text: &text,
        variant,
        files,
        found: Findings::default(),
        places: BTreeMap::new(),
        embedded: BTreeSet::new(),
    };
    let json = translator.config(&root);
    let checked = translator.check(&json);
    found.errors.append(&mut translator.found.errors);
    found.warnings.append(&mut translator.found.warnings);
    match checked {
        Some(config) => Ok((json, config)),
        None => Ok((json, config::empty())),
    }
}

fn not_utf8(name: &str, good: &str) -> Problem {
    let text = Text::new(name, good);
    let line = good.matches('\n').count() + 1;
    let column = text.line(line).chars().count() + 1;
    let message = "the text is not UTF-8 from here on; save it as UTF-8";
    text.problem(Spot { line, column }, "", message)
}

/// One text on its way.
struct Translator<'a> {
    text: &'a Text<'a>,
    variant: Variant,
    files: &'a mut Files,
    found: Findings,
    /// By key path of the JSON: where and under which key it was written.
    places: BTreeMap<String, (Spot, String)>,
    /// Key paths of the resources that were embedded and may be compressed.
    embedded: BTreeSet<String>,
}

impl Translator<'_> {
    fn config(&mut self, root: &Node) -> Value {
        let object = self.object(root, &shape::CONFIG, &Path::default());
        let mut json = Value::Object(object.unwrap_or_default());
        json["ignition"]["version"] = self.variant.spec.to_string().into();
        mounts::add(self, root, &mut json);
        trees::add(self, root, &mut json);
        if self.variant.family == Family::Ballast {
            cluster::add(self, root, &mut json);
            policy::add(self, root, &mut json);
        }
        json
    }

    /// Judges `json` as a machine would.
    fn check(&mut self, json: &Value) -> Option<Config> {
        if !self.found.errors.is_empty() {
            return None;
        }
        let parsed =
            match config::read(self.text.name, json.to_string().as_bytes(), Accepts::Stable) {
                Ok(parsed) => parsed?,
                Err(invalid) => {
                    let errors = invalid.0.into_iter().map(|mut problem| {
                        problem.place = self.place(&problem.place.key);
                        problem
                    });
                    self.found.errors = errors.collect();
                    return None;
                }
            };
        for mut warning in parsed.warnings {
            warning.place = self.place(&warning.place.key);
            self.found.warnings.push(warning);
        }
        let found = config::validate(&parsed.config, parsed.spec, self);
        self.found.errors.extend(found.errors);
        self.found.warnings.extend(found.warnings);
        // What this version of the host refuses, another one may have: the
        // translation is right all the same.
        let refused = config::unsupported(&parsed.config, self);
        self.found.warnings.extend(refused);
        Some(parsed.config)
    }

    /// Notes that what stands at the key path `json` is due to `node`.
    fn due_to(&mut self, json: String, node: &Node, path: &Path) {
        self.places.insert(json, (node.spot, path.yaml.clone()));
    }
}

impl Locate for Translator<'_> {
    fn place(&self, key: &str) -> Place {
        let mut nearest = key;
        loop {
            if let Some((spot, yaml)) = self.places.get(nearest) {
                return self.text.place(*spot, yaml);
            }
            if nearest.is_empty() {
                return self.text.place(Spot::START, key);
            }
            nearest = nearest.rfind('.').map_or("", |dot| &nearest[..dot]);
        }
    }
}

/// The list at `section`.`list` of `json`; it is made if it is not there.
fn list_in<'j>(json: &'j mut Value, section: &str, list: &str) -> Option<&'j mut Vec<Value>> {
    let place = &mut json[section];
    if place.is_null() {
        *place = json!({});
    }
    let place = &mut place[list];
    if place.is_null() {
        *place = json!([]);
    }
    place.as_array_mut()
}

/// An entry of a list by what identifies it.
fn entry<'j>(list: &'j mut [Value], key: &str, value: &str) -> Option<(usize, &'j mut Object)> {
    let at = list
        .iter()
        .position(|entry| entry.get(key).and_then(Value::as_str) == Some(value))?;
    Some((at, list[at].as_object_mut()?))
}
