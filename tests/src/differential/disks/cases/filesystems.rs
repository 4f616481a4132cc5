//! File systems over what is there already, and what is asked of new ones.

use serde_json::{Value, json};

use super::Case;

pub fn cases() -> Vec<Case> {
    [over_all(), matching(), made(), devices()].concat()
}

const OWN: &str = "ffffffff-1111-4111-8111-ffffffffffff";

/// The partitions of the state `parted`, and what they hold.
const HELD: [(u32, &str); 6] = [
    (1, "ext4"),
    (2, "btrfs"),
    (3, "vfat"),
    (5, "swap"),
    (6, "xfs"),
    (7, "bytes"),
];
const FORMATS: [&str; 6] = ["ext4", "btrfs", "vfat", "swap", "xfs", "none"];

fn on(name: &str, filesystem: Value) -> Case {
    Case::new(name, &["parted"], json!({"filesystems": [filesystem]}))
}

/// Every format over everything, allowed and not.
fn over_all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, held) in HELD {
        for format in FORMATS {
            let device = format!("{{a}}p{number}");
            let one = json!({"device": device, "format": format});
            let mut wiped = one.clone();
            wiped["wipeFilesystem"] = json!(true);
            cases.push(on(&format!("{format}_over_{held}"), one));
            cases.push(on(&format!("{format}_over_{held}_wipe"), wiped));
        }
    }
    cases
}

/// What is kept, by label and UUID.
fn matching() -> Vec<Case> {
    let held = [
        ("ext4", 1, "one", "11111111-1111-4111-8111-111111111111"),
        ("btrfs", 2, "two", "22222222-2222-4222-8222-222222222222"),
        ("vfat", 3, "THREE", "3333-3333"),
        ("swap", 5, "five", "55555555-5555-4555-8555-555555555555"),
        ("xfs", 6, "six", "66666666-6666-4666-8666-666666666666"),
    ];
    let mut cases = Vec::new();
    for (format, number, label, uuid) in held {
        let mut case = |name: &str, mut filesystem: Value| {
            filesystem["device"] = json!(format!("{{a}}p{number}"));
            filesystem["format"] = json!(format);
            cases.push(on(&format!("{format}_{name}"), filesystem));
        };
        let other = if format == "vfat" { "ABCD-0123" } else { OWN };
        case("same_label", json!({"label": label}));
        case(
            "same_label_in_another_case",
            json!({"label": swapped(label)}),
        );
        case("same_uuid", json!({"uuid": uuid}));
        case(
            "same_uuid_in_capitals",
            json!({"uuid": uuid.to_uppercase(), "label": label}),
        );
        case("other_label", json!({"label": "OTHER"}));
        case(
            "other_label_wipe",
            json!({"label": "OTHER", "wipeFilesystem": true}),
        );
        case("empty_label", json!({"label": ""}));
        case(
            "empty_label_wipe",
            json!({"label": "", "wipeFilesystem": true}),
        );
        case("other_uuid", json!({"uuid": other}));
        case(
            "other_uuid_wipe",
            json!({"uuid": other, "wipeFilesystem": true}),
        );
        case(
            "same_uuid_other_label_wipe",
            json!({"uuid": uuid, "label": "OTHER", "wipeFilesystem": true}),
        );
        case("other_options", json!({"label": label, "options": ["-x"]}));
    }
    cases.push(on(
        "vfat_same_uuid_without_a_dash",
        json!({"device": "{a}p3", "format": "vfat", "uuid": "33333333"}),
    ));
    cases
}

fn swapped(label: &str) -> String {
    match label.chars().next().is_some_and(char::is_uppercase) {
        true => label.to_lowercase(),
        false => label.to_uppercase(),
    }
}

