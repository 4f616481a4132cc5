//! Users and groups.

use serde_json::{Value, json};

use super::Case;

pub fn cases() -> Vec<Case> {
    [groups(), users(), changes(), homes(), several()].concat()
}

fn users_of(name: &str, users: Value) -> Case {
    Case::new(name, json!({"passwd": {"users": users}}))
}

fn groups() -> Vec<Case> {
    let case = |name: &str, groups: Value| Case::new(name, json!({"passwd": {"groups": groups}}));
    vec![
        case("group", json!([{"name": "g"}])),
        case("group_gid", json!([{"name": "g", "gid": 4000}])),
        case("group_gid_zero", json!([{"name": "g", "gid": 0}])),
        case("group_gid_taken", json!([{"name": "g", "gid": 50}])),
        case("group_system", json!([{"name": "g", "system": true}])),
        case(
            "group_password",
            json!([{"name": "g", "passwordHash": "$6$a$b"}]),
        ),
        case(
            "group_password_empty",
            json!([{"name": "g", "passwordHash": ""}]),
        ),
        case(
            "group_everything",
            json!([{"name": "g", "gid": 300, "system": true, "passwordHash": "$6$a$b"}]),
        ),
        case(
            "group_should_exist",
            json!([{"name": "g", "shouldExist": true}]),
        ),
        case("group_there", json!([{"name": "staff"}])),
        case(
            "group_there_same_gid",
            json!([{"name": "staff", "gid": 50}]),
        ),
        case(
            "group_there_other_gid",
            json!([{"name": "staff", "gid": 51}]),
        ),
        case(
            "group_there_password",
            json!([{"name": "staff", "passwordHash": "$6$a$b"}]),
        ),
        case(
            "group_deleted",
            json!([{"name": "spare", "shouldExist": false}]),
        ),
        case(
            "group_deleted_not_there",
            json!([{"name": "g", "shouldExist": false}]),
        ),
        case(
            "group_deleted_primary",
            json!([{"name": "old", "shouldExist": false}]),
        ),
        case(
            "groups_in_order",
            json!([{"name": "b"}, {"name": "a"}, {"name": "c", "gid": 1001}]),
        ),
        case("group_name_upper_case", json!([{"name": "Group"}])),
        case("group_name_dots", json!([{"name": "a.b"}])),
        case("group_name_digits", json!([{"name": "123"}])),
        case("group_name_space", json!([{"name": "a b"}])),
    ]
}

