use std::fs;

use super::*;
use crate::policy::{Roots, load};

fn problems(text: &str) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.toml"), text).unwrap();
    let roots = Roots::new(vec![root.path().to_path_buf()]);
    let (policy, mut problems) = load(&roots, &schema(Schema::default()));
    problems.append(&mut complaints(&policy));
    let prefix = format!("{}/", root.path().display());
    let shown = |p: &Problem| p.to_string().replace(&prefix, "");
    problems.iter().map(shown).collect()
}

#[test]
fn every_key_takes_what_it_is_for() {
    let text = "[reboot]\nstrategy = \"etcd-lock\"\nlogin_grace = \"1min\"\n\
         drain_deadline = \"1h\"\n\
         [[reboot.windows]]\ndays = [\"Sat\", \"sunday\"]\nstart = \"23:30\"\nlength = \"2h\"\n\
         time_zone = \"Europe/Paris\"\n\
         [[reboot.windows]]\nstart = \"00:00\"\nlength = \"7 days\"\n\
         [reboot.etcd]\nendpoints = [\"https://10.0.0.1:2379\", \"http://[::1]:2379/\"]\n\
         group = \"workers.a-1\"\nca = \"/a\"\ncertificate = \"/b\"\nkey = \"/c\"\n\
         user = \"lock\"\npassword_file = \"/d\"\nbrake_threshold = 16\n\
         expire_after = \"1h\"\n\
         [reboot.fleet_lock]\nurl = \"https://lock.example/below\"\ngroup = \"a\"\nca = \"/e\"\n";
    assert_eq!(problems(text), Vec::<String>::new());
    assert_eq!(problems("[reboot]\nwindows = []\n"), Vec::<String>::new());
}

#[test]
fn every_wrong_value_is_refused_on_its_line() {
    let window = |keys: &str| format!("[reboot]\nwindows = [{{ {keys} }}]\n");
    let etcd = |keys: &str| format!("[reboot.etcd]\n{keys}\n");
    let good = "start = \"02:00\", length = \"1h\"";
    for (text, wanted) in [
        (
            "[reboot]\nstrategy = \"never\"\n".to_string(),
            "a strategy: reboot,",
        ),
        (
            "[reboot]\nlogin_grace = \"-1s\"\n".into(),
            "a length of time",
        ),
        (window("start = \"2:00\", length = \"1h\""), "a time of day"),
        (
            window("start = \"24:00\", length = \"1h\""),
            "a time of day",
        ),
        (
            window("start = \"+2:00\", length = \"1h\""),
            "a time of day",
        ),
        (window("start = \"02:00\""), "missing field `length`"),
        (
            window("start = \"02:00\", length = \"8 days\""),
            "a week at most",
        ),
        (
            window(&format!("{good}, days = [\"Monkey\"]")),
            "a day such as",
        ),
        (
            window(&format!("{good}, time_zone = \"Mars/Base\"")),
            "a time zone such as",
        ),
        (
            etcd("endpoints = [\"10.0.0.1:2379\"]"),
            "an address such as",
        ),
        (
            etcd("endpoints = [\"https://u:p@a\"]"),
            "an address such as",
        ),
        (etcd("endpoints = [\"https://a/v3\"]"), "an address such as"),
        (etcd("group = \"a b\""), "the name of a group"),
        (etcd("group = \"\""), "the name of a group"),
        (etcd("ca = \"ca.pem\""), "an absolute path"),
        (etcd("user = \"\""), "the name of a user"),
        (etcd("brake_threshold = 0"), "a number from 1 to 16"),
        (etcd("expire_after = \"1min\""), "10min at least"),
        (
            "[reboot.fleet_lock]\nurl = \"lock.example\"\n".into(),
            "an address of http",
        ),
    ] {
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with("a.toml:2: reboot."), "{found:?}");
        assert!(found[0].contains(wanted), "{found:?}");
    }
}

#[test]
fn an_unknown_key_of_a_window_is_told_and_the_rest_counts() {
    let found =
        problems("[reboot]\nwindows = [{ start = \"02:00\", length = \"1h\", jitter = \"1h\" }]\n");
    let expected = "a.toml:2: reboot.windows.0.jitter: no key of this name is known";
    assert_eq!(found, [expected]);
}

#[test]
fn keys_that_need_others_are_told_where_they_are() {
    for (text, expected) in [
        (
            "[reboot]\nstrategy = \"etcd-lock\"\n",
            "a.toml:2: reboot.strategy: the strategy etcd-lock needs reboot.etcd.endpoints",
        ),
        (
            "[reboot]\nstrategy = \"fleet-lock\"\n[reboot.etcd]\nendpoints = [\"http://a\"]\n",
            "a.toml:2: reboot.strategy: the strategy fleet-lock needs reboot.fleet_lock.url",
        ),
        (
            "[reboot.etcd]\nkey = \"/k\"\n",
            "a.toml:2: reboot.etcd.key: key needs certificate beside it",
        ),
        (
            "[reboot.etcd]\nuser = \"lock\"\n",
            "a.toml:2: reboot.etcd.user: user needs password_file beside it",
        ),
    ] {
        assert_eq!(problems(text), [expected]);
    }
}

#[test]
fn what_is_shown_reads_as_it_was_written() {
    let text = "days = [\"Sat\", \"Sun\"]\nstart = \"02:05\"\nlength = \"2h\"\n\
         time_zone = \"Europe/Paris\"\n";
    let window: Window = toml::from_str(text).unwrap();
    let shown = toml::to_string(&window).unwrap();
    assert_eq!(toml::from_str::<Window>(&shown).unwrap(), window);
    assert!(shown.contains("start = \"02:05\""), "{shown}");
}
