//! Configs that refer to configs, and the specs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Case;
use super::contents::{packed, sha256};

/// A config as what another one refers to.
fn child(body: Value) -> Value {
    json!({"source": format!("data:;base64,{}", STANDARD.encode(text(body)))})
}

fn text(mut body: Value) -> String {
    if body["ignition"]["version"].is_null() {
        body["ignition"]["version"] = json!("3.3.0");
    }
    body.to_string()
}

fn files(nodes: Value) -> Value {
    json!({"storage": {"files": nodes}})
}

fn file(path: &str, text: &str) -> Value {
    json!({"path": path, "contents": {"source": format!("data:,{text}")}})
}

/// `body`, to which `children` are merged.
fn merged(name: &str, mut body: Value, children: &[Value]) -> Case {
    body["ignition"]["config"]["merge"] = json!(children);
    Case::new(name, body)
}

pub fn cases() -> Vec<Case> {
    [lists(), fields(), references(), specs()].concat()
}

fn lists() -> Vec<Case> {
    let both = |name: &str, parent: Value, other: Value| merged(name, parent, &[child(other)]);
    let unit = |body: Value| json!({"systemd": {"units": [body]}});
    let user = |body: Value| json!({"passwd": {"users": [body]}});
    let group = |body: Value| json!({"passwd": {"groups": [body]}});
    vec![
        both(
            "files_of_both",
            files(json!([file("/opt/a", "a")])),
            files(json!([file("/opt/b", "b")])),
        ),
        both(
            "file_contents_of_the_child",
            files(json!([file("/opt/a", "a")])),
            files(json!([file("/opt/a", "b")])),
        ),
        both(
            "file_mode_of_the_child",
            files(json!([{"path": "/opt/a", "mode": 0o600, "contents": {"source": "data:,a"}}])),
            files(json!([{"path": "/opt/a", "mode": 0o640}])),
        ),
        both(
            "file_mode_is_kept",
            files(json!([{"path": "/opt/a", "mode": 0o600}])),
            files(json!([file("/opt/a", "b")])),
        ),
        both(
            "file_hash_is_kept_for_other_contents",
            files(
                json!([{"path": "/opt/a", "contents": {"source": "data:,a", "verification": {"hash": sha256(b"a")}}}]),
            ),
            files(json!([file("/opt/a", "b")])),
        ),
        both(
            "file_owner_name_over_id",
            files(json!([{"path": "/opt/a", "user": {"id": 5}}])),
            files(json!([{"path": "/opt/a", "user": {"name": "old"}}])),
        ),
        both(
            "file_append_of_both",
            files(json!([{"path": "/opt/a", "append": [{"source": "data:,a"}]}])),
            files(json!([{"path": "/opt/a", "append": [{"source": "data:,b"}]}])),
        ),
        both(
            "file_append_of_both_same",
            files(json!([{"path": "/opt/a", "append": [{"source": "data:,a"}]}])),
            files(json!([{"path": "/opt/a", "append": [{"source": "data:,a"}]}])),
        ),
        both(
            "file_overwrite_of_the_child",
            files(json!([file("/present/file", "a")])),
            files(
                json!([{"path": "/present/file", "overwrite": true, "contents": {"source": "data:,b"}}]),
            ),
        ),
        both(
            "file_becomes_a_link",
            files(json!([file("/opt/a", "a")])),
            json!({"storage": {"links": [{"path": "/opt/a", "target": "x"}]}}),
        ),
        both(
            "link_becomes_a_directory",
            json!({"storage": {"links": [{"path": "/opt/a", "target": "x"}]}}),
            json!({"storage": {"directories": [{"path": "/opt/a"}]}}),
        ),
        both(
            "directory_below_a_file_of_the_parent",
            files(json!([file("/opt/a", "a")])),
            json!({"storage": {"directories": [{"path": "/opt/a/b"}]}}),
        ),
        both(
            "link_hard_is_kept",
            json!({"storage": {"links": [{"path": "/opt/a", "target": "/present/file", "hard": true}]}}),
            json!({"storage": {"links": [{"path": "/opt/a", "target": "/present/owned"}]}}),
        ),
        both(
            "unit_contents_of_the_child",
            unit(json!({"name": "a.service", "contents": "[Unit]\nA=a\n"})),
            unit(json!({"name": "a.service", "contents": "[Unit]\nA=b\n"})),
        ),
        both(
            "unit_contents_emptied",
            unit(json!({"name": "a.service", "contents": "[Unit]\nA=a\n"})),
            unit(json!({"name": "a.service", "contents": ""})),
        ),
        both(
            "unit_enabled_by_the_child",
            unit(
                json!({"name": "a.service", "contents": "[Unit]\nA=a\n[Install]\nWantedBy=x.target\n"}),
            ),
            unit(json!({"name": "a.service", "enabled": true})),
        ),
        both(
            "unit_dropins_of_both",
            unit(
                json!({"name": "a.service", "dropins": [{"name": "a.conf", "contents": "[Unit]\nA=a\n"}]}),
            ),
            unit(
                json!({"name": "a.service", "dropins": [{"name": "b.conf", "contents": "[Unit]\nA=b\n"}]}),
            ),
        ),
        both(
            "unit_dropin_of_the_child",
            unit(
                json!({"name": "a.service", "dropins": [{"name": "a.conf", "contents": "[Unit]\nA=a\n"}]}),
            ),
            unit(
                json!({"name": "a.service", "dropins": [{"name": "a.conf", "contents": "[Unit]\nA=b\n"}]}),
            ),
        ),
        both(
            "user_fields_of_both",
            user(json!({"name": "u", "uid": 2000, "gecos": "a"})),
            user(json!({"name": "u", "gecos": "b", "shell": "/bin/bash"})),
        ),
        both(
            "user_keys_of_both",
            user(json!({"name": "u", "sshAuthorizedKeys": ["a"]})),
            user(json!({"name": "u", "sshAuthorizedKeys": ["b", "a"]})),
        ),
        both(
            "user_groups_of_both",
            user(json!({"name": "u", "groups": ["sudo"]})),
            user(json!({"name": "u", "groups": ["staff"]})),
        ),
        both(
            "user_should_not_exist_any_more",
            user(json!({"name": "u"})),
            user(json!({"name": "u", "shouldExist": false})),
        ),
        both(
            "group_gid_of_the_child",
            group(json!({"name": "g", "gid": 2000})),
            group(json!({"name": "g", "gid": 2001})),
        ),
        both(
            "order_of_users",
            user(json!({"name": "b"})),
            user(json!({"name": "a"})),
        ),
    ]
}