fn users() -> Vec<Case> {
    let case = |name: &str, user: Value| users_of(name, json!([user]));
    vec![
        case("user", json!({"name": "u"})),
        case("user_uid", json!({"name": "u", "uid": 2000})),
        case("user_uid_system_range", json!({"name": "u", "uid": 200})),
        case("user_uid_zero", json!({"name": "u", "uid": 0})),
        case("user_uid_taken", json!({"name": "u", "uid": 1000})),
        case(
            "user_gecos",
            json!({"name": "u", "gecos": "A User, Room 1"}),
        ),
        case(
            "user_gecos_letters",
            json!({"name": "u", "gecos": "Jürgen"}),
        ),
        case("user_home", json!({"name": "u", "homeDir": "/var/lib/u"})),
        case(
            "user_home_there",
            json!({"name": "u", "homeDir": "/home/old"}),
        ),
        case(
            "user_home_deep",
            json!({"name": "u", "homeDir": "/srv/a/b/u"}),
        ),
        case("user_no_home", json!({"name": "u", "noCreateHome": true})),
        case(
            "user_primary_group",
            json!({"name": "u", "primaryGroup": "staff"}),
        ),
        case(
            "user_primary_group_unknown",
            json!({"name": "u", "primaryGroup": "unknown"}),
        ),
        case(
            "user_groups",
            json!({"name": "u", "groups": ["sudo", "staff"]}),
        ),
        case(
            "user_groups_unknown",
            json!({"name": "u", "groups": ["unknown"]}),
        ),
        case("user_groups_empty", json!({"name": "u", "groups": []})),
        case(
            "user_no_user_group",
            json!({"name": "u", "noUserGroup": true}),
        ),
        case(
            "user_no_user_group_primary",
            json!({"name": "u", "noUserGroup": true, "primaryGroup": "staff"}),
        ),
        case("user_system", json!({"name": "u", "system": true})),
        case(
            "user_system_no_home",
            json!({"name": "u", "system": true, "noCreateHome": true}),
        ),
        case(
            "user_system_home",
            json!({"name": "u", "system": true, "homeDir": "/var/lib/u"}),
        ),
        case("user_no_log_init", json!({"name": "u", "noLogInit": true})),
        case("user_shell", json!({"name": "u", "shell": "/bin/bash"})),
        case(
            "user_shell_not_there",
            json!({"name": "u", "shell": "/bin/none"}),
        ),
        case(
            "user_password",
            json!({"name": "u", "passwordHash": "$6$a$b"}),
        ),
        case(
            "user_password_empty",
            json!({"name": "u", "passwordHash": ""}),
        ),
        case(
            "user_password_null",
            json!({"name": "u", "passwordHash": null}),
        ),
        case(
            "user_keys",
            json!({"name": "u", "sshAuthorizedKeys": ["ssh-ed25519 AAAA a", "ssh-rsa BBBB b"]}),
        ),
        case(
            "user_keys_newlines",
            json!({"name": "u", "sshAuthorizedKeys": ["a\n", "b\n"]}),
        ),
        case(
            "user_keys_empty_key",
            json!({"name": "u", "sshAuthorizedKeys": [""]}),
        ),
        case(
            "user_keys_empty_list",
            json!({"name": "u", "sshAuthorizedKeys": []}),
        ),
        case(
            "user_keys_duplicate",
            json!({"name": "u", "sshAuthorizedKeys": ["a", "a"]}),
        ),
        case(
            "user_keys_no_home",
            json!({"name": "u", "noCreateHome": true, "sshAuthorizedKeys": ["a"]}),
        ),
        case(
            "user_keys_system",
            json!({"name": "u", "system": true, "homeDir": "/var/lib/u", "sshAuthorizedKeys": ["a"]}),
        ),
        case(
            "user_everything",
            json!({
            "name": "u", "uid": 2222, "gecos": "G", "homeDir": "/opt/u", "primaryGroup": "staff", "groups": ["sudo", "spare"],
            "shell": "/bin/bash", "passwordHash": "$6$a$b", "sshAuthorizedKeys": ["k"], "noUserGroup": true, "noLogInit": true}),
        ),
        case(
            "user_should_exist",
            json!({"name": "u", "shouldExist": true}),
        ),
        case("user_named_like_a_group", json!({"name": "staff"})),
        case(
            "user_named_like_a_group_of_its_own",
            json!({"name": "staff", "primaryGroup": "staff"}),
        ),
        case("user_name_upper_case", json!({"name": "User"})),
        case("user_name_dots", json!({"name": "a.b"})),
        case("user_name_long", json!({"name": "u".repeat(33)})),
    ]
}

fn changes() -> Vec<Case> {
    let case = |name: &str, user: Value| users_of(name, json!([user]));
    vec![
        case("old", json!({"name": "old"})),
        case(
            "old_password",
            json!({"name": "old", "passwordHash": "$6$a$b"}),
        ),
        case(
            "old_password_empty",
            json!({"name": "old", "passwordHash": ""}),
        ),
        case("old_uid", json!({"name": "old", "uid": 3000})),
        case("old_gecos", json!({"name": "old", "gecos": "New"})),
        case("old_home", json!({"name": "old", "homeDir": "/srv/old"})),
        case(
            "old_home_deep",
            json!({"name": "old", "homeDir": "/srv/new/old"}),
        ),
        case(
            "old_home_same",
            json!({"name": "old", "homeDir": "/home/old"}),
        ),
        case("old_home_there", json!({"name": "old", "homeDir": "/opt"})),
        case(
            "old_primary_group",
            json!({"name": "old", "primaryGroup": "staff"}),
        ),
        case(
            "old_groups",
            json!({"name": "old", "groups": ["staff", "spare"]}),
        ),
        case(
            "old_groups_same",
            json!({"name": "old", "groups": ["sudo"]}),
        ),
        case("old_shell", json!({"name": "old", "shell": "/bin/sh"})),
        case(
            "old_keys",
            json!({"name": "old", "sshAuthorizedKeys": ["k"]}),
        ),
        case(
            "old_new_flags_have_no_effect",
            json!({
            "name": "old", "system": true, "noCreateHome": true, "noUserGroup": true, "noLogInit": true}),
        ),
        case(
            "old_home_and_keys",
            json!({"name": "old", "homeDir": "/srv/old", "sshAuthorizedKeys": ["k"]}),
        ),
        case(
            "old_uid_and_home",
            json!({"name": "old", "uid": 3000, "homeDir": "/srv/old"}),
        ),
        case(
            "root_password",
            json!({"name": "root", "passwordHash": "$6$a$b"}),
        ),
        case(
            "root_keys",
            json!({"name": "root", "sshAuthorizedKeys": ["k"]}),
        ),
        case("root_shell", json!({"name": "root", "shell": "/bin/sh"})),
        case(
            "service_shell",
            json!({"name": "service", "shell": "/bin/sh"}),
        ),
        case(
            "service_keys",
            json!({"name": "service", "sshAuthorizedKeys": ["k"]}),
        ),
        case(
            "nobody_keys",
            json!({"name": "nobody", "sshAuthorizedKeys": ["k"]}),
        ),
    ]
}

