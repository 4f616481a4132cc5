//! Certificates, users and passwords.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use etcd_client::{Client as Etcd, ConnectOptions, Permission, PermissionType};
use locksmith::etcd::{Options, PREFIX};
use locksmith::lock::{Answer, Lock as _, LockError, Standing};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use crate::member::{Member, alone, free_port, wait_for};
use crate::{claim, lock, until};

/// Files of an authority that has signed one certificate for servers and one for hosts.
fn certificates(dir: &Path) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let write = |name: &str, what: &str, der: &[u8]| {
        fs::write(dir.join(name), pem::encode(&pem::Pem::new(what, der))).unwrap();
    };
    write("ca.crt", "CERTIFICATE", issuer.der());
    for name in ["server", "host"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        write(&format!("{name}.crt"), "CERTIFICATE", certificate.der());
        write(&format!("{name}.key"), "PRIVATE KEY", &key.serialize_der());
    }
}

#[tokio::test]
async fn a_host_is_known_by_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let file = |name: &str| dir.path().join(name);
    let port = free_port();
    let tls = [
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={}", file("ca.crt").display()),
        format!("--cert-file={}", file("server.crt").display()),
        format!("--key-file={}", file("server.key").display()),
    ];
    let mut member = Member::start(dir.path(), "m", None, &alone("https", port, &tls));
    wait_for(&mut member, port);
    let known = Options {
        endpoints: vec![format!("https://127.0.0.1:{port}")],
        ca: Some(file("ca.crt")),
        certificate: Some(file("host.crt")),
        key: Some(file("host.key")),
        ..Options::default()
    };
    let claim = claim("a");
    let answer = until(Duration::from_secs(30), async || {
        lock(&known, "g").acquire(&claim).await
    });
    assert!(matches!(answer.await, Answer::Granted(_)));
    let stranger = Options {
        certificate: None,
        key: None,
        ..known.clone()
    };
    let doubting = Options {
        ca: None,
        ..known.clone()
    };
    let elsewhere = tempfile::tempdir().unwrap();
    certificates(elsewhere.path());
    let foreign = Options {
        certificate: Some(elsewhere.path().join("host.crt")),
        key: Some(elsewhere.path().join("host.key")),
        ..known
    };
    for (what, options) in [
        ("stranger", stranger),
        ("doubting", doubting),
        ("foreign", foreign),
    ] {
        // A server that refuses a certificate closes the connection, and what it said before
        // may be lost on the way.
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match lock(&options, "g").acquire(&claim).await.unwrap_err() {
                LockError::NotAllowed { .. } => break,
                LockError::Unreachable { .. } if Instant::now() < deadline => {}
                error => panic!("{what}: {error:?}"),
            }
        }
    }
}

/// A member in which `host` with password `secret` may use the lock of one group.
async fn with_user(dir: &Path, port: u16) -> Member {
    let token = [
        "--auth-token=simple".to_owned(),
        "--auth-token-ttl=2".to_owned(),
    ];
    let mut member = Member::start(dir, "m", None, &alone("http", port, &token));
    wait_for(&mut member, port);
    let server = format!("http://127.0.0.1:{port}");
    let mut etcd = until(Duration::from_secs(30), async || {
        let mut etcd = Etcd::connect([&server], None::<ConnectOptions>).await?;
        etcd.role_add("locksmith").await.map(|_| etcd)
    })
    .await;
    let prefix = format!("{PREFIX}/workers/");
    let all = Permission::new(PermissionType::Readwrite, prefix).with_prefix();
    etcd.role_grant_permission("locksmith", all).await.unwrap();
    for (user, password, role) in [("root", "r", "root"), ("host", "secret", "locksmith")] {
        if role == "root" {
            etcd.role_add("root").await.unwrap();
        }
        etcd.user_add(user, password, None).await.unwrap();
        etcd.user_grant_role(user, role).await.unwrap();
    }
    etcd.auth_enable().await.unwrap();
    member
}

#[tokio::test]
async fn a_host_is_known_by_user_and_password() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let _member = with_user(dir.path(), port).await;
    let password = dir.path().join("password");
    fs::write(&password, "secret\n").unwrap();
    let known = Options {
        endpoints: vec![format!("http://127.0.0.1:{port}")],
        user: Some("host".to_owned()),
        password_file: Some(password.clone()),
        ..Options::default()
    };
    let claim_a = claim("a");
    let mut one = lock(&known, "workers");
    assert!(matches!(
        one.acquire(&claim_a).await.unwrap(),
        Answer::Granted(_)
    ));
    let mut next = lock(&known, "workers");
    let waiting = next.acquire(&claim("b")).await.unwrap();
    assert!(matches!(waiting, Answer::Waiting(_)), "{waiting:?}");
    // Its token is good for two seconds.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(one.alive(&claim_a.id).await.unwrap(), Standing::Held);
    one.release(&claim_a.id).await.unwrap();
    next.changed().await.unwrap();
    assert!(matches!(
        next.acquire(&claim("b")).await.unwrap(),
        Answer::Granted(_)
    ));
    let refused = async |options: &Options, group: &str| {
        let error = lock(options, group).acquire(&claim_a).await.unwrap_err();
        assert!(
            matches!(error, LockError::NotAllowed { .. }),
            "{group}: {error:?}"
        );
    };
    refused(&known, "others").await;
    let nobody = Options {
        user: None,
        password_file: None,
        ..known.clone()
    };
    refused(&nobody, "workers").await;
    fs::write(&password, "wrong").unwrap();
    refused(&known, "workers").await;
    // The file is read again for each connection.
    fs::write(&password, "secret").unwrap();
    lock(&known, "workers").view().await.unwrap();
}
