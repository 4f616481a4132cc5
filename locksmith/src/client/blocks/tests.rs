use super::super::status::tests::{WEB_2, group, now, view};
use super::*;

fn kinds(found: &[Block]) -> Vec<&'static str> {
    found.iter().map(|block| block.kind).collect()
}

#[test]
fn every_reason_is_told_with_what_to_do() {
    let group = Some(Ok(group()));
    let found = blocks(&view("asking"), &group, now());
    assert_eq!(kinds(&found), ["brake", "holder"]);
    assert!(found[0].text.contains("locksmithctl brake lift 0.3.0"));
    assert_eq!(found[1].id.as_deref(), Some(WEB_2));
    assert!(
        found[1].text.contains("locksmithctl unlock 2222"),
        "{found:?}"
    );
}

#[test]
fn a_host_that_needs_no_reboot_is_not_blocked() {
    let mut view = view("resting");
    view.need = None;
    let found = blocks(&view, &Some(Ok(group())), now());
    assert_eq!(found, []);
    assert_eq!(render(&view, &found), "nothing: no reboot is needed\n");
}

#[test]
fn what_is_not_the_groups_doing_is_told_too() {
    let mut closed = view("resting");
    closed.window.open = false;
    assert_eq!(kinds(&blocks(&closed, &None, now())), ["host"]);
    let mut alone = view("asking");
    assert_eq!(kinds(&blocks(&alone, &None, now())), ["lock"]);
    alone.lock.error = Some("no leader".into());
    let found = blocks(&alone, &Some(Err("no leader".into())), now());
    assert_eq!(found[0].text, "the lock does not work: no leader");
    let mut stopped = group();
    (stopped.max, stopped.holders) = (0, Vec::new());
    stopped.brakes.clear();
    let found = blocks(&view("asking"), &Some(Ok(stopped)), now());
    assert_eq!(kinds(&found), ["max"]);
    assert_eq!(blocks(&view("grace"), &None, now()), []);
}