fn homes() -> Vec<Case> {
    let case = |name: &str, user: Value| users_of(name, json!([user]));
    vec![
        case("old_deleted", json!({"name": "old", "shouldExist": false})),
        Case::new(
            "old_and_its_group_deleted",
            json!({"passwd": {
                "users": [{"name": "old", "shouldExist": false}],
                "groups": [{"name": "old", "shouldExist": false}],
            }}),
        ),
        case(
            "deleted_not_there",
            json!({"name": "u", "shouldExist": false}),
        ),
        case(
            "deleted_not_there_with_more",
            json!({"name": "u", "shouldExist": false, "uid": 5}),
        ),
        case(
            "service_deleted",
            json!({"name": "service", "shouldExist": false}),
        ),
        case(
            "nobody_deleted",
            json!({"name": "nobody", "shouldExist": false}),
        ),
        case(
            "root_deleted",
            json!({"name": "root", "shouldExist": false}),
        ),
    ]
}

fn several() -> Vec<Case> {
    let case = |name: &str, body: Value| Case::new(name, body);
    vec![
        users_of(
            "users_in_order",
            json!([{"name": "b"}, {"name": "a"}, {"name": "c", "uid": 1001}]),
        ),
        case(
            "user_of_a_new_group",
            json!({"passwd": {
            "groups": [{"name": "g", "gid": 1234}], "users": [{"name": "u", "primaryGroup": "g"}]}}),
        ),
        case(
            "user_in_new_groups",
            json!({"passwd": {
            "groups": [{"name": "g"}, {"name": "h"}], "users": [{"name": "u", "groups": ["h", "g"]}]}}),
        ),
        case(
            "user_named_like_a_new_group",
            json!({"passwd": {
            "groups": [{"name": "u"}], "users": [{"name": "u"}]}}),
        ),
        case(
            "file_of_a_new_user",
            json!({
            "passwd": {"groups": [{"name": "g", "gid": 1234}], "users": [{"name": "u", "uid": 2345}]},
            "storage": {"files": [{"path": "/home/u/f", "contents": {"source": "data:,x"},
                "user": {"name": "u"}, "group": {"name": "g"}}]}}),
        ),
        case(
            "directory_of_a_new_user",
            json!({
            "passwd": {"users": [{"name": "u", "uid": 2345}]},
            "storage": {"directories": [{"path": "/home/u/d/e", "user": {"name": "u"}, "group": {"name": "u"}}]}}),
        ),
        case(
            "keys_and_a_file_beside",
            json!({
            "passwd": {"users": [{"name": "u", "uid": 2345, "sshAuthorizedKeys": ["k"]}]},
            "storage": {"files": [{"path": "/home/u/.ssh/config", "contents": {"source": "data:,x"}}]}}),
        ),
        case(
            "file_of_a_deleted_user",
            json!({
            "passwd": {"users": [{"name": "old", "shouldExist": false}]},
            "storage": {"files": [{"path": "/opt/f", "contents": {"source": "data:,x"}, "user": {"name": "old"}}]}}),
        ),
    ]
}
