//! Entries of `containers` and `initContainers`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::super::model::{Container, Mount, Probes, Pull, Role, Source as VolumeSource, Volume};
use super::super::quantity;
use super::super::reader::{At, Fields, Keys, Reader};
use super::environment::{self, Sources, required};
use super::probe::{self, Port};
use super::{pod, security};
use crate::image::name::NameError;
use crate::image::source::{Source, SourceError};
use crate::options::{PortOption, Protocol};

const CONTAINER: Keys = Keys {
    known: &[
        "name",
        "image",
        "imagePullPolicy",
        "command",
        "args",
        "workingDir",
        "env",
        "envFrom",
        "ports",
        "volumeMounts",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "resources",
        "securityContext",
        "lifecycle",
        "restartPolicy",
    ],
    refused: &[
        ("resizePolicy", "a changed file restarts the pod"),
        ("restartPolicyRules", "say restartPolicy of the pod"),
        ("stdin", "the standard input of containers is empty"),
        ("stdinOnce", "the standard input of containers is empty"),
        (
            "terminationMessagePath",
            "what a container writes is in the journal",
        ),
        (
            "terminationMessagePolicy",
            "what a container writes is in the journal",
        ),
        ("tty", "containers write to the journal"),
        ("volumeDevices", "containers have no devices of the host"),
    ],
};

const PORT: Keys = Keys {
    known: &["name", "containerPort", "hostPort", "hostIP", "protocol"],
    refused: &[],
};

const MOUNT: Keys = Keys {
    known: &["name", "mountPath", "readOnly", "subPath"],
    refused: &[
        ("mountPropagation", "what a container mounts stays in it"),
        ("recursiveReadOnly", "readOnly counts for everything below"),
        ("subPathExpr", "use subPath"),
    ],
};

const RESOURCES: Keys = Keys {
    known: &["limits", "requests"],
    refused: &[("claims", "there are no devices to claim")],
};

const LIMITS: Keys = Keys {
    known: &["cpu", "memory"],
    refused: &[(
        "ephemeral-storage",
        "limit what the container writes by itself",
    )],
};

const LIFECYCLE: Keys = Keys {
    known: &["preStop"],
    refused: &[
        (
            "postStart",
            "use an init container, or start what is needed in the command",
        ),
        ("stopSignal", "the image says by which signal it is stopped"),
    ],
};

const HOOK: Keys = Keys {
    known: &["exec"],
    refused: &[
        ("httpGet", "use exec"),
        ("tcpSocket", "use exec"),
        ("sleep", "use exec"),
    ],
};

const EXEC: Keys = Keys {
    known: &["command"],
    refused: &[],
};

/// What containers of a pod have in common.
#[derive(Debug)]
pub struct Shared<'a> {
    pub sources: Sources<'a>,
    pub security: &'a security::OfPod,
    pub volumes: &'a [Volume],
    pub host_network: bool,
    /// Ports of the host, of all containers.
    pub ports: &'a mut Vec<PortOption>,
}

/// Nothing if there is no telling what it is.
pub fn read(
    reader: &mut Reader<'_>,
    at: &At<'_>,
    role: Role,
    shared: &mut Shared<'_>,
) -> Option<Container> {
    let fields = reader.map(at, CONTAINER)?;
    let role = sidecar(reader, &fields, role);
    let name = name(reader, at, &fields);
    let image = image(reader, at, &fields);
    let ports = ports(reader, &fields, shared);
    let security = security::of_container(reader, &fields, shared.security);
    let (memory, cpus) = resources(reader, &fields);
    let image = image.unwrap_or_default();
    Some(Container {
        name: name?,
        role,
        pull: pull(reader, &fields, &image),
        image,
        command: reader
            .texts_of(&fields, "command")
            .filter(|words| !words.is_empty()),
        args: reader
            .texts_of(&fields, "args")
            .filter(|words| !words.is_empty()),
        directory: directory(reader, &fields),
        variables: environment::read(reader, &fields, shared.sources),
        mounts: mounts(reader, &fields, shared.volumes),
        probes: probes(reader, &fields, role, &ports),
        memory,
        cpus,
        user: security.user,
        group: security.group,
        is_not_root: security.is_not_root,
        add: security.add,
        drop: security.drop,
        is_unconfined: security.is_unconfined,
        read_only: security.read_only,
        pre_stop: pre_stop(reader, &fields, role),
    })
}

fn name(reader: &mut Reader<'_>, at: &At<'_>, fields: &Fields<'_>) -> Option<String> {
    match fields.get("name") {
        Some(name) => reader.name(&name),
        None => {
            reader.refuse(at, "name is missing");
            None
        }
    }
}

