use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::view;

pub const WEB_1: &str = "11111111111111111111111111111111";
pub const WEB_2: &str = "22222222222222222222222222222222";

pub fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// A host in a group, that needs a reboot.
pub fn view(state: &str) -> View {
    View {
        schema: 1,
        host: view::Host {
            id: WEB_1.into(),
            name: "web-1".into(),
            version: Some("0.2.0".into()),
            settled: true,
        },
        plan: view::Plan {
            state: state.into(),
            ..view::Plan::default()
        },
        need: Some(view::Need {
            reason: "0.3.0 is armed".into(),
            to: Some("0.3.0".into()),
            by: "host".into(),
        }),
        window: view::Window {
            open: true,
            until: Some(now() + SignedDuration::from_hours(3)),
        },
        lock: view::Lock {
            strategy: "etcd-lock".into(),
            group: Some("workers".into()),
            position: (state == "asking").then_some(1),
            ..view::Lock::default()
        },
        ..View::default()
    }
}

/// A group in which `web-2` holds the lock and `web-1` waits, and a release was left.
pub fn group() -> Group {
    let claim = |id: &str, host: &str| {
        json!({ "id": id, "host": host, "boot_id": "x", "reason": "0.3.0 is armed",
            "from": "0.2.0", "to": "0.3.0", "since": "2026-11-21T09:00:00Z",
            "seen": "2026-11-21T10:00:00Z", "signs": 5 })
    };
    let value = json!({
        "schema": 1, "group": "workers", "max": 1,
        "holders": [claim(WEB_2, "web-2")],
        "queue": [claim(WEB_1, "web-1")], "waiting": 1,
        "brakes": [{ "version": "0.3.0", "on": true, "threshold": 1, "reports": [
            { "id": "3", "host": "web-3", "reason": "10-sshd failed:  no greeting",
              "at": "2026-11-21T10:00:00Z" }] }],
        "expired": [{ "id": "4", "host": "web-4", "by": WEB_2, "at": "2026-11-20T10:00:00Z" }],
    });
    serde_json::from_value(value).unwrap()
}

fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|l| l == line),
        "{line:?} is not in\n{text}"
    );
}

#[test]
fn everything_is_on_one_screen() {
    let text = render(&view("asking"), &Some(Ok(group())), now());
    for line in [
        "Host        web-1  0.2.0",
        "Reboot      needed: 0.3.0 is armed",
        "Lock        etcd-lock, group workers",
        "Group       workers: 1 of 1 held, 1 waiting",
        "Holder      web-2  since 3 h ago, last sign of life 2 h ago: 0.2.0 -> 0.3.0, 0.3.0 is armed",
        "            if it is gone for good: locksmithctl unlock 22222222222222222222222222222222",
        "Waiting     1. web-1 (this host)  since 3 h ago: 0.2.0 -> 0.3.0, 0.3.0 is armed",
        "Brake       no host reboots into 0.3.0; to lift it: locksmithctl brake lift 0.3.0",
        "            web-3: 10-sshd failed: no greeting",
        "Expired     web-4 was taken for gone 26 h ago by 22222222222222222222222222222222",
        "Next        waits for the lock: next in the queue",
    ] {
        has(&text, line);
    }
    assert!(
        text.contains("Window      open; closes in 3 h, on "),
        "{text}"
    );
}

#[test]
fn this_host_is_not_told_to_unlock_itself() {
    let mut group = group();
    group.holders[0].claim.id = WEB_1.parse().unwrap();
    let text = render(&view("settling"), &Some(Ok(group)), now());
    assert!(!text.contains("gone for good"), "{text}");
    has(
        &text,
        "Next        gives the lock back once the release that runs is kept",
    );
}

#[test]
fn a_lock_that_does_not_answer_is_no_hindrance_to_the_rest() {
    let mut view = view("asking");
    view.lock.error = Some("reaching https://10.0.0.1:2379: refused".into());
    let why = "reaching https://10.0.0.1:2379: refused".to_string();
    let text = render(&view, &Some(Err(why)), now());
    has(
        &text,
        "Group       nothing is known: reaching https://10.0.0.1:2379: refused",
    );
    has(
        &text,
        "Lock        does not work: reaching https://10.0.0.1:2379: refused",
    );
    has(
        &text,
        "Next        the lock does not answer: reaching https://10.0.0.1:2379: refused",
    );
}

#[test]
fn what_comes_next_is_said_in_words() {
    let next = |change: &dyn Fn(&mut View)| {
        let mut view = view("resting");
        change(&mut view);
        super::next(&view, now())
    };
    assert_eq!(next(&|_| ()), "begins");
    assert_eq!(next(&|v| v.need = None), "nothing");
    assert_eq!(
        next(&|v| v.host.settled = false),
        "waits until the release that runs is kept"
    );
    let closed = next(&|v| v.window.open = false);
    assert!(
        closed.starts_with("begins when the window opens, in 3 h, on "),
        "{closed}"
    );
    let off = next(&|v| v.lock.strategy = "off".into());
    assert!(off.contains("locksmithctl reboot"), "{off}");
    let nowhere = next(&|v| v.lock.group = None);
    assert!(nowhere.contains("does not say where"), "{nowhere}");
    let pause = next(&|v| v.pause = Some(now() + SignedDuration::from_mins(9)));
    assert!(pause.starts_with("tries again in 9 min"), "{pause}");
    for (state, expected) in [
        ("draining", "pre-reboot.d"),
        ("rebooting", "reboots now"),
        ("releasing", "gives the lock back"),
        ("grace", "looks who is logged in"),
    ] {
        let text = next(&|v| v.plan.state = state.into());
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn brakes_that_are_not_on_yet_are_told_as_such() {
    let mut group = group();
    group.brakes[0].on = false;
    group.brakes[0].threshold = 3;
    let text = brakes(&group);
    has(
        &text,
        "0.3.0 was left by 1 of 3 hosts that it takes to stop it",
    );
    group.brakes.clear();
    assert_eq!(
        brakes(&group),
        "no host of group workers had to leave a release\n"
    );
}
