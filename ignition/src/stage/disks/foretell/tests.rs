use super::*;
use crate::stage::disks::Purpose;
use bootloader::block::FileDisk;
use bootloader::gpt::{Gpt, Guid};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

fn image() -> tempfile::NamedTempFile {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(64 * MIB).unwrap();
    image
}

fn disk(device: &str, body: &Value) -> Disk {
    let mut disk = body.clone();
    disk["device"] = json!(device);
    serde_json::from_value(disk).unwrap()
}

/// As the stage does it.
fn write(image: &Path, body: &Value) {
    let state = State::default();
    let context = Context {
        kernel: Kernel::default(),
        state: &state,
        purpose: Purpose::Write,
    };
    let disks = [disk(image.to_str().unwrap(), body)];
    for decided in table::decide(&context, &disks).unwrap() {
        decided.write().unwrap();
    }
}

fn partitions(image: &Path) -> Vec<Partition> {
    let mut io = FileDisk::open_read_only(image, 512).unwrap();
    let gpt = Gpt::read(&mut io).unwrap();
    gpt.partitions().collect()
}

fn told(image: &Path, body: &Value) -> Foretold {
    let storage = json!({"disks": [disk("/dev/vdb", body)]});
    let storage = serde_json::from_value(storage).unwrap();
    let stand_in = StandIn {
        device: "/dev/vdb".to_owned(),
        image: image.to_owned(),
        empty: false,
    };
    foretell(&storage, &[stand_in]).unwrap()
}

/// Without the identities that are made up when a partition is.
fn plain(mut partitions: Vec<Partition>) -> Vec<Partition> {
    partitions.sort_by_key(|partition| partition.number);
    for partition in &mut partitions {
        partition.guid = Guid::ZERO;
    }
    partitions
}

#[test]
fn what_is_foretold_is_what_is_written() {
    let image = image();
    for body in [
        json!({"partitions": [{"label": "a", "sizeMiB": 8}, {"number": 5, "label": "b",
            "sizeMiB": 8}]}),
        json!({"partitions": [{"label": "a", "sizeMiB": 4, "resize": true}]}),
        json!({"partitions": [{"label": "a", "sizeMiB": 2, "resize": true},
            {"number": 5, "label": "c", "startMiB": 20, "sizeMiB": 9,
                "wipePartitionEntry": true}]}),
        json!({"partitions": [{"number": 1, "shouldExist": false, "wipePartitionEntry": true},
            {"label": "d"}]}),
        json!({"partitions": [{"label": "d"}]}),
        json!({"wipeTable": true, "partitions": [{"number": 2, "label": "e", "startMiB": 10}]}),
    ] {
        let foretold = told(image.path(), &body);
        assert!(foretold.refusals.is_empty(), "{:?}", foretold.refusals);
        let table = &foretold.tables[&0];
        let (NewTable::Edited(fates) | NewTable::Made { fates, .. }) = table else {
            panic!("no table: {body}");
        };
        let after = fates.iter().filter_map(Fate::after).collect();
        write(image.path(), &body);
        assert_eq!(plain(after), plain(partitions(image.path())), "{body}");
    }
}

#[test]
fn a_disk_that_was_grown_is_foretold_with_all_of_it() {
    let image = image();
    let body = json!({"partitions": [{"label": "a", "sizeMiB": 8}]});
    write(image.path(), &body);
    image.as_file().set_len(128 * MIB).unwrap();
    let more = json!({"partitions": [{"label": "b"}]});
    let foretold = told(image.path(), &more);
    let NewTable::Edited(fates) = &foretold.tables[&0] else {
        panic!("another table");
    };
    let after = fates.iter().filter_map(Fate::after).collect();
    write(image.path(), &more);
    assert_eq!(plain(after), plain(partitions(image.path())));
}
