//! Who asks to be told of a failed first boot, and is.

use std::sync::mpsc;

use ignition::config;
use ignition::fetch::FetchError;
use ignition::report::{ADDRESS, Asked, Attempt, Outcome, Summary, Watch, note, post};
use ignition::stage::Stage;
use serde_json::{Value, json};

use super::server::{Answer, Identity, Server};
use super::{Host, data, v3};

/// A config that asks for reports at `url`.
fn asking(url: &str) -> Value {
    v3(json!({
        "ignition": {},
        "storage": {"files": [
            {"path": ADDRESS, "contents": {"source": data(url.as_bytes())}},
        ]},
    }))
}

fn asked(url: &str) -> Asked {
    let config = config::empty();
    let url = url.to_owned();
    Asked { url, config }
}

fn attempt(host: &Host) -> Attempt {
    let done = Watch::start(Stage::FetchOffline).finish(Outcome::Done);
    note(&host.settings, "boot-1", done).unwrap();
    let failed = Watch::start(Stage::Fetch).finish(Outcome::Failed);
    note(&host.settings, "boot-1", failed).unwrap()
}

#[test]
fn a_summary_reaches_the_server() {
    let host = Host::new();
    let (sender, receiver) = mpsc::channel();
    let server = Server::start(move |request, count| {
        if count == 1 {
            return Answer::status(503);
        }
        let kind = request.header("content-type").map(str::to_owned);
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        sender.send((request.method.clone(), kind, body)).unwrap();
        Answer::status(204)
    });
    let attempt = attempt(&host);
    let summary = Summary::new(&attempt, "line 3: no", true);
    post(&asked(&server.url("/report?key=secret")), &summary).unwrap();
    let (method, kind, body) = receiver.recv().unwrap();
    assert_eq!(method, "POST");
    assert_eq!(kind.as_deref(), Some("application/json"));
    assert_eq!(body["stage"], "fetch");
    assert_eq!(body["message"], "line 3: no");
    assert_eq!(body["final"], true);
    assert_eq!(body["bootID"], "boot-1");
    let stages = [&body["stages"][0], &body["stages"][1]];
    assert_eq!(stages.map(|stage| &stage["outcome"]), ["done", "failed"]);
    assert!(stages.iter().all(|stage| stage["milliseconds"].is_u64()));
    assert!(stages.iter().all(|stage| stage.get("lines").is_none()));
}

#[test]
fn a_server_that_refuses_is_named_without_its_secrets() {
    let host = Host::new();
    let server = Server::start(|request, _| match request.path.as_str() {
        "/moved?key=secret" => Answer::redirect("/elsewhere"),
        _ => Answer::status(403),
    });
    let attempt = attempt(&host);
    let summary = Summary::new(&attempt, "no", false);
    for (path, status) in [("/moved?key=secret", 302), ("/no?key=secret", 403)] {
        let error = post(&asked(&server.url(path)), &summary).unwrap_err();
        assert!(matches!(error, FetchError::Status { status: found, .. } if found == status));
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert_eq!(server.count("/elsewhere"), 0);
}

#[test]
fn the_configs_authorities_are_trusted() {
    let host = Host::new();
    let identity = Identity::signed("localhost");
    let authority = identity.authority.clone();
    let server = Server::start_tls(identity, |_, _| Answer::ok(b""));
    let url = format!("https://localhost:{}/", server.port());
    let attempt = attempt(&host);
    let summary = Summary::new(&attempt, "no", false);
    let error = post(&asked(&url), &summary).unwrap_err();
    assert!(matches!(error, FetchError::Certificate { .. }), "{error}");
    let mut config = asking(&url);
    config["ignition"]["security"] = json!({"tls": {"certificateAuthorities": [
        {"source": data(authority.as_bytes())},
    ]}});
    host.config(&config);
    host.run(Stage::FetchOffline).unwrap();
    let asked = Asked::on_this_boot(&host.settings).unwrap().unwrap();
    assert_eq!(asked.url, url);
    post(&asked, &summary).unwrap();
}

#[test]
fn a_wrong_config_waits_for_the_network_if_somebody_is_told() {
    let host = Host::new();
    let wrong = data(b"{\"ignition\": {\"version\": \"2.0.0\"}}");
    host.url(&wrong);
    assert!(host.run(Stage::FetchOffline).is_err());
    assert!(!host.settings.need_network.exists());
    let cmdline = format!("ignition.config.url={wrong} ignition.report_url=https://h.example/r");
    std::fs::write(&host.settings.cmdline, cmdline).unwrap();
    host.run(Stage::FetchOffline).unwrap();
    assert!(host.settings.need_network.exists());
    assert!(!host.settings.config_cache.exists());
    let error = host.run(Stage::Fetch).unwrap_err();
    assert!(error.is_final());
    assert!(host.untouched());
}

#[test]
fn a_config_that_asks_needs_the_network_and_is_remembered() {
    use std::os::unix::fs::PermissionsExt as _;
    let host = Host::new();
    host.config(&asking("https://h.example/report?key=secret"));
    host.run(Stage::FetchOffline).unwrap();
    assert!(host.settings.need_network.exists());
    assert!(host.settings.config_cache.exists());
    let asked = Asked::on_this_boot(&host.settings).unwrap().unwrap();
    assert_eq!(asked.url, "https://h.example/report?key=secret");
    let kept = host.settings.state_file.with_file_name("report-asked.json");
    let mode = std::fs::metadata(kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    host.run(Stage::Fetch).unwrap();
    host.run(Stage::Files).unwrap();
}

#[test]
fn stages_of_one_boot_are_noted_together() {
    let host = Host::new();
    let stages = |attempt: &Attempt| {
        let names = attempt.stages.iter().map(|run| run.stage.clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(stages(&attempt(&host)), ["fetch-offline", "fetch"]);
    let next = Watch::start(Stage::FetchOffline).finish(Outcome::Done);
    let next = note(&host.settings, "boot-2", next).unwrap();
    assert_eq!(stages(&next), ["fetch-offline"]);
}