fn fields() -> Vec<Case> {
    let file_with = |contents: Value| files(json!([{"path": "/opt/a", "contents": contents}]));
    vec![
        merged(
            "null_does_not_unset",
            file_with(json!({"source": "data:,a"})),
            &[child(file_with(json!({"source": null})))],
        ),
        merged(
            "empty_source_empties",
            file_with(json!({"source": "data:,a"})),
            &[child(file_with(json!({"source": ""})))],
        ),
        merged(
            "compression_is_kept",
            file_with(json!({"source": packed(b"a"), "compression": "gzip"})),
            &[child(file_with(json!({"source": packed(b"b")})))],
        ),
        merged(
            "compression_unset_by_an_empty_one",
            file_with(json!({"source": packed(b"a"), "compression": "gzip"})),
            &[child(file_with(
                json!({"source": "data:,b", "compression": ""}),
            ))],
        ),
        merged(
            "false_unsets",
            files(
                json!([{"path": "/present/file", "overwrite": true, "contents": {"source": "data:,a"}}]),
            ),
            &[child(files(
                json!([{"path": "/present/file", "overwrite": false}]),
            ))],
        ),
    ]
}

fn references() -> Vec<Case> {
    let a = || child(files(json!([file("/opt/a", "a")])));
    let b = || child(files(json!([file("/opt/a", "b")])));
    let own = || files(json!([file("/opt/own", "own")]));
    let deep = child(
        json!({"ignition": {"config": {"merge": [a()]}}, "storage": {"files": [file("/opt/b", "b")]}}),
    );
    let packed_child = json!({"source": packed(text(own()).as_bytes()), "compression": "gzip"});
    let hashed = |of: &str| {
        let mut child = a();
        child["verification"] = json!({"hash": sha256(of.as_bytes())});
        child
    };
    let replaced = |name: &str, by: Value| {
        Case::new(
            name,
            json!({"ignition": {"config": {"replace": by}}, "storage": {"files": [file("/opt/own", "own")]}}),
        )
    };
    let good = text(files(json!([file("/opt/a", "a")])));
    vec![
        merged("later_children_win", own(), &[a(), b()]),
        merged("earlier_children_lose", own(), &[b(), a()]),
        merged("the_same_child_twice", own(), &[a(), a()]),
        merged("children_of_children", own(), std::slice::from_ref(&deep)),
        merged("child_packed", json!({}), &[packed_child]),
        merged("child_hash", own(), &[hashed(&good)]),
        merged("child_hash_wrong", own(), &[hashed("other")]),
        merged("child_empty", own(), &[json!({"source": "data:,"})]),
        merged("child_spaces", own(), &[json!({"source": "data:,%20"})]),
        merged("child_not_json", own(), &[json!({"source": "data:,%7B"})]),
        merged(
            "child_invalid",
            own(),
            &[child(files(json!([file("relative", "a")])))],
        ),
        merged("child_source_empty", own(), &[json!({"source": ""})]),
        merged("child_without_source", own(), &[json!({})]),
        merged("child_unknown_key", own(), &[child(json!({"unknown": 1}))]),
        merged("no_children", own(), &[]),
        merged(
            "invalid_only_together",
            json!({"storage": {"links": [{"path": "/opt/a", "target": "x"}]}}),
            &[child(files(json!([file("/opt/a/b", "a")])))],
        ),
        replaced("replaced", a()),
        replaced("replaced_by_one_with_children", deep),
        replaced("replaced_empty_source", json!({"source": ""})),
        replaced("replaced_null_source", json!({"source": null})),
        replaced(
            "replaced_by_the_invalid",
            child(files(json!([file("relative", "a")]))),
        ),
        Case::new(
            "replaced_and_merged",
            json!({"ignition": {"config": {"replace": a(), "merge": [b()]}}}),
        ),
        merged(
            "child_replaced",
            own(),
            &[child(json!({"ignition": {"config": {"replace": a()}}}))],
        ),
    ]
}

