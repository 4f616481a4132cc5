use super::super::status::tests::{WEB_1, WEB_2, group, now};
use super::*;

#[test]
fn a_host_is_found_by_its_id_and_by_its_name() {
    let mut group = group();
    assert_eq!(find(&group, WEB_2).unwrap(), WEB_2);
    assert_eq!(find(&group, "web-2").unwrap(), WEB_2);
    assert_eq!(find(&group, "web-1").unwrap(), WEB_1);
    assert_eq!(find(&group, "nobody").unwrap(), "nobody");
    group.queue[0].claim.host = "web-2".into();
    let error = find(&group, "web-2").unwrap_err();
    assert_eq!(error.status(), 4);
    assert!(error.to_string().contains("several hosts are called web-2"));
}

#[test]
fn what_it_means_is_said_first() {
    let text = explain(&group(), WEB_2, now());
    for part in [
        "web-2 (22222222222222222222222222222222) holds the lock of group workers since 3 h ago",
        "0.2.0 -> 0.3.0, 0.3.0 is armed",
        "last sign of life 2 h ago",
        "its place becomes free: web-1 reboots next",
        "one host more than 1 is down",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(explain(&group(), WEB_1, now()).contains("does not hold the lock"));
}
