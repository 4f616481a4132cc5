use super::*;
use crate::stage::disks::wanted::wanted;
use bootloader::gpt::Geometry;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A disk of `mib` MiB in blocks of 512 bytes.
fn blank(mib: u64) -> Gpt {
    with_entries(mib, 128)
}

fn with_entries(mib: u64, entries: u32) -> Gpt {
    let geometry = Geometry {
        block_size: 512,
        block_count: mib * 2048,
    };
    Gpt::new(geometry, Guid::from_bytes([7; 16]), entries).unwrap()
}

/// A table with room for more partitions than Linux shows, and one of those.
fn large() -> Gpt {
    let mut gpt = with_entries(300, 256);
    let unseen = Partition {
        number: 256,
        type_guid: LINUX_DATA,
        guid: Guid::from_bytes([8; 16]),
        first_lba: 4096,
        last_lba: 8191,
        attributes: 0,
        name: "unseen".to_owned(),
    };
    gpt.set_partition(&unseen).unwrap();
    gpt
}

/// `config` as the list of partitions of a disk.
fn partitions(config: Value) -> Vec<Wanted> {
    let disk = serde_json::from_value(json!({"device": "/d", "partitions": config})).unwrap();
    wanted(&disk, 512).unwrap()
}

fn plan(gpt: &Gpt, config: &Value) -> Result<Vec<Operation>, Refusal> {
    decide(
        &Table::of(gpt),
        &partitions(config.clone()),
        &BTreeMap::new(),
    )
}

/// Makes what `config` asks for.
fn carry_out(gpt: &mut Gpt, config: &Value) -> Result<usize, Refusal> {
    let operations = plan(gpt, config)?;
    let mut counter = 0;
    let fresh = || {
        counter += 1;
        Guid::from_random_bytes([counter; 16])
    };
    apply(gpt, &operations, fresh).unwrap();
    Ok(operations.len())
}

/// Number, start in MiB, size in blocks and label of all partitions.
fn shown(gpt: &Gpt) -> Vec<(u32, u64, u64, String)> {
    gpt.partitions()
        .map(|p| (p.number, p.first_lba / 2048, p.block_count(), p.name))
        .collect()
}

fn row(number: u32, start: u64, blocks: u64, label: &str) -> (u32, u64, u64, String) {
    (number, start, blocks, label.to_owned())
}

fn refusal(gpt: &Gpt, config: Value) -> String {
    plan(gpt, &config).unwrap_err().to_string()
}

/// Two partitions, `one` at 1 MiB and `two` at 101 MiB, 100 MiB each, of 300.
fn two() -> Gpt {
    let mut gpt = blank(300);
    let config = json!([
        {"label": "one", "number": 1, "sizeMiB": 100},
        {"label": "two", "number": 2, "sizeMiB": 100,
         "guid": "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6"},
    ]);
    assert_eq!(carry_out(&mut gpt, &config), Ok(2));
    gpt
}

/// Compared with sgdisk 1.0.10 and `--new=1:0:+100M --new=0:0:+0` on 1 GiB.
#[test]
fn defaults_fall_where_sgdisk_puts_them() {
    let mut gpt = blank(1024);
    let config = json!([{"label": "rest"}, {"number": 1, "sizeMiB": 100}]);
    assert_eq!(carry_out(&mut gpt, &config), Ok(2));
    let expected = [row(1, 1, 204_800, ""), row(2, 101, 1_890_271, "rest")];
    assert_eq!(shown(&gpt), expected);
    let rest = gpt.partition(2).unwrap();
    assert_eq!((rest.first_lba, rest.last_lba), (206_848, 2_097_118));
    assert_eq!((rest.type_guid, rest.attributes), (LINUX_DATA, 0));
    assert_eq!(carry_out(&mut gpt, &config), Ok(0));
}