/// An init container that is always restarted is a sidecar.
fn sidecar(reader: &mut Reader<'_>, fields: &Fields<'_>, role: Role) -> Role {
    let Some(at) = fields.get("restartPolicy") else {
        return role;
    };
    if role == Role::Init && at.node.text() == Some("Always") {
        return Role::Sidecar;
    }
    let message = "not supported; init containers may say Always, which makes them sidecars, and \
                   the pod's restartPolicy counts for the others";
    reader.refuse(&at, message);
    role
}

fn image(reader: &mut Reader<'_>, at: &At<'_>, fields: &Fields<'_>) -> Option<String> {
    let text = required(reader, at, fields, "image")?;
    let at = fields.get("image")?;
    let relative = ["oci:", "oci-archive:", "docker-archive:"]
        .iter()
        .any(|kind| {
            text.strip_prefix(kind)
                .is_some_and(|path| !path.starts_with('/'))
        });
    if relative {
        reader.refuse(&at, "expected an absolute path");
        return None;
    }
    match Source::parse(&text) {
        // Policy may have a whole name for it.
        Ok(_) | Err(SourceError::Name(NameError::Short { .. })) => Some(text),
        Err(error) => {
            reader.refuse(&at, format!("{:#}", anyhow::Error::from(error)));
            None
        }
    }
}

/// As in Kubernetes, what may change under its name is asked for each time.
fn pull(reader: &mut Reader<'_>, fields: &Fields<'_>, image: &str) -> Pull {
    let words = [
        ("Always", Pull::Always),
        ("IfNotPresent", Pull::IfNotPresent),
        ("Never", Pull::Never),
    ];
    if let Some(at) = fields.get("imagePullPolicy") {
        return reader.word(&at, &words).unwrap_or(Pull::IfNotPresent);
    }
    match Source::parse(image) {
        Ok(Source::Registry(name))
            if name.digest().is_none() && name.tag().is_none_or(|tag| tag == "latest") =>
        {
            Pull::Always
        }
        _ => Pull::IfNotPresent,
    }
}

fn directory(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<PathBuf> {
    fields.get("workingDir").and_then(|at| reader.path(&at))
}

/// Ports that have a name, and all that the host leads in.
fn ports(reader: &mut Reader<'_>, fields: &Fields<'_>, shared: &mut Shared<'_>) -> Vec<Port> {
    let mut all = Vec::new();
    for at in reader.list_of(fields, "ports") {
        let Some(own) = reader.map(&at, PORT) else {
            continue;
        };
        let name = own.get("name").and_then(|at| reader.name(&at));
        if own.get("containerPort").is_none() {
            reader.refuse(&at, "containerPort is missing");
        }
        let Some(inside) = port_of(reader, &own, "containerPort") else {
            continue;
        };
        all.extend(name.map(|name| Port {
            name,
            number: inside,
        }));
        let words = [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp)];
        let protocol = own.get("protocol").map(|at| reader.word(&at, &words));
        let address = own.get("hostIP").and_then(|at| pod::address(reader, &at));
        let Some(host) = port_of(reader, &own, "hostPort") else {
            if let Some(at) = own.get("hostIP") {
                reader.refuse(&at, "needs hostPort");
            }
            continue;
        };
        if shared.host_network {
            if host != inside {
                reader.refuse(
                    &at,
                    "with hostNetwork hostPort and containerPort are the same",
                );
            }
            continue;
        }
        shared.ports.push(PortOption {
            // Every address, as where there is none.
            address: address.filter(|address| !address.is_unspecified()),
            host,
            pod: inside,
            protocol: protocol.flatten().unwrap_or(Protocol::Tcp),
        });
    }
    all
}

