//! Which partitions are taken for the wanted ones, which are made, moved and removed.

use serde_json::{Value, json};

use super::Case;

pub fn cases() -> Vec<Case> {
    [
        matching(),
        numbers(),
        removing(),
        places(),
        texts(),
        tables(),
    ]
    .concat()
}

const OWN: &str = "aaaaaaaa-0000-4000-8000-00000000000b";
const HOME: &str = "933AC7E1-2EB4-4F13-B844-0E14E2AEF915";

/// Partitions on a disk in the state `state`.
fn on(state: &str, name: &str, partitions: Value) -> Case {
    let disk = json!({"device": "{a}", "partitions": partitions});
    Case::new(name, &[state], json!({"disks": [disk]}))
}

/// The state `bare` has the partitions 1, 2, 3, 5, 6 and 7 of 304 MiB each, from the first
/// mebibyte on, with 64 MiB before 5.
fn bare(name: &str, partition: Value) -> Case {
    on("bare", name, json!([partition]))
}

fn matching() -> Vec<Case> {
    let mut cases = vec![
        bare("matched_by_number", json!({"number": 2})),
        bare(
            "matched_in_all",
            json!({"number": 2, "label": "two", "startMiB": 305, "sizeMiB": 304,
                "guid": "22222222-0000-4000-8000-000000000000",
                "typeGuid": "0FC63DAF-8483-4772-8E79-3D69D8477DE4"}),
        ),
        bare(
            "matched_with_an_empty_guid",
            json!({"number": 2, "guid": "", "typeGuid": ""}),
        ),
        bare("matched_start_zero", json!({"number": 3, "startMiB": 0})),
    ];
    let other = [
        ("label", json!({"label": "other"})),
        ("label_empty", json!({"label": ""})),
        ("start", json!({"startMiB": 310})),
        ("start_and_size", json!({"startMiB": 310, "sizeMiB": 100})),
        ("size_smaller", json!({"sizeMiB": 100})),
        ("size_larger", json!({"sizeMiB": 350})),
        ("size_rest", json!({"sizeMiB": 0})),
        ("start_and_size_zero", json!({"startMiB": 0, "sizeMiB": 0})),
        ("type", json!({"typeGuid": HOME})),
        ("guid", json!({"guid": OWN})),
        (
            "guid_of_another",
            json!({"guid": "11111111-0000-4000-8000-000000000000"}),
        ),
        ("size_and_label", json!({"label": "other", "sizeMiB": 100})),
    ];
    let allowed = [
        ("refused", json!({})),
        ("resize", json!({"resize": true})),
        ("wipe", json!({"wipePartitionEntry": true})),
        ("both", json!({"resize": true, "wipePartitionEntry": true})),
    ];
    // Behind 3 there are 64 MiB, behind 2 nothing, and behind 7 the rest of the disk.
    for number in [2, 3, 7] {
        for (what, partition) in &other {
            for (how, allowed) in &allowed {
                let name = format!("{number}_other_{what}_{how}");
                let mut partition = partition.clone();
                merge(&mut partition, &json!({"number": number}));
                merge(&mut partition, allowed);
                cases.push(bare(&name, partition));
            }
        }
    }
    cases
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

fn numbers() -> Vec<Case> {
    let zero = |label: &str| json!({"label": label, "number": 0, "sizeMiB": 16});
    vec![
        on("bare", "zero_new_label", json!([zero("new")])),
        on(
            "bare",
            "zero_label_there",
            json!([{"label": "two", "number": 0}]),
        ),
        on("bare", "zero_label_there_other_size", json!([zero("two")])),
        on("bare", "zero_twice", json!([zero("new"), zero("newer")])),
        on(
            "bare",
            "zero_first_in_the_list",
            json!([zero("new"), {"number": 4, "sizeMiB": 8}]),
        ),
        on(
            "bare",
            "zero_and_the_lowest",
            json!([{"number": 4, "label": "x"}, zero("new")]),
        ),
        on(
            "empty",
            "zero_three_times",
            json!([zero("a"), zero("b"), {"label": "c"}]),
        ),
        on(
            "empty",
            "zero_between_numbers",
            json!([{"number": 1, "sizeMiB": 8}, {"number": 3, "sizeMiB": 8}, zero("a"), zero("b")]),
        ),
        on(
            "gaps",
            "zero_label_there_twice",
            json!([{"label": "three", "number": 0}]),
        ),
        on(
            "bare",
            "no_number",
            json!([{"label": "new", "sizeMiB": 16}]),
        ),
        on(
            "empty",
            "number_128",
            json!([{"number": 128, "sizeMiB": 8}]),
        ),
        on(
            "empty",
            "number_129",
            json!([{"number": 129, "sizeMiB": 8}]),
        ),
        on(
            "bare",
            "number_129_among_others",
            json!([{"number": 129, "sizeMiB": 8}]),
        ),
        on(
            "small-table",
            "number_9_of_8",
            json!([{"number": 9, "sizeMiB": 8}]),
        ),
        on(
            "large-table",
            "number_256_of_256",
            json!([{"number": 256, "sizeMiB": 8}]),
        ),
        on(
            "empty",
            "all_128",
            (1..=128)
                .map(|number| json!({"number": number, "sizeMiB": 2}))
                .collect(),
        ),
        on(
            "empty",
            "descending",
            json!([{"number": 9, "sizeMiB": 8}, {"number": 4, "sizeMiB": 8}, {"number": 2}]),
        ),
    ]
}

fn removing() -> Vec<Case> {
    let gone = |number: u32| json!({"number": number, "shouldExist": false});
    let wiped =
        |number: u32| json!({"number": number, "shouldExist": false, "wipePartitionEntry": true});
    vec![
        bare("gone_and_absent", gone(4)),
        bare("gone_and_there", gone(2)),
        bare("gone_and_there_wipe", wiped(2)),
        bare("gone_and_absent_wipe", wiped(4)),
        on("empty", "gone_on_an_empty_disk", json!([gone(1)])),
        on(
            "empty",
            "gone_on_an_empty_disk_and_another_made",
            json!([gone(1), {"number": 2}]),
        ),
        on(
            "bare",
            "all_gone",
            [1, 2, 3, 5, 6, 7].map(wiped).into_iter().collect(),
        ),
        on(
            "bare",
            "gone_and_its_place_taken",
            json!([wiped(2), {"number": 4, "startMiB": 305, "sizeMiB": 304, "label": "heir"}]),
        ),
        on(
            "bare",
            "two_gone_and_one_in_their_place",
            json!([wiped(2), wiped(3), {"number": 9, "startMiB": 305, "sizeMiB": 608}]),
        ),
        on(
            "bare",
            "one_replaced_by_two",
            json!([{"number": 6, "sizeMiB": 100, "startMiB": 1281, "wipePartitionEntry": true},
                {"number": 8, "startMiB": 1381, "sizeMiB": 204}]),
        ),
        on(
            "bare",
            "exchanged",
            json!([{"number": 1, "startMiB": 305, "sizeMiB": 304, "wipePartitionEntry": true},
                {"number": 2, "startMiB": 1, "sizeMiB": 304, "wipePartitionEntry": true}]),
        ),
        on(
            "bare",
            "gone_and_zeros_in_the_hole",
            json!([wiped(6), wiped(7), {"number": 9}]),
        ),
        on(
            "bare",
            "gone_and_the_next_resized",
            json!([wiped(3), {"number": 2, "sizeMiB": 500, "resize": true}]),
        ),
        on(
            "bare",
            "the_next_resized_and_gone",
            json!([{"number": 2, "sizeMiB": 500, "resize": true}, wiped(3)]),
        ),
        on(
            "bare",
            "all_wiped_and_equal",
            [1, 2, 3]
                .map(|n| json!({"number": n, "wipePartitionEntry": true}))
                .into_iter()
                .collect(),
        ),
    ]
}

fn places() -> Vec<Case> {
    let mut cases = vec![
        on(
            "empty",
            "start_only",
            json!([{"number": 1, "startMiB": 10}]),
        ),
        on(
            "empty",
            "start_zero_size_given",
            json!([{"number": 1, "startMiB": 0, "sizeMiB": 9}]),
        ),
        on(
            "empty",
            "three_with_the_rest_last",
            json!([{"number": 1, "sizeMiB": 10}, {"number": 2, "sizeMiB": 20}, {"number": 3}]),
        ),
        on(
            "empty",
            "the_rest_first",
            json!([{"number": 1}, {"number": 2, "sizeMiB": 20}]),
        ),
        on(
            "empty",
            "size_of_the_whole_disk",
            json!([{"number": 1, "sizeMiB": 320}]),
        ),
        on(
            "empty",
            "size_of_all_but_two",
            json!([{"number": 1, "sizeMiB": 318}]),
        ),
        on(
            "empty",
            "start_in_the_table",
            json!([{"number": 1, "startMiB": 319, "sizeMiB": 1}]),
        ),
        on(
            "empty",
            "start_beyond_the_end",
            json!([{"number": 1, "startMiB": 400, "sizeMiB": 1}]),
        ),
        on(
            "empty",
            "size_of_nonsense",
            json!([{"number": 1, "sizeMiB": 9_000_000_000_000_u64}]),
        ),
        on(
            "bare",
            "beside_one_that_stays",
            json!([{"number": 8, "sizeMiB": 20}, {"number": 7, "wipePartitionEntry": true}]),
        ),
        on(
            "small-table",
            "zero_before_one_that_stays",
            json!([{"number": 4, "sizeMiB": 1},
                {"number": 1, "sizeMiB": 20, "wipePartitionEntry": true},
                {"number": 2, "sizeMiB": 0}]),
        ),
        on(
            "empty",
            "overlap",
            json!([{"number": 1, "startMiB": 1, "sizeMiB": 20},
                {"number": 2, "startMiB": 20, "sizeMiB": 20}]),
        ),
        on(
            "empty",
            "adjacent",
            json!([{"number": 1, "startMiB": 1, "sizeMiB": 20},
                {"number": 2, "startMiB": 21, "sizeMiB": 20}]),
        ),
        on(
            "empty",
            "largest_space_is_in_the_middle",
            json!([{"number": 1, "startMiB": 1, "sizeMiB": 20},
                {"number": 2, "startMiB": 250, "sizeMiB": 20}, {"number": 3, "sizeMiB": 5},
                {"number": 4}]),
        ),
    ];
    for state in [
        "gaps",
        "unaligned",
        "grown",
        "parted-4k",
        "main-damaged",
        "full",
    ] {
        let name = |what: &str| format!("{state}_{what}");
        cases.extend([
            on(state, &name("zero"), json!([{"number": 20}])),
            on(
                state,
                &name("zero_sized"),
                json!([{"number": 20, "sizeMiB": 5}]),
            ),
            on(
                state,
                &name("two_sized_then_zero"),
                json!([{"number": 20, "sizeMiB": 5}, {"number": 21, "sizeMiB": 5}, {"number": 22}]),
            ),
            on(
                state,
                &name("match"),
                json!([{"number": 1, "label": "one"}]),
            ),
            on(
                state,
                &name("resized"),
                json!([{"number": 2, "sizeMiB": 6, "resize": true}]),
            ),
            on(
                state,
                &name("resized_to_zero"),
                json!([{"number": 2, "sizeMiB": 0, "resize": true}]),
            ),
            on(
                state,
                &name("replaced"),
                json!([{"number": 2, "sizeMiB": 3, "label": "new", "wipePartitionEntry": true}]),
            ),
            on(
                state,
                &name("gone"),
                json!([{"number": 2, "shouldExist": false, "wipePartitionEntry": true}]),
            ),
        ]);
    }
    cases
}

fn texts() -> Vec<Case> {
    let label = |name: &str, label: &str| {
        on(
            "empty",
            name,
            json!([{"number": 1, "sizeMiB": 8, "label": label}]),
        )
    };
    vec![
        label("label_of_36", "123456789012345678901234567890123456"),
        label("label_of_37", "1234567890123456789012345678901234567"),
        label("label_of_36_two_byte_letters", &"ä".repeat(36)),
        label("label_of_18_surrogate_pairs", &"😀".repeat(18)),
        label("label_of_19_surrogate_pairs", &"😀".repeat(19)),
        label("label_of_a_surrogate_pair", "a 😀 b"),
        label("label_with_spaces", " a  b "),
        label("label_with_quotes", "a'b\"c\\d"),
        label("label_with_percent", "100%s$HOME`id`"),
        label("label_with_a_colon", "a:b"),
        label("label_with_a_newline", "a\nb"),
        label("label_with_a_dash", "-n"),
        label("label_empty", ""),
        on(
            "empty",
            "guid_given",
            json!([{"number": 1, "sizeMiB": 8, "guid": OWN, "typeGuid": HOME}]),
        ),
        on(
            "empty",
            "guid_of_zeros",
            json!([{"number": 1, "sizeMiB": 8, "guid": "00000000-0000-0000-0000-000000000000"}]),
        ),
        on(
            "empty",
            "type_guid_of_zeros",
            json!([{"number": 1, "sizeMiB": 8,
                "typeGuid": "00000000-0000-0000-0000-000000000000"}]),
        ),
        on(
            "empty",
            "guid_twice",
            json!([{"number": 1, "sizeMiB": 8, "guid": OWN},
                {"number": 2, "sizeMiB": 8, "guid": OWN}]),
        ),
        on(
            "empty",
            "guid_without_dashes",
            json!([{"number": 1, "guid": "aaaaaaaa000040008000000000000000"}]),
        ),
        on(
            "empty",
            "type_code_of_sgdisk",
            json!([{"number": 1, "typeGuid": "8300"}]),
        ),
    ]
}

fn tables() -> Vec<Case> {
    let disk =
        |device: &str, partitions: Value| json!({"device": device, "partitions": partitions});
    vec![
        Case::new(
            "two_disks",
            &["empty", "gaps"],
            json!({"disks": [
            disk("{a}", json!([{"number": 1, "label": "a"}])),
            disk("{b}", json!([{"number": 9, "label": "b"}]))]}),
        ),
        Case::new(
            "two_disks_the_second_refused",
            &["empty", "gaps"],
            json!({"disks": [
            disk("{a}", json!([{"number": 1, "label": "a"}])),
            disk("{b}", json!([{"number": 1, "label": "b"}]))]}),
        ),
        Case::new(
            "a_disk_that_is_not_there",
            &["empty"],
            json!({"disks": [
            disk("{a}", json!([{"number": 1}])), disk("/dev/nowhere", json!([{"number": 1}]))]}),
        ),
        Case::new(
            "a_partition_as_a_disk",
            &["bare"],
            json!({"disks": [disk("{a}p2", json!([{"number": 1}]))]}),
        ),
        Case::new(
            "wiped_as_it_is_to_be",
            &["full"],
            json!({"disks": [
            {"device": "{a}", "wipeTable": true, "partitions": [
                {"number": 1, "label": "one", "sizeMiB": 100}, {"number": 2, "label": "two"}]}]}),
        ),
        Case::new(
            "wiped_and_should_not_exist",
            &["bare"],
            json!({"disks": [
            {"device": "{a}", "wipeTable": true, "partitions": [
                {"number": 1, "shouldExist": false}]}]}),
        ),
        Case::new(
            "wiped_and_one_that_does_not_fit",
            &["bare"],
            json!({"disks": [
            {"device": "{a}", "wipeTable": true, "partitions": [
                {"number": 1, "sizeMiB": 5000}]}]}),
        ),
    ]
}