#[test]
fn what_is_absent_in_the_config_matches_anything() {
    let gpt = two();
    for config in [
        json!([]),
        json!([{"number": 1}]),
        json!([{"number": 2, "guid": "5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6", "typeGuid": ""}]),
        json!([{"number": 1, "startMiB": 1, "sizeMiB": 100, "label": "one"}]),
        json!([{"number": 9, "shouldExist": false}]),
        json!([{"number": 9, "shouldExist": false, "wipePartitionEntry": true}]),
        // What the largest free space would be without it.
        json!([{"number": 1, "sizeMiB": 100, "startMiB": 0}, {"number": 2}]),
    ] {
        assert_eq!(plan(&gpt, &config), Ok(vec![]), "{config}");
    }
}

#[test]
fn a_partition_that_does_not_match_is_refused_with_what_to_set() {
    let gpt = two();
    for (config, words) in [
        (
            json!({"number": 1, "label": "x"}),
            "label is \"one\", not \"x\"; set wipePart",
        ),
        (
            json!({"number": 1, "startMiB": 2}),
            "start is 1 MiB, not 2 MiB",
        ),
        (
            json!({"number": 1, "sizeMiB": 50}),
            "size is 100 MiB, not 50 MiB; set resize to",
        ),
        (
            json!({"number": 1, "sizeMiB": 50, "label": "x", "resize": true}),
            "label is",
        ),
        (
            json!({"number": 1, "typeGuid": "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"}),
            "type GUID is 0fc63daf-",
        ),
        (
            json!({"number": 2, "guid": "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"}),
            "GUID is 5dfbf5f4-",
        ),
        // 0 means to the end of the largest space, which the last one is not.
        (json!({"number": 2, "sizeMiB": 0}), "size is 100 MiB, not"),
        (
            json!({"number": 1, "shouldExist": false}),
            "shouldExist is false; set wipePart",
        ),
        (json!({"number": 129, "label": "x"}), "entries 1 to 128"),
    ] {
        let message = refusal(&gpt, json!([config]));
        assert!(message.contains(words), "{config}: {message}");
    }
}

#[test]
fn a_partition_that_linux_would_not_show_is_not_made_but_may_go() {
    let mut gpt = large();
    let wiped = json!({"number": 256, "wipePartitionEntry": true, "label": "new"});
    for refused in [wiped, json!({"number": 256})] {
        let message = refusal(&gpt, json!([refused]));
        assert!(
            message.contains("partitions 1 to 255 of a disk"),
            "{message}"
        );
    }
    let gone = json!([{"number": 256, "shouldExist": false, "wipePartitionEntry": true}]);
    assert_eq!(carry_out(&mut gpt, &gone), Ok(1));
    assert_eq!(shown(&gpt), []);
}

#[test]
fn entries_may_be_wiped_replaced_and_resized_when_allowed() {
    let mut gpt = two();
    let config = json!([{"number": 1, "shouldExist": false, "wipePartitionEntry": true}]);
    assert_eq!(carry_out(&mut gpt, &config), Ok(1));
    assert_eq!(shown(&gpt), [row(2, 101, 204_800, "two")]);

    let mut gpt = two();
    let config = json!([{"number": 1, "label": "x", "sizeMiB": 10, "startMiB": 1,
        "wipePartitionEntry": true}]);
    assert_eq!(carry_out(&mut gpt, &config), Ok(2));
    let two_row = row(2, 101, 204_800, "two");
    assert_eq!(shown(&gpt), [row(1, 1, 20_480, "x"), two_row.clone()]);
    assert_eq!(carry_out(&mut gpt, &config), Ok(0));

    let mut gpt = two();
    gpt.set_attributes(1, 1 << 60).unwrap();
    let before = gpt.partition(1).unwrap();
    let config = json!([{"number": 1, "sizeMiB": 40, "resize": true}]);
    assert_eq!(carry_out(&mut gpt, &config), Ok(1));
    assert_eq!(shown(&gpt), [row(1, 1, 81_920, "one"), two_row]);
    let after = gpt.partition(1).unwrap();
    assert_eq!(
        (after.guid, after.attributes),
        (before.guid, before.attributes)
    );
    assert_eq!(carry_out(&mut gpt, &config), Ok(0));

    let config = json!([{"number": 2, "sizeMiB": 0, "resize": true}]);
    assert_eq!(carry_out(&mut gpt, &config), Ok(1));
    assert_eq!(gpt.partition(2).unwrap().last_lba, gpt.usable().1);
    assert_eq!(carry_out(&mut gpt, &config), Ok(0));
}

