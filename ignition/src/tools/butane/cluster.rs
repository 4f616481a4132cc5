//! `cluster:`: what a node of a cluster needs, as files below `/etc/cluster`.

use std::io::Read as _;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::fetch::Source;
use crate::tools::yaml::Node;

use super::resource::written;
use super::value::{Object, Path};
use super::{Translator, entry, list_in, shape};

/// Longest certificate or key that is looked into, in bytes.
const PEM: u64 = 1 << 20;

const AGENT: &str = "cluster-agent.service";

/// Adds the files and the unit that `cluster:` asks for to `json`.
pub fn add(translator: &mut Translator<'_>, root: &Node, json: &mut Value) {
    let Some(node) = root.get("cluster") else {
        return;
    };
    let path = Path::default().key("cluster");
    let Some(Value::Object(wanted)) = translator.value(node, shape::CLUSTER, &path) else {
        return;
    };
    let Some(cluster) = Cluster::read(translator, node, &wanted, &path) else {
        return;
    };
    for (name, mode, contents) in cluster.files() {
        let Some(files) = list_in(json, "storage", "files") else {
            return;
        };
        files.push(json!({ "path": name, "mode": mode, "contents": contents }));
        let key = format!("storage.files.{}", files.len() - 1);
        translator.due_to(key, node, &path);
    }
    let Some(units) = list_in(json, "systemd", "units") else {
        return;
    };
    if let Some((_, unit)) = entry(units, "name", AGENT) {
        unit.entry("enabled").or_insert(json!(true));
    } else {
        units.push(json!({ "name": AGENT, "enabled": true }));
        let key = format!("systemd.units.{}", units.len() - 1);
        translator.due_to(key, node, &path);
    }
}

/// A cluster whose values are right.
struct Cluster<'a> {
    endpoint: &'a str,
    ca: &'a Object,
    certificate: &'a Object,
    key: &'a Object,
    /// Servers and the domain that they answer for.
    dns: Option<(Vec<&'a str>, &'a str)>,
}

impl<'a> Cluster<'a> {
    fn read(
        translator: &mut Translator<'_>,
        node: &Node,
        wanted: &'a Object,
        path: &Path,
    ) -> Option<Self> {
        let before = translator.found.errors.len();
        let mut part = |name: &'static str, marker: &'static str| {
            let object = wanted.get(name).and_then(Value::as_object);
            let below = path.key(name);
            let at = node.get(name).unwrap_or(node);
            match object.filter(|object| object.get("source").is_some()) {
                Some(object) => {
                    if let Err(message) = check_pem(object, marker) {
                        translator.error(at, &below, message);
                    }
                    Some(object)
                }
                None => {
                    let message = format!("a cluster needs {name}: with inline, local or source");
                    translator.error(at, &below, message);
                    None
                }
            }
        };
        let (ca, certificate) = (
            part("ca", "CERTIFICATE"),
            part("certificate", "CERTIFICATE"),
        );
        let key = part("key", "PRIVATE KEY");
        let endpoint = endpoint(translator, node, wanted, path);
        let dns = dns(translator, node, wanted, path);
        if translator.found.errors.len() > before {
            return None;
        }
        Some(Self {
            endpoint: endpoint?,
            ca: ca?,
            certificate: certificate?,
            key: key?,
            dns,
        })
    }

