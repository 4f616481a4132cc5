//! Sections as types: what keys a daemon knows, and what their values may be.

use serde::de::{DeserializeOwned, Error as _, IntoDeserializer as _, Visitor};
use serde::{Deserializer, Serialize, forward_to_deserialize_any};
use toml::{Table, Value};

use super::fragment::{Content, Fragment, Item, Items};
use super::problem::{Problem, Severity};

/// Top-level sections of programs that may not be this one. Their keys are those
/// programs' business.
const OF_OTHERS: [&str; 4] = ["health", "reboot", "rocket", "update"];

/// A section of the policy. Every key has a default (`#[serde(default)]` on the type)
/// and every value is checked by its type alone, so that a wrong one can be blamed on
/// its own line.
pub trait Section: DeserializeOwned + Serialize + Default {
    /// The section's name: `update`, `reboot.etcd`.
    const NAME: &'static str;
}

/// The sections that a program knows.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    sections: Vec<Known>,
}

/// One section, without its type.
#[derive(Debug, Clone, Copy)]
struct Known {
    name: &'static str,
    check: fn(&str, &Value) -> Result<Vec<String>, String>,
    defaults: fn() -> Table,
}

impl Schema {
    /// With section `T` as well.
    #[must_use]
    pub fn with<T: Section>(mut self) -> Self {
        self.sections.push(Known {
            name: T::NAME,
            check: check_key::<T>,
            defaults: || Table::try_from(T::default()).unwrap_or_default(),
        });
        self
    }

    /// The keys that have a default, with it: `update.channel`, `stable`.
    pub fn defaults(&self) -> impl Iterator<Item = (String, Value)> + '_ {
        self.sections.iter().flat_map(|known| {
            let named = move |(key, value)| (format!("{}.{key}", known.name), value);
            (known.defaults)().into_iter().map(named)
        })
    }

    /// Takes `fragment` apart into the keys of the known sections, with what is wrong.
    /// With an error among the problems, the keys must not be used.
    pub(crate) fn take(&self, fragment: &mut Fragment) -> (Vec<Key>, Vec<Problem>) {
        let items = std::mem::take(&mut fragment.items);
        let mut taken = Taken {
            schema: self,
            fragment,
            keys: Vec::new(),
            problems: Vec::new(),
        };
        for (name, item) in items {
            taken.top(name, item);
        }
        (taken.keys, taken.problems)
    }

    fn known(&self, name: &str) -> Option<&Known> {
        self.sections.iter().find(|known| known.name == name)
    }

    /// `name` is a section, or has sections below it.
    fn leads_to_section(&self, name: &str) -> bool {
        self.sections.iter().any(|known| {
            let rest = known.name.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

/// A checked key of a known section.
#[derive(Debug)]
pub(crate) struct Key {
    pub section: &'static str,
    pub name: String,
    pub line: usize,
    pub value: Value,
}

/// A fragment that is being taken apart.
struct Taken<'a> {
    schema: &'a Schema,
    fragment: &'a Fragment,
    keys: Vec<Key>,
    problems: Vec<Problem>,
}

impl Taken<'_> {
    fn top(&mut self, name: String, item: Item) {
        if self.schema.leads_to_section(&name) {
            self.section(name, item);
        } else if !OF_OTHERS.contains(&name.as_str()) {
            self.unknown(item.line, &name, "no section of this name is known");
        }
    }

    fn section(&mut self, name: String, item: Item) {
        let items = match item.content {
            Content::Table(items) => items,
            Content::Value(_) => {
                let origin = self.fragment.origin(item.line);
                let message = format!("is a section: write [{name}] on a line of its own");
                let problem = Problem::key(Severity::Error, origin, &name, message);
                return self.problems.push(problem);
            }
        };
        self.inside(&name, items);
    }

    fn inside(&mut self, section: &str, items: Items) {
        let known = self.schema.known(section).copied();
        for (name, item) in items {
            let path = format!("{section}.{name}");
            if self.schema.leads_to_section(&path) {
                self.section(path, item);
            } else if let Some(known) = known {
                self.key(known, name, item);
            }
        }
    }

    fn key(&mut self, known: Known, name: String, item: Item) {
        let path = format!("{}.{name}", known.name);
        let value = item.content.into_value();
        match (known.check)(&name, &value) {
            Ok(unknown) if unknown.is_empty() => self.keys.push(Key {
                section: known.name,
                name,
                line: item.line,
                value,
            }),
            Ok(unknown) => {
                for key in &unknown {
                    let path = format!("{}.{key}", known.name);
                    self.unknown(item.line, &path, "no key of this name is known");
                }
                // Only a part of the value is unknown: the rest counts.
                if !unknown.contains(&name) {
                    self.keys.push(Key {
                        section: known.name,
                        name,
                        line: item.line,
                        value,
                    });
                }
            }
            Err(message) => {
                let origin = self.fragment.origin(item.line);
                let problem = Problem::key(Severity::Error, origin, &path, message);
                self.problems.push(problem);
            }
        }
    }

    fn unknown(&mut self, line: usize, path: &str, message: &str) {
        let origin = self.fragment.origin(line);
        let problem = Problem::key(Severity::Warning, origin, path, message);
        self.problems.push(problem);
    }
}

/// Checks one key as if it were the only one of the section. Returns the keys in it that
/// `T` does not know.
fn check_key<T: Section>(key: &str, value: &Value) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    let table = Table::from_iter([(key.to_string(), value.clone())]);
    let read: Result<T, toml::de::Error> =
        serde_ignored::deserialize(table.into_deserializer(), |path| {
            // A value that may be left out is a step of its own there.
            unknown.push(path.to_string().replace(".?.", "."));
        });
    match read {
        Ok(_) => Ok(unknown),
        Err(error) => Err(error.message().trim().to_string()),
    }
}

/// The keys of a section or of a table in it, as its type has them.
pub fn keys<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    // It fails, once it has asked for its keys.
    let _ = T::deserialize(Keys(&mut keys));
    keys
}

/// Has no value, but remembers which keys are asked for.
struct Keys<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Keys<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("there is no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = keys;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
        ignored_any
    }
}

/// Reads a section from values that were checked.
pub(crate) fn read<T: Section>(table: Table) -> Result<T, String> {
    T::deserialize(table.into_deserializer())
        .map_err(|error: toml::de::Error| error.message().trim().to_string())
}
