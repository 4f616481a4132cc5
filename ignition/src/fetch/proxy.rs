//! Which proxy a request goes through, by upstream's rules, which are those
//! of Go's `httpproxy` package:
//!
//! - `httpProxy` is for http, `httpsProxy` for https; neither stands in for
//!   the other;
//! - `localhost` and loopback addresses are always reached directly;
//! - an entry of `noProxy` is `*`, an address, a network (`10.0.0.0/8`), a
//!   domain (`example.com`: itself and all below it) or only what is below a
//!   domain (`.example.com`, `*.example.com`). All but a network may end in
//!   a port.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::Uri;
use ureq::http::uri::{Authority, PathAndQuery};

use crate::config::{filled, list};

use super::source::decoded;

/// The proxies of a config, and the servers that are reached without them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exempt: Vec<Exempt>,
}

/// A proxy.
#[derive(Clone, PartialEq)]
pub struct Proxy {
    url: String,
    /// `http://host:port`
    name: String,
    /// Value of `Proxy-Authorization`.
    authorization: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// An entry of `noProxy`.
#[derive(Debug, Clone, PartialEq)]
enum Exempt {
    Everything,
    Network(IpAddr, u8),
    Address(IpAddr, Option<u16>),
    Domain {
        /// With a leading dot.
        suffix: String,
        port: Option<u16>,
        /// Whether the domain itself is meant too.
        itself: bool,
    },
}

impl Proxies {
    /// What `config` says. A URL that [`problem`] finds wrong is no proxy.
    pub fn new(config: Option<&ignition_config::v3_6::Proxy>) -> Self {
        let Some(config) = config else {
            return Self::default();
        };
        let proxy = |url| filled(url).and_then(|url| Proxy::parse(url).ok());
        let entries = list(config.no_proxy.as_ref()).iter();
        Self {
            http: proxy(config.http_proxy.as_ref()),
            https: proxy(config.https_proxy.as_ref()),
            // Upstream joins the list with commas.
            exempt: entries
                .flat_map(|entry| entry.split(','))
                .filter_map(Exempt::parse)
                .collect(),
        }
    }

    /// The proxy for `url`, or None if its server is asked directly.
    pub fn for_url(&self, url: &Uri) -> Option<&Proxy> {
        let (proxy, default) = match url.scheme_str() {
            Some("https") => (self.https.as_ref()?, 443),
            _ => (self.http.as_ref()?, 80),
        };
        let host = url.host()?.to_ascii_lowercase();
        let port = url.port_u16().unwrap_or(default);
        let address = address(&host);
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return None;
        }
        let direct = self
            .exempt
            .iter()
            .any(|exempt| exempt.covers(&host, address, port));
        (!direct).then_some(proxy)
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("not a URL: {error}"))?;
        let scheme = match uri.scheme_str() {
            Some(scheme @ ("http" | "https")) => scheme,
            _ => {
                return Err(
                    "expected the URL of a proxy: http://host:port or https://host:port".to_owned(),
                );
            }
        };
        let authority = uri.authority().map_or("", Authority::as_str);
        let (user, host) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(user, host)| (Some(user), host));
        if host.is_empty() || host.starts_with(':') {
            return Err("the URL names no host (expected http://host:port)".to_owned());
        }
        let user = user
            .map(decoded)
            .transpose()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            url: format!("{scheme}://{authority}"),
            name: format!("{scheme}://{host}"),
            authorization: user.map(basic),
        })
    }

    /// What people know it by: without credentials.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For requests that go through it in a tunnel, which is https.
    pub fn tunnel(&self) -> Result<ureq::Proxy, ureq::Error> {
        ureq::Proxy::new(&self.url)
    }

    /// For requests that it sends on, which is http (RFC 9112, section 3.2.2).
    pub fn forward(&self, url: &Uri) -> Option<Forward> {
        let host = url.authority()?.as_str().rsplit('@').next()?;
        let mut parts = self.name.parse::<Uri>().ok()?.into_parts();
        let path = url.path_and_query().cloned();
        parts.path_and_query = path.or_else(|| Some(PathAndQuery::from_static("/")));
        let user = url.authority()?.as_str().rsplit_once('@');
        Some(Forward {
            uri: Uri::from_parts(parts).ok()?,
            origin: format!("http://{host}"),
            host: host.to_owned(),
            authorization: user.map(|(user, _)| basic(user.as_bytes().to_vec())),
            proxy_authorization: self.authorization.clone(),
        })
    }
}

