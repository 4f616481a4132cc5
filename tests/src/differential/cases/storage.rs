//! Files: what is there already, modes, owners, fragments.

use serde_json::{Value, json};

use super::Case;

/// A file with contents.
pub(super) fn file(path: &str) -> Value {
    json!({"path": path, "contents": {"source": "data:,new"}})
}

/// `node` with more keys.
pub(super) fn with(mut node: Value, more: Value) -> Value {
    if let (Some(node), Value::Object(more)) = (node.as_object_mut(), more) {
        node.extend(more);
    }
    node
}

pub fn cases() -> Vec<Case> {
    [files(), append()].concat()
}

fn files() -> Vec<Case> {
    let case = |name: &str, nodes: Value| Case::new(name, json!({"storage": {"files": nodes}}));
    let mut cases = vec![
        case("file_new", json!([file("/opt/f")])),
        case("file_new_deep", json!([file("/opt/a/b/c/d/e")])),
        case("file_in_the_root", json!([file("/f")])),
        case("file_without_contents", json!([{"path": "/opt/f"}])),
        case(
            "file_without_contents_there",
            json!([{"path": "/present/owned"}]),
        ),
        case(
            "file_empty_source",
            json!([{"path": "/opt/f", "contents": {"source": ""}}]),
        ),
        case(
            "file_null_source",
            json!([{"path": "/opt/f", "contents": {"source": null}}]),
        ),
        case("file_there", json!([file("/present/file")])),
        case(
            "file_there_overwrite_false",
            json!([with(file("/present/file"), json!({"overwrite": false}))]),
        ),
        case(
            "file_there_overwrite",
            json!([with(file("/present/owned"), json!({"overwrite": true}))]),
        ),
        case(
            "file_there_same_contents",
            json!([{"path": "/present/file", "contents": {"source": "data:,present%0A"}}]),
        ),
        case(
            "file_there_mode",
            json!([{"path": "/present/owned", "mode": 0o600}]),
        ),
        case(
            "file_there_owner",
            json!([{"path": "/present/owned", "user": {"id": 5}}]),
        ),
        case(
            "file_there_group",
            json!([{"path": "/present/owned", "group": {"name": "sudo"}}]),
        ),
        case("file_over_a_link", json!([file("/present/link")])),
        case(
            "file_over_a_link_overwrite",
            json!([with(file("/present/link"), json!({"overwrite": true}))]),
        ),
        case(
            "file_over_a_dangling_link",
            json!([file("/present/dangling")]),
        ),
        case(
            "file_over_a_link_no_contents",
            json!([{"path": "/present/link", "mode": 0o600}]),
        ),
        case("file_over_a_directory", json!([file("/present/directory")])),
        case(
            "file_over_a_directory_overwrite",
            json!([with(file("/present/directory"), json!({"overwrite": true}))]),
        ),
        case(
            "file_over_a_directory_no_contents",
            json!([{"path": "/present/directory", "mode": 0o600}]),
        ),
        case("file_below_a_file", json!([file("/present/file/f")])),
        case(
            "file_below_a_link_to_a_directory",
            json!([file("/present/to-directory/f")]),
        ),
        case(
            "file_below_a_relative_link_upwards",
            json!([file("/var/home/f")]),
        ),
        case(
            "file_below_a_dangling_link",
            json!([file("/present/dangling/f")]),
        ),
        case(
            "file_in_a_private_directory",
            json!([file("/present/private/f")]),
        ),
        case("file_read_only_usr", json!([file("/usr/share/f")])),
        case("file_named_with_spaces", json!([file("/opt/a b/c  d")])),
        case("file_named_with_letters", json!([file("/opt/naïve/日本")])),
        case("file_named_with_a_newline", json!([file("/opt/a\nb")])),
        case("file_named_with_dots", json!([file("/opt/.../..f")])),
        case(
            "file_user_name",
            json!([with(file("/opt/f"), json!({"user": {"name": "old"}}))]),
        ),
        case(
            "file_user_id",
            json!([with(file("/opt/f"), json!({"user": {"id": 4711}}))]),
        ),
        case(
            "file_group_name",
            json!([with(file("/opt/f"), json!({"group": {"name": "staff"}}))]),
        ),
        case(
            "file_group_id",
            json!([with(file("/opt/f"), json!({"group": {"id": 4712}}))]),
        ),
        case(
            "file_owner_empty_names",
            json!([with(
                file("/opt/f"),
                json!({"user": {"name": ""}, "group": {"name": ""}})
            )]),
        ),
        case(
            "file_user_unknown",
            json!([with(
                file("/opt/f"),
                json!({"user": {"name": "nobody-knows"}})
            )]),
        ),
        case(
            "file_group_unknown",
            json!([with(
                file("/opt/f"),
                json!({"group": {"name": "nobody-knows"}})
            )]),
        ),
        case(
            "file_user_is_a_number",
            json!([with(file("/opt/f"), json!({"user": {"name": "1000"}}))]),
        ),
        case(
            "files_in_one_new_directory",
            json!([file("/opt/d/b"), file("/opt/d/a"), file("/opt/d/c")]),
        ),
    ];
    for mode in [
        0, 0o1, 0o400, 0o600, 0o644, 0o755, 0o777, 0o1644, 0o2755, 0o4755, 0o7777,
    ] {
        let node = with(file("/opt/f"), json!({"mode": mode}));
        cases.push(case(&format!("file_mode_{mode:04o}"), json!([node])));
    }
    cases
}