    /// Path, mode and contents of every file.
    fn files(&self) -> Vec<(&'static str, u32, Object)> {
        let mut variables = format!(
            "CLUSTER_ENDPOINT={}\nCLUSTER_CA=/etc/cluster/ca.crt\n\
             CLUSTER_CERTIFICATE=/etc/cluster/node.crt\nCLUSTER_KEY=/etc/cluster/node.key\n",
            self.endpoint
        );
        let line = |text: &str| written(format!("{text}\n").as_bytes());
        let mut files = vec![
            ("/etc/cluster/endpoint", 0o644, line(self.endpoint)),
            ("/etc/cluster/ca.crt", 0o644, self.ca.clone()),
            ("/etc/cluster/node.crt", 0o644, self.certificate.clone()),
            ("/etc/cluster/node.key", 0o600, self.key.clone()),
        ];
        if let Some((servers, domain)) = &self.dns {
            let spaced = servers.join(" ");
            variables += &format!("CLUSTER_DNS=\"{spaced}\"\nCLUSTER_DOMAIN={domain}\n");
            // With a routing domain, resolved asks these servers for it first.
            let resolved = format!("[Resolve]\nDNS={spaced}\nDomains=~{domain}");
            files.extend([
                ("/etc/cluster/dns", 0o644, line(&servers.join("\n"))),
                ("/etc/cluster/domain", 0o644, line(domain)),
                (
                    "/etc/systemd/resolved.conf.d/50-cluster.conf",
                    0o644,
                    line(&resolved),
                ),
            ]);
        }
        files.push((
            "/etc/cluster/cluster.env",
            0o644,
            written(variables.as_bytes()),
        ));
        files
    }
}

fn endpoint<'a>(
    translator: &mut Translator<'_>,
    node: &Node,
    wanted: &'a Object,
    path: &Path,
) -> Option<&'a str> {
    let text = wanted
        .get("endpoint")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || ".:/-_[]".contains(c);
    let right = matches!(Source::parse(text), Ok(Source::Http(_)))
        && text.starts_with("https://")
        && text.chars().all(plain);
    if right {
        return Some(text);
    }
    let message = format!(
        "expected the address of the control plane, such as https://10.0.0.1:6443, found {text:?}"
    );
    let at = node.get("endpoint").unwrap_or(node);
    translator.error(at, &path.key("endpoint"), message);
    None
}

fn dns<'a>(
    translator: &mut Translator<'_>,
    node: &Node,
    wanted: &'a Object,
    path: &Path,
) -> Option<(Vec<&'a str>, &'a str)> {
    let servers = wanted.get("dns").and_then(Value::as_array);
    let servers: Vec<&str> = servers
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let domain = wanted
        .get("domain")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let (key, message) = match (servers.as_slice(), domain) {
        ([], "") => return None,
        ([], _) => (
            "dns",
            "a domain needs dns: the addresses of the servers that know it".to_owned(),
        ),
        (_, "") => (
            "domain",
            "dns needs domain: what these servers are asked for".to_owned(),
        ),
        (servers, domain) => {
            if let Some(bad) = servers.iter().find(|text| text.parse::<IpAddr>().is_err()) {
                ("dns", format!("expected IP addresses, found {bad:?}"))
            } else if !is_domain(domain) {
                (
                    "domain",
                    format!("expected a domain such as cluster.local, found {domain:?}"),
                )
            } else {
                return Some((servers.to_vec(), domain));
            }
        }
    };
    translator.error(node.get(key).unwrap_or(node), &path.key(key), message);
    None
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(allowed)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Embedded contents are what their key says; certificate and key are easily
/// taken for each other. What is at a URL is not known here.
fn check_pem(object: &Object, marker: &str) -> Result<(), String> {
    let Some(text) = embedded(object) else {
        return Ok(());
    };
    let has = |what: &str| text.contains(&format!("{what}-----"));
    if has(marker) && (marker == "PRIVATE KEY" || !has("PRIVATE KEY")) {
        return Ok(());
    }
    let found = if has("PRIVATE KEY") {
        "a private key"
    } else if has("CERTIFICATE") {
        "a certificate"
    } else {
        "something else"
    };
    let expected = match marker {
        "PRIVATE KEY" => "a private key",
        _ => "certificates only",
    };
    Err(format!("expected {expected} in PEM, found {found}"))
}

/// The text in a data URL.
fn embedded(object: &Object) -> Option<String> {
    let source = object.get("source")?.as_str()?;
    let Ok(Source::Data(bytes)) = Source::parse(source) else {
        return None;
    };
    if object.get("compression").and_then(Value::as_str) != Some("gzip") {
        return Some(String::from_utf8_lossy(&bytes).into_owned());
    }
    let mut text = Vec::new();
    let decoder = flate2::read::GzDecoder::new(bytes.as_slice());
    decoder.take(PEM).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