/// A request to a proxy that sends it on.
pub struct Forward {
    /// Where to connect to, with the path of what is wanted.
    pub uri: Uri,
    /// What the request line has before the path.
    pub origin: String,
    /// Value of `Host`.
    pub host: String,
    /// Value of `Authorization`, from the URL of what is wanted.
    pub authorization: Option<String>,
    /// Value of `Proxy-Authorization`.
    pub proxy_authorization: Option<String>,
}

/// What is wrong with `url` as a proxy's.
pub fn problem(url: &str) -> Option<String> {
    Proxy::parse(url).err()
}

fn basic(user: Vec<u8>) -> String {
    // Without a colon, it is the name of a user without a password.
    let user = if user.contains(&b':') {
        user
    } else {
        [user, b":".to_vec()].concat()
    };
    format!("Basic {}", STANDARD.encode(user))
}

fn address(host: &str) -> Option<IpAddr> {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

impl Exempt {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Some((network, length)) = entry.split_once('/') {
            let network = address(network)?;
            let most = if network.is_ipv4() { 32 } else { 128 };
            let length = length.parse().ok().filter(|length| *length <= most)?;
            return Some(Self::Network(network, length));
        }
        let (host, port) = split_port(&entry)?;
        if let Some(address) = address(host) {
            return Some(Self::Address(address, port));
        }
        let host = host
            .strip_prefix('*')
            .filter(|rest| rest.starts_with('.'))
            .unwrap_or(host);
        if host.is_empty() {
            return None;
        }
        let itself = !host.starts_with('.');
        let dot = if itself { "." } else { "" };
        Some(Self::Domain {
            suffix: format!("{dot}{host}"),
            port,
            itself,
        })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, asked: u16) -> bool {
        match self {
            Self::Everything => true,
            Self::Network(network, length) => {
                address.is_some_and(|address| within(address, *network, *length))
            }
            Self::Address(exempt, port) => {
                address == Some(*exempt) && port.is_none_or(|port| port == asked)
            }
            Self::Domain {
                suffix,
                port,
                itself,
            } => {
                let matches = host.ends_with(suffix) || (*itself && host == &suffix[1..]);
                matches && port.is_none_or(|port| port == asked)
            }
        }
    }
}

/// `host:port`, `[address]:port`, or either without a port.
fn split_port(entry: &str) -> Option<(&str, Option<u16>)> {
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            Some((host, Some(port.parse().ok()?)))
        }
        _ => Some((entry, None)),
    }
}

