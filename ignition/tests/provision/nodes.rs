//! Nodes of clusters: their material is judged before anything is written.

use std::fs;

use ignition::stage::Stage;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use super::server::{Answer, Server};
use super::{Host, data, v3};

/// An authority, and what it gave to a node called web-1.
struct Material {
    ca: String,
    certificate: String,
    key: String,
}

fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

fn material(years: (i32, i32)) -> Material {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "The authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["web-1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Material {
        ca: pem("CERTIFICATE", issuer.der()),
        certificate: pem("CERTIFICATE", certificate.der()),
        key: pem("PRIVATE KEY", &key.serialize_der()),
    }
}

/// A config with the authority and certificate embedded, and the key from `key`.
fn config(material: &Material, key: &str) -> Value {
    let file = |path: &str, source: &str| json!({"path": path, "contents": {"source": source}});
    v3(json!({"storage": {"files": [
        {"path": "/etc/first"},
        file("/etc/cluster/ca.crt", &data(material.ca.as_bytes())),
        file("/etc/cluster/node.crt", &data(material.certificate.as_bytes())),
        file("/etc/cluster/node.key", key),
        file("/etc/hostname", "data:,web-1"),
    ]}}))
}

#[test]
fn a_right_node_is_provisioned_with_what_was_judged() {
    let material = material((2020, 2090));
    let key = material.key.clone();
    let server = Server::start(move |_, _| Answer::ok(key.as_bytes()));
    let host = Host::new();
    host.config(&config(&material, &server.url("/key")));
    host.run(Stage::FetchOffline).unwrap();
    assert!(host.settings.need_network.exists());
    host.run(Stage::Fetch).unwrap();
    // What was judged is what is written: nobody is asked again.
    host.run(Stage::Files).unwrap();
    assert_eq!(host.read("/etc/cluster/node.key"), material.key);
    assert_eq!(server.count("/key"), 1);
}

#[test]
fn a_key_of_somebody_else_stops_before_anything_is_written() {
    let (one, other) = (material((2020, 2090)), material((2020, 2090)));
    let host = Host::new();
    host.config(&config(&one, &data(other.key.as_bytes())));
    let (message, is_final) = host.failure();
    assert!(
        message.contains("storage.files.3") && message.contains("they are not a pair"),
        "{message}"
    );
    assert!(is_final && host.untouched());
    let key = other.key.clone();
    let server = Server::start(move |_, _| Answer::ok(key.as_bytes()));
    let host = Host::new();
    host.config(&config(&one, &server.url("/key")));
    host.run(Stage::FetchOffline).unwrap();
    let error = host.run(Stage::Fetch).unwrap_err();
    let message = format!("{:#}", anyhow::Error::from(error));
    assert!(message.contains("they are not a pair"), "{message}");
    assert!(host.untouched());
    let secret = other.key.lines().nth(1).unwrap();
    assert!(!message.contains(&secret[..16]), "{message}");
}

#[test]
fn a_certificate_that_has_expired_stops_and_one_before_its_time_does_not() {
    let host = Host::new();
    let over = material((2020, 2024));
    host.config(&config(&over, &data(over.key.as_bytes())));
    let (message, is_final) = host.failure();
    assert!(message.contains("expired on 2024-01-01"), "{message}");
    assert!(message.contains("this machine's clock says"), "{message}");
    assert!(is_final && host.untouched());
    // A clock that starts years ago is set later.
    let early = material((2080, 2090));
    let host = Host::new();
    host.config(&config(&early, &data(early.key.as_bytes())));
    host.provision().unwrap();
}

#[test]
fn a_name_that_was_given_is_the_certificates() {
    let material = material((2020, 2090));
    let named = |name: &str| {
        let mut config = config(&material, &data(material.key.as_bytes()));
        let file =
            json!({"path": "/etc/cluster/name", "contents": {"source": format!("data:,{name}")}});
        config["storage"]["files"]
            .as_array_mut()
            .unwrap()
            .push(file);
        let host = Host::new();
        host.config(&config);
        host
    };
    named("web-1").provision().unwrap();
    let (message, _) = named("web-2").failure();
    assert!(message.contains("this node is called web-2"), "{message}");
    // A host's own name may come from the network later.
    let host = Host::new();
    let mut config = config(&material, &data(material.key.as_bytes()));
    config["storage"]["files"][4]["contents"]["source"] = json!("data:,other");
    host.config(&config);
    host.provision().unwrap();
    assert!(fs::exists(host.path("/etc/first")).unwrap());
}