fn append() -> Vec<Case> {
    let case = |name: &str, node: Value| Case::new(name, json!({"storage": {"files": [node]}}));
    let one = json!([{"source": "data:,one"}]);
    let two = json!([{"source": "data:,one%0A"}, {"source": "data:;base64,dHdv"}]);
    vec![
        case(
            "append_to_a_new_file",
            json!({"path": "/opt/f", "append": two}),
        ),
        case(
            "append_to_contents",
            with(file("/opt/f"), json!({"append": two})),
        ),
        case(
            "append_to_a_present_file",
            json!({"path": "/present/owned", "append": two}),
        ),
        case(
            "append_to_a_present_file_without_newline",
            json!({"path": "/etc/no-newline", "append": one}),
        ),
        case(
            "append_and_mode",
            json!({"path": "/present/owned", "append": one, "mode": 0o640}),
        ),
        case(
            "append_and_owner",
            json!({"path": "/present/owned", "append": one, "user": {"id": 7}, "group": {"id": 8}}),
        ),
        case(
            "append_new_file_mode",
            json!({"path": "/opt/f", "append": one, "mode": 0o640}),
        ),
        case(
            "append_contents_there",
            with(file("/present/file"), json!({"append": one})),
        ),
        case(
            "append_contents_overwrite",
            with(
                file("/present/owned"),
                json!({"append": one, "overwrite": true}),
            ),
        ),
        case(
            "append_overwrite_without_contents",
            json!({"path": "/present/file", "append": one, "overwrite": true}),
        ),
        case(
            "append_empty_list",
            json!({"path": "/present/file", "append": []}),
        ),
        case(
            "append_empty_source",
            json!({"path": "/present/file", "append": [{"source": ""}]}),
        ),
        case(
            "append_no_source",
            json!({"path": "/present/file", "append": [{}]}),
        ),
        case(
            "append_to_a_link",
            json!({"path": "/present/link", "append": one}),
        ),
        case(
            "append_to_a_dangling_link",
            json!({"path": "/present/dangling", "append": one}),
        ),
        case(
            "append_to_a_directory",
            json!({"path": "/present/directory", "append": one}),
        ),
        case(
            "append_same_source_twice",
            json!({"path": "/opt/f", "append": [{"source": "data:,x"}, {"source": "data:,x"}]}),
        ),
        case(
            "append_gzip",
            json!({"path": "/present/file", "append": [
            {"source": super::contents::packed(b"zipped"), "compression": "gzip"}]}),
        ),
        case(
            "append_wrong_hash",
            json!({"path": "/present/file", "append": [
            {"source": "data:,x", "verification": {"hash": format!("sha256-{}", "0".repeat(64))}}]}),
        ),
    ]
}
