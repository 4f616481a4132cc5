//! A document of kind Pod.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::model::{Container, Declaration, Resolving, Restart, Role};
use super::super::reader::{At, Fields, Keys, Reader};
use super::container::{self, Shared};
use super::environment::{Sources, required};
use super::{Kind, Known, Metadata, metadata, security, volume};
use crate::options::PortOption;

/// Containers of a pod, of all roles.
const CONTAINERS: usize = 128;

/// Seconds that containers have to stop if the pod does not say.
const GRACE: i64 = 30;

/// The longest time that a pod can ask for: a day.
pub const DAY: i64 = 86_400;

const DOCUMENT: Keys = Keys {
    known: &["apiVersion", "kind", "metadata", "spec"],
    refused: &[(
        "status",
        "leave it out, it is what a cluster says about a pod",
    )],
};

const ONE_HOST: &str = "there is only this host";

const SPEC: Keys = Keys {
    known: &[
        "containers",
        "initContainers",
        "volumes",
        "restartPolicy",
        "terminationGracePeriodSeconds",
        "hostNetwork",
        "hostname",
        "dnsPolicy",
        "dnsConfig",
        "hostAliases",
        "securityContext",
        "automountServiceAccountToken",
        "enableServiceLinks",
    ],
    refused: &[
        ("activeDeadlineSeconds", "stop the pod's unit by a timer"),
        ("affinity", ONE_HOST),
        (
            "ephemeralContainers",
            "`rocket enter` runs programs in a container",
        ),
        (
            "hostIPC",
            "the containers of a pod share IPC with each other",
        ),
        ("hostPID", "run the pod by `rocket run --pid=host`"),
        (
            "hostUsers",
            "leave it out, or run the pod by `rocket run --userns=auto`",
        ),
        (
            "imagePullSecrets",
            "credentials are in /etc/rocket/auth.json",
        ),
        ("nodeName", ONE_HOST),
        ("nodeSelector", ONE_HOST),
        ("overhead", "leave it out"),
        ("priority", "leave it out"),
        ("priorityClassName", "leave it out"),
        ("readinessGates", "leave it out"),
        ("resources", "limit the containers"),
        ("runtimeClassName", "rocket is the only runtime"),
        ("schedulerName", ONE_HOST),
        ("serviceAccountName", "there is no cluster to be known to"),
        ("setHostnameAsFQDN", "say hostname"),
        (
            "shareProcessNamespace",
            "each container has processes of its own",
        ),
        ("subdomain", "say hostname"),
        ("tolerations", ONE_HOST),
        ("topologySpreadConstraints", ONE_HOST),
    ],
};

const DNS: Keys = Keys {
    known: &["nameservers", "searches", "options"],
    refused: &[],
};

const DNS_OPTION: Keys = Keys {
    known: &["name", "value"],
    refused: &[],
};

const ALIAS: Keys = Keys {
    known: &["ip", "hostnames"],
    refused: &[],
};

/// Nothing if there is no telling what it is.
pub fn read(reader: &mut Reader<'_>, at: &At<'_>, known: &Known) -> Option<Declaration> {
    let fields = reader.map(at, DOCUMENT)?;
    let about = metadata(reader, at, &fields, Kind::Pod);
    let Some(spec) = fields.get("spec") else {
        reader.refuse(at, "spec is missing");
        return None;
    };
    // What else is wrong is told also of a pod without a good name.
    let about = about.unwrap_or(Metadata {
        name: String::new(),
        namespace: "default".into(),
        labels: Default::default(),
        annotations: Default::default(),
    });
    let own = reader.map(&spec, SPEC)?;
    let pod = declaration(reader, &spec, &own, &about, known);
    (!about.name.is_empty()).then_some(pod)
}

fn declaration(
    reader: &mut Reader<'_>,
    at: &At<'_>,
    spec: &Fields<'_>,
    about: &Metadata,
    known: &Known,
) -> Declaration {
    let sources = Sources { known, pod: about };
    for key in ["automountServiceAccountToken", "enableServiceLinks"] {
        if let Some(at) = spec.get(key)
            && reader.truth(&at) == Some(true)
        {
            reader.refuse(
                &at,
                "not supported; there is no cluster here, say false or leave it out",
            );
        }
    }
    let security = security::of_pod(reader, spec);
    let volumes = volume::read(reader, spec, sources);
    let host_network = reader.truth_of(spec, "hostNetwork");
    let restart = restart(reader, spec);
    let mut ports = Vec::new();
    let (init, containers) = {
        let mut shared = Shared {
            sources,
            security: &security,
            volumes: &volumes,
            host_network,
            ports: &mut ports,
        };
        let init = containers(reader, spec, "initContainers", &mut shared);
        (init, containers(reader, spec, "containers", &mut shared))
    };
    if spec.get("containers").is_none() || containers.is_empty() && reader.problems.is_empty() {
        reader.refuse(at, "containers are missing");
    }
    distinct(reader, at, init.iter().chain(&containers));
    let grace = reader.number_of(spec, "terminationGracePeriodSeconds", 0, DAY);
    Declaration {
        name: about.name.clone(),
        namespace: about.namespace.clone(),
        labels: about.labels.clone(),
        annotations: about.annotations.clone(),
        init,
        containers,
        volumes,
        restart,
        grace: grace.unwrap_or(GRACE).unsigned_abs(),
        host_network,
        hostname: hostname(reader, spec, about),
        dns: dns(reader, spec),
        hosts: aliases(reader, spec),
        ports: distinct_ports(reader, at, ports),
        fs_group: security.fs_group,
        groups: security.groups,
    }
}

