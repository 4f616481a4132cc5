//! TLS, names and passwords, proxies, and registries that mean harm.

use std::io::Write as _;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// A registry with a certificate for its address, and that of who signed it.
fn with_tls() -> (Registry, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let registry = Registry::behind(move |server, stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = StreamOwned::new(connection, stream);
        server.answer(&mut tls)?;
        tls.conn.send_close_notify();
        tls.flush()
    });
    let text = STANDARD.encode(issuer.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    (registry, pem)
}

/// A host that trusts this authority with the names of this registry.
fn trusting_authority(registry: &Registry, authority: &str) -> Host {
    let host = Host::without_policy();
    host.write("team.pem", authority);
    let pem = host.root.path().join("etc/team.pem");
    host.write(
        "registries.d/test.toml",
        &format!(
            "[[registry]]\nprefix = {:?}\nca = [{pem:?}]\n",
            registry.host()
        ),
    );
    host
}

/// Credentials for this registry.
fn know(host: &Host, registry: &Registry, password: &str) {
    let auth = STANDARD.encode(format!("me:{password}"));
    let auths = json!({ "auths": { registry.host(): { "auth": auth } } });
    host.write("auth.json", &auths.to_string());
}

fn password_of(password: &str) -> Option<String> {
    let encoded = STANDARD.encode(format!("me:{password}"));
    Some(format!("basic {encoded}").to_ascii_lowercase())
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_registry_with_an_authority_of_its_own_is_asked_with_tls() {
    let (registry, authority) = with_tls();
    let fixture = fixture();
    registry.publish("app", "1", &fixture);
    let name = format!("{}/app:1", registry.host());

    let stranger = Host::without_policy();
    let error = stranger.fetch(&name).unwrap_err();
    assert!(chain(&error).contains("certificate"), "{}", chain(&error));
    assert_eq!(registry.seen("/v2/"), 0);

    let host = trusting_authority(&registry, &authority);
    let image = host.fetch(&name).unwrap();
    assert_eq!(image.id, fixture.id());
    assert_eq!(host.damages(&image), 0);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_registry_with_tls_leads_nowhere_without_it() {
    let (registry, authority) = with_tls();
    let fixture = fixture();
    registry.publish("app", "1", &fixture);
    let elsewhere = Registry::start();
    let digest = Digest::of(&fixture.layers[0]);
    elsewhere.put("/bucket", &fixture.layers[0]);
    let to = format!("http://{}/bucket", elsewhere.host());
    let from = format!("/v2/app/blobs/{digest}");
    registry.shared.moved.lock().unwrap().insert(from, to);
    let host = trusting_authority(&registry, &authority);
    let error = host
        .fetch(&format!("{}/app:1", registry.host()))
        .unwrap_err();
    assert!(chain(&error).contains("no TLS"), "{}", chain(&error));
    assert_eq!(elsewhere.seen("/bucket"), 0);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_name_and_a_password_are_shown_to_who_wants_them_and_nobody_else() {
    let (registry, elsewhere) = (Registry::start(), Registry::start());
    let fixture = fixture();
    registry.publish("app", "1", &fixture);
    *registry.shared.wants_password.lock().unwrap() = password_of("secret");
    let digest = Digest::of(&fixture.layers[0]);
    elsewhere.put("/bucket", &fixture.layers[0]);
    let to = format!("http://{}/bucket", elsewhere.host());
    let from = format!("/v2/app/blobs/{digest}");
    registry.shared.moved.lock().unwrap().insert(from, to);
    let host = Host::of(&[&registry]);
    know(&host, &registry, "secret");
    let image = host.fetch(&format!("{}/app:1", registry.host())).unwrap();
    assert_eq!(host.damages(&image), 0);
    assert!(registry.seen("basic ") >= 3);
    assert_eq!(
        (elsewhere.seen("/bucket"), elsewhere.seen("basic ")),
        (1, 0)
    );
}

#[test]
fn a_wrong_password_is_told_without_telling_it() {
    let registry = Registry::start();
    registry.publish("app", "1", &fixture());
    *registry.shared.wants_password.lock().unwrap() = password_of("right");
    let host = Host::of(&[&registry]);
    let name = format!("{}/app:1", registry.host());
    for password in [None, Some("hunter2")] {
        if let Some(password) = password {
            know(&host, &registry, password);
        }
        let error = host.fetch(&name).unwrap_err();
        let unauthorized = matches!(error, Error::Registry(RegistryError::Unauthorized { .. }));
        assert!(unauthorized, "{error:?}");
        let text = format!("{error:?} {}", chain(&error));
        assert!(text.contains(&registry.host()), "{text}");
        let encoded = STANDARD.encode("me:hunter2");
        assert!(
            !text.contains("hunter2") && !text.contains(&encoded),
            "{text}"
        );
    }
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_layer_that_comes_from_another_byte_or_never_ends_is_not_taken() {
    for whim in [Whim::Shifts, Whim::Overruns] {
        let registry = Registry::start();
        let fixture = fixture();
        registry.publish("app", "1", &fixture);
        let host = Host::of(&[&registry]);
        let name = format!("{}/app:1", registry.host());
        registry.whim(whim);
        match host.fetch(&name) {
            // What is too much is not read.
            Ok(image) => {
                assert_eq!(whim, Whim::Overruns);
                assert_eq!(host.damages(&image), 0);
            }
            Err(error) => {
                let range = chain(&error);
                assert_eq!(whim, Whim::Shifts, "{range}");
            }
        }
        let image = host.fetch(&name).unwrap();
        assert_eq!(host.damages(&image), 0);
    }
}

#[test]
fn a_registry_that_leads_in_circles_is_left() {
    let registry = Registry::start();
    let fixture = fixture();
    registry.publish("app", "1", &fixture);
    let path = "/v2/app/manifests/1".to_owned();
    let to = format!("http://{}{path}", registry.host());
    registry.shared.moved.lock().unwrap().insert(path, to);
    let host = Host::of(&[&registry]);
    let error = host
        .fetch(&format!("{}/app:1", registry.host()))
        .unwrap_err();
    assert!(
        chain(&error).contains("more than 5 times"),
        "{}",
        chain(&error)
    );
    assert!(registry.seen("/v2/") <= 7);
}

/// What another process does, whose environment has a proxy.
#[test]
#[ignore = "it is the child of another test"]
fn proxied_child() {
    let root = std::path::PathBuf::from(std::env::var_os("ROCKET_TEST_ROOT").unwrap());
    let store = Store::open(&Dirs::below(&root)).unwrap();
    let source = Source::parse("registry.example/app:1").unwrap();
    obtain(&store, &source, &insecure()).unwrap();
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_proxy_of_the_environment_is_asked_instead() {
    let proxy = Registry::start();
    proxy.publish("app", "1", &fixture());
    let host = Host::without_policy();
    host.write(
        "registries.d/test.toml",
        "[[registry]]\nprefix = \"registry.example\"\nplain-http = true\n",
    );
    let mut child = Command::new(std::env::current_exe().unwrap());
    let test = "image::registry::tests::secure::proxied_child";
    let output = child
        .args(["--exact", test, "--ignored", "--test-threads=1"])
        .env("ROCKET_TEST_ROOT", host.root.path())
        .env("http_proxy", format!("http://{}", proxy.host()))
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(proxy.seen("http://registry.example/v2/app/manifests/1"), 1);
    let name = "registry.example/app:1";
    let image = host.fetch_stored(name).unwrap();
    assert_eq!(host.damages(&image), 0);
}
