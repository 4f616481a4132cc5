//! Repositories that are in order are taken, wherever they are and however the way
//! there goes.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use bootloader::Slot;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use update_engine::remote::RemoteError;
use update_engine::server::Server;

use crate::host::{Host, read, told};
use crate::hostile::{Hostile, Manner};
use crate::release::build;
use crate::repository::{Repository, hours};

const USR: &str = "releases/0.2.0/usr.zst";

fn repository() -> Repository {
    let mut repository = Repository::new();
    repository.add_release("stable", "0.2.0");
    repository.publish();
    repository
}

/// Everything that a host asks of a repository.
async fn is_read(server: &Server) {
    assert_eq!(server.channels(), ["stable"]);
    let channel = server.channel("stable").await.unwrap();
    assert_eq!(channel.release.to_string(), "0.2.0");
    let release = server.descriptor(&channel.release).await.unwrap();
    let built = build("0.2.0");
    assert_eq!(server.tree(&release).await.unwrap()[..], built.tree);
    let part = read(server, USR, Some(5000..70_000)).await.unwrap();
    assert_eq!(part, &built.usr_file[5000..70_000]);
    assert_eq!(read(server, USR, None).await.unwrap(), built.usr_file);
    assert_eq!(read(server, USR, Some(7..7)).await.unwrap(), b"");
}

/// From the address to the armed slot.
async fn is_taken(repository: &Repository, address: &str) {
    let host = Host::of(repository);
    is_read(&host.open(address).await.unwrap()).await;
    // With what is remembered of the first time.
    let report = host.update(address).await.unwrap();
    assert_eq!(report.slot, Slot::B);
    let disk = host.disk();
    disk.assert_holds(&build("0.2.0"));
    assert!(disk.assert_only_holds_parts_of(&build("0.2.0")) > 100_000);
    assert_eq!(disk.chosen(), Slot::B);
}

#[tokio::test]
async fn a_web_server_is_read_in_parts() {
    let repository = repository();
    let server = Hostile::serving(&repository.files).await;
    is_taken(&repository, &server.address).await;
    let file = format!("/{}", repository.file_of(USR));
    let range = Some("bytes=5000-69999".to_string());
    assert!(server.requests().contains(&(file, range)));
}

#[tokio::test]
async fn a_directory_of_a_web_server_is_read() {
    let repository = repository();
    let below = |(name, content): (&String, &Vec<u8>)| (format!("os/v1/{name}"), content.clone());
    let files: BTreeMap<_, _> = repository.files.iter().map(below).collect();
    let server = Hostile::serving(&files).await;
    is_taken(&repository, &format!("{}/os/v1", server.address)).await;
}

#[tokio::test]
async fn a_directory_is_read() {
    let repository = repository();
    let dir = tempfile::tempdir().unwrap();
    repository.store(dir.path());
    is_taken(&repository, dir.path().to_str().unwrap()).await;
}

#[tokio::test]
async fn a_tar_is_read() {
    let repository = repository();
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("repo.tar");
    fs::write(&tar, repository.archive()).unwrap();
    is_taken(&repository, tar.to_str().unwrap()).await;
}

#[tokio::test]
async fn a_server_without_ranges_is_read_whole() {
    let repository = repository();
    let server = Hostile::serving(&repository.files).await;
    for target in [USR, "releases/0.2.0/boot.zst"] {
        server.set(&repository.file_of(target), Manner::WithoutRanges);
    }
    let host = Host::of(&repository);
    let opened = host.open(&server.address).await.unwrap();
    let part = read(&opened, USR, Some(0..10)).await;
    assert!(matches!(part, Err(RemoteError::NoRanges { .. })));
    host.update(&server.address).await.unwrap();
    host.disk().assert_holds(&build("0.2.0"));
}

