//! What a machine says about a config that it cannot carry out, word by word:
//! somebody who sees it for the first time has to act on it. What can be said
//! before a machine is tried is in `tests/broken`.

use std::net::TcpListener;
use std::time::Duration;

use ignition::stage::Stage;
use rcgen::IsCa;
use serde_json::{Value, json};

use super::server::{Answer, Identity, Server};
use super::{Host, data, sha256, v3};

/// The message about a config with one file from `source`, and whether only a
/// change of the config helps. Ports, and how often it was tried, are letters.
fn about(file: Value) -> (String, bool) {
    let mut host = Host::new();
    host.settings.fetch_timeout = Duration::from_secs(1);
    host.config(&v3(json!({"ignition": {}, "storage": {"files": [file]}})));
    let (message, is_final) = host.failure();
    (plain(&message), is_final)
}

fn plain(message: &str) -> String {
    let mut text = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once("127.0.0.1:") {
        text += before;
        text += "127.0.0.1:PORT";
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    text += rest;
    let (Some(start), Some(end)) = (text.find(" after "), text.find(" s: ")) else {
        return text;
    };
    text.replace_range(start..end, " after N attempts in N");
    text
}

#[track_caller]
fn says(found: (String, bool), expected: &str, is_final: bool) {
    let (message, said) = found;
    assert_eq!(said, is_final, "{message}");
    assert!(
        message.ends_with(expected),
        "{message}\n  does not end with\n{expected}"
    );
    assert!(message.contains("storage.files.0"), "{message}");
}

#[test]
fn an_address_that_nobody_answers_at() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let source = format!("http://{address}/motd");
    says(
        about(json!({"path": "/etc/motd", "contents": {"source": source}})),
        ": gave up fetching http://127.0.0.1:PORT/motd after N attempts in N s: \
         io: Connection refused (os error 111); is the address right, and can this machine reach it \
         (network, name server, proxy)?",
        false,
    );
}

#[test]
fn an_address_where_nothing_is() {
    let server = Server::start(|_, _| Answer::status(404));
    says(
        about(json!({"path": "/etc/motd", "contents": {"source": server.url("/motd")}})),
        ": fetching http://127.0.0.1:PORT/motd: the server answered 404; there is nothing at \
         this address: check its spelling",
        true,
    );
}

#[test]
fn an_address_behind_a_login() {
    let server = Server::start(|_, _| Answer::status(401));
    says(
        about(json!({"path": "/etc/motd", "contents": {"source": server.url("/motd")}})),
        ": fetching http://127.0.0.1:PORT/motd: the server answered 401; it wants credentials: \
         give them in httpHeaders, or let everybody read it there",
        true,
    );
}

#[test]
fn a_hash_of_something_else() {
    let server = Server::start(|_, _| Answer::ok(b"hello"));
    let contents = json!({
        "source": server.url("/motd"),
        "verification": {"hash": sha256(b"hullo")},
    });
    says(
        about(json!({"path": "/etc/motd", "contents": contents})),
        &format!(
            ": http://127.0.0.1:PORT/motd does not match its hash: expected {}, found {}; if \
             what is there was changed on purpose, write the hash that was found",
            sha256(b"hullo"),
            sha256(b"hello")
        ),
        true,
    );
}

#[test]
fn a_server_that_signed_its_own_certificate() {
    let identity = Identity::self_signed("127.0.0.1", IsCa::NoCa);
    let server = Server::start_tls(identity, |_, _| Answer::ok(b""));
    says(
        about(json!({"path": "/etc/motd", "contents": {"source": server.url("/motd")}})),
        ": fetching https://127.0.0.1:PORT/motd: the server's certificate is not accepted: no \
         authority that this host trusts has signed it; add the authority's certificate (or the \
         server's own, if it is self-signed) to ignition.security.tls.certificateAuthorities",
        true,
    );
}

#[test]
fn a_disk_that_is_not_there() {
    let host = Host::new();
    // One of /dev would be waited for.
    let disk = json!({"device": "/disks/absent", "partitions": [{"label": "data"}]});
    host.config(&v3(json!({"ignition": {}, "storage": {"disks": [disk]}})));
    host.run(Stage::FetchOffline).unwrap();
    let error = host.run(Stage::Disks).unwrap_err();
    assert!(error.is_final());
    let message = format!("{:#}", anyhow::Error::from(error));
    let expected = "storage.disks.0: /disks/absent is not there, after waiting 0 s; \
                    give a device that this machine has";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn gzip_that_is_none() {
    let contents = json!({"source": data(b"hello"), "compression": "gzip"});
    says(
        about(json!({"path": "/etc/motd", "contents": contents})),
        ": reading a data URL: unexpected end of file; `compression` says gzip, which this is \
         not, or not all of it",
        true,
    );
}

#[test]
fn a_platform_that_is_misspelt() {
    let mut host = Host::new();
    host.settings.platform = "vsphere".to_owned();
    let (message, is_final) = host.failure();
    assert_eq!(
        message,
        "platform \"vsphere\" is not implemented in this version; known are: aws, azure, \
         digitalocean, file, gcp, hetzner, hyperv, kubevirt, metal, nutanix, openstack, \
         oraclecloud, proxmoxve, qemu, virtualbox, vmware, vultr"
    );
    assert!(is_final);
}

#[test]
fn a_config_of_the_series_before() {
    let host = Host::new();
    host.url(&data(br#"{"ignition": {"version": "2.3.0"}}"#));
    let (message, is_final) = host.failure();
    assert!(message.contains("line 1, column 26"), "{message}");
    assert!(
        message.contains(
            "spec version 2.3.0 is of the incompatible series 2; accepted are 3.0.0 to 3.6.0; \
             translate the config to spec 3 first"
        ),
        "{message}"
    );
    assert!(is_final);
}
