//! Partitions, file systems and what is in them.

use serde_json::{Value, json};

use super::Case;

pub fn cases() -> Vec<Case> {
    [made(), kept(), mounts()].concat()
}

fn text(path: &str, text: &str) -> Value {
    json!({"path": path, "mode": 0o640, "contents": {"source": format!("data:,{text}")}})
}

fn made() -> Vec<Case> {
    let ext4 = json!({"device": "{a}p1", "format": "ext4", "path": "/var/data"});
    let disk = |wipe: bool| {
        json!([{"device": "{a}", "wipeTable": wipe, "partitions": [
            {"number": 1, "label": "data", "sizeMiB": 310}, {"number": 2, "label": "rest"}]}])
    };
    vec![
        Case::new(
            "one_of_all",
            &["empty"],
            json!({
            "disks": [{"device": "{a}", "partitions": [
                {"number": 1, "label": "data", "sizeMiB": 40}, {"number": 2, "label": "swap"}]}],
            "filesystems": [ext4, {"device": "{a}p2", "format": "swap", "label": "swap"}],
            "directories": [{"path": "/var/data/d", "mode": 0o1777, "user": {"id": 1000}}],
            "links": [{"path": "/var/data/l", "target": "f"}],
            "files": [text("/var/data/f", "in%20it"), text("/var/other", "beside")]}),
        ),
        Case::new(
            "a_link_to_what_another_user_owns",
            &["empty"],
            json!({
            "disks": [{"device": "{a}", "partitions": [{"number": 1}]}],
            "filesystems": [ext4],
            "directories": [{"path": "/var/data/d", "user": {"id": 1000}}],
            "links": [{"path": "/var/data/l", "target": "d"}]}),
        ),
        Case::new(
            "a_kept_disk_gets_a_new_table",
            &["bytes"],
            json!({
            "disks": [{"device": "{a}", "wipeTable": true, "partitions": [{"number": 1}]}],
            "filesystems": [ext4], "files": [text("/var/data/f", "in")]}),
        ),
        Case::new(
            "file_systems_of_a_wiped_table",
            &["parted"],
            json!({
            "disks": disk(true),
            "filesystems": [{"device": "{a}p1", "format": "xfs", "path": "/var/data",
                "wipeFilesystem": true}],
            "files": [text("/var/data/f", "in")]}),
        ),
        Case::new(
            "a_file_system_that_the_new_table_uncovers",
            &["parted"],
            json!({
            "disks": [{"device": "{a}", "wipeTable": true, "partitions": [
                {"number": 1, "label": "again", "startMiB": 1, "sizeMiB": 304}]}],
            "filesystems": [{"device": "{a}p1", "format": "ext4", "label": "one",
                "path": "/var/data"}],
            "files": [text("/var/data/f", "in")]}),
        ),
        Case::new(
            "an_uncovered_file_system_of_another_kind",
            &["parted"],
            json!({
            "disks": [{"device": "{a}", "wipeTable": true, "partitions": [
                {"number": 1, "label": "again", "startMiB": 1, "sizeMiB": 304}]}],
            "filesystems": [{"device": "{a}p1", "format": "xfs", "path": "/var/data"}]}),
        )
        .late(),
        Case::new(
            "two_disks_with_one_tree",
            &["empty", "parted"],
            json!({
            "disks": [{"device": "{a}", "partitions": [{"number": 1}]}],
            "filesystems": [ext4,
                {"device": "{b}p6", "format": "xfs", "label": "six", "path": "/var/data/old"}],
            "files": [text("/var/data/f", "a"), text("/var/data/old/new", "b")]}),
        ),
    ]
}

