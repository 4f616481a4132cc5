//! A slot in files and on D-Bus: `a` or `b`.

use bootloader::Slot;
use serde::{Deserialize, Deserializer, Serializer};

/// The slot of this name.
pub fn parse(name: &str) -> Option<Slot> {
    Slot::ALL.into_iter().find(|slot| slot.name() == name)
}

/// For `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(slot: &Slot, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(slot.name())
}

/// For `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Slot, D::Error> {
    let name = String::deserialize(deserializer)?;
    parse(&name).ok_or_else(|| serde::de::Error::custom(format!("{name:?} is no slot")))
}