/// Roots in between may have expired; who signs what changes twice on the way.
#[tokio::test]
async fn a_chain_of_three_roots_is_followed() {
    let mut repository = repository();
    repository.root.expires = hours(-24);
    repository.rotate();
    repository.root.expires = hours(24 * 365);
    repository.rotate();
    repository.publish();
    let server = Hostile::serving(&repository.files).await;
    let host = Host::of(&repository);
    is_read(&host.open(&server.address).await.unwrap()).await;
    // From then on it begins where it was.
    is_read(&host.open(&server.address).await.unwrap()).await;
    let requests = server.requests();
    let asked = |n: u32| {
        let name = format!("/metadata/{n}.root.json");
        requests.iter().filter(|(path, _)| *path == name).count()
    };
    assert_eq!((asked(2), asked(3), asked(4)), (1, 1, 2));
}

/// An owner recovers from stolen keys that signed absurdly high versions: new keys make
/// hosts forget these.
#[tokio::test]
async fn versions_start_again_after_a_rotation() {
    let mut repository = repository();
    (repository.timestamp.version, repository.snapshot.version) = (1 << 40, 1 << 40);
    repository.publish();
    let host = Host::of(&repository);
    let server = Hostile::serving(&repository.files).await;
    host.open(&server.address).await.unwrap();
    repository.rotate();
    (repository.timestamp.version, repository.snapshot.version) = (2, 2);
    repository.publish();
    let server = Hostile::serving(&repository.files).await;
    is_read(&host.open(&server.address).await.unwrap()).await;
}

#[tokio::test]
async fn a_proxy_is_asked_for_everything() {
    let repository = repository();
    let proxy = Hostile::serving(&repository.files).await;
    let host = Host::of(&repository);
    // A name that nobody can look up: only the proxy gets there.
    let mut options = host.options("http://updates.invalid/");
    options.proxy = Some(proxy.address.parse().unwrap());
    let server = Server::open(options, host.trust.clone()).await.unwrap();
    is_read(&server).await;
    let whole = |(url, _): &(String, _)| url.starts_with("http://updates.invalid/");
    assert!(proxy.requests().iter().all(whole));
}

#[tokio::test]
async fn redirections_on_the_same_scheme_are_followed() {
    let repository = repository();
    let mirror = Hostile::serving(&repository.files).await;
    let server = Hostile::serving(&repository.files).await;
    let file = repository.file_of(USR);
    server.set(
        &file,
        Manner::Redirect(format!("{}/{file}", mirror.address)),
    );
    let host = Host::of(&repository);
    is_read(&host.open(&server.address).await.unwrap()).await;
    let range = Some("bytes=5000-69999".to_string());
    assert!(mirror.requests().contains(&(format!("/{file}"), range)));
}

/// An authority of one's own, in PEM, and a server that it vouches for.
fn authority() -> (String, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_string()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // Named, because another crate of the workspace may bring a second one.
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (pem(ca.der()), TlsAcceptor::from(Arc::new(config)))
}

fn pem(der: &[u8]) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_string();
    for line in BASE64_STANDARD.encode(der).as_bytes().chunks(64) {
        text += std::str::from_utf8(line).unwrap();
        text += "\n";
    }
    text + "-----END CERTIFICATE-----\n"
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_when_the_policy_says_so() {
    let repository = repository();
    let (ca, tls) = authority();
    let server = Hostile::serving_tls(&repository.files, tls).await;
    let host = Host::of(&repository);
    let mut options = host.options(&server.address);
    let other = host.dir.path().join("ca.pem");
    fs::write(&other, authority().0).unwrap();
    options.ca = Some(other.clone());
    let open = |options| Server::open(options, host.trust.clone());
    let error = open(options.clone()).await.unwrap_err();
    assert!(server.requests().is_empty());
    let text = told(&error);
    assert!(text.contains("the clock and `[update] ca`"), "{text}");
    assert!(text.contains("certificate"), "{text}");

    fs::write(&other, ca).unwrap();
    is_read(&open(options.clone()).await.unwrap()).await;

    fs::write(&other, "not a certificate").unwrap();
    let text = told(&open(options).await.unwrap_err());
    assert!(text.contains("ca.pem; check `[update] ca`"), "{text}");
}