#[test]
fn number_zero_is_the_one_with_the_label_or_the_next_free_one() {
    let mut gpt = two();
    let config = json!([
        {"label": "two"},
        {"label": "new", "sizeMiB": 10},
        {"number": 3, "startMiB": 201, "sizeMiB": 10},
    ]);
    assert_eq!(carry_out(&mut gpt, &config), Ok(2));
    let labels: Vec<_> = shown(&gpt).into_iter().map(|r| (r.0, r.3)).collect();
    let expected = [(1, "one"), (2, "two"), (3, ""), (4, "new")];
    assert_eq!(labels, expected.map(|(n, label)| (n, label.to_owned())));
    assert_eq!(carry_out(&mut gpt, &config), Ok(0));
    gpt.set_name(1, "two").unwrap();
    let message = refusal(&gpt, json!([{"label": "two"}]));
    assert!(
        message.contains("partitions 1 and 2; give the number"),
        "{message}"
    );
    // The entry about number 1 says which of the two it is.
    let config = json!([{"label": "two"}, {"number": 1, "label": "two"}]);
    assert_eq!(plan(&gpt, &config), Ok(vec![]));
}

#[test]
fn what_one_partition_gives_up_another_may_have() {
    let mut gpt = two();
    let config = json!([
        {"number": 1, "label": "first", "startMiB": 151, "sizeMiB": 50,
         "wipePartitionEntry": true},
        {"number": 2, "sizeMiB": 50, "resize": true},
        {"number": 3, "startMiB": 1, "sizeMiB": 100},
    ]);
    assert_eq!(carry_out(&mut gpt, &config), Ok(4));
    let expected = [
        row(1, 151, 102_400, "first"),
        row(2, 101, 102_400, "two"),
        row(3, 1, 204_800, ""),
    ];
    assert_eq!(shown(&gpt), expected);
    assert_eq!(carry_out(&mut gpt, &config), Ok(0));
}

/// As sgdisk places it for upstream: what is named and stays is not in the way of others.
#[test]
fn what_has_no_start_is_made_where_there_is_room() {
    let mut gpt = two();
    let config = json!([{"number": 3, "sizeMiB": 20}, {"number": 2, "wipePartitionEntry": true}]);
    assert_eq!(carry_out(&mut gpt, &config), Ok(1));
    assert_eq!(shown(&gpt)[2], row(3, 201, 40_960, ""));
    assert_eq!(carry_out(&mut gpt, &config), Ok(0));
}

