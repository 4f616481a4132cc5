//! `cluster:`: what a node of a cluster needs, as files below `/etc/cluster`.

mod agent;
mod material;
mod preset;

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::cluster;
use crate::fetch::Source;
use crate::tools::yaml::{Content, Node};

use super::resource::written;
use super::value::{Object, Path};
use super::{Translator, entry, list_in, shape};

use agent::Agent;
use preset::Preset;

/// The unit that the image has for it.
const AGENT: &str = "cluster-agent.service";

/// What this config says of that unit.
const DROP_IN: &str = "50-agent.conf";

/// Adds the files and the unit that `cluster:` asks for to `json`.
pub fn add(translator: &mut Translator<'_>, root: &Node, json: &mut Value) {
    let Some(node) = root.get("cluster") else {
        return;
    };
    let path = Path::default().key("cluster");
    let Some(Value::Object(wanted)) = translator.value(node, shape::CLUSTER, &path) else {
        return;
    };
    let asked = Asked {
        node,
        wanted: &wanted,
        path: path.clone(),
    };
    let Some(cluster) = Cluster::read(translator, &asked) else {
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
    if let Some(agent) = &cluster.agent {
        add_preset(translator, &asked, agent, json);
    }
    add_unit(translator, &asked, &cluster, json);
}

/// A preset comes before what the config says itself.
fn add_preset(
    translator: &mut Translator<'_>,
    asked: &Asked<'_>,
    agent: &Agent<'_>,
    json: &mut Value,
) {
    let Some(preset) = agent.preset else {
        return;
    };
    let Some(links) = list_in(json, "storage", "links") else {
        return;
    };
    let place = format!("/etc/systemd/system/{AGENT}.d/40-preset.conf");
    links.push(json!({ "path": place, "target": preset.drop_in() }));
    let key = format!("storage.links.{}", links.len() - 1);
    translator.due_to(key, asked.node, &asked.path);
}

/// The agent's unit is enabled if there is an agent, or if the config says itself what the
/// unit is to be.
fn add_unit(
    translator: &mut Translator<'_>,
    asked: &Asked<'_>,
    cluster: &Cluster<'_>,
    json: &mut Value,
) {
    let drop_in = cluster.drop_in();
    let Some(units) = list_in(json, "systemd", "units") else {
        return;
    };
    let Some((at, unit)) = entry(units, "name", AGENT) else {
        if let Some(contents) = drop_in {
            let dropins = json!([{ "name": DROP_IN, "contents": contents }]);
            units.push(json!({ "name": AGENT, "enabled": true, "dropins": dropins }));
            let key = format!("systemd.units.{}", units.len() - 1);
            translator.due_to(key, asked.node, &asked.path);
        }
        return;
    };
    unit.entry("enabled").or_insert(json!(true));
    let Some(contents) = drop_in else {
        return;
    };
    if let Some(list) = unit.entry("dropins").or_insert(json!([])).as_array_mut() {
        list.push(json!({ "name": DROP_IN, "contents": contents }));
        let key = format!("systemd.units.{at}.dropins.{}", list.len() - 1);
        translator.due_to(key, asked.node, &asked.path);
    }
}

/// What was written, and where.
struct Asked<'a> {
    node: &'a Node,
    wanted: &'a Object,
    path: Path,
}

impl<'a> Asked<'a> {
    /// The text of a key.
    fn text(&self, name: &str) -> Option<&'a str> {
        self.wanted.get(name).and_then(Value::as_str)
    }

    /// What a key says about contents.
    fn resource(&self, name: &str) -> Option<&'a Object> {
        let object = self.wanted.get(&super::shape::json_name(name))?.as_object();
        object.filter(|object| object.get("source").is_some())
    }

    fn error(&self, translator: &mut Translator<'_>, name: &str, message: impl Into<String>) {
        let at = self.node.get(name).unwrap_or(self.node);
        translator.error(at, &self.path.key(name), message.into());
    }

    fn warning(&self, translator: &mut Translator<'_>, name: &str, message: impl Into<String>) {
        let at = self.node.get(name).unwrap_or(self.node);
        let path = self.path.key(name);
        let problem = translator.text.problem(at.spot, &path.yaml, message);
        translator.found.warnings.push(problem);
    }
}

