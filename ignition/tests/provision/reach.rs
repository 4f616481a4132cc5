//! How servers are reached: through proxies, and with which authorities.

use ignition::stage::Stage;
use rcgen::{BasicConstraints, IsCa};
use serde_json::{Value, json};

use super::server::{Answer, Identity, Server};
use super::{Host, data, v3};

/// A config that gets a file from `source`.
fn wants(source: &str, ignition: Value) -> Value {
    v3(json!({
        "ignition": ignition,
        "storage": {"files": [{"path": "/f", "contents": {"source": source}}]},
    }))
}

/// Fails unless a host with such a config has the file with this content.
fn gets(source: &str, ignition: Value, content: &str) {
    let host = Host::new();
    host.config(&wants(source, ignition));
    host.provision().unwrap();
    assert_eq!(host.read("/f"), content);
}

fn trusting(identity: &Identity) -> Value {
    json!({"tls": {"certificateAuthorities": [{"source": data(identity.authority.as_bytes())}]}})
}

#[test]
fn an_authority_of_the_config_is_trusted() {
    let identity = Identity::signed("localhost");
    let server = Server::start_tls(identity.clone(), |_, _| Answer::ok(b"secret"));
    let url = format!("https://localhost:{}/f", server.port());
    gets(&url, json!({"security": trusting(&identity)}), "secret");
    assert_eq!(server.count("/f"), 1);
}

#[test]
fn an_unknown_server_is_refused_at_once_with_advice() {
    let known = Identity::signed("localhost");
    for (identity, name, words) in [
        (
            Identity::signed("localhost"),
            "localhost",
            "security.tls.certificateAuthorities",
        ),
        (
            Identity::self_signed("localhost", IsCa::NoCa),
            "localhost",
            "if it is self-signed",
        ),
        (
            Identity::self_signed("localhost", IsCa::Ca(BasicConstraints::Unconstrained)),
            "localhost",
            "CA:FALSE",
        ),
        (known.clone(), "127.0.0.1", "another name"),
    ] {
        let server = Server::start_tls(identity, |_, _| Answer::ok(b"x"));
        let host = Host::new();
        let url = format!("https://{name}:{}/f", server.port());
        host.config(&wants(&url, json!({"security": trusting(&known)})));
        let (message, is_final) = host.failure();
        assert!(message.contains(words), "{message}");
        assert!(message.contains(&url), "{message}");
        assert!(is_final);
        assert_eq!(server.count("/f"), 0);
    }
}

#[test]
fn a_self_signed_server_is_trusted_once_the_config_names_it() {
    let identity = Identity::self_signed("localhost", IsCa::NoCa);
    let server = Server::start_tls(identity.clone(), |_, _| Answer::ok(b"x"));
    let url = format!("https://localhost:{}/f", server.port());
    gets(&url, json!({"security": trusting(&identity)}), "x");
}

#[test]
fn http_goes_through_its_proxy_with_credentials() {
    let proxy = Server::start(|request, _| {
        let right = request.header("proxy-authorization") == Some("Basic dXNlcjpwQHNz")
            && request.header("host") == Some("config.test:81")
            && request.header("authorization").is_none();
        if right {
            Answer::ok(b"hi")
        } else {
            Answer::status(400)
        }
    });
    let url = format!("http://user:p%40ss@127.0.0.1:{}", proxy.port());
    let settings = json!({"proxy": {"httpProxy": url}});
    gets("http://config.test:81/f?x=1", settings, "hi");
    assert_eq!(proxy.count("http://config.test:81/f?x=1"), 1);
}