/// Upstream makes them, and fails when the first boot was cut off and starts again: number 3
/// could lie in what is left for number 1 then.
#[test]
fn what_would_not_be_found_again_is_refused() {
    let mut gpt = blank(130);
    let before = json!([{"number": 3, "sizeMiB": 12}]);
    assert_eq!(carry_out(&mut gpt, &before), Ok(1));
    let config = json!([
        {"number": 4, "sizeMiB": 1},
        {"number": 3, "sizeMiB": 12, "wipePartitionEntry": true},
        {"number": 1, "sizeMiB": 0},
    ]);
    let message = refusal(&gpt, config);
    assert!(message.contains("partition 1: once all"), "{message}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let gpt = two();
    for (config, words) in [
        (json!([{"number": 3, "sizeMiB": 200}]), "200 MiB long"),
        (
            json!([{"number": 3, "startMiB": 50, "sizeMiB": 10}]),
            "it would overlap partition 1, which stays",
        ),
        (
            json!([{"number": 3, "startMiB": 250, "sizeMiB": 60}]),
            "at 250 MiB, 60 MiB long: these blocks",
        ),
        (
            json!([{"number": 3, "startMiB": 5000}]),
            "does not lie in the largest",
        ),
        (
            json!([{"number": 1, "sizeMiB": 150, "resize": true}]),
            "partition 1: it would overlap partition 2, which stays",
        ),
        (
            json!([{"number": 3}, {"number": 4}]),
            "no free space is left",
        ),
        // Moves nothing, but leaves no room where the other one would go.
        (
            json!([{"number": 1, "wipePartitionEntry": true}, {"number": 3, "startMiB": 50, "sizeMiB": 20}]),
            "partition 3: ",
        ),
    ] {
        let message = refusal(&gpt, config.clone());
        assert!(message.contains(words), "{config}: {message}");
    }
}

#[test]
fn what_is_in_use_is_not_changed_but_may_be_named() {
    let gpt = two();
    let protected = BTreeMap::from([(1, "it is mounted".to_owned())]);
    let plan = |config| decide(&Table::of(&gpt), &partitions(config), &protected);
    assert_eq!(plan(json!([{"number": 1, "label": "one"}])), Ok(vec![]));
    let behind = plan(json!([{"number": 3}])).unwrap();
    assert_eq!(behind.len(), 1);
    for config in [
        json!([{"number": 1, "label": "x", "wipePartitionEntry": true}]),
        json!([{"number": 1, "sizeMiB": 50, "resize": true}]),
        json!([{"number": 1, "shouldExist": false, "wipePartitionEntry": true}]),
    ] {
        let message = plan(config).unwrap_err().to_string();
        assert_eq!(message, "partition 1: it is not changed: it is mounted");
    }
}

fn one_wanted() -> impl Strategy<Value = Value> {
    let size = prop::option::of(prop_oneof![Just(0), 1..60]);
    let start = prop::option::of(prop_oneof![Just(0), 1..120]);
    let label = prop::option::of("[a-d]");
    (0_i64..6, start, size, label, any::<[bool; 2]>()).prop_map(
        |(number, start, size, label, [wipe, resize])| {
            json!({"number": number, "startMiB": start, "sizeMiB": size, "label": label,
                "wipePartitionEntry": wipe, "resize": resize})
        },
    )
}

/// Without what the validation of configs refuses: numbers or labels twice, and
/// neither.
fn valid(mut all: Vec<Value>) -> Vec<Value> {
    let (mut numbers, mut labels) = (BTreeSet::new(), BTreeSet::new());
    all.retain(|one| {
        let number = one["number"].as_u64().unwrap_or(0);
        match one["label"].as_str() {
            Some(label) if !labels.insert(label.to_owned()) => false,
            None if number == 0 => false,
            _ => number == 0 || numbers.insert(number),
        }
    });
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn plans_are_exact_idempotent_and_leave_others_alone(
        before in prop::collection::vec(one_wanted(), 0..5),
        after in prop::collection::vec(one_wanted(), 0..4),
    ) {
        let mut gpt = blank(130);
        for config in before {
            // Those that do not fit are left out.
            let _ = carry_out(&mut gpt, &json!([config]));
        }
        let found: Vec<Partition> = gpt.partitions().collect();
        let after = json!(valid(after));
        let Ok(operations) = plan(&gpt, &after) else { return Ok(()) };
        // Panics if partitions overlap or leave the disk.
        carry_out(&mut gpt, &after).unwrap();
        let wanted = partitions(after.clone());
        let touched: BTreeSet<u32> = operations.iter().map(Operation::number).collect();
        for partition in &found {
            let named = |w: &Wanted| {
                w.number == partition.number
                    || (w.number == 0 && w.label.as_ref() == Some(&partition.name))
            };
            if !wanted.iter().any(named) {
                prop_assert!(!touched.contains(&partition.number));
                prop_assert_eq!(gpt.partition(partition.number), Some(partition.clone()));
            }
        }
        for one in wanted.iter().filter(|one| one.number != 0) {
            let made = gpt.partition(one.number).unwrap();
            if let Some(start) = one.start.filter(|start| *start != 0) {
                prop_assert_eq!(made.first_lba, start);
            }
            if let Some(size) = one.size.filter(|size| *size != 0) {
                prop_assert_eq!(made.block_count(), size);
            }
            if let Some(label) = &one.label {
                prop_assert_eq!(&made.name, label);
            }
        }
        prop_assert_eq!(plan(&gpt, &after), Ok(vec![]));
    }
}
