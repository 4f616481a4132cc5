//! Whole runs of the stages on a directory, as whoever runs the tests.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod hypervisors;
mod messages;
mod nodes;
mod objects;
mod providers;
mod reach;
mod server;
mod telling;
mod tftp;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use ignition::config::Accepts;
use ignition::provider::System;
use ignition::stage::files::KeysFile;
use ignition::stage::{Settings, Stage, StageError, run};
use serde_json::{Value, json};
use server::{Answer, Server};
use sha2::Digest as _;
use tempfile::TempDir;

/// A machine to be provisioned.
struct Host {
    directory: TempDir,
    settings: Settings,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("root/etc")).unwrap();
        fs::write(at("cmdline"), "quiet\n").unwrap();
        let settings = Settings {
            platform: "metal".to_owned(),
            root: at("root"),
            config_cache: at("run/config.json"),
            need_network: at("run/neednet"),
            state_file: at("run/state"),
            fetch_timeout: Duration::from_secs(10),
            cmdline: at("cmdline"),
            system: System::new(vec![at("system")]),
            keys_file: KeysFile::default(),
            accepts: Accepts::Stable,
        };
        Self {
            directory,
            settings,
        }
    }

    /// Sets the URL of the config.
    fn url(&self, url: &str) {
        fs::write(&self.settings.cmdline, format!("ignition.config.url={url}")).unwrap();
    }

    /// Sets the config itself, and forgets the one before.
    fn config(&self, config: &Value) {
        self.url(&data(config.to_string().as_bytes()));
        let _ = fs::remove_file(&self.settings.config_cache);
    }

    fn run(&self, stage: Stage) -> Result<(), StageError> {
        run(stage, &self.settings)
    }

    fn provision(&self) -> Result<(), StageError> {
        [Stage::FetchOffline, Stage::Fetch, Stage::Files]
            .into_iter()
            .try_for_each(|stage| self.run(stage))
    }

    fn failure(&self) -> (String, bool) {
        let error = self.provision().unwrap_err();
        let is_final = error.is_final();
        (format!("{:#}", anyhow::Error::from(error)), is_final)
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.settings.root.join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }

    fn untouched(&self) -> bool {
        fs::read_dir(&self.settings.root).unwrap().count() == 1
            && fs::read_dir(self.path("/etc")).unwrap().count() == 0
    }
}

fn data(bytes: &[u8]) -> String {
    let encoded: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
    format!("data:,{encoded}")
}