#[test]
fn https_goes_through_a_tunnel() {
    let identity = Identity::signed("config.test");
    let proxy = Server::start_proxy(identity.clone(), |request, _| {
        match (request.path.as_str(), request.header("proxy-authorization")) {
            ("config.test:443", Some("Basic dXNlcjpwdw==")) | ("/f", None) => Answer::ok(b"hi"),
            _ => Answer::status(403),
        }
    });
    let url = format!("http://user:pw@127.0.0.1:{}", proxy.port());
    let settings = json!({"proxy": {"httpsProxy": url}, "security": trusting(&identity)});
    gets("https://config.test/f", settings, "hi");
    assert_eq!((proxy.count("config.test:443"), proxy.count("/f")), (1, 1));
}

#[test]
fn exempt_servers_are_asked_directly() {
    let proxy = Server::start(|_, _| Answer::status(400));
    let server = Server::start(|_, _| Answer::ok(b"direct"));
    let settings = json!({"proxy": {"httpProxy": proxy.url(""), "noProxy": ["config.test"]}});
    gets(&server.url("/f"), settings, "direct");
    assert_eq!(proxy.count(&server.url("/f")), 0);
}

#[test]
fn a_proxy_that_says_no_is_named_without_its_password() {
    let identity = Identity::signed("config.test");
    for (status, source) in [
        (407, "http://config.test/f"),
        (407, "https://config.test/f"),
        (403, "https://config.test/f"),
    ] {
        let proxy = Server::start_proxy(identity.clone(), move |_, _| Answer::status(status));
        let host = Host::new();
        let url = format!("http://user:hidden@127.0.0.1:{}", proxy.port());
        let settings = json!({
            "proxy": {"httpProxy": url, "httpsProxy": url},
            "security": trusting(&identity),
        });
        host.config(&wants(source, settings));
        let (message, is_final) = host.failure();
        let named = format!("through the proxy http://127.0.0.1:{}", proxy.port());
        assert!(message.contains(&named), "{message}");
        assert!(message.contains(&status.to_string()), "{message}");
        assert!(!message.contains("hidden"), "{message}");
        assert!(is_final);
    }
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut host = Host::new();
    host.settings.fetch_timeout = std::time::Duration::from_millis(1);
    let proxy = format!("http://user:hidden@{address}");
    host.config(&wants(
        "http://config.test/f",
        json!({"proxy": {"httpProxy": proxy}}),
    ));
    let (message, is_final) = host.failure();
    let named = format!("(through the proxy http://{address})");
    assert!(message.contains(&named), "{message}");
    assert!(!message.contains("hidden"), "{message}");
    assert!(!is_final, "it may come");
}

#[test]
fn a_proxy_that_is_busy_is_asked_again() {
    let proxy = Server::start(|_, count| match count {
        1 | 2 => Answer::status(503),
        _ => Answer::ok(b"late"),
    });
    let settings = json!({"proxy": {"httpProxy": proxy.url("")}});
    gets("http://config.test/f", settings, "late");
    assert_eq!(proxy.count("http://config.test/f"), 3);
}

#[test]
fn referenced_configs_and_authorities_come_through_the_proxy() {
    let identity = Identity::signed("localhost");
    let pem = identity.authority.clone();
    let server = Server::start_tls(identity, |_, _| Answer::ok(b"x"));
    let child = wants(&format!("https://localhost:{}/f", server.port()), json!({}));
    let proxy = Server::start(move |request, _| match request.path.as_str() {
        "http://config.test/ca" => Answer::ok(pem.as_bytes()),
        "http://config.test/child" => Answer::ok(child.to_string().as_bytes()),
        _ => Answer::status(404),
    });
    let host = Host::new();
    host.config(&v3(json!({"ignition": {
        "proxy": {"httpProxy": proxy.url("")},
        "security": {"tls": {"certificateAuthorities": [{"source": "http://config.test/ca"}]}},
        "config": {"merge": [{"source": "http://config.test/child"}]},
    }})));
    host.run(Stage::FetchOffline).unwrap();
    assert!(host.settings.need_network.exists());
    host.run(Stage::Fetch).unwrap();
    host.run(Stage::Files).unwrap();
    assert_eq!(host.read("/f"), "x");
}