fn restart(reader: &mut Reader<'_>, spec: &Fields<'_>) -> Restart {
    let words = [
        ("Always", Restart::Always),
        ("OnFailure", Restart::OnFailure),
        ("Never", Restart::Never),
    ];
    let asked = spec
        .get("restartPolicy")
        .and_then(|at| reader.word(&at, &words));
    asked.unwrap_or(Restart::Always)
}

fn containers(
    reader: &mut Reader<'_>,
    spec: &Fields<'_>,
    key: &str,
    shared: &mut Shared<'_>,
) -> Vec<Container> {
    let entries = reader.list_of(spec, key);
    if let Some(first) = entries.get(CONTAINERS) {
        reader.refuse(first, format!("more than {CONTAINERS} containers"));
        return Vec::new();
    }
    let role = if key == "containers" {
        Role::Main
    } else {
        Role::Init
    };
    let read = |at: &At<'_>| container::read(reader, at, role, shared);
    entries.iter().filter_map(read).collect()
}

fn distinct<'a>(reader: &mut Reader<'_>, at: &At<'_>, all: impl Iterator<Item = &'a Container>) {
    let mut names = BTreeSet::new();
    for container in all {
        if !names.insert(&container.name) {
            reader.refuse(
                at,
                format!("two containers are called {:?}", container.name),
            );
        }
    }
}

/// Each port of the host leads to one place.
fn distinct_ports(reader: &mut Reader<'_>, at: &At<'_>, ports: Vec<PortOption>) -> Vec<PortOption> {
    let mut seen = BTreeSet::new();
    for port in &ports {
        if !seen.insert((port.host, port.protocol, port.address)) {
            reader.refuse(
                at,
                format!("two containers have the port {port} of the host"),
            );
        }
    }
    ports
}

fn hostname(reader: &mut Reader<'_>, spec: &Fields<'_>, about: &Metadata) -> String {
    let asked = spec.get("hostname").and_then(|at| reader.name(&at));
    asked.unwrap_or_else(|| about.name.clone())
}

/// On one host there is no cluster's DNS: `ClusterFirst` is what the host has.
fn dns(reader: &mut Reader<'_>, spec: &Fields<'_>) -> Resolving {
    let words = [
        ("ClusterFirst", false),
        ("ClusterFirstWithHostNet", false),
        ("Default", false),
        ("None", true),
    ];
    let asked = spec.get("dnsPolicy");
    let only_own = asked
        .as_ref()
        .and_then(|at| reader.word(at, &words))
        .unwrap_or(false);
    let mut dns = Resolving {
        only_own,
        servers: Vec::new(),
        search: Vec::new(),
        options: Vec::new(),
    };
    if let Some(at) = spec.get("dnsConfig")
        && let Some(own) = reader.map(&at, DNS)
    {
        for at in reader.list_of(&own, "nameservers") {
            dns.servers.extend(address(reader, &at));
        }
        for at in reader.list_of(&own, "searches") {
            dns.search.extend(domain(reader, &at));
        }
        for at in reader.list_of(&own, "options") {
            dns.options.extend(dns_option(reader, &at));
        }
    }
    if let Some(at) = asked.filter(|_| only_own && dns.servers.is_empty()) {
        reader.refuse(&at, "None needs nameservers in dnsConfig");
    }
    dns
}

fn dns_option(reader: &mut Reader<'_>, at: &At<'_>) -> Option<String> {
    let own = reader.map(at, DNS_OPTION)?;
    let name = required(reader, at, &own, "name")?;
    let value = own.get("value").map(|at| reader.words(&at));
    let option = match value {
        Some(value) => format!("{name}:{}", value?),
        None => name,
    };
    if option.chars().all(|c| c.is_ascii_graphic()) {
        return Some(option);
    }
    reader.refuse(at, "expected an option of resolv.conf(5)");
    None
}

/// An IP address.
pub fn address(reader: &mut Reader<'_>, at: &At<'_>) -> Option<IpAddr> {
    let text = reader.text(at)?;
    let address = text.parse().ok();
    if address.is_none() {
        reader.refuse(at, format!("{text:?} is no IP address"));
    }
    address
}

/// A name as it is looked up.
fn domain(reader: &mut Reader<'_>, at: &At<'_>) -> Option<String> {
    let text = reader.text(at)?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !text.is_empty() && text.len() <= 253 && text.chars().all(good) {
        return Some(text);
    }
    reader.refuse(at, format!("{text:?} is no domain name"));
    None
}

fn aliases(reader: &mut Reader<'_>, spec: &Fields<'_>) -> Vec<(IpAddr, String)> {
    let mut all = Vec::new();
    for at in reader.list_of(spec, "hostAliases") {
        let Some(own) = reader.map(&at, ALIAS) else {
            continue;
        };
        if own.get("ip").is_none() {
            reader.refuse(&at, "ip is missing");
        }
        let address = own.get("ip").and_then(|at| address(reader, &at));
        for name in reader.list_of(&own, "hostnames") {
            let name = domain(reader, &name);
            all.extend(address.zip(name));
        }
    }
    all
}
