use super::*;

fn says(text: &str) -> Engine {
    Engine::Says(Box::new(serde_json::from_str(text).unwrap()))
}

fn running(state: &str, blessed: bool) -> Engine {
    says(&format!(
        "{{\"schema\": 1, \"running\": {{\"version\": \"0.1.0\", \"slot\": \"a\", \
         \"blessed\": {blessed}, \"boot_reason\": null}}, \
         \"other\": {{\"slot\": \"b\", \"version\": \"0.2.0\"}}, \
         \"update\": {{\"state\": \"{state}\", \"version\": \"0.2.0\", \"slot\": \"b\"}}}}"
    ))
}

#[test]
fn a_release_that_is_armed_needs_a_reboot() {
    for state in [
        "idle",
        "fetching",
        "written",
        "trial",
        "blessed",
        "rolled-back",
    ] {
        assert_eq!(running(state, true).need(), Known::No, "{state}");
    }
    let Known::Yes(need) = running("armed", true).need() else {
        panic!("not needed");
    };
    assert_eq!(need.to, Some(Version::new(0, 2, 0)));
    assert_eq!(need.reason, "0.2.0 is armed");
    assert_eq!(Engine::Unknown.need(), Known::Unknown);
    assert_eq!(Engine::Absent { booted: true }.need(), Known::No);
}

#[test]
fn a_release_that_was_given_up_while_it_runs_needs_a_reboot() {
    let leaving = says(
        "{\"running\": {\"version\": \"0.2.0\", \"slot\": \"b\", \"blessed\": false}, \
         \"other\": {\"version\": \"0.1.0\"}, \
         \"update\": {\"state\": \"rolled-back\", \"version\": \"0.2.0\", \"slot\": \"b\"}}",
    );
    let Known::Yes(need) = leaving.need() else {
        panic!("not needed");
    };
    assert_eq!(need.to, Some(Version::new(0, 1, 0)));
    assert!(leaving.is_settled());
}

#[test]
fn a_host_is_well_once_what_runs_is_blessed() {
    assert!(running("idle", true).is_settled());
    assert!(running("armed", true).is_settled());
    assert!(running("rolled-back", true).is_settled());
    assert!(!running("trial", false).is_settled());
    assert!(!running("idle", false).is_settled());
    assert!(!Engine::Unknown.is_settled());
    assert!(Engine::Absent { booted: true }.is_settled());
    assert!(!Engine::Absent { booted: false }.is_settled());
}

#[test]
fn it_is_what_update_engine_prints() {
    use update_engine::{state, view};
    let since = Timestamp::UNIX_EPOCH;
    let view = view::View {
        schema: view::SCHEMA,
        running: Some(view::Running {
            version: "0.1.0".into(),
            slot: "a".into(),
            blessed: true,
            boot_reason: None,
        }),
        other: Some(view::Other {
            slot: "b".into(),
            version: None,
            successful: false,
            next: true,
        }),
        update: view::Update {
            state: "armed".into(),
            version: Some("0.3.0".into()),
            slot: Some("b".into()),
            reason: None,
        },
        denied: vec![state::Denied {
            version: Version::new(0, 2, 0),
            reason: "10-sshd failed".into(),
            since,
        }],
        ..view::View::default()
    };
    let engine = says(&serde_json::to_string(&view).unwrap());
    assert!(matches!(engine.need(), Known::Yes(need) if need.to == Some(Version::new(0, 3, 0))));
    assert!(engine.is_settled());
    assert_eq!(engine.running(), Some(&Version::new(0, 1, 0)));
    let denied = Denied {
        version: Version::new(0, 2, 0),
        reason: "10-sshd failed".into(),
        since,
    };
    assert_eq!(engine.denied(), [denied]);
}