/// A cluster whose values are right.
struct Cluster<'a> {
    endpoint: &'a str,
    ca: &'a Object,
    proof: Proof<'a>,
    /// Servers and the domain that they answer for.
    dns: Option<(Vec<&'a str>, &'a str)>,
    name: Option<&'a str>,
    labels: Vec<(&'a str, &'a str)>,
    agent: Option<Agent<'a>>,
}

/// By what a node shows who it is.
enum Proof<'a> {
    Certificate {
        certificate: &'a Object,
        key: &'a Object,
    },
    Token(&'a Object),
}

impl<'a> Cluster<'a> {
    fn read(translator: &mut Translator<'_>, asked: &Asked<'a>) -> Option<Self> {
        let before = translator.found.errors.len();
        let ca = asked.resource("ca");
        if ca.is_none() {
            let message = "a cluster needs ca: with inline, local or source";
            asked.error(translator, "ca", message);
        }
        let proof = proof(translator, asked);
        let endpoint = endpoint(translator, asked.node, asked.wanted, &asked.path);
        let dns = dns(translator, asked.node, asked.wanted, &asked.path);
        let name = name(translator, asked);
        let labels = labels(translator, asked);
        let agent = agent::read(translator, asked);
        if translator.found.errors.len() == before {
            material::check(translator, asked);
        }
        if translator.found.errors.len() > before {
            return None;
        }
        Some(Self {
            endpoint: endpoint?,
            ca: ca?,
            proof: proof?,
            dns,
            name,
            labels,
            agent,
        })
    }

    /// Path, mode and contents of every file.
    fn files(&self) -> Vec<(&'static str, u32, Object)> {
        let line = |text: &str| written(format!("{text}\n").as_bytes());
        let mut files = vec![
            ("/etc/cluster/endpoint", 0o644, line(self.endpoint)),
            (cluster::CA, 0o644, self.ca.clone()),
        ];
        match &self.proof {
            Proof::Certificate { certificate, key } => files.extend([
                (cluster::CERTIFICATE, 0o644, (*certificate).clone()),
                (cluster::KEY, 0o600, (*key).clone()),
            ]),
            Proof::Token(token) => files.push((cluster::TOKEN, 0o600, (*token).clone())),
        }
        if let Some((servers, domain)) = &self.dns {
            let spaced = servers.join(" ");
            // With a routing domain, resolved asks these servers for it first.
            let resolved = format!("[Resolve]\nDNS={spaced}\nDomains=~{domain}");
            files.extend([
                ("/etc/cluster/dns", 0o644, line(&servers.join("\n"))),
                (cluster::DOMAIN, 0o644, line(domain)),
                (
                    "/etc/systemd/resolved.conf.d/50-cluster.conf",
                    0o644,
                    line(&resolved),
                ),
            ]);
        }
        if let Some(name) = self.name {
            files.push((cluster::NAME, 0o644, line(name)));
        }
        if !self.labels.is_empty() {
            let labels = self.labels(",").replace(',', "\n");
            files.push(("/etc/cluster/labels", 0o644, line(&labels)));
        }
        let variables = self.variables();
        files.push((
            "/etc/cluster/cluster.env",
            0o644,
            written(variables.as_bytes()),
        ));
        if self.has_preset(Preset::Kubelet) {
            let kubeconfig = preset::kubeconfig(self.endpoint, &self.proof);
            files.push((preset::KUBECONFIG, 0o600, written(kubeconfig.as_bytes())));
        }
        files
    }

    /// `cluster.env`; there are no secrets in it.
    fn variables(&self) -> String {
        let mut text = format!(
            "CLUSTER_ENDPOINT={}\nCLUSTER_ADDRESS={}\nCLUSTER_CA={}\n",
            self.endpoint,
            address(self.endpoint),
            cluster::CA
        );
        text += &match self.proof {
            Proof::Certificate { .. } => format!(
                "CLUSTER_CERTIFICATE={}\nCLUSTER_KEY={}\n",
                cluster::CERTIFICATE,
                cluster::KEY
            ),
            Proof::Token(_) => format!("CLUSTER_TOKEN_FILE={}\n", cluster::TOKEN),
        };
        if let Some((servers, domain)) = &self.dns {
            let spaced = servers.join(" ");
            text += &format!("CLUSTER_DNS=\"{spaced}\"\nCLUSTER_DOMAIN={domain}\n");
        }
        if let Some(name) = self.name {
            text += &format!("CLUSTER_NAME={name}\n");
        }
        if !self.labels.is_empty() {
            text += &format!("CLUSTER_LABELS={}\n", self.labels(","));
        }
        text
    }