/// A tree that is there already.
fn kept() -> Vec<Case> {
    let held = [
        ("ext4", "{a}p1", "one"),
        ("btrfs", "{a}p2", "two"),
        ("xfs", "{a}p6", "six"),
    ];
    let mut cases = Vec::new();
    for (format, device, label) in held {
        let mut case = |name: &str, wipe: bool, files: Value| {
            cases.push(Case::new(
                &format!("{format}_{name}"),
                &["parted"],
                json!({
                "filesystems": [{"device": device, "format": format, "label": label,
                    "path": "/srv/old", "wipeFilesystem": wipe}],
                "files": files}),
            ));
        };
        let there = |overwrite: bool| {
            let mut file = text("/srv/old/old/file", "new");
            file["overwrite"] = json!(overwrite);
            json!([file])
        };
        case("mounted", false, json!([]));
        case("and_a_file", false, json!([text("/srv/old/new/f", "in")]));
        case("and_a_file_that_is_there", false, there(false));
        case("and_a_file_that_is_there_overwrite", false, there(true));
        case("made_anew_with_a_file", true, there(false));
        case(
            "and_more_of_a_file",
            false,
            json!([{"path": "/srv/old/old/file", "append": [{"source": "data:,more"}]}]),
        );
    }
    cases
}

/// Where file systems are mounted for the files.
fn mounts() -> Vec<Case> {
    let ext4 = |path: &str| json!({"device": "{a}p1", "format": "ext4", "path": path});
    let one = |name: &str, filesystem: Value, files: Value| {
        Case::new(
            name,
            &["parted"],
            json!({"filesystems": [filesystem], "files": files}),
        )
    };
    let with = |options: Value| {
        let mut filesystem = ext4("/var/data");
        filesystem["mountOptions"] = options;
        filesystem
    };
    vec![
        one(
            "mount_in_a_directory_with_files",
            ext4("/present/directory"),
            json!([]),
        ),
        one("mount_over_a_file", ext4("/present/file"), json!([])),
        one("mount_below_a_file", ext4("/present/file/below"), json!([])),
        one(
            "mount_through_a_link",
            ext4("/present/to-directory/below"),
            json!([]),
        ),
        one("mount_at_a_link", ext4("/present/to-directory"), json!([])),
        one("mount_at_the_root", ext4("/"), json!([])),
        one(
            "mount_of_swap",
            json!({"device": "{a}p5", "format": "swap", "path": "/var/data"}),
            json!([text("/var/data/f", "beside")]),
        ),
        one(
            "mount_options",
            with(json!(["noatime", "data=journal"])),
            json!([text("/var/data/f", "in")]),
        ),
        one("mount_options_wrong", with(json!(["bogus=1"])), json!([])),
        one("mount_to_read_only", with(json!(["ro"])), json!([])),
        one(
            "mount_to_read_only_and_a_file",
            with(json!(["ro"])),
            json!([text("/var/data/f", "in")]),
        ),
        one(
            "mount_path_twice_a_slash",
            ext4("/var//data/"),
            json!([text("/var/data/f", "in")]),
        ),
        Case::new(
            "mount_below_one_another",
            &["parted"],
            json!({
            "filesystems": [
                {"device": "{a}p6", "format": "xfs", "path": "/srv/a/b/c"},
                {"device": "{a}p2", "format": "btrfs", "path": "/srv/a/b"},
                {"device": "{a}p1", "format": "ext4", "path": "/srv/a"}],
            "files": [text("/srv/a/f", "1"), text("/srv/a/b/f", "2"), text("/srv/a/b/c/f", "3")]}),
        ),
        Case::new(
            "mount_two_at_one_path",
            &["parted"],
            json!({"filesystems": [
            {"device": "{a}p6", "format": "xfs", "path": "/srv/a"},
            {"device": "{a}p1", "format": "ext4", "path": "/srv/a"}]}),
        ),
        Case::new(
            "mount_for_links_and_directories",
            &["parted"],
            json!({
            "filesystems": [ext4("/home")],
            "directories": [{"path": "/home/d", "user": {"name": "old"}, "mode": 0o700}],
            "links": [{"path": "/home/l", "target": "/etc/hostname"},
                {"path": "/home/h", "target": "/home/old/file", "hard": true}]}),
        ),
        Case::new(
            "mount_and_a_hard_link_over_its_border",
            &["parted"],
            json!({
            "filesystems": [ext4("/var/data")],
            "links": [{"path": "/var/data/h", "target": "/etc/hostname", "hard": true}]}),
        ),
    ]
}
