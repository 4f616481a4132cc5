//! Configs with mistakes: both programs must refuse the same ones.

use serde_json::{Value, json};

use super::Case;

pub fn cases() -> Vec<Case> {
    [texts(), versions(), types(), rules()].concat()
}

fn texts() -> Vec<Case> {
    let good = r#""ignition": {"version": "3.3.0"}"#;
    let file = |body: &str| format!(r#"{{{good}, "storage": {{"files": [{{{body}}}]}}}}"#);
    vec![
        Case::text("text_empty", ""),
        Case::text("text_spaces", " \n"),
        Case::text("text_nul", "\0"),
        Case::text("text_empty_object", "{}"),
        Case::text("text_null", "null"),
        Case::text("text_list", "[]"),
        Case::text("text_string", "\"x\""),
        Case::text("text_not_json", "ignition: version"),
        Case::text("text_cut", &format!("{{{good}")),
        Case::text("text_comma_after_the_last", &format!("{{{good},}}")),
        Case::text("text_two", &format!("{{{good}}}{{{good}}}")),
        Case::text("text_garbage_after", &format!("{{{good}}} x")),
        Case::text("text_comment", &format!("{{{good}}} // x")),
        Case::text("text_tabs_and_newlines", &format!("\t{{\n{good}\r\n}}\n\n")),
        Case::text("text_byte_order_mark", &format!("\u{feff}{{{good}}}")),
        Case::text("text_nul_after", &format!("{{{good}}}\0")),
        Case::text(
            "text_key_twice",
            &file(r#""path": "/opt/a", "path": "/opt/b""#),
        ),
        Case::text("text_key_of_another_case", &file(r#""Path": "/opt/a""#)),
        Case::text("text_control_character", &file("\"path\": \"/opt/a\u{1}\"")),
        Case::text("text_escape", &file(r#""path": "/opt/\u0041\/b""#)),
        Case::text("text_lone_surrogate", &file(r#""path": "/opt/\ud800""#)),
        Case::text("text_nul_in_a_path", &file(r#""path": "/opt/a\u0000b""#)),
        Case::text(
            "text_number_float",
            &file(r#""path": "/opt/a", "mode": 420.0"#),
        ),
        Case::text(
            "text_number_exponent",
            &file(r#""path": "/opt/a", "mode": 42e1"#),
        ),
        Case::text(
            "text_number_octal",
            &file(r#""path": "/opt/a", "mode": 0644"#),
        ),
        Case::text(
            "text_number_string",
            &file(r#""path": "/opt/a", "mode": "0644""#),
        ),
        Case::text(
            "text_number_large",
            &file(r#""path": "/opt/a", "mode": 99999999999999999999"#),
        ),
        Case::text(
            "text_deep",
            &format!("{{{good}, \"x\": {}{}}}", "[".repeat(100), "]".repeat(100)),
        ),
    ]
}

fn versions() -> Vec<Case> {
    let named = |(name, version): (&str, Value)| {
        Case::text(
            &format!("version_{name}"),
            &json!({"ignition": {"version": version}}).to_string(),
        )
    };
    let wrong = [
        ("1", json!("1.0.0")),
        ("2_0", json!("2.0.0")),
        ("2_4", json!("2.4.0")),
        ("2_5", json!("2.5.0")),
        ("3", json!("3")),
        ("3_3", json!("3.3")),
        ("3_3_1", json!("3.3.1")),
        ("3_9", json!("3.9.0")),
        ("4", json!("4.0.0")),
        ("v", json!("v3.3.0")),
        ("space", json!(" 3.3.0")),
        ("3_3_experimental", json!("3.3.0-experimental")),
        ("empty", json!("")),
        ("null", json!(null)),
        ("number", json!(3)),
        ("float", json!(3.3)),
    ];
    let mut cases: Vec<Case> = wrong.map(named).to_vec();
    cases.push(Case::text("version_missing", r#"{"ignition": {}}"#));
    cases.push(Case::text("version_series_1", r#"{"ignitionVersion": 1}"#));
    cases.push(Case::text(
        "version_good",
        r#"{"ignition": {"version": "3.2.0"}}"#,
    ));
    cases
}

fn types() -> Vec<Case> {
    let case = |name: &str, body: Value| Case::new(&format!("type_{name}"), body);
    let file = |body: Value| json!({"storage": {"files": [body]}});
    vec![
        case("files_object", json!({"storage": {"files": {}}})),
        case("files_null", json!({"storage": {"files": null}})),
        case("storage_null", json!({"storage": null})),
        case("storage_list", json!({"storage": []})),
        case("file_null", json!({"storage": {"files": [null]}})),
        case("file_string", json!({"storage": {"files": ["/opt/f"]}})),
        case("path_number", file(json!({"path": 1}))),
        case("path_null", file(json!({"path": null}))),
        case("mode_bool", file(json!({"path": "/opt/f", "mode": true}))),
        case("mode_null", file(json!({"path": "/opt/f", "mode": null}))),
        case("mode_float", file(json!({"path": "/opt/f", "mode": 420.5}))),
        case(
            "overwrite_string",
            file(json!({"path": "/opt/f", "overwrite": "true"})),
        ),
        case(
            "overwrite_number",
            file(json!({"path": "/opt/f", "overwrite": 1})),
        ),
        case(
            "contents_string",
            file(json!({"path": "/opt/f", "contents": "data:,x"})),
        ),
        case(
            "append_object",
            file(json!({"path": "/opt/f", "append": {"source": "data:,x"}})),
        ),
        case(
            "user_string",
            file(json!({"path": "/opt/f", "user": "root"})),
        ),
        case(
            "user_id_string",
            file(json!({"path": "/opt/f", "user": {"id": "0"}})),
        ),
        case(
            "enabled_string",
            json!({"systemd": {"units": [{"name": "a.service", "enabled": "yes"}]}}),
        ),
        case(
            "keys_string",
            json!({"passwd": {"users": [{"name": "u", "sshAuthorizedKeys": "k"}]}}),
        ),
        case(
            "keys_null",
            json!({"passwd": {"users": [{"name": "u", "sshAuthorizedKeys": [null]}]}}),
        ),
        case(
            "uid_string",
            json!({"passwd": {"users": [{"name": "u", "uid": "1000"}]}}),
        ),
        case("unknown_key", json!({"unknown": {}})),
        case(
            "unknown_key_deep",
            file(json!({"path": "/opt/f", "permissions": 420})),
        ),
        case("ignition_unknown_key", json!({"ignition": {"timeout": 5}})),
    ]
}

fn rules() -> Vec<Case> {
    let case = |name: &str, body: Value| Case::new(&format!("rule_{name}"), body);
    let of = |version: &str, name: &str, body: Value| {
        Case::of(version, &format!("rule_{name}_{version}"), body)
    };
    let file = |body: Value| json!({"storage": {"files": [body]}});
    let link = |body: Value| json!({"storage": {"links": [body]}});
    let unit = |body: Value| json!({"systemd": {"units": [body]}});
    let user = |body: Value| json!({"passwd": {"users": [body]}});
    let contents = |source: &str| file(json!({"path": "/opt/f", "contents": {"source": source}}));
    vec![
        case("path_missing", file(json!({"mode": 420}))),
        case("path_empty", file(json!({"path": ""}))),
        case("path_relative", file(json!({"path": "opt/f"}))),
        case("path_dots", file(json!({"path": "/opt/../f"}))),
        case("path_dot", file(json!({"path": "/opt/./f"}))),
        case("path_double_slash", file(json!({"path": "/opt//f"}))),
        case("path_trailing_slash", file(json!({"path": "/opt/f/"}))),
        case(
            "path_root",
            json!({"storage": {"directories": [{"path": "/"}]}}),
        ),
        case("path_root_file", file(json!({"path": "/"}))),
        case(
            "path_long",
            file(json!({"path": format!("/opt/{}", "a".repeat(300))})),
        ),
        case("mode_negative", file(json!({"path": "/opt/f", "mode": -1}))),
        case(
            "mode_large",
            file(json!({"path": "/opt/f", "mode": 0o10000})),
        ),
        case(
            "mode_as_octal_digits",
            file(json!({"path": "/opt/f", "mode": 7777})),
        ),
        case(
            "owner_both",
            file(json!({"path": "/opt/f", "user": {"id": 0, "name": "root"}})),
        ),
        case(
            "owner_negative",
            file(json!({"path": "/opt/f", "user": {"id": -1}})),
        ),
        case(
            "owner_large",
            file(json!({"path": "/opt/f", "user": {"id": 4_294_967_296_u64}})),
        ),
        case(
            "owner_largest",
            file(json!({"path": "/opt/f", "user": {"id": 4_294_967_295_u64}})),
        ),
        case(
            "path_twice",
            json!({"storage": {"files": [{"path": "/opt/f"}, {"path": "/opt/f"}]}}),
        ),
        case(
            "path_file_and_link",
            json!({"storage": {"files": [{"path": "/opt/f"}], "links": [{"path": "/opt/f", "target": "x"}]}}),
        ),
        case(
            "path_file_and_directory",
            json!({"storage": {"files": [{"path": "/opt/f"}], "directories": [{"path": "/opt/f"}]}}),
        ),
        case(
            "path_below_a_link",
            json!({"storage": {"files": [{"path": "/opt/l/f"}], "links": [{"path": "/opt/l", "target": "/srv"}]}}),
        ),
        case(
            "directory_below_a_file",
            json!({"storage": {"files": [{"path": "/opt/f"}], "directories": [{"path": "/opt/f/d"}]}}),
        ),
        case(
            "overwrite_without_contents",
            file(json!({"path": "/opt/f", "overwrite": true})),
        ),
        case("link_no_target", link(json!({"path": "/opt/l"}))),
        of("3.0.0", "link_no_target", link(json!({"path": "/opt/l"}))),
        of("3.2.0", "link_no_target", link(json!({"path": "/opt/l"}))),
        case(
            "link_target_empty",
            link(json!({"path": "/opt/l", "target": ""})),
        ),
        case(
            "link_target_null",
            link(json!({"path": "/opt/l", "target": null})),
        ),
        case(
            "link_mode",
            link(json!({"path": "/opt/l", "target": "x", "mode": 511})),
        ),
        case(
            "link_hard_to_a_directory",
            json!({"storage": {
            "directories": [{"path": "/opt/d"}], "links": [{"path": "/opt/l", "target": "/opt/d", "hard": true}]}}),
        ),
        case(
            "link_hard_unclean_target",
            link(json!({"path": "/opt/l", "target": "/present/../present/file", "hard": true})),
        ),
        case("source_scheme", contents("ftp://host.invalid/f")),
        case("source_file_scheme", contents("file:///etc/hostname")),
        case("source_no_scheme", contents("/etc/hostname")),
        case("source_space", contents(" data:,x")),
        case("source_s3_no_bucket", contents("s3:///f")),
        case(
            "source_s3_version_empty",
            contents("s3://bucket/f?versionId="),
        ),
        case(
            "headers_on_data",
            file(json!({"path": "/opt/f", "contents": {
            "source": "data:,x", "httpHeaders": [{"name": "A", "value": "b"}]}})),
        ),
        case(
            "headers_twice",
            file(json!({"path": "/opt/f", "contents": {
            "source": "http://host.invalid/f", "httpHeaders": [{"name": "A", "value": "b"}, {"name": "A", "value": "c"}]}})),
        ),
        case(
            "headers_no_name",
            file(json!({"path": "/opt/f", "contents": {
            "source": "http://host.invalid/f", "httpHeaders": [{"value": "b"}]}})),
        ),
        case("unit_no_name", unit(json!({"contents": "[Unit]\n"}))),
        case("unit_name_empty", unit(json!({"name": ""}))),
        case("unit_name_no_suffix", unit(json!({"name": "a"}))),
        case("unit_name_wrong_suffix", unit(json!({"name": "a.conf"}))),
        case("unit_name_only_a_suffix", unit(json!({"name": ".service"}))),
        case("unit_name_slash", unit(json!({"name": "a/b.service"}))),
        case("unit_name_dots", unit(json!({"name": "../a.service"}))),
        case(
            "unit_twice",
            json!({"systemd": {"units": [{"name": "a.service"}, {"name": "a.service"}]}}),
        ),
        case(
            "dropin_no_name",
            unit(json!({"name": "a.service", "dropins": [{"contents": "[Unit]\n"}]})),
        ),
        case(
            "dropin_wrong_suffix",
            unit(json!({"name": "a.service", "dropins": [{"name": "a.service"}]})),
        ),
        case(
            "dropin_twice",
            unit(json!({"name": "a.service", "dropins": [{"name": "a.conf"}, {"name": "a.conf"}]})),
        ),
        case("user_no_name", user(json!({"uid": 5}))),
        case("user_name_empty", user(json!({"name": ""}))),
        case(
            "user_twice",
            json!({"passwd": {"users": [{"name": "u"}, {"name": "u"}]}}),
        ),
        case("user_uid_negative", user(json!({"name": "u", "uid": -5}))),
        case(
            "user_home_relative",
            user(json!({"name": "u", "homeDir": "u"})),
        ),
        case(
            "user_shell_relative",
            user(json!({"name": "u", "shell": "sh"})),
        ),
        case(
            "user_groups_twice",
            user(json!({"name": "u", "groups": ["sudo", "sudo"]})),
        ),
        case(
            "user_gecos_colon",
            user(json!({"name": "u", "gecos": "a:b"})),
        ),
        case("user_name_colon", user(json!({"name": "a:b"}))),
        case("user_name_option", user(json!({"name": "--help"}))),
        case("group_no_name", json!({"passwd": {"groups": [{"gid": 5}]}})),
        case(
            "group_twice",
            json!({"passwd": {"groups": [{"name": "g"}, {"name": "g"}]}}),
        ),
        case(
            "timeout_negative",
            json!({"ignition": {"timeouts": {"httpTotal": -1}}}),
        ),
        case(
            "proxy_no_scheme",
            json!({"ignition": {"proxy": {"httpProxy": "proxy.invalid:3128"}}}),
        ),
        case(
            "proxy_other_scheme",
            json!({"ignition": {"proxy": {"httpsProxy": "ftp://proxy.invalid"}}}),
        ),
        case(
            "no_proxy",
            json!({"ignition": {"proxy": {"noProxy": ["a.invalid", "b.invalid"]}}}),
        ),
        case(
            "authority_twice",
            json!({"ignition": {"security": {"tls": {"certificateAuthorities": [
            {"source": "data:,x"}, {"source": "data:,x"}]}}}}),
        ),
        case(
            "authority_no_source",
            json!({"ignition": {"security": {"tls": {"certificateAuthorities": [{}]}}}}),
        ),
        case(
            "authority_not_a_certificate",
            json!({"ignition": {"security": {"tls": {"certificateAuthorities": [
            {"source": "data:,x"}]}}}}),
        ),
    ]
}