fn specs() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in ["3.0.0", "3.1.0", "3.2.0", "3.3.0"] {
        let body = || {
            json!({
                "passwd": {"groups": [{"name": "g", "gid": 2000}], "users": [{"name": "u", "groups": ["g"], "sshAuthorizedKeys": ["k"]}]},
                "storage": {
                    "directories": [{"path": "/opt/d", "mode": 0o700}], "links": [{"path": "/opt/l", "target": "d/f"}],
                    "files": [{"path": "/opt/d/f", "mode": 0o600, "append": [{"source": "data:,x"}]}]},
                "systemd": {"units": [{"name": "a.service", "enabled": true, "contents": "[Unit]\nA=b\n[Install]\nWantedBy=multi-user.target\n"}]},
            })
        };
        cases.push(Case::of(version, &format!("spec_{version}"), body()));
        for newer in ["3.0.0", "3.1.0", "3.2.0", "3.3.0"] {
            let mut other = files(json!([file("/opt/child", newer)]));
            other["ignition"]["version"] = json!(newer);
            let mut parent = body();
            parent["ignition"]["config"]["merge"] = json!([child(other)]);
            cases.push(Case::of(
                version,
                &format!("spec_{version}_merges_{newer}"),
                parent,
            ));
        }
    }
    let keys = [
        (
            "user_should_exist",
            json!({"passwd": {"users": [{"name": "old", "shouldExist": false}, {"name": "new"}]}}),
        ),
        (
            "group_should_exist",
            json!({"passwd": {"groups": [{"name": "spare", "shouldExist": false}, {"name": "new"}]}}),
        ),
        (
            "proxy",
            json!({"ignition": {"proxy": {"httpProxy": "http://proxy.invalid:3128"}}}),
        ),
        (
            "append_packed",
            files(
                json!([{"path": "/opt/f", "append": [{"source": packed(b"x"), "compression": "gzip"}]}]),
            ),
        ),
        (
            "hash_sha256",
            files(
                json!([{"path": "/opt/f", "contents": {"source": "data:,a", "verification": {"hash": sha256(b"a")}}}]),
            ),
        ),
        (
            "headers",
            files(
                json!([{"path": "/opt/f", "contents": {"source": "data:,x", "httpHeaders": []}}]),
            ),
        ),
    ];
    for (name, body) in keys {
        for version in ["3.0.0", "3.1.0", "3.2.0", "3.3.0"] {
            cases.push(Case::of(
                version,
                &format!("since_{name}_{version}"),
                body.clone(),
            ));
        }
    }
    cases
}
