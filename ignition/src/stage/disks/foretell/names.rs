//! Which device a name in the config leads to, once tables are written.

use std::path::PathBuf;

use super::super::probe::{Probe, decode};
use super::super::{Context, DisksError};
use super::Contents;
use super::disk::{Entry, Target};

/// What can be made something of.
pub(super) struct Spot {
    /// What all names of it have in common.
    pub place: PathBuf,
    pub contents: Contents,
    /// Whether it is something else before tables are written.
    pub touched: bool,
    /// What needs its contents, if something does.
    pub user: Option<String>,
    /// The disk that it is on.
    pub image: PathBuf,
    /// Where on it, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
    /// Whether it has nothing but zeros.
    pub empty: bool,
    /// What the config calls its disk.
    pub disk: String,
    /// Number and label, if it is a partition.
    pub partition: Option<(u32, String)>,
}

/// Where a name leads to.
pub(super) enum Found {
    Here(Box<Spot>),
    /// To a partition that will not be there.
    Absent,
    /// Nobody knows; why.
    Unknown(String),
}

/// Where `name` leads to.
pub(super) fn find(
    context: &Context<'_>,
    targets: &[Target],
    name: &str,
) -> Result<Found, DisksError> {
    let here = |spot| Ok(Found::Here(Box::new(spot)));
    for target in targets {
        if target.name == name {
            return here(target.spot(context)?);
        }
        if let Some(number) = number(&target.name, name) {
            let mut entries = target.partitions.iter();
            return match entries.find(|entry| entry.partition.number == number) {
                Some(entry) => here(target.part(context, entry)?),
                None => Ok(Found::Absent),
            };
        }
    }
    let Some(link) = Link::parse(name) else {
        let why = "it is on no disk that was given";
        return Ok(Found::Unknown(why.to_owned()));
    };
    let entries = targets.iter().flat_map(|target| {
        let entries = target.partitions.iter();
        entries.map(move |entry| (target, entry))
    });
    let mut matches = entries.filter(|(_, entry)| link.leads_to(entry));
    match (matches.next(), matches.next()) {
        (Some((target, entry)), None) => here(target.part(context, entry)?),
        (Some(_), Some(_)) => Ok(Found::Unknown(
            "several partitions would have this name".to_owned(),
        )),
        (None, _) => Ok(Found::Unknown("it is on no disk that was given".to_owned())),
    }
}

/// The number of the partition of `disk` that is called `name`, as the kernel and udev call
/// them.
fn number(disk: &str, name: &str) -> Option<u32> {
    let rest = name.strip_prefix(disk)?;
    let digits = if disk.starts_with("/dev/disk/") {
        rest.strip_prefix("-part")?
    } else if disk.ends_with(|c: char| c.is_ascii_digit()) {
        rest.strip_prefix('p')?
    } else {
        rest
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// One of udev's names of partitions.
enum Link {
    Label(String),
    Identity(String),
    FilesystemLabel(String),
    FilesystemIdentity(String),
}

impl Link {
    fn parse(name: &str) -> Option<Self> {
        let (kind, value) = name.strip_prefix("/dev/disk/")?.split_once('/')?;
        let value = decode(value);
        Some(match kind {
            "by-partlabel" => Self::Label(value),
            "by-partuuid" => Self::Identity(value),
            "by-label" => Self::FilesystemLabel(value),
            "by-uuid" => Self::FilesystemIdentity(value),
            _ => return None,
        })
    }

    fn leads_to(&self, entry: &Entry) -> bool {
        let Entry {
            partition, found, ..
        } = entry;
        let is = |found: &Option<String>, wanted: &str| found.as_deref() == Some(wanted);
        match self {
            Self::Label(label) => partition.name == *label,
            Self::Identity(uuid) => partition.guid.to_string() == *uuid,
            Self::FilesystemLabel(label) => is(&found.label, label),
            Self::FilesystemIdentity(uuid) => is(&found.uuid, uuid),
        }
    }
}

/// What is in `found`, for people.
pub(super) fn words(found: &Probe) -> String {
    found.describe().unwrap_or_else(|| "nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_called_as_the_kernel_calls_them() {
        for (disk, name, expected) in [
            ("/dev/vdb", "/dev/vdb2", Some(2)),
            ("/dev/vdb", "/dev/vdb", None),
            ("/dev/vdb", "/dev/vdbp2", None),
            ("/dev/vdb", "/dev/vdb02", None),
            ("/dev/vdb", "/dev/vdb+2", None),
            ("/dev/nvme0n1", "/dev/nvme0n1p12", Some(12)),
            ("/dev/nvme0n1", "/dev/nvme0n12", None),
            ("/dev/disk/by-id/x1", "/dev/disk/by-id/x1-part3", Some(3)),
            ("/dev/disk/by-id/x1", "/dev/disk/by-id/x1p3", None),
        ] {
            assert_eq!(number(disk, name), expected, "{name}");
        }
    }

    #[test]
    fn names_of_partitions_are_decoded() {
        let link = Link::parse("/dev/disk/by-partlabel/my\\x20data");
        assert!(matches!(link, Some(Link::Label(label)) if label == "my data"));
        assert!(Link::parse("/dev/disk/by-id/x").is_none());
        assert!(Link::parse("/dev/md/x").is_none());
    }
}
