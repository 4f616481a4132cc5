//! Configs that come with the system, and what the environment says.

use serde_json::{Value, json};

use super::Case;

fn text(mut body: Value) -> Vec<u8> {
    body["ignition"]["version"] = json!("3.3.0");
    body.to_string().into_bytes()
}

fn file(path: &str, text: &str) -> Value {
    let contents = json!({"source": format!("data:,{text}")});
    json!({"storage": {"files": [{"path": path, "contents": contents}]}})
}

pub fn cases() -> Vec<Case> {
    let keys = || json!({"passwd": {"users": [{"name": "u", "sshAuthorizedKeys": ["k"]}, {"name": "old", "sshAuthorizedKeys": ["l"]}]}});
    let own = || file("/opt/own", "own");
    let system = |name: &str, body: Value, system: Vec<(&'static str, Vec<u8>)>| Case {
        system,
        ..Case::new(name, body)
    };
    let variable = |name: &str, value: &'static str| Case {
        variable: Some(("IGNITION_WRITE_AUTHORIZED_KEYS_FRAGMENT", value)),
        ..Case::new(name, keys())
    };
    let child = json!({"ignition": {"config": {"merge": [{"source": "data:,%7B%22ignition%22%3A%7B%22version%22%3A%223.0.0%22%7D%7D"}]}}});
    vec![
        system(
            "base",
            own(),
            vec![("base.d/10-a.ign", text(file("/opt/base", "a")))],
        ),
        system(
            "base_and_own_file",
            file("/opt/base", "own"),
            vec![("base.d/10-a.ign", text(file("/opt/base", "a")))],
        ),
        system(
            "bases_in_the_order_of_names",
            own(),
            vec![
                ("base.d/20-b.ign", text(file("/opt/base", "b"))),
                ("base.d/10-a.ign", text(file("/opt/base", "a"))),
            ],
        ),
        system(
            "base_of_the_platform",
            own(),
            vec![
                ("base.d/20-b.ign", text(file("/opt/base", "b"))),
                (
                    "base.platform.d/file/10-a.ign",
                    text(file("/opt/base", "a")),
                ),
                (
                    "base.platform.d/qemu/10-a.ign",
                    text(file("/opt/base", "other")),
                ),
            ],
        ),
        system("base_with_children", own(), vec![("base.d/a", text(child))]),
        system(
            "base_invalid",
            own(),
            vec![("base.d/a", text(file("opt/base", "a")))],
        ),
        system("base_not_json", own(), vec![("base.d/a", b"{".to_vec())]),
        system("base_empty", own(), vec![("base.d/a", Vec::new())]),
        system(
            "base_without_a_config_of_its_own",
            json!({}),
            vec![("base.d/a", text(file("/opt/base", "a")))],
        ),
        system(
            "base_and_invalid_config",
            json!({"storage": 1}),
            vec![("base.d/a", text(file("/opt/base", "a")))],
        ),
        system(
            "user_config_of_the_system",
            own(),
            vec![("user.ign", text(file("/opt/user", "system")))],
        ),
        system(
            "user_config_of_the_system_invalid",
            own(),
            vec![("user.ign", b"{".to_vec())],
        ),
        system("base_spaces", own(), vec![("base.d/a", b" \n".to_vec())]),
        system(
            "user_config_of_the_system_empty",
            own(),
            vec![("user.ign", Vec::new())],
        ),
        variable("keys_in_a_fragment", "true"),
        variable("keys_in_the_whole_file", "false"),
        variable("keys_in_the_whole_file_0", "0"),
        variable("keys_variable_empty", ""),
    ]
}
