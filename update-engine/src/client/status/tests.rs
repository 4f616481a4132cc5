use super::*;
use crate::state::{Denied, Hold};
use crate::view::{Other, Policy, Progress, Running, Update};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn view() -> View {
    View {
        schema: 1,
        running: Some(Running {
            version: "0.2.0".into(),
            slot: "b".into(),
            blessed: true,
            boot_reason: Some("normal".into()),
        }),
        other: Some(Other {
            slot: "a".into(),
            version: Some("0.1.0".into()),
            successful: true,
            next: false,
        }),
        update: Update {
            state: "blessed".into(),
            version: Some("0.2.0".into()),
            slot: Some("b".into()),
            reason: None,
        },
        activity: "resting".into(),
        policy: Policy {
            enabled: true,
            server: Some("https://updates.example".into()),
            channel: "stable".into(),
            poll: "1h".into(),
            reboot: "off".into(),
            problems: Vec::new(),
        },
        checked: Some(at(10_000 - 300)),
        next_check: Some(at(10_000 + 3000)),
        ..View::default()
    }
}

fn shown(view: &View) -> String {
    render(view, at(10_000))
}

#[test]
fn a_host_at_rest_says_what_runs_and_when_it_asks_next() {
    assert_eq!(
        shown(&view()),
        "Running     0.2.0  slot b, blessed\n\
         Other slot  0.1.0  slot a, the way back\n\
         Channel     stable at https://updates.example\n\
         Checked     5 min ago: nothing newer\n\
         Next        asks the server in 50 min\n"
    );
}

#[test]
fn a_host_that_came_back_says_why() {
    let mut view = view();
    view.update = Update {
        state: "rolled-back".into(),
        version: Some("0.3.0".into()),
        slot: Some("a".into()),
        reason: Some("unit sshd@.service failed;\nits last lines".into()),
    };
    view.denied = vec![Denied {
        version: "0.3.0".parse().unwrap(),
        reason: "unit sshd@.service failed;\nits last lines".into(),
        since: at(0),
    }];
    view.available = Some(Available {
        version: "0.3.0".into(),
        verdict: "refused".into(),
        reason: Some("it was denied".into()),
        until: None,
    });
    let text = shown(&view);
    for line in [
        "Update      0.3.0  rolled back: unit sshd@.service failed; its last lines",
        "Denied      0.3.0  unit sshd@.service failed; its last lines",
        "Checked     5 min ago: 0.3.0, not taken: it was denied",
    ] {
        assert!(text.lines().any(|l| l == line), "{text}");
    }
}

#[test]
fn an_armed_host_waits_for_a_reboot() {
    let mut view = view();
    view.update.state = "armed".into();
    view.update.version = Some("0.3.0".into());
    view.update.slot = Some("a".into());
    view.held = Some(Hold {
        since: at(10_000 - 7200),
        reason: "audit".into(),
    });
    let text = shown(&view);
    for line in [
        "Update      0.3.0  slot a, armed: tried on the next boot",
        "Held        since 2 h ago: audit",
        "Next        a reboot, when locksmith or an operator says so",
    ] {
        assert!(text.lines().any(|l| l == line), "{text}");
    }
}

#[test]
fn an_installation_shows_how_far_it_is() {
    let mut view = view();
    view.activity = "installing".into();
    view.update.state = "fetching".into();
    view.update.version = Some("0.3.0".into());
    view.progress = Some(Progress {
        total: 200_000_000,
        done: 50_000_000,
        reused: 30_000_000,
        received: 9_000_000,
        rate: 1_500_000,
        remaining: Some(75),
        checking: false,
    });
    let line = "Update      0.3.0  25 %  50.0 MB of 200.0 MB, 60 % reused, 1.5 MB/s, 75 s left";
    let text = shown(&view);
    assert!(text.lines().any(|l| l == line), "{text}");
}

#[test]
fn a_host_that_does_not_know_itself_says_so() {
    let view = View {
        activity: "resting".into(),
        warnings: vec!["the EFI variable BallastSlot is missing".into()],
        ..View::default()
    };
    let text = shown(&view);
    assert!(text.starts_with("Running     not known: nothing will be updated\n"));
    assert!(text.contains("Warning     the EFI variable"), "{text}");
}

#[test]
fn numbers_are_as_exact_as_matters() {
    let bytes: Vec<_> = [0, 999, 1500, 23_400_000, 1 << 31].map(bytes).into();
    assert_eq!(bytes, ["0 B", "999 B", "1.5 kB", "23.4 MB", "2.15 GB"]);
}