fn within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    let ignored = u32::from(width - length);
    address.checked_shr(ignored) == network.checked_shr(ignored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proxies(exempt: &[&str]) -> Proxies {
        Proxies::new(Some(&ignition_config::v3_6::Proxy {
            http_proxy: Some("http://u%40:p%3A@plain:8080".to_owned()),
            https_proxy: Some("https://secure".to_owned()),
            no_proxy: Some(exempt.iter().map(|e| (*e).to_owned()).collect()),
        }))
    }

    fn used(exempt: &[&str], url: &str) -> bool {
        proxies(exempt).for_url(&url.parse().unwrap()).is_some()
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let proxies = proxies(&[]);
        let name = |url: &str| {
            proxies
                .for_url(&url.parse().unwrap())
                .unwrap()
                .name()
                .to_owned()
        };
        assert_eq!(name("http://h/"), "http://plain:8080");
        assert_eq!(name("https://h/"), "https://secure");
        assert!(!format!("{proxies:?}").contains("u%40"));
        let only = Proxies {
            https: None,
            ..proxies
        };
        assert!(only.for_url(&"https://h/".parse().unwrap()).is_none());
    }

    #[test]
    fn this_host_is_reached_directly() {
        for url in [
            "http://localhost/",
            "http://LOCALHOST:1/",
            "http://127.3.2.1/",
            "http://[::1]:8/",
        ] {
            assert!(!used(&[], url), "{url}");
        }
    }

    #[test]
    fn exemptions_are_those_of_upstream() {
        for (entry, url, direct) in [
            ("*", "http://h/", true),
            ("example.com", "http://example.com/", true),
            ("example.com", "https://EXAMPLE.com:444/", true),
            ("example.com", "http://a.example.com/", true),
            ("example.com", "http://anexample.com/", false),
            (".example.com", "http://example.com/", false),
            (".example.com", "http://a.example.com/", true),
            ("*.example.com", "http://a.b.example.com/", true),
            ("*.example.com", "http://example.com/", false),
            ("example.com:8080", "http://example.com:8080/", true),
            ("example.com:8080", "http://example.com/", false),
            ("example.com:443", "https://example.com/", true),
            ("10.1.2.3", "http://10.1.2.3/", true),
            ("10.1.2.3:80", "http://10.1.2.3/", true),
            ("10.1.2.3:81", "http://10.1.2.3/", false),
            ("10.0.0.0/8", "http://10.1.2.3/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("10.0.0.0/33", "http://10.0.0.0/", false),
            ("0.0.0.0/0", "http://11.1.2.3/", true),
            ("fd00::/8", "http://[fd00::1]/", true),
            ("fd00::/8", "http://[fe80::1]/", false),
            ("[fd00::1]:80", "http://[fd00::1]/", true),
            ("::ffff:10.1.2.3", "http://10.1.2.3/", true),
            ("a, Example.com ,b", "http://example.com/", true),
            ("", "http://h/", false),
            (":80", "http://h/", false),
        ] {
            assert_eq!(used(&[entry], url), !direct, "{entry:?} for {url}");
        }
    }

    #[test]
    fn a_forwarded_request_names_the_whole_url() {
        let proxies = proxies(&[]);
        let url: Uri = "http://user:pw@h:81/a?b".parse().unwrap();
        let forward = proxies.for_url(&url).unwrap().forward(&url).unwrap();
        assert_eq!(forward.uri.host(), Some("plain"));
        assert_eq!(forward.uri.path_and_query().unwrap().as_str(), "/a?b");
        assert_eq!(forward.origin, "http://h:81");
        assert_eq!(forward.host, "h:81");
        assert_eq!(forward.authorization.as_deref(), Some("Basic dXNlcjpwdw=="));
        // u@:p:
        assert_eq!(
            forward.proxy_authorization.as_deref(),
            Some("Basic dUA6cDo=")
        );
    }

    #[test]
    fn wrong_proxies_are_explained() {
        for (url, words) in [
            ("proxy:3128", "http://host:port"),
            ("socks5://h:1", "http://host:port"),
            ("http://", "not a URL"),
            ("http://a b", "not a URL"),
            ("http://u@:80", "names no host"),
            ("http://u%zz@h", "hexadecimal"),
        ] {
            let problem = problem(url).unwrap();
            assert!(problem.contains(words), "{url}: {problem}");
        }
        assert_eq!(problem("https://u:p@h:1/"), None);
    }

    proptest! {
        #[test]
        fn any_entry_is_judged_without_panic(entry in "[0-9a-f.:*/\\[\\], ]{0,20}") {
            used(&[&entry], "http://10.0.0.1:8/");
            used(&[&entry], "https://[fd00::1]/");
        }

        #[test]
        fn a_network_covers_its_own_address(a: u32, length in 0_u8..=32) {
            let address = std::net::Ipv4Addr::from_bits(a);
            if !address.is_loopback() {
                let direct = !used(&[&format!("{address}/{length}")], &format!("http://{address}/"));
                prop_assert!(direct);
            }
        }
    }
}