/// A port by its number.
fn port_of(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> Option<u16> {
    let number = reader.number_of(fields, key, 1, i64::from(u16::MAX))?;
    u16::try_from(number).ok()
}

fn mounts(reader: &mut Reader<'_>, fields: &Fields<'_>, volumes: &[Volume]) -> Vec<Mount> {
    let mut all: Vec<Mount> = Vec::new();
    let mut targets = BTreeSet::new();
    for at in reader.list_of(fields, "volumeMounts") {
        let Some(mount) = mount(reader, &at, volumes) else {
            continue;
        };
        if !targets.insert(mount.target.clone()) {
            let target = mount.target.display();
            reader.refuse(
                &at,
                format!("something else is mounted at {target} already"),
            );
        }
        all.push(mount);
    }
    all
}

fn mount(reader: &mut Reader<'_>, at: &At<'_>, volumes: &[Volume]) -> Option<Mount> {
    let own = reader.map(at, MOUNT)?;
    let name = required(reader, at, &own, "name");
    if own.get("mountPath").is_none() {
        reader.refuse(at, "mountPath is missing");
    }
    let target = own.get("mountPath").and_then(|at| reader.path(&at));
    let read_only = reader.truth_of(&own, "readOnly");
    let name = name?;
    let Some(volume) = volumes.iter().find(|volume| volume.name == name) else {
        let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        let names = names.join(", ");
        reader.refuse(
            at,
            format!("the pod has no volume {name:?}; it has: {names}"),
        );
        return None;
    };
    let file = own.get("subPath").and_then(|at| file(reader, &at, volume));
    let is_files = matches!(volume.source, VolumeSource::Files { .. });
    Some(Mount {
        volume: name,
        target: target?,
        read_only: read_only || is_files,
        file,
    })
}

/// What a container can write to may have links that lead out of it.
fn file(reader: &mut Reader<'_>, at: &At<'_>, volume: &Volume) -> Option<String> {
    let text = reader.text(at)?;
    let VolumeSource::Files { files, .. } = &volume.source else {
        let message = "not supported; subPath is for volumes of ConfigMaps and Secrets, mount \
                       the whole volume or a hostPath of its own";
        reader.refuse(at, message);
        return None;
    };
    if files.iter().any(|file| file.path == text) {
        return Some(text);
    }
    reader.refuse(at, format!("the volume has no file {text:?}"));
    None
}

fn resources(reader: &mut Reader<'_>, fields: &Fields<'_>) -> (Option<u64>, Option<u32>) {
    let Some(own) = fields
        .get("resources")
        .and_then(|at| reader.map(&at, RESOURCES))
    else {
        return (None, None);
    };
    if let Some(at) = own.get("requests") {
        reader.map(&at, LIMITS);
        reader.note(
            &at,
            "has no effect: nothing is scheduled on one host, limits count",
        );
    }
    let Some(limits) = own.get("limits").and_then(|at| reader.map(&at, LIMITS)) else {
        return (None, None);
    };
    let memory = limits.get("memory").and_then(|at| {
        let bytes = reader.words(&at).and_then(|text| quantity::whole(&text));
        let bytes = bytes.filter(|bytes| *bytes > 0);
        if bytes.is_none() {
            reader.refuse(&at, "expected an amount of memory such as 128Mi");
        }
        bytes
    });
    let cpus = limits.get("cpu").and_then(|at| {
        let thousandths = reader
            .words(&at)
            .and_then(|text| quantity::thousandths(&text));
        let cpus = thousandths.and_then(|cpus| u32::try_from(cpus).ok());
        let cpus = cpus.filter(|cpus| *cpus >= 10);
        if cpus.is_none() {
            reader.refuse(&at, "expected processors such as 500m or 2, at least 10m");
        }
        cpus
    });
    (memory, cpus)
}

fn probes(reader: &mut Reader<'_>, fields: &Fields<'_>, role: Role, ports: &[Port]) -> Probes {
    let mut read = |key: &str| {
        let at = fields.get(key)?;
        if role == Role::Init {
            reader.refuse(
                &at,
                "not supported; an init container ends, it is not asked",
            );
            return None;
        }
        probe::read(reader, &at, ports)
    };
    let probes = Probes {
        startup: read("startupProbe"),
        readiness: read("readinessProbe"),
        liveness: read("livenessProbe"),
    };
    for (key, probe) in [
        ("startupProbe", &probes.startup),
        ("livenessProbe", &probes.liveness),
    ] {
        let at = fields
            .get(key)
            .filter(|_| probe.as_ref().is_some_and(|probe| probe.successes != 1));
        if let Some(at) = at {
            reader.refuse(&at, "successThreshold is 1 for this probe");
        }
    }
    probes
}

fn pre_stop(reader: &mut Reader<'_>, fields: &Fields<'_>, role: Role) -> Option<Vec<String>> {
    let at = fields.get("lifecycle")?;
    if role == Role::Init {
        reader.refuse(&at, "not supported; an init container ends by itself");
        return None;
    }
    let own = reader.map(&at, LIFECYCLE)?;
    let hook = own.get("preStop")?;
    let own = reader.map(&hook, HOOK)?;
    let exec = own.get("exec");
    if exec.is_none() {
        reader.refuse(&hook, "exec is missing");
    }
    command(reader, &exec?)
}

/// `exec: {command: […]}`
pub fn command(reader: &mut Reader<'_>, at: &At<'_>) -> Option<Vec<String>> {
    let own = reader.map(at, EXEC)?;
    let words = reader.texts_of(&own, "command");
    match words {
        Some(words) if words.first().is_some_and(|program| !program.is_empty()) => Some(words),
        _ => {
            reader.refuse(at, "command is missing");
            None
        }
    }
}