/// New ones where nothing is.
fn made() -> Vec<Case> {
    let new = |name: &str, mut filesystem: Value| {
        filesystem["device"] = json!("{a}p2");
        Case::new(name, &["bare"], json!({"filesystems": [filesystem]}))
    };
    let options = |format: &str, options: Value| json!({"format": format, "options": options});
    let mut cases = vec![
        new(
            "ext4_label_and_uuid",
            json!({"format": "ext4", "label": "my data", "uuid": OWN}),
        ),
        new(
            "xfs_label_and_uuid",
            json!({"format": "xfs", "label": "my-data", "uuid": OWN}),
        ),
        new(
            "btrfs_label_and_uuid",
            json!({"format": "btrfs", "label": "my data", "uuid": OWN}),
        ),
        new(
            "swap_label_and_uuid",
            json!({"format": "swap", "label": "my data", "uuid": OWN}),
        ),
        new(
            "vfat_label_and_uuid",
            json!({"format": "vfat", "label": "MY DATA", "uuid": "ABCD0123"}),
        ),
        new(
            "vfat_uuid_with_a_dash",
            json!({"format": "vfat", "uuid": "abcd-0123"}),
        ),
        new(
            "vfat_label_in_small_letters",
            json!({"format": "vfat", "label": "small"}),
        ),
        new(
            "ext4_options",
            options("ext4", json!(["-b", "1024", "-O", "^has_journal", "-m0"])),
        ),
        new(
            "ext4_option_of_a_label",
            options("ext4", json!(["-L", "by-option"])),
        ),
        new(
            "ext4_options_and_label",
            json!({"format": "ext4", "options": ["-L", "by-option"], "label": "by-config"}),
        ),
        new(
            "xfs_options",
            options("xfs", json!(["-m", "reflink=0", "-i", "size=1024"])),
        ),
        new(
            "btrfs_options",
            options("btrfs", json!(["--nodesize", "4096", "--csum", "xxhash"])),
        ),
        new("swap_options", options("swap", json!(["-p", "8192"]))),
        new(
            "vfat_options",
            options("vfat", json!(["-F", "32", "-s", "1"])),
        ),
        new(
            "ext4_label_of_16",
            json!({"format": "ext4", "label": "1234567890123456"}),
        ),
        new(
            "xfs_label_of_12",
            json!({"format": "xfs", "label": "123456789012"}),
        ),
        new(
            "vfat_label_of_11",
            json!({"format": "vfat", "label": "12345678901"}),
        ),
        new(
            "swap_label_of_15",
            json!({"format": "swap", "label": "123456789012345"}),
        ),
    ];
    let refused = [
        (
            "ext4_label_of_17",
            json!({"format": "ext4", "label": "12345678901234567"}),
        ),
        (
            "xfs_label_of_13",
            json!({"format": "xfs", "label": "1234567890123"}),
        ),
        (
            "vfat_label_of_12",
            json!({"format": "vfat", "label": "123456789012"}),
        ),
        (
            "swap_label_of_16",
            json!({"format": "swap", "label": "1234567890123456"}),
        ),
        (
            "btrfs_label_of_257",
            json!({"format": "btrfs", "label": "b".repeat(257)}),
        ),
        ("format_unknown", json!({"format": "ext2"})),
        ("format_empty", json!({"format": ""})),
        (
            "format_none_with_a_path",
            json!({"format": "none", "path": "/var/data"}),
        ),
        (
            "path_relative",
            json!({"format": "ext4", "path": "var/data"}),
        ),
    ];
    cases.extend(refused.map(|(name, filesystem)| new(name, filesystem)));
    let late = [
        ("ext4_options_wrong", options("ext4", json!(["--bogus"]))),
        ("xfs_options_wrong", options("xfs", json!(["-i", "size=7"]))),
        (
            "btrfs_uuid_wrong",
            json!({"format": "btrfs", "uuid": "no-uuid"}),
        ),
        ("vfat_uuid_wrong", json!({"format": "vfat", "uuid": OWN})),
        ("swap_uuid_wrong", json!({"format": "swap", "uuid": "1234"})),
    ];
    cases.extend(late.map(|(name, filesystem)| new(name, filesystem).late()));
    cases
}

/// On whole disks, on none, and on several at once.
fn devices() -> Vec<Case> {
    let all = |wipe: bool| {
        let one = |(number, format): &(u32, &str)| {
            json!({"device": format!("{{a}}p{number}"), "format": format,
                "wipeFilesystem": wipe, "label": format!("N{number}")})
        };
        HELD[..5].iter().map(one).collect::<Value>()
    };
    let whole = |name: &str, state: &str, filesystem: Value| {
        let mut filesystem = filesystem;
        filesystem["device"] = json!("{a}");
        Case::new(name, &[state], json!({"filesystems": [filesystem]}))
    };
    let ext4 = || json!({"format": "ext4", "label": "whole"});
    let wiped = || json!({"format": "ext4", "label": "new", "wipeFilesystem": true});
    vec![
        Case::new(
            "all_at_once",
            &["parted"],
            json!({"filesystems": all(true)}),
        ),
        Case::new(
            "all_at_once_none_as_wanted",
            &["parted"],
            json!({"filesystems": all(false)}),
        ),
        Case::new(
            "all_at_once_on_nothing",
            &["bare"],
            json!({"filesystems": all(false)}),
        ),
        whole("whole_disk_empty", "empty", ext4()),
        whole("whole_disk_same", "whole-ext4", ext4()),
        whole(
            "whole_disk_other_label",
            "whole-ext4",
            json!({"format": "ext4", "label": "new"}),
        ),
        whole("whole_disk_other_format", "whole-vfat", ext4()),
        whole("whole_disk_wiped", "whole-vfat", wiped()),
        whole("whole_disk_bytes", "bytes", ext4()),
        whole("whole_disk_with_a_table", "full", ext4()),
        whole("whole_disk_with_a_table_wiped", "full", wiped()),
        whole("whole_disk_with_an_mbr", "mbr", ext4()),
        whole("whole_disk_with_an_mbr_wiped", "mbr", wiped()),
        whole(
            "whole_disk_none_over_a_table",
            "full",
            json!({"format": "none"}),
        ),
        whole(
            "whole_disk_none_over_a_table_wiped",
            "full",
            json!({"format": "none", "wipeFilesystem": true}),
        ),
        on(
            "a_partition_that_is_not_there",
            json!({"device": "{a}p4", "format": "ext4"}),
        ),
        Case::new(
            "one_device_by_two_entries",
            &["parted"],
            json!({"filesystems": [
            {"device": "{a}p1", "format": "ext4"}, {"device": "{a}p1", "format": "xfs"}]}),
        ),
        Case::new(
            "blocks_of_4096",
            &["parted-4k"],
            json!({"filesystems": all(true)}),
        ),
        Case::new(
            "blocks_of_4096_none_as_wanted",
            &["parted-4k"],
            json!({"filesystems": [{"device": "{a}p1", "format": "ext4", "label": "one"}]}),
        ),
    ]
}
