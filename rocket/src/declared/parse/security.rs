//! `securityContext`, of pods and of containers.

use super::super::reader::{At, Fields, Keys, Reader};

const OF_POD: Keys = Keys {
    known: &[
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "supplementalGroups",
        "fsGroup",
        "fsGroupChangePolicy",
        "seccompProfile",
    ],
    refused: &[
        ("appArmorProfile", "the host has no AppArmor profiles"),
        ("seLinuxOptions", "the host has no SELinux"),
        ("supplementalGroupsPolicy", "leave it out"),
        ("sysctls", "set them on the host"),
        ("windowsOptions", "this is Linux"),
    ],
};

const OF_CONTAINER: Keys = Keys {
    known: &[
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "capabilities",
        "readOnlyRootFilesystem",
        "allowPrivilegeEscalation",
        "privileged",
        "seccompProfile",
    ],
    refused: &[
        ("appArmorProfile", "the host has no AppArmor profiles"),
        ("procMount", "/proc is the same in all containers"),
        ("seLinuxOptions", "the host has no SELinux"),
        ("windowsOptions", "this is Linux"),
    ],
};

const CAPABILITIES: Keys = Keys {
    known: &["add", "drop"],
    refused: &[],
};

const SECCOMP: Keys = Keys {
    known: &["type", "localhostProfile"],
    refused: &[],
};

/// What a pod says for its containers.
#[derive(Debug, Default)]
pub struct OfPod {
    pub user: Option<u32>,
    pub group: Option<u32>,
    pub is_not_root: bool,
    pub groups: Vec<u32>,
    pub fs_group: Option<u32>,
    pub is_unconfined: bool,
}

/// What counts for a container.
#[derive(Debug, Default)]
pub struct OfContainer {
    pub user: Option<u32>,
    pub group: Option<u32>,
    pub is_not_root: bool,
    pub add: Vec<String>,
    pub drop: Vec<String>,
    pub read_only: bool,
    pub is_unconfined: bool,
}

/// What `spec.securityContext` says.
pub fn of_pod(reader: &mut Reader<'_>, spec: &Fields<'_>) -> OfPod {
    let Some(own) = spec
        .get("securityContext")
        .and_then(|at| reader.map(&at, OF_POD))
    else {
        return OfPod::default();
    };
    let groups = reader.list_of(&own, "supplementalGroups");
    let most = i64::from(u32::MAX - 1);
    let group = |at: &At<'_>| u32::try_from(reader.number(at, 0, most)?).ok();
    OfPod {
        groups: groups.iter().filter_map(group).collect(),
        user: reader.id_of(&own, "runAsUser"),
        group: reader.id_of(&own, "runAsGroup"),
        is_not_root: reader.truth_of(&own, "runAsNonRoot"),
        fs_group: reader.id_of(&own, "fsGroup"),
        is_unconfined: seccomp(reader, &own).unwrap_or(false),
    }
}

/// What the `securityContext` of a container says, else its pod's.
pub fn of_container(reader: &mut Reader<'_>, container: &Fields<'_>, pod: &OfPod) -> OfContainer {
    let mut made = OfContainer {
        user: pod.user,
        group: pod.group,
        is_not_root: pod.is_not_root,
        is_unconfined: pod.is_unconfined,
        ..OfContainer::default()
    };
    let Some(own) = container
        .get("securityContext")
        .and_then(|at| reader.map(&at, OF_CONTAINER))
    else {
        return made;
    };
    made.user = reader.id_of(&own, "runAsUser").or(made.user);
    made.group = reader.id_of(&own, "runAsGroup").or(made.group);
    if let Some(at) = own.get("runAsNonRoot") {
        made.is_not_root = reader.truth(&at).unwrap_or(made.is_not_root);
    }
    made.read_only = reader.truth_of(&own, "readOnlyRootFilesystem");
    made.is_unconfined = seccomp(reader, &own).unwrap_or(made.is_unconfined);
    if let Some(at) = own.get("privileged")
        && reader.truth(&at) == Some(true)
    {
        let message = "not supported; add the capabilities that are needed, or run the host's own \
                       programs in a unit";
        reader.refuse(&at, message);
    }
    if let Some(at) = own.get("allowPrivilegeEscalation")
        && reader.truth(&at) == Some(true)
    {
        reader.refuse(
            &at,
            "not supported; containers never gain privileges, leave it out",
        );
    }
    if let Some(all) = own
        .get("capabilities")
        .and_then(|at| reader.map(&at, CAPABILITIES))
    {
        made.add = capabilities(reader, &all, "add");
        made.drop = capabilities(reader, &all, "drop");
    }
    made
}

fn capabilities(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> Vec<String> {
    let mut all = Vec::new();
    for at in reader.list_of(fields, key) {
        let Some(name) = reader.text(&at) else {
            continue;
        };
        match crate::pod::check_capability(&name) {
            Ok(()) => all.push(name),
            Err(error) => reader.refuse(&at, error.to_string()),
        }
    }
    all
}

/// Whether any system call may be made, if it is said.
fn seccomp(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<bool> {
    let at = fields.get("seccompProfile")?;
    let own = reader.map(&at, SECCOMP)?;
    if let Some(at) = own.get("localhostProfile") {
        reader.refuse(
            &at,
            "not supported; `rocket run --seccomp` takes profiles of the host",
        );
    }
    let kind = own.get("type");
    if kind.is_none() {
        reader.refuse(&at, "type is missing");
    }
    reader.word(&kind?, &[("RuntimeDefault", false), ("Unconfined", true)])
}
