//! Directories and links, and what depends on the order of all entries.

use serde_json::{Value, json};

use super::Case;
use super::storage::{file, with};

pub fn cases() -> Vec<Case> {
    [directories(), links(), together()].concat()
}

fn directories() -> Vec<Case> {
    let case =
        |name: &str, nodes: Value| Case::new(name, json!({"storage": {"directories": nodes}}));
    let mut cases = vec![
        case("directory_new", json!([{"path": "/opt/d"}])),
        case("directory_new_deep", json!([{"path": "/opt/a/b/c"}])),
        case(
            "directory_new_deep_mode_and_owner",
            json!([
            {"path": "/opt/a/b/c", "mode": 0o700, "user": {"id": 7}, "group": {"id": 8}}]),
        ),
        case("directory_there", json!([{"path": "/present/private"}])),
        case(
            "directory_there_mode",
            json!([{"path": "/present/private", "mode": 0o711}]),
        ),
        case(
            "directory_there_owner",
            json!([{"path": "/home/old", "user": {"name": "daemon"}}]),
        ),
        case(
            "directory_there_group",
            json!([{"path": "/home/old", "group": {"id": 0}}]),
        ),
        case(
            "directory_there_overwrite",
            json!([{"path": "/present/directory", "overwrite": true}]),
        ),
        case(
            "directory_there_overwrite_owner_kept",
            json!([{"path": "/home/old", "overwrite": true}]),
        ),
        case("directory_over_a_file", json!([{"path": "/present/file"}])),
        case(
            "directory_over_a_file_overwrite",
            json!([{"path": "/present/file", "overwrite": true}]),
        ),
        case(
            "directory_over_a_link_to_a_directory",
            json!([{"path": "/present/to-directory"}]),
        ),
        case(
            "directory_over_a_link_to_a_directory_mode",
            json!([{"path": "/present/to-directory", "mode": 0o700}]),
        ),
        case(
            "directory_over_a_link_overwrite",
            json!([{"path": "/present/to-directory", "overwrite": true}]),
        ),
        case(
            "directory_over_a_dangling_link",
            json!([{"path": "/present/dangling"}]),
        ),
        case(
            "directory_over_a_link_to_a_file",
            json!([{"path": "/present/link"}]),
        ),
        case(
            "directory_below_a_file",
            json!([{"path": "/present/file/d"}]),
        ),
        case(
            "directory_below_a_link",
            json!([{"path": "/present/to-directory/d/e"}]),
        ),
        case(
            "directories_children_first",
            json!([
            {"path": "/opt/a/b/c", "mode": 0o700}, {"path": "/opt/a", "mode": 0o711}, {"path": "/opt/a/b", "mode": 0o722}]),
        ),
        case(
            "directories_parent_owner",
            json!([
            {"path": "/opt/a", "user": {"id": 7}}, {"path": "/opt/a/b", "user": {"id": 8}}]),
        ),
        case(
            "directory_user_unknown",
            json!([{"path": "/opt/d", "user": {"name": "nobody-knows"}}]),
        ),
        case("directory_trailing_slash", json!([{"path": "/opt/d/"}])),
        case("directory_double_slash", json!([{"path": "/opt//d"}])),
        case("directory_dots", json!([{"path": "/opt/../opt/d"}])),
    ];
    for mode in [0, 0o500, 0o700, 0o755, 0o777, 0o1777, 0o2775, 0o4755] {
        let nodes = json!([{"path": "/opt/d", "mode": mode}]);
        cases.push(case(&format!("directory_mode_{mode:04o}"), nodes));
    }
    cases
}

fn links() -> Vec<Case> {
    let case = |name: &str, nodes: Value| Case::new(name, json!({"storage": {"links": nodes}}));
    let hard = |path: &str, target: &str| json!({"path": path, "target": target, "hard": true});
    vec![
        case(
            "link_absolute",
            json!([{"path": "/opt/l", "target": "/etc/hostname"}]),
        ),
        case(
            "link_relative",
            json!([{"path": "/opt/l", "target": "../etc/hostname"}]),
        ),
        case(
            "link_nowhere",
            json!([{"path": "/opt/l", "target": "nowhere/at all"}]),
        ),
        case("link_deep", json!([{"path": "/opt/a/b/l", "target": "x"}])),
        case(
            "link_unclean_target",
            json!([{"path": "/opt/l", "target": "//etc/./x/../hostname/"}]),
        ),
        case(
            "link_owner",
            json!([{"path": "/opt/l", "target": "x", "user": {"name": "old"}, "group": {"id": 5}}]),
        ),
        case(
            "link_there_same",
            json!([{"path": "/present/link", "target": "file"}]),
        ),
        case(
            "link_there_same_owner",
            json!([{"path": "/present/link", "target": "file", "user": {"id": 9}}]),
        ),
        case(
            "link_there_other",
            json!([{"path": "/present/link", "target": "other"}]),
        ),
        case(
            "link_there_other_overwrite",
            json!([{"path": "/present/link", "target": "other", "overwrite": true}]),
        ),
        case(
            "link_over_a_file",
            json!([{"path": "/present/file", "target": "x"}]),
        ),
        case(
            "link_over_a_file_overwrite",
            json!([{"path": "/present/file", "target": "x", "overwrite": true}]),
        ),
        case(
            "link_over_a_directory",
            json!([{"path": "/present/directory", "target": "x"}]),
        ),
        case(
            "link_over_a_directory_overwrite",
            json!([{"path": "/present/directory", "target": "x", "overwrite": true}]),
        ),
        case(
            "link_below_a_link",
            json!([{"path": "/present/to-directory/l", "target": "x"}]),
        ),
        case(
            "link_through_a_new_link",
            json!([
            {"path": "/opt/l", "target": "d"}, {"path": "/opt/m", "target": "l/x"}]),
        ),
        case("hard_link", json!([hard("/opt/l", "/present/file")])),
        case(
            "hard_link_twice",
            json!([
                hard("/opt/l", "/present/file"),
                hard("/opt/m", "/present/file")
            ]),
        ),
        case(
            "hard_link_chain",
            json!([hard("/opt/l", "/present/file"), hard("/srv/m", "/opt/l")]),
        ),
        case(
            "hard_link_owner",
            json!([
            {"path": "/opt/l", "target": "/present/file", "hard": true, "user": {"id": 9}}]),
        ),
        case(
            "hard_link_to_nothing",
            json!([hard("/opt/l", "/opt/nothing")]),
        ),
        case(
            "hard_link_to_a_link",
            json!([hard("/opt/l", "/present/link")]),
        ),
        case(
            "hard_link_to_a_directory_there",
            json!([hard("/opt/l", "/present/directory")]),
        ),
        case(
            "hard_link_there",
            json!([hard("/present/file", "/present/owned")]),
        ),
        case(
            "hard_link_there_overwrite",
            json!([
            {"path": "/present/file", "target": "/present/owned", "hard": true, "overwrite": true}]),
        ),
        case(
            "hard_link_to_itself",
            json!([hard("/present/file", "/present/file")]),
        ),
        case(
            "hard_link_to_itself_overwrite",
            json!([
            {"path": "/present/file", "target": "/present/file", "hard": true, "overwrite": true}]),
        ),
        case(
            "hard_link_to_what_it_overwrites",
            json!([
            {"path": "/present/directory", "target": "/present/directory/file", "hard": true, "overwrite": true}]),
        ),
        case(
            "hard_link_relative",
            json!([hard("/opt/l", "present/file")]),
        ),
        case(
            "hard_link_through_a_link",
            json!([hard("/opt/l", "/present/to-directory/file")]),
        ),
    ]
}

