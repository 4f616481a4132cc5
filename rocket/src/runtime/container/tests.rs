use proptest::prelude::*;

use super::*;

fn spec(change: impl FnOnce(&mut serde_json::Value)) -> Spec {
    let mut json = serde_json::json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    });
    change(&mut json);
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_small_spec_is_enough() {
    let container = Container::of(&spec(|_| {})).unwrap();
    let expected = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    assert_eq!(container.namespaces.new, expected as u64);
    assert!(!container.namespaces.need_helper());
    assert!(!container.in_user_namespace());
}

#[test]
fn what_would_change_the_host_is_refused_by_its_place() {
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change); 9] = [
        ("linux.namespaces", |v| {
            v["linux"]["namespaces"] = serde_json::json!([])
        }),
        ("hostname", |v| v["hostname"] = "x".into()),
        ("linux.sysctl.net.ipv4.x", |v| {
            v["linux"]["sysctl"] = serde_json::json!({"net.ipv4.x": "1"});
        }),
        ("linux.uidMappings", |v| {
            v["linux"]["uidMappings"] =
                serde_json::json!([{"hostID": 1, "containerID": 0, "size": 1}]);
        }),
        ("linux.intelRdt", |v| {
            v["linux"]["intelRdt"] = serde_json::json!({})
        }),
        ("linux.devices[0]", |v| {
            v["linux"]["devices"] =
                serde_json::json!([{"path": "x", "type": "c", "major": 1, "minor": 3}]);
        }),
        ("linux.maskedPaths", |v| {
            v["linux"]["maskedPaths"] = serde_json::json!(["proc"])
        }),
        ("linux.namespaces[2]", |v| {
            v["linux"]["namespaces"] =
                serde_json::json!([{"type": "mount"}, {"type": "pid"}, {"type": "pid"}]);
        }),
        ("hooks.poststop[0]", |v| {
            v["hooks"] = serde_json::json!({"poststop": [{"path": "/x", "timeout": 0}]});
        }),
    ];
    for (place, change) in cases {
        let error = Container::of(&spec(change)).unwrap_err().to_string();
        assert!(error.contains(place), "{place}: {error}");
    }
}

#[test]
fn users_come_first_among_namespaces_that_are_entered() {
    let container = Container::of(&spec(|v| {
        v["linux"]["namespaces"] = serde_json::json!([
            {"type": "mount"}, {"type": "network", "path": "/n"},
            {"type": "pid", "path": "/p"}, {"type": "user", "path": "/u"},
        ]);
    }))
    .unwrap();
    let order: Vec<&Path> = container
        .namespaces
        .joined
        .iter()
        .map(|(_, p)| p.as_path())
        .collect();
    assert_eq!(order, ["/u", "/p", "/n"].map(Path::new));
    assert!(container.namespaces.need_helper());
}

#[test]
fn a_user_namespace_needs_its_root() {
    let mapped = |container: u32| {
        spec(|v| {
            let line = serde_json::json!([{"hostID": 9, "containerID": container, "size": 5}]);
            v["linux"]["namespaces"] = serde_json::json!([{"type": "mount"}, {"type": "user"}]);
            v["linux"]["uidMappings"] = line.clone();
            v["linux"]["gidMappings"] = line;
        })
    };
    assert!(Container::of(&mapped(0)).unwrap().mappings.is_some());
    assert!(Container::of(&mapped(1)).is_err());
}

proptest! {
    #[test]
    fn no_spec_ends_the_program(
        path in ".{0,20}", key in "[a-z./]{0,20}", text in ".{0,20}", number in any::<i64>(),
    ) {
        let json = serde_json::json!({
            "ociVersion": text,
            "hostname": text,
            "root": {"path": path},
            "process": {
                "user": {"uid": 0, "gid": 0}, "args": [text], "cwd": path, "env": [text],
                "apparmorProfile": text,
            },
            "mounts": [{"destination": path, "type": text, "source": path, "options": [key]}],
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "network"}],
                "sysctl": {key.clone(): text},
                "rootfsPropagation": key,
                "maskedPaths": [path],
                "devices": [{"path": path, "type": "c", "major": number, "minor": number}],
            },
        });
        if let Ok(spec) = serde_json::from_value::<Spec>(json) {
            drop(Container::of(&spec));
        }
    }
}
