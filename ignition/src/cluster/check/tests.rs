//! The judge and the verb on hosts in a directory, with certificates made here.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};

use super::*;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Noon of this day; certificates here are valid all of 2030.
fn on(year: i32, month: u8, day: u8) -> SystemTime {
    let seconds = date_time_ymd(year, month, day).unix_timestamp() + 12 * 60 * 60;
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap())
}

fn params(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2030, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    params
}

fn authority() -> Issuer {
    let mut params = params("The authority", &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2040, 1, 1);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn signed(issuer: &Issuer, params: CertificateParams) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (
        pem("CERTIFICATE", certificate.der()),
        pem("PRIVATE KEY", &key.serialize_der()),
    )
}

fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

/// A host with these files of `/etc/cluster`.
struct Node(tempfile::TempDir);

impl Node {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/cluster")).unwrap();
        let node = Self(root);
        files.iter().for_each(|(name, text)| node.write(name, text));
        node
    }

    /// A right one, called web-1.
    fn right() -> (Self, Issuer) {
        let authority = authority();
        let (certificate, key) = signed(&authority, params("web-1", &[]));
        let node = Self::new(&[
            ("ca.crt", &pem("CERTIFICATE", authority.der())),
            ("node.crt", &certificate),
            ("node.key", &key),
            ("name", "web-1\n"),
        ]);
        (node, authority)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join("etc/cluster").join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.path().join("etc/cluster").join(name)).unwrap();
    }

    fn at(&self, now: SystemTime) -> Report {
        Host::read(self.0.path()).unwrap().report(now)
    }

    /// Fails unless the one thing that is found is this.
    fn says(&self, now: SystemTime, state: State, words: &str) {
        let report = self.at(now);
        assert_eq!(report.state, state, "{words}: {report:?}");
        assert_eq!(report.problems.len(), 1, "{words}: {report:?}");
        let message = &report.problems[0].message;
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn the_definition_is_sound() {
    use clap::CommandFactory as _;
    Arguments::command().debug_assert();
}

#[test]
fn a_right_node_has_nothing_to_say() {
    let (node, _) = Node::right();
    let report = node.at(on(2030, 6, 1));
    assert_eq!(report.state, State::Right, "{report:?}");
    assert_eq!(report.names, ["web-1"]);
    assert_eq!(report.expires.as_deref(), Some("2031-01-01T00:00:00Z"));
    assert_eq!(report.days_left, Some(213));
    assert_eq!(report.problems, []);
}

#[test]
fn the_end_comes_with_a_warning_first() {
    let (node, _) = Node::right();
    assert_eq!(node.at(on(2030, 12, 1)).state, State::Right);
    node.says(
        on(2030, 12, 3),
        State::Warning,
        "expires in 28 days, on 2031-01-01",
    );
    node.says(
        on(2031, 1, 1),
        State::Expired,
        "expired on 2031-01-01T00:00:00Z; this machine's clock says 2031-01-01T12:00:00Z",
    );
    assert_eq!(node.at(on(2031, 1, 1)).days_left, Some(-1));
    node.says(on(2025, 1, 1), State::NotYet, "is valid from 2030-01-01T00:00:00Z on; this machine's clock says 2025-01-01T12:00:00Z: is that right?");
    assert_eq!(State::Expired.status(), 3);
    assert_eq!(State::Warning.status(), 0);
}

#[test]
fn an_authority_that_is_over_is_named() {
    let (node, authority) = Node::right();
    let mut late = params("web-1", &[]);
    late.not_after = date_time_ymd(2050, 1, 1);
    let (certificate, key) = signed(&authority, late);
    node.write("node.crt", &certificate);
    node.write("node.key", &key);
    node.says(
        on(2039, 12, 15),
        State::Warning,
        "the authority's certificate expires in 16 days",
    );
    node.says(
        on(2041, 1, 1),
        State::Expired,
        "the authority's certificate expired on",
    );
}

#[test]
fn parts_that_do_not_fit_are_named() {
    let now = on(2030, 6, 1);
    let (node, authority) = Node::right();
    let (other, other_key) = signed(&authority, params("web-1", &[]));
    node.write("node.key", &other_key);
    node.says(
        now,
        State::Wrong,
        "the node's key is not that of the node's certificate",
    );
    node.write("node.crt", &other);
    assert_eq!(node.at(now).state, State::Right);

    let stranger = self::authority();
    node.write("ca.crt", &pem("CERTIFICATE", stranger.der()));
    node.says(
        now,
        State::Wrong,
        "signed by another authority of the same name",
    );
    let mut server = params("web-1", &[]);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let (server, key) = signed(&stranger, server);
    node.write("node.crt", &server);
    node.write("node.key", &key);
    node.says(now, State::Wrong, "is not for clients");
}

#[test]
fn what_is_not_what_its_name_says_is_named() {
    let now = on(2030, 6, 1);
    let (node, _) = Node::right();
    let key = fs::read_to_string(node.0.path().join("etc/cluster/node.key")).unwrap();
    let certificate = fs::read_to_string(node.0.path().join("etc/cluster/node.crt")).unwrap();
    node.write("ca.crt", &certificate);
    assert_eq!(node.at(now).state, State::Wrong);
    let (node, _) = Node::right();
    node.write("ca.crt", &key);
    node.says(
        now,
        State::Wrong,
        "the authority's certificate holds a private key, and no certificate",
    );
    let (node, _) = Node::right();
    node.write("node.key", &certificate);
    node.says(
        now,
        State::Wrong,
        "the node's key holds a certificate, and no private key",
    );
    node.write(
        "node.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    node.says(now, State::Wrong, "is encrypted");
    let (node, _) = Node::right();
    node.write("node.crt", &(certificate + &key));
    node.says(
        now,
        State::Wrong,
        "holds a private key, too, and is for everybody to read",
    );
    node.write("node.crt", &pem("CERTIFICATE", b"no certificate"));
    node.says(
        now,
        State::Wrong,
        "is no certificate that can be read (number 1",
    );
}

#[test]
fn a_name_that_was_given_counts_and_the_hosts_own_warns() {
    let now = on(2030, 6, 1);
    let (node, authority) = Node::right();
    node.write("name", "web-2\n");
    node.says(
        now,
        State::Wrong,
        "names web-1, and this node is called web-2",
    );
    node.remove("name");
    let proc = node.0.path().join("proc/sys/kernel");
    fs::create_dir_all(&proc).unwrap();
    fs::write(proc.join("hostname"), "other\n").unwrap();
    node.says(now, State::Warning, "the name of this host is other");
    for (common, names) in [
        ("system:node:web-3", &[][..]),
        ("someone", &["web-3"]),
        ("someone", &["WEB-3.cluster.local"]),
        ("someone", &["client.global.nomad", "localhost"]),
    ] {
        let (certificate, key) = signed(&authority, params(common, names));
        let files = [("node.crt", certificate), ("node.key", key)];
        files.iter().for_each(|(name, text)| node.write(name, text));
        node.write("name", "web-3");
        node.write("domain", "cluster.local");
        let report = node.at(now);
        assert_eq!(report.state, State::Right, "{report:?}");
    }
}

#[test]
fn a_chain_with_its_middle_is_right_and_without_it_is_not() {
    let now = on(2030, 6, 1);
    let (node, authority) = Node::right();
    let mut middle = params("The middle", &[]);
    middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let middle = CertifiedIssuer::signed_by(middle, KeyPair::generate().unwrap(), &authority);
    let middle = middle.unwrap();
    let (certificate, key) = signed(&middle, params("web-1", &[]));
    node.write("node.key", &key);
    node.write("node.crt", &certificate);
    node.says(
        now,
        State::Wrong,
        "or a certificate between them is missing",
    );
    node.write(
        "node.crt",
        &(certificate + &pem("CERTIFICATE", middle.der())),
    );
    assert_eq!(node.at(now).state, State::Right);
}

#[test]
fn a_token_stands_for_certificate_and_key() {
    let now = on(2030, 6, 1);
    let (node, _) = Node::right();
    node.remove("node.crt");
    node.says(now, State::Wrong, "the node's certificate is missing");
    node.remove("node.key");
    assert_eq!(node.at(now).problems.len(), 2);
    node.write("token", "secret-of-the-cluster\n");
    let report = node.at(now);
    assert_eq!(report.state, State::Right);
    assert_eq!(report.expires, None);
    let text = serde_json::to_string(&report).unwrap();
    assert!(!text.contains("secret-of-the-cluster"), "{text}");
    assert!(
        text.starts_with(r#"{"state":"right","node":"web-1""#),
        "{text}"
    );
}

#[test]
fn a_host_without_the_directory_is_in_no_cluster() {
    let root = tempfile::tempdir().unwrap();
    let report = Host::read(root.path()).unwrap().report(on(2030, 6, 1));
    assert_eq!((report.state, report.state.status()), (State::None, 4));
    assert_eq!(report.problems, []);
}

#[test]
fn what_is_said_is_the_same_at_another_time_and_another_for_another_certificate() {
    let (node, authority) = Node::right();
    let key = |now| announce::key(&node.at(now));
    assert_eq!(key(on(2031, 1, 2)), key(on(2031, 1, 3)));
    assert_eq!(key(on(2030, 12, 10)), key(on(2030, 12, 11)));
    assert_ne!(key(on(2030, 12, 11)), key(on(2031, 1, 2)));
    let before = key(on(2031, 1, 2));
    let mut other = params("web-1", &[]);
    other.not_after = date_time_ymd(2030, 12, 1);
    let (certificate, pair) = signed(&authority, other);
    node.write("node.crt", &certificate);
    node.write("node.key", &pair);
    assert_ne!(key(on(2031, 1, 2)), before);
}
