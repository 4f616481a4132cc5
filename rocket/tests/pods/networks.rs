//! Networks of CNI plugins: what a plugin holds for a pod is given back, sooner or later.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use crate::host::{Host, on_a_host};

/// Holds a file for each pod. `stubborn` has as many lines as times that it does not let go;
/// with `deadly` it kills who called it.
const PLUGIN: &str = r#"#!/bin/sh
root=$(dirname "$0")/../../..
case $CNI_COMMAND in
ADD)
    touch "$root/held-$CNI_CONTAINERID"
    test -e "$root/deadly" && kill -KILL $PPID
    echo '{"cniVersion": "1.1.0", "ips": [{"address": "10.9.0.2/24"}]}'
    ;;
DEL)
    if test -s "$root/stubborn"; then
        sed -i 1d "$root/stubborn"
        echo '{"code": 100, "msg": "not now"}'
        exit 1
    fi
    rm -f "$root/held-$CNI_CONTAINERID"
    ;;
esac
"#;

fn with_a_network(test: impl FnOnce(&Host) + Send) {
    on_a_host(|host| {
        let (bin, networks) = (host.path("rocket/cni/bin"), host.path("rocket/cni/net.d"));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&networks).unwrap();
        fs::write(bin.join("holder"), PLUGIN).unwrap();
        fs::set_permissions(bin.join("holder"), fs::Permissions::from_mode(0o755)).unwrap();
        let list = r#"{"cniVersion": "1.1.0", "name": "lan", "plugins": [{"type": "holder"}]}"#;
        fs::write(networks.join("lan.conflist"), list).unwrap();
        test(host);
    });
}

fn refuse(host: &Host, times: usize) {
    fs::write(host.path("stubborn"), "no\n".repeat(times)).unwrap();
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// How many pods the plugin holds something for.
fn held(host: &Host) -> usize {
    let names = fs::read_dir(host.path("")).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    names
        .map(name)
        .filter(|name| name.to_string_lossy().starts_with("held-"))
        .count()
}

fn run(host: &Host) -> Vec<&str> {
    host.run(&["--net=lan"], &["--", "true"])
}

#[test]
fn a_plugin_that_failed_once_is_asked_again_by_the_next_collection() {
    with_a_network(|host| {
        refuse(host, 1);
        let ran = host.rocket(&run(host));
        assert!(ran.status.success(), "the app did what it had to");
        let text = said(&ran);
        assert!(
            text.contains("plugin holder failed to DEL: not now"),
            "{text}"
        );
        assert_eq!(held(host), 1);
        host.does(&["gc"]);
        assert_eq!(held(host), 0);
        assert_eq!(host.does(&["list", "--no-legend"]).lines().count(), 1);
        host.does(&["gc", "--grace-period=0s"]);
        assert_eq!(host.does(&["list", "--no-legend"]), "");
    });
}

#[test]
fn what_a_plugin_never_takes_back_is_told_of_and_not_forgotten() {
    with_a_network(|host| {
        refuse(host, 1000);
        let file = host.path("uuid");
        let file = file.to_str().unwrap();
        let words = host.run(&["--net=lan", "--uuid-file-save", file], &["--", "true"]);
        host.does(&words);
        let uuid = fs::read_to_string(file).unwrap();
        let uuid = uuid.trim();
        let fails = |words: &[&str]| {
            let output = host.rocket(words);
            assert_eq!(output.status.code(), Some(254), "{words:?}");
            let text = said(&output);
            assert!(
                text.contains("plugin holder failed to DEL: not now"),
                "{text}"
            );
        };
        fails(&["gc"]);
        fails(&["rm", uuid]);
        fails(&["run-prepared", "--again", uuid]);
        // Its time is over: its files go, and what is owed stays.
        fails(&["gc", "--grace-period=0s"]);
        fails(&["gc", "--grace-period=0s"]);
        assert!(host.does(&["list"]).contains("removing"));
        let garbage = host.path("rocket/data/pods/garbage").join(uuid);
        assert_eq!(fs::read_dir(&garbage).unwrap().count(), 1);
        refuse(host, 0);
        host.does(&["gc"]);
        assert_eq!(held(host), 0);
        assert!(!garbage.exists());
    });
}

#[test]
fn a_pod_that_is_removed_by_force_leaves_what_it_owes_to_the_collection() {
    with_a_network(|host| {
        refuse(host, 2);
        let file = host.path("uuid");
        let file = file.to_str().unwrap();
        host.does(&host.run(&["--net=lan", "--uuid-file-save", file], &["--", "true"]));
        host.does(&["rm", "--force", "--uuid-file", file]);
        assert_eq!(held(host), 1);
        host.does(&["gc"]);
        assert_eq!(held(host), 0);
        assert_eq!(host.does(&["list", "--no-legend"]), "");
    });
}

#[test]
fn a_rocket_that_is_killed_while_a_plugin_works_leaves_the_network_later() {
    with_a_network(|host| {
        fs::write(host.path("deadly"), "").unwrap();
        assert!(!host.rocket(&run(host)).status.success());
        assert_eq!(held(host), 1);
        host.does(&["gc", "--grace-period=0s"]);
        assert_eq!(held(host), 0);
        assert_eq!(host.does(&["list", "--no-legend"]), "");
    });
}

#[test]
fn a_pod_that_could_not_start_has_left_its_networks() {
    with_a_network(|host| {
        let missing = host.rocket(&host.run(&["--net=lan"], &["--", "/none"]));
        assert!(!missing.status.success());
        assert_eq!(held(host), 0);
        let unknown = host.rocket(&host.run(&["--net=lan,wan"], &["--", "true"]));
        let text = said(&unknown);
        assert!(
            text.contains("no network \"wan\"") && text.contains("lan"),
            "{text}"
        );
        assert_eq!(held(host), 0);
    });
}