fn together() -> Vec<Case> {
    let case = |name: &str, storage: Value| Case::new(name, json!({"storage": storage}));
    vec![
        case(
            "hard_link_to_a_new_file",
            json!({
            "files": [file("/opt/f")], "links": [{"path": "/opt/l", "target": "/opt/f", "hard": true}]}),
        ),
        case(
            "hard_link_to_a_deeper_new_file",
            json!({
            "files": [file("/opt/a/b/f")], "links": [{"path": "/l", "target": "/opt/a/b/f", "hard": true}]}),
        ),
        case(
            "file_in_a_new_directory",
            json!({
            "directories": [{"path": "/opt/d", "mode": 0o700, "user": {"id": 7}}], "files": [file("/opt/d/f")]}),
        ),
        case(
            "file_above_a_new_directory",
            json!({
            "directories": [{"path": "/opt/d/e", "mode": 0o700}], "files": [file("/opt/d/f")]}),
        ),
        case(
            "file_below_an_overwritten_directory",
            json!({
            "directories": [{"path": "/present/directory", "overwrite": true}],
            "files": [file("/present/directory/file")]}),
        ),
        case(
            "link_in_a_new_directory",
            json!({
            "directories": [{"path": "/opt/d", "mode": 0o500}], "links": [{"path": "/opt/d/l", "target": "x"}]}),
        ),
        case(
            "file_below_a_link_that_becomes_a_directory",
            json!({
            "directories": [{"path": "/present/dangling", "overwrite": true}], "files": [file("/present/dangling/f")]}),
        ),
        case(
            "file_below_a_link_into_an_overwritten_directory",
            json!({
            "directories": [{"path": "/present/directory/below", "overwrite": true}], "files": [file("/to-below/f")]}),
        ),
        case(
            "file_twice_through_a_link",
            json!({"files": [file("/present/directory/f"), file("/present/to-directory/f")]}),
        ),
        case(
            "file_twice_through_links_to_nothing",
            json!({"files": [file("/present/dangling/f"), file("/present/nowhere/f")]}),
        ),
        case(
            "file_and_directory_through_a_link",
            json!({
            "directories": [{"path": "/present/directory/f"}], "files": [file("/present/to-directory/f")]}),
        ),
        case(
            "link_and_file_through_a_link",
            json!({
            "links": [{"path": "/to-below/l", "target": "x"}], "files": [file("/present/directory/below/l")]}),
        ),
        case(
            "link_and_the_directory_it_leads_to",
            json!({
            "links": [{"path": "/present/to-directory", "target": "directory"}],
            "directories": [{"path": "/present/directory", "mode": 0o700}]}),
        ),
        case(
            "file_below_a_file_of_the_config",
            json!({"files": [file("/opt/f"), file("/opt/f/g")]}),
        ),
        case(
            "file_below_a_link_of_the_config",
            json!({
            "links": [{"path": "/opt/l", "target": "/present/directory"}], "files": [file("/opt/l/f")]}),
        ),
        case(
            "link_and_what_it_leads_to",
            json!({
            "links": [{"path": "/opt/l", "target": "f"}], "files": [file("/opt/f")]}),
        ),
        case(
            "append_and_hard_link",
            json!({
            "files": [{"path": "/present/file", "append": [{"source": "data:,x"}]}],
            "links": [{"path": "/opt/l", "target": "/present/file", "hard": true}]}),
        ),
        case(
            "owner_made_by_the_same_config",
            json!({
            "files": [with(file("/home/old/f"), json!({"user": {"name": "old"}, "group": {"name": "old"}}))]}),
        ),
        case(
            "nothing",
            json!({"files": [], "directories": [], "links": []}),
        ),
    ]
}