fn sha256(bytes: &[u8]) -> String {
    format!(
        "sha256-{}",
        ignition::fetch::hex(&sha2::Sha256::digest(bytes))
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn v3(mut config: Value) -> Value {
    config["ignition"]["version"] = json!("3.6.0");
    config
}

#[test]
fn no_config_gives_the_defaults_and_a_record() {
    let host = Host::new();
    host.provision().unwrap();
    let record: Value = serde_json::from_str(&host.read("/etc/.ignition-result.json")).unwrap();
    assert_eq!(record["userConfigProvided"], false);
    assert_eq!(record.as_object().unwrap().len(), 3);
    assert_eq!(host.mode("/etc/.ignition-result.json"), 0o600);
    assert_eq!(fs::read_dir(host.path("/etc")).unwrap().count(), 1);
}

#[test]
fn the_experimental_spec_needs_its_flag() {
    let mut host = Host::new();
    host.config(&json!({"ignition": {"version": "3.7.0-experimental"}}));
    let (message, is_final) = host.failure();
    assert!(message.contains("ignition.experimental=1"), "{message}");
    assert!(is_final && host.untouched());
    host.settings.accepts = Accepts::Experimental;
    host.provision().unwrap();
}

#[test]
fn entries_come_out_exactly() {
    let host = Host::new();
    symlink("/data", host.path("/srv")).unwrap();
    fs::create_dir(host.path("/kept")).unwrap();
    fs::set_permissions(host.path("/kept"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(host.path("/etc/issue"), "old\n").unwrap();
    fs::set_permissions(host.path("/etc/issue"), fs::Permissions::from_mode(0o604)).unwrap();
    let own = fs::metadata(host.path("/etc")).unwrap();
    host.config(&v3(json!({
        "storage": {
            "directories": [{"path": "/kept"}, {"path": "/d/e", "mode": 0o2750}],
            "files": [
                {"path": "/d/e/f", "mode": 0o4511, "contents": {"source": "data:,hello"},
                 "user": {"id": own.uid()}, "group": {"id": own.gid()}},
                {"path": "/srv/empty"},
                {"path": "/etc/issue", "append": [
                    {"source": "data:,1%0A"}, {"source": "data:,2%0A"}]},
            ],
            "links": [
                {"path": "/l", "target": "../anywhere"},
                {"path": "/hard", "target": "/d/e/f", "hard": true},
            ],
        },
        "systemd": {"units": [
            {"name": "a.service", "contents": "[Unit]\n",
             "dropins": [{"name": "x.conf", "contents": "[Service]\n"}]},
            {"name": "m.service", "mask": true},
        ]},
    })));
    host.provision().unwrap();
    assert_eq!(host.read("/d/e/f"), "hello");
    assert_eq!(
        (host.mode("/d/e/f"), host.mode("/d/e"), host.mode("/d")),
        (0o4511, 0o2750, 0o755)
    );
    assert_eq!(host.mode("/kept"), 0o711);
    assert_eq!(
        (host.read("/data/empty"), host.mode("/data/empty")),
        (String::new(), 0o644)
    );
    assert_eq!(
        (host.read("/etc/issue"), host.mode("/etc/issue")),
        ("old\n1\n2\n".to_owned(), 0o604)
    );
    assert_eq!(
        fs::read_link(host.path("/l")).unwrap(),
        Path::new("../anywhere")
    );
    assert_eq!(fs::metadata(host.path("/hard")).unwrap().nlink(), 2);
    assert_eq!(host.read("/etc/systemd/system/a.service"), "[Unit]\n");
    assert_eq!(
        host.read("/etc/systemd/system/a.service.d/x.conf"),
        "[Service]\n"
    );
    let mask = fs::read_link(host.path("/etc/systemd/system/m.service")).unwrap();
    assert_eq!(mask, Path::new("/dev/null"));
    assert!(!host.path("/etc/.ignition").exists());
}

#[test]
fn a_provisioned_host_is_not_provisioned_again() {
    let host = Host::new();
    host.provision().unwrap();
    host.config(&v3(json!({"storage": {"files": [{"path": "/new"}]}})));
    host.provision().unwrap();
    assert!(!host.path("/new").exists());
}

#[test]
fn a_failed_attempt_leaves_no_trace_in_the_next() {
    let host = Host::new();
    fs::write(host.path("/etc/issue"), "old\n").unwrap();
    let files = |text: &str, owner: Value| {
        v3(json!({"storage": {
            "directories": [{"path": "/x"}],
            "files": [
                {"path": "/a", "contents": {"source": data(text.as_bytes())}},
                {"path": "/etc/issue", "append": [{"source": data(text.as_bytes())}]},
                {"path": "/x/y/z", "user": owner},
            ],
            "links": [{"path": "/l", "target": text}],
        }}))
    };
    host.config(&files("first", json!({"name": "nobody-here"})));
    let (message, is_final) = host.failure();
    assert!(message.contains("no user \"nobody-here\""), "{message}");
    assert!(message.contains("key storage.files.2"), "{message}");
    assert!(is_final);
    assert!(host.path("/a").exists() && !host.path("/etc/.ignition-result.json").exists());
    host.config(&files("second", json!({})));
    host.provision().unwrap();
    assert_eq!(host.read("/a"), "second");
    assert_eq!(host.read("/etc/issue"), "old\nsecond");
    assert_eq!(fs::read_link(host.path("/l")).unwrap(), Path::new("second"));
    assert!(!host.path("/etc/.ignition").exists());
}

#[test]
fn what_the_host_had_is_in_the_way() {
    for (entry, words) in [
        (
            json!({"files": [{"path": "/etc/f", "contents": {"source": "data:,x"}}]}),
            "is there; set",
        ),
        (
            json!({"files": [{"path": "/etc/d", "contents": {"source": "data:,x"}}]}),
            "is no file",
        ),
        (
            json!({"directories": [{"path": "/etc/f"}]}),
            "is no directory",
        ),
        (
            json!({"links": [{"path": "/etc/f", "target": "x"}]}),
            "is another thing",
        ),
    ] {
        let host = Host::new();
        fs::write(host.path("/etc/f"), "mine").unwrap();
        fs::create_dir(host.path("/etc/d")).unwrap();
        host.config(&v3(json!({"storage": entry})));
        let (message, is_final) = host.failure();
        assert!(message.contains(words) && is_final, "{message}");
        assert_eq!(host.read("/etc/f"), "mine");
        let mut wanted = entry.clone();
        for list in ["files", "directories", "links"] {
            for item in wanted[list].as_array_mut().into_iter().flatten() {
                item["overwrite"] = json!(true);
            }
        }
        wanted
            .as_object_mut()
            .unwrap()
            .retain(|_, list| list.is_array());
        host.config(&v3(json!({"storage": wanted})));
        host.provision().unwrap();
    }
}

#[test]
fn configs_merge_over_http() {
    let child = v3(json!({"storage": {"files": [
        {"path": "/a", "contents": {"source": "data:,child"}},
        {"path": "/c", "contents": {"source": "data:,c"}}]}}))
    .to_string();
    let packed = gzip(child.as_bytes());
    let replacement = v3(json!({"storage": {"files": [{"path": "/r"}]}})).to_string();
    let server = Server::start(move |request, count| match request.path.as_str() {
        "/flaky" if count < 3 => Answer::status(500),
        "/flaky" => Answer::redirect("moved?x"),
        "/moved?x" => Answer::ok(&packed),
        "/header" if request.header("x-token") == Some("t") => Answer::ok(replacement.as_bytes()),
        "/body" => Answer::ok(b"over http"),
        _ => Answer::status(404),
    });
    let host = Host::new();
    host.config(&v3(json!({
        "ignition": {"config": {"merge": [
            {"source": server.url("/flaky"), "compression": "gzip",
             "verification": {"hash": sha256(child.as_bytes())}},
            {"source": data(v3(json!({"ignition": {"config": {"replace": {
                "source": server.url("/header"),
                "httpHeaders": [{"name": "X-Token", "value": "t"}]}}}})).to_string().as_bytes())},
        ]}},
        "storage": {"files": [
            {"path": "/a", "mode": 0o600, "contents": {"source": "data:,parent"}},
            {"path": "/b", "contents": {"source": server.url("/body"),
             "verification": {"hash": sha256(b"over http")}}}]},
    })));
    host.run(Stage::FetchOffline).unwrap();
    assert!(host.settings.need_network.exists());
    assert!(!host.settings.config_cache.exists());
    host.provision().unwrap();
    assert_eq!(
        (host.read("/a"), host.mode("/a")),
        ("child".to_owned(), 0o600)
    );
    assert_eq!(host.read("/b"), "over http");
    assert_eq!(host.read("/c"), "c");
    assert!(host.path("/r").exists());
    assert_eq!(server.count("/flaky"), 3);
    let mode = fs::metadata(&host.settings.config_cache)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn files_over_http_ask_for_the_network_too() {
    let host = Host::new();
    host.config(&v3(json!({"storage": {"files": [
        {"path": "/a", "contents": {"source": "http://192.0.2.1/x"}}]}})));
    host.run(Stage::FetchOffline).unwrap();
    assert!(host.settings.need_network.exists() && host.settings.config_cache.exists());
    let local = Host::new();
    local.config(&v3(json!({})));
    local.run(Stage::FetchOffline).unwrap();
    assert!(!local.settings.need_network.exists());
}

#[test]
fn bad_answers_stop_before_anything_is_written() {
    let server = Server::start(|request, _| match request.path.as_str() {
        "/config" => Answer::ok(br#"{"ignition": {"version": "3.0.0"}}"#),
        "/broken" => Answer::ok(b"{\n \"ignition\": 5}"),
        "/loop" => Answer::redirect("/loop"),
        _ => Answer::status(404),
    });
    for (path, hash, words) in [
        ("/config", sha256(b"other"), "does not match its hash"),
        ("/missing", sha256(b""), "answered 404"),
        ("/loop", sha256(b""), "more than 10 redirects"),
        (
            "/broken",
            sha256(b"{\n \"ignition\": 5}"),
            "/broken, line 2, column 14, key ignition",
        ),
    ] {
        let host = Host::new();
        host.config(&v3(json!({
            "ignition": {"config": {"merge": [
                {"source": server.url(path), "verification": {"hash": hash}}]}},
            "storage": {"files": [{"path": "/a"}]},
        })));
        let (message, is_final) = host.failure();
        assert!(message.contains(words) && is_final, "{message}");
        assert!(host.untouched(), "{message}");
    }
}

#[test]
fn a_config_that_includes_itself_is_stopped() {
    let server = Server::start_with_url(|url| {
        let config =
            v3(json!({"ignition": {"config": {"merge": [{"source": format!("{url}/")}]}}}));
        let text = config.to_string();
        move |_, _| Answer::ok(text.as_bytes())
    });
    let host = Host::new();
    host.url(&server.url("/"));
    let (message, is_final) = host.failure();
    assert!(
        message.contains("is there a loop?") && is_final,
        "{message}"
    );
}

#[test]
fn a_silent_network_is_given_up_and_may_be_tried_again() {
    let mut host = Host::new();
    host.settings.fetch_timeout = Duration::from_millis(700);
    // Nothing listens on a port that was just given back.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    host.url(&url);
    let (message, is_final) = host.failure();
    assert!(
        message.contains("gave up fetching") && message.contains("attempts"),
        "{message}"
    );
    assert!(!is_final);
    assert!(host.untouched());
}

#[test]
fn contents_that_do_not_match_leave_no_file() {
    let server = Server::start(|_, _| Answer::ok(b"evil"));
    let host = Host::new();
    host.config(&v3(
        json!({"storage": {"files": [{"path": "/d/a", "contents": {
        "source": server.url("/"), "verification": {"hash": sha256(b"good")}}}]}}),
    ));
    let (message, is_final) = host.failure();
    assert!(
        message.contains("key storage.files.0") && is_final,
        "{message}"
    );
    assert_eq!(fs::read_dir(host.path("/d")).unwrap().count(), 0);
    assert!(!host.path("/etc/.ignition-result.json").exists());
}

#[test]
fn conflicts_between_configs_name_the_one_at_fault() {
    let child = v3(json!({"storage": {"files": [{"path": "/a/b"}]}})).to_string();
    let host = Host::new();
    host.config(&v3(json!({
        "ignition": {"config": {"merge": [{"source": data(child.as_bytes())}]}},
        "storage": {"links": [{"path": "/a", "target": "/c"}]},
    })));
    let (message, _) = host.failure();
    assert!(
        message.contains("the data URL of ignition.config.merge.0, line 1")
            && message.contains("lies below storage.links.0.path"),
        "{message}"
    );
    assert!(host.untouched());
}

#[test]
fn enabled_units_are_enabled_at_once() {
    let found = std::process::Command::new("systemctl")
        .arg("--version")
        .output();
    if found.is_err() {
        eprintln!("skipped: this machine has no systemctl");
        return;
    }
    let host = Host::new();
    let service = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    host.config(&v3(json!({"systemd": {"units": [
        {"name": "on.service", "enabled": true, "contents": service},
        {"name": "off.service", "enabled": false, "contents": service},
        {"name": "e@.service", "contents": service},
        {"name": "e@one.service", "enabled": true},
        {"name": "absent.service", "enabled": true},
    ]}})));
    host.provision().unwrap();
    let wants = host.path("/etc/systemd/system/multi-user.target.wants");
    let mut names: Vec<_> = fs::read_dir(wants)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["e@one.service", "on.service"]);
    assert_eq!(
        host.read("/etc/systemd/system-preset/20-ignition.preset"),
        "enable on.service\nenable absent.service\nenable e@.service one\ndisable off.service\n"
    );
}

#[test]
fn stages_without_work_refuse_a_cache_that_asks_for_some() {
    let host = Host::new();
    host.config(&v3(json!({})));
    host.provision().unwrap();
    for stage in [Stage::Kargs, Stage::Disks, Stage::Mount, Stage::Umount] {
        host.run(stage).unwrap();
    }
    let bound = json!({"name": "x", "device": "/dev/x", "cex": {"enabled": true}});
    let bound = v3(json!({"storage": {"luks": [bound]}}));
    fs::write(&host.settings.config_cache, bound.to_string()).unwrap();
    assert!(host.run(Stage::Disks).is_err());
    assert!(host.directory.path().exists());
}

#[test]
fn base_configs_come_before_the_users() {
    let host = Host::new();
    let system = host.directory.path().join("system");
    let part = |name: &str, path: &str, text: &str| {
        let file = json!({"path": path, "contents": {"source": data(text.as_bytes())}});
        let text = v3(json!({"storage": {"files": [file]}})).to_string();
        let path = system.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    part("base.d/10.ign", "/a", "base");
    part("base.d/20.ign", "/b", "base");
    part("base.platform.d/metal/00.ign", "/b", "platform");
    part("base.platform.d/qemu/00.ign", "/a", "wrong platform");
    part("user.ign", "/c", "user of the system");
    host.provision().unwrap();
    assert_eq!(host.read("/b"), "platform");
    assert_eq!(host.read("/c"), "user of the system");
    let state: Value =
        serde_json::from_slice(&fs::read(&host.settings.state_file).unwrap()).unwrap();
    let kinds: Vec<_> = state["fetchedConfigs"].as_array().unwrap().iter().collect();
    let base = json!({"kind": "base", "source": "system", "referenced": false});
    let user = json!({"kind": "user", "source": "system", "referenced": false});
    assert_eq!(kinds, [&base, &base, &base, &user]);
    let host = Host {
        settings: Settings {
            root: host.directory.path().join("root2"),
            ..host.settings
        },
        ..host
    };
    fs::create_dir_all(host.path("/etc")).unwrap();
    host.config(&v3(json!({"storage": {"files": [
        {"path": "/b", "contents": {"source": "data:,cmdline"}},
    ]}})));
    host.provision().unwrap();
    assert_eq!(host.read("/a"), "base");
    assert_eq!(host.read("/b"), "cmdline");
    assert!(!host.path("/c").exists());
}

#[test]
fn only_base_configs_are_not_a_users_config() {
    let host = Host::new();
    let path = host.directory.path().join("system/base.d");
    fs::create_dir_all(&path).unwrap();
    fs::write(
        path.join("x"),
        v3(json!({"storage": {"files": [{"path": "/a"}]}})).to_string(),
    )
    .unwrap();
    host.provision().unwrap();
    assert_eq!(host.read("/a"), "");
    let record: Value = serde_json::from_str(&host.read("/etc/.ignition-result.json")).unwrap();
    assert_eq!(record["userConfigProvided"], false);
}

#[test]
fn a_base_config_that_is_broken_or_empty_is_refused_by_name() {
    let host = Host::new();
    let path = host.directory.path().join("system/base.d");
    fs::create_dir_all(&path).unwrap();
    for (text, words) in [("{", "not valid JSON"), ("", "empty"), (" \n", "empty")] {
        fs::write(path.join("x"), text).unwrap();
        let (message, is_final) = host.failure();
        assert!(message.contains("base.d/x"), "{message}");
        assert!(message.contains(words), "{message}");
        assert!(is_final);
    }
}

#[test]
fn disks_come_before_files_and_a_flag_asks_for_them() {
    if std::process::Command::new("blkid").output().is_err() {
        eprintln!("skipped: this machine has no blkid");
        return;
    }
    let host = Host::new();
    let image = host.directory.path().join("disk.img");
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let flag = host.settings.config_cache.with_file_name("disks");
    host.config(&v3(json!({})));
    host.run(Stage::FetchOffline).unwrap();
    assert!(!flag.exists());
    host.config(&v3(json!({"storage": {
        "disks": [{"device": image, "partitions": [{"number": 1, "label": "a"}]}],
        "files": [{"path": "/etc/a"}]}})));
    host.run(Stage::FetchOffline).unwrap();
    host.run(Stage::Fetch).unwrap();
    assert!(flag.exists());
    let error = host.run(Stage::Files).unwrap_err();
    assert!(error.to_string().contains("the stage disks"), "{error}");
    assert!(host.untouched());
    for stage in [Stage::Disks, Stage::Mount, Stage::Files, Stage::Umount] {
        host.run(stage).unwrap();
    }
    assert_eq!(host.read("/etc/a"), "");
    assert!(host.path("/etc/.ignition-result.json").exists());
    let written = fs::read(&image).unwrap();
    assert_eq!(&written[512..520], b"EFI PART");
    // A host that is provisioned keeps its disks, whatever a config says.
    fs::write(&image, vec![0; 64 << 20]).unwrap();
    host.run(Stage::Disks).unwrap();
    assert!(fs::read(&image).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn kernel_arguments_come_before_all_else_and_a_flag_asks_for_them() {
    let host = Host::new();
    let flag = host.settings.config_cache.with_file_name("kargs");
    host.config(&v3(json!({
        "kernelArguments": {"shouldExist": ["quiet"], "shouldNotExist": ["splash"]},
        "storage": {"files": [{"path": "/etc/a"}]}})));
    host.run(Stage::FetchOffline).unwrap();
    assert!(flag.exists());
    for stage in [Stage::Disks, Stage::Files] {
        let error = host.run(stage).unwrap_err();
        assert!(error.to_string().contains("the stage kargs"), "{error}");
    }
    // Whoever runs this was not started by the selector.
    let error = host.run(Stage::Kargs).unwrap_err();
    assert!(error.is_final());
    let message = error.to_string();
    assert!(message.contains("line 1, column "), "{message}");
    assert!(message.contains("boot selector"), "{message}");
    assert!(host.untouched());
    fs::write(&host.settings.cmdline, "quiet rw\n").unwrap();
    for stage in [Stage::Kargs, Stage::Disks, Stage::Files] {
        host.run(stage).unwrap();
    }
    assert_eq!(host.read("/etc/a"), "");
    // A host that is provisioned keeps its arguments, whatever a config says.
    fs::write(&host.settings.cmdline, "splash\n").unwrap();
    host.run(Stage::Kargs).unwrap();
    let host = Host::new();
    host.config(&v3(json!({})));
    host.run(Stage::FetchOffline).unwrap();
    assert!(!host.settings.config_cache.with_file_name("kargs").exists());
}

#[test]
fn a_disk_in_the_way_stops_with_line_and_column() {
    let host = Host::new();
    host.config(&v3(
        json!({"storage": {"disks": [{"device": "/absent/disk"}]}}),
    ));
    host.run(Stage::FetchOffline).unwrap();
    let error = host.run(Stage::Disks).unwrap_err();
    assert!(error.is_final());
    let message = error.to_string();
    assert!(message.contains("line 1, column "), "{message}");
    assert!(
        message.contains("key storage.disks.0: /absent/disk is not there"),
        "{message}"
    );
    assert!(host.untouched());
}
