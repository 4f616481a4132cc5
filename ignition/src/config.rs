//! The config: parsing, checking, merging.
//!
//! Everything here is pure: text in, a [`Config`] or a list of [`Problem`]s
//! out. All accepted spec versions become the newest one, so that later code
//! knows a single shape.

mod index;
mod lines;
mod merge;
mod origin;
mod parse;
mod place;
mod support;
mod validate;
mod version;

pub use ignition_config::v3_6::{
    Clevis, Config, Directory, Disk, Dropin, File, Filesystem, Group, KernelArguments, Link, Luks,
    NodeGroup, NodeUser, Partition, Passwd, Raid, Resource, Storage, Tang, Timeouts, Unit, User,
};

pub use merge::merge;
pub use origin::Origins;
pub use parse::{Document, Parsed, parse, parse_accepting};
#[cfg(feature = "tools")]
pub(crate) use parse::{excerpt, read};
pub use place::{Invalid, Locate, Place, Problem};
pub use support::unsupported;
pub use validate::{Findings, validate};
pub use version::{Accepts, NEWEST, Spec};

/// The config that asks for nothing.
pub fn empty() -> Config {
    Config {
        ignition: ignition_config::v3_6::Ignition::new(NEWEST.to_owned()),
        kernel_arguments: None,
        passwd: None,
        storage: None,
        systemd: None,
    }
}

/// The elements of an optional list.
pub fn list<T>(items: Option<&Vec<T>>) -> &[T] {
    items.map_or(&[], Vec::as_slice)
}

/// Whether clevis is to bind `volume`.
pub fn is_bound(volume: &Luks) -> bool {
    volume.clevis.as_ref().is_some_and(|clevis| {
        let custom = clevis.custom.as_ref();
        clevis.tpm2 == Some(true)
            || !list(clevis.tang.as_ref()).is_empty()
            || custom.is_some_and(|custom| filled(custom.pin.as_ref()).is_some())
    })
}

/// An optional string, with absent and empty treated alike.
pub fn filled(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}
