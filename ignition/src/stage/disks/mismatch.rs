//! How an existing partition differs from the one that the config wants.

use bootloader::gpt::Partition;

use super::refusal::amount;
use super::wanted::Wanted;

/// One difference: what is there, then what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// First block.
    Start(u64, u64),
    /// Number of blocks.
    Size(u64, u64),
    /// Something that is compared as it is.
    Text(&'static str, String, String),
}

impl Mismatch {
    /// Whether it is the size, which may be changed in place.
    pub fn is_size(&self) -> bool {
        matches!(self, Self::Size(..))
    }

    fn describe(&self, block_size: u32) -> String {
        let blocks = |what, found, wanted| {
            let (found, wanted) = (amount(found, block_size), amount(wanted, block_size));
            format!("its {what} is {found}, not {wanted}")
        };
        match self {
            Self::Start(found, wanted) => blocks("start", *found, *wanted),
            Self::Size(found, wanted) => blocks("size", *found, *wanted),
            Self::Text(what, found, wanted) => format!("its {what} is {found}, not {wanted}"),
        }
    }
}

/// The differences between `found` and `wanted`. `start` and `size` are what
/// the config gives, with zeros resolved; what is absent matches anything.
pub fn find(
    found: &Partition,
    wanted: &Wanted,
    start: Option<u64>,
    size: Option<u64>,
) -> Vec<Mismatch> {
    let mut all = Vec::new();
    if let Some(start) = start.filter(|start| *start != found.first_lba) {
        all.push(Mismatch::Start(found.first_lba, start));
    }
    if let Some(size) = size.filter(|size| *size != found.block_count()) {
        all.push(Mismatch::Size(found.block_count(), size));
    }
    let guids = [
        ("GUID", found.guid, wanted.guid),
        ("type GUID", found.type_guid, wanted.type_guid),
    ];
    for (what, found, wanted) in guids {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            all.push(Mismatch::Text(what, found.to_string(), wanted.to_string()));
        }
    }
    if let Some(label) = wanted.label.as_ref().filter(|label| **label != found.name) {
        let (found, wanted) = (format!("{:?}", found.name), format!("{label:?}"));
        all.push(Mismatch::Text("label", found, wanted));
    }
    all
}

/// The differences as one text.
pub fn describe(mismatches: &[Mismatch], block_size: u32) -> String {
    let all: Vec<_> = mismatches.iter().map(|m| m.describe(block_size)).collect();
    all.join("; ")
}
