//! A partition as the config wants it, in blocks of its disk.

use bootloader::gpt::Guid;

use crate::config::{Disk, Partition, filled, list};

const MIB: u64 = 1 << 20;

/// One entry of `partitions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its place in the config's list.
    pub index: usize,
    /// Its number; 0 for the one that has its label, or else the next free one.
    pub number: u32,
    /// Its label, if one was given.
    pub label: Option<String>,
    /// First block; 0 for the start of the largest free space.
    pub start: Option<u64>,
    /// Number of blocks; 0 for all that is left there.
    pub size: Option<u64>,
    /// What it is for.
    pub type_guid: Option<Guid>,
    /// Its own identity.
    pub guid: Option<Guid>,
    /// Whether it shall be there or not.
    pub exists: bool,
    /// Whether what is there and does not match may be removed.
    pub wipe: bool,
    /// Whether what only differs in size may be resized.
    pub resize: bool,
}

/// A number or GUID in a config that no partition can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is out of range")]
pub struct Unfit {
    /// Its place in the config's list.
    pub index: usize,
    /// The key.
    pub what: &'static str,
    /// What the config has there.
    pub value: String,
}

/// The partitions of `disk`, those with number 0 last, as upstream orders them.
pub fn wanted(disk: &Disk, block_size: u32) -> Result<Vec<Wanted>, Unfit> {
    let partitions = list(disk.partitions.as_ref()).iter().enumerate();
    let mut all = partitions
        .map(|(index, partition)| one(index, partition, block_size))
        .collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(|wanted| wanted.number == 0);
    Ok(all)
}

fn one(index: usize, partition: &Partition, block_size: u32) -> Result<Wanted, Unfit> {
    let unfit = |what, value: String| Unfit { index, what, value };
    let number = partition.number.unwrap_or(0);
    let blocks = |what, mib: Option<i64>| {
        let convert = |mib: i64| {
            let mib = u64::try_from(mib).ok()?;
            mib.checked_mul(MIB / u64::from(block_size.max(1)))
        };
        mib.map(|mib| convert(mib).ok_or_else(|| unfit(what, mib.to_string())))
            .transpose()
    };
    let guid = |what, text: Option<&String>| {
        filled(text)
            .map(|text| Guid::try_parse(text).map_err(|_| unfit(what, text.to_owned())))
            .transpose()
    };
    Ok(Wanted {
        index,
        number: u32::try_from(number).map_err(|_| unfit("number", number.to_string()))?,
        label: partition.label.clone(),
        start: blocks("startMiB", partition.start_mib)?,
        size: blocks("sizeMiB", partition.size_mib)?,
        type_guid: guid("typeGuid", partition.type_guid.as_ref())?,
        guid: guid("guid", partition.guid.as_ref())?,
        exists: partition.should_exist != Some(false),
        wipe: partition.wipe_partition_entry == Some(true),
        resize: partition.resize == Some(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(partitions: serde_json::Value) -> Disk {
        serde_json::from_value(serde_json::json!({"device": "/d", "partitions": partitions}))
            .unwrap()
    }

    #[test]
    fn mebibytes_become_blocks_and_number_zero_comes_last() {
        let disk = disk(serde_json::json!([
            {"label": "b", "sizeMiB": 0},
            {"number": 7, "startMiB": 1, "sizeMiB": 2, "guid": ""},
            {"label": "c", "number": 0},
        ]));
        let found = wanted(&disk, 4096).unwrap();
        let order: Vec<_> = found.iter().map(|w| (w.index, w.number)).collect();
        assert_eq!(order, [(1, 7), (0, 0), (2, 0)]);
        assert_eq!((found[0].start, found[0].size), (Some(256), Some(512)));
        assert_eq!((found[0].guid, found[0].label.as_deref()), (None, None));
        assert_eq!((found[1].start, found[1].size), (None, Some(0)));
    }

    #[test]
    fn what_no_disk_can_hold_is_named() {
        for (partition, what) in [
            (serde_json::json!({"number": -1}), "number"),
            (serde_json::json!({"sizeMiB": i64::MAX}), "sizeMiB"),
            (serde_json::json!({"startMiB": -1}), "startMiB"),
            (serde_json::json!({"guid": "x"}), "guid"),
        ] {
            let refused = wanted(&disk(serde_json::json!([{}, partition])), 512);
            let unfit = refused.unwrap_err();
            assert_eq!((unfit.index, unfit.what), (1, what));
        }
    }
}