    fn labels(&self, between: &str) -> String {
        let labels = self.labels.iter();
        let labels: Vec<String> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        labels.join(between)
    }

    fn has_preset(&self, preset: Preset) -> bool {
        self.agent
            .as_ref()
            .is_some_and(|agent| agent.preset == Some(preset))
    }

    /// What the agent's unit starts.
    fn drop_in(&self) -> Option<String> {
        let agent = self.agent.as_ref()?;
        let own = agent
            .preset
            .map_or_else(Vec::new, |preset| preset.arguments(self));
        Some(agent.drop_in(&own))
    }
}

/// A certificate with its key, or a token.
fn proof<'a>(translator: &mut Translator<'_>, asked: &Asked<'a>) -> Option<Proof<'a>> {
    let token = asked.resource("bootstrap_token");
    let (certificate, key) = (asked.resource("certificate"), asked.resource("key"));
    match (token, certificate, key) {
        (Some(token), None, None) => return Some(Proof::Token(token)),
        (Some(_), ..) => {
            let message = "a node with a certificate needs no bootstrap_token; leave one out";
            asked.error(translator, "bootstrap_token", message);
        }
        (None, Some(certificate), Some(key)) => {
            return Some(Proof::Certificate { certificate, key });
        }
        (None, None, None) => {
            let message = "a cluster needs certificate and key, or bootstrap_token: with inline, \
                           local or source";
            asked.error(translator, "certificate", message);
        }
        (None, None, Some(_)) => {
            let message = "a cluster needs certificate: with inline, local or source";
            asked.error(translator, "certificate", message);
        }
        (None, Some(_), None) => {
            let message = "a cluster needs key: with inline, local or source";
            asked.error(translator, "key", message);
        }
    }
    None
}

fn name<'a>(translator: &mut Translator<'_>, asked: &Asked<'a>) -> Option<&'a str> {
    let name = asked.text("name")?;
    if is_domain(name) {
        return Some(name);
    }
    let message = format!("expected a name such as web-1, found {name:?}");
    asked.error(translator, "name", message);
    None
}

/// In the order in which they were written.
fn labels<'a>(translator: &mut Translator<'_>, asked: &Asked<'a>) -> Vec<(&'a str, &'a str)> {
    let Some(node) = asked.node.get("labels").filter(|node| !node.is_empty()) else {
        return Vec::new();
    };
    let Content::Map(entries) = &node.content else {
        let message = format!("expected keys and values, found {}", node.kind());
        asked.error(translator, "labels", message);
        return Vec::new();
    };
    let mut labels = Vec::new();
    for entry in entries {
        let below = asked.path.key("labels").key(&entry.key);
        let value = entry.value.text();
        let message = match value {
            _ if !is_label(&entry.key, true) => {
                "a label's key has letters, digits, - _ . and one /, at most 316 of them"
            }
            Some(value) if is_label(value, false) => {
                labels.push((entry.key.as_str(), value));
                continue;
            }
            _ => "a label's value has letters, digits, - _ and ., at most 63 of them",
        };
        translator.error(&entry.value, &below, message.to_owned());
    }
    labels
}

/// What Kubernetes and Nomad both take, and variables hold without quotes.
fn is_label(text: &str, is_key: bool) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let part =
        |text: &str, most: usize| (1..=most).contains(&text.len()) && text.chars().all(plain);
    match text.split_once('/') {
        Some((prefix, name)) => is_key && part(prefix, 253) && part(name, 63),
        None => part(text, 63),
    }
}

/// Host and port of an `https` address.
fn address(endpoint: &str) -> String {
    let rest = endpoint.strip_prefix("https://").unwrap_or(endpoint);
    let host = rest.split('/').next().unwrap_or_default();
    let after = host.rsplit(']').next().unwrap_or_default();
    match after.contains(':') {
        true => host.to_owned(),
        false => format!("{host}:443"),
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
            if let Some(bad) = servers.iter().find(|text| !is_server(text)) {
                let message =
                    format!("expected IP addresses, with a port or without, found {bad:?}");
                ("dns", message)
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

/// As resolved takes them: `10.0.0.1`, `10.0.0.1:5353`, `[fd00::1]:5353`.
fn is_server(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok()
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(allowed)
    };
    text.len() <= 253 && text.split('.').all(label)
}
