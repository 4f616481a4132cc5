//! Every state of a disk, with the simplest configs.

use serde_json::{Value, json};

use super::{ALL, Case};

/// What is asked of one disk, by name.
type Asked = (&'static str, fn() -> Value);

pub fn cases() -> Vec<Case> {
    let what: [Asked; 5] = [
        ("untouched", || json!({"device": "{a}"})),
        (
            "and_one_more",
            || json!({"device": "{a}", "partitions": [{"label": "more", "number": 8, "sizeMiB": 4}]}),
        ),
        (
            "and_the_rest",
            || json!({"device": "{a}", "partitions": [{"label": "rest", "number": 0}]}),
        ),
        ("wiped", || json!({"device": "{a}", "wipeTable": true})),
        ("wiped_and_made", || {
            json!({"device": "{a}", "wipeTable": true, "partitions": [
                {"number": 1, "label": "first", "sizeMiB": 32, "guid": FIRST, "typeGuid": SWAP},
                {"number": 3, "label": "third", "startMiB": 100}]})
        }),
    ];
    let on = |(what, disk): &Asked| {
        let (what, disk) = (*what, *disk);
        let one = move |state: &super::Start| {
            let name = format!("{}_{what}", state.name);
            Case::new(&name, &[state.name], json!({"disks": [disk()]}))
        };
        ALL.iter().map(one).collect::<Vec<_>>()
    };
    what.iter().flat_map(on).collect()
}

const FIRST: &str = "AAAAAAAA-0000-4000-8000-00000000000A";
const SWAP: &str = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F";
