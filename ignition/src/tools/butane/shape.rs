//! The keys that configs may have, as tables.
//!
//! A key's name in JSON follows from its name in YAML, see [`json_name`].

mod storage;

use crate::config::Spec;

use super::Translator;
use super::value::{Object, Path};
use super::{resource, units, users};
use crate::tools::yaml::Node;
pub use storage::TREES;

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text.
    Text,
    /// True or false.
    Truth,
    /// A whole number.
    Number,
    /// A permission mode.
    Mode,
    /// A list.
    List(&'static Kind),
    /// Keys and values.
    Map(&'static Shape),
    /// Checked like another kind, but JSON has no such key: the sugar that
    /// uses it reads it from the tree.
    Sugar(&'static Kind),
    /// The sugar walks it by itself.
    Later,
    /// Refused, for a reason.
    Refused(&'static str),
}

/// Since when a key is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// With versions that become this spec or a newer one.
    Spec(Spec),
    /// In `variant: ballast` only.
    Ballast,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in YAML.
    pub name: &'static str,
    /// Since when it is there.
    pub since: Since,
    /// What its value is.
    pub kind: Kind,
}

/// What else is to be done for a map, after its keys were copied.
pub type Finish = fn(&mut Translator<'_>, &Node, &mut Object, &Path);

/// The keys of a map.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The keys.
    pub fields: &'static [Field],
    /// What else is to be done.
    pub finish: Option<Finish>,
}

/// The name in JSON of a key in YAML: `home_dir`, `homeDir`.
pub fn json_name(name: &str) -> String {
    match name {
        "size_mib" => return "sizeMiB".to_owned(),
        "start_mib" => return "startMiB".to_owned(),
        _ => {}
    }
    let mut words = name.split('_');
    let mut joined = words.next().unwrap_or_default().to_owned();
    for word in words {
        joined.extend(word.get(..1).map(str::to_ascii_uppercase));
        joined.push_str(word.get(1..).unwrap_or_default());
    }
    joined
}

const fn key(name: &'static str, kind: Kind) -> Field {
    since(Spec::V3_0, name, kind)
}

const fn since(spec: Spec, name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        since: Since::Spec(spec),
        kind,
    }
}

const fn ours(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        since: Since::Ballast,
        kind,
    }
}

const fn shape(fields: &'static [Field]) -> Shape {
    Shape {
        fields,
        finish: None,
    }
}

const fn finished(fields: &'static [Field], finish: Finish) -> Shape {
    Shape {
        fields,
        finish: Some(finish),
    }
}

const TEXT: Kind = Kind::Text;
const TRUTH: Kind = Kind::Truth;
const NUMBER: Kind = Kind::Number;
const TEXTS: Kind = Kind::List(&Kind::Text);
const LOCAL: Kind = Kind::Sugar(&Kind::Text);

const FEDORA: &str = "is about the disk layout and boot loader of Fedora CoreOS, which Ballast \
                      does not have; remove it";

/// The whole config.
pub const CONFIG: Shape = shape(&[
    key("variant", Kind::Sugar(&TEXT)),
    key("version", Kind::Sugar(&TEXT)),
    key("ignition", Kind::Map(&IGNITION)),
    since(Spec::V3_3, "kernel_arguments", Kind::Map(&ARGUMENTS)),
    key("passwd", Kind::Map(&PASSWD)),
    key("storage", Kind::Map(&storage::STORAGE)),
    key("systemd", Kind::Map(&SYSTEMD)),
    ours("cluster", Kind::Later),
    ours("reboot", Kind::Later),
    ours("update", Kind::Later),
    key("boot_device", Kind::Refused(FEDORA)),
    key("grub", Kind::Refused(FEDORA)),
    key(
        "extensions",
        Kind::Refused(
            "asks for packages; Ballast has no packages, run the software in a container \
             or put its files into storage.files",
        ),
    ),
    key(
        "metadata",
        Kind::Refused("belongs to OpenShift's machine configs; remove it"),
    ),
    key(
        "openshift",
        Kind::Refused("belongs to OpenShift's machine configs; remove it"),
    ),
]);

const IGNITION: Shape = shape(&[
    key("config", Kind::Map(&REFERENCES)),
    since(Spec::V3_1, "proxy", Kind::Map(&PROXY)),
    key("security", Kind::Map(&SECURITY)),
    key("timeouts", Kind::Map(&TIMEOUTS)),
]);

const REFERENCES: Shape = shape(&[
    key("merge", Kind::List(&Kind::Map(&CHILD))),
    key("replace", Kind::Map(&CHILD)),
]);

const PROXY: Shape = shape(&[
    key("http_proxy", TEXT),
    key("https_proxy", TEXT),
    key("no_proxy", TEXTS),
]);

const SECURITY: Shape = shape(&[key("tls", Kind::Map(&TLS))]);

const TLS: Shape = shape(&[key(
    "certificate_authorities",
    Kind::List(&Kind::Map(&AUTHORITY)),
)]);

const TIMEOUTS: Shape = shape(&[
    key("http_response_headers", NUMBER),
    key("http_total", NUMBER),
]);

const ARGUMENTS: Shape = shape(&[key("should_exist", TEXTS), key("should_not_exist", TEXTS)]);

const VERIFICATION: Shape = shape(&[key("hash", TEXT)]);

const HEADER: Shape = shape(&[key("name", TEXT), key("value", TEXT)]);

/// Another config.
const CHILD: Shape = finished(
    &[
        since(Spec::V3_1, "compression", TEXT),
        since(Spec::V3_1, "http_headers", Kind::List(&Kind::Map(&HEADER))),
        since(Spec::V3_1, "inline", LOCAL),
        since(Spec::V3_1, "local", LOCAL),
        key("source", TEXT),
        key("verification", Kind::Map(&VERIFICATION)),
    ],
    resource::child,
);

const AUTHORITY: Shape = Shape {
    finish: Some(resource::embed),
    ..CHILD
};

const RESOURCE: Shape = finished(
    &[
        key("compression", TEXT),
        since(Spec::V3_1, "http_headers", Kind::List(&Kind::Map(&HEADER))),
        key("inline", LOCAL),
        since(Spec::V3_1, "local", LOCAL),
        key("source", TEXT),
        key("verification", Kind::Map(&VERIFICATION)),
    ],
    resource::embed,
);

const PASSWD: Shape = shape(&[
    key("groups", Kind::List(&Kind::Map(&GROUP))),
    key("users", Kind::List(&Kind::Map(&USER))),
]);

const GROUP: Shape = shape(&[
    key("gid", NUMBER),
    key("name", TEXT),
    key("password_hash", TEXT),
    since(Spec::V3_2, "should_exist", TRUTH),
    key("system", TRUTH),
]);

const USER: Shape = finished(
    &[
        key("gecos", TEXT),
        key("groups", TEXTS),
        key("home_dir", TEXT),
        key("name", TEXT),
        key("no_create_home", TRUTH),
        key("no_log_init", TRUTH),
        key("no_user_group", TRUTH),
        key("password_hash", TEXT),
        key("primary_group", TEXT),
        key("shell", TEXT),
        since(Spec::V3_2, "should_exist", TRUTH),
        key("ssh_authorized_keys", TEXTS),
        since(Spec::V3_4, "ssh_authorized_keys_local", Kind::Sugar(&TEXTS)),
        key("system", TRUTH),
        key("uid", NUMBER),
    ],
    users::keys,
);

const SYSTEMD: Shape = shape(&[key("units", Kind::List(&Kind::Map(&UNIT)))]);

const UNIT: Shape = finished(
    &[
        key("contents", TEXT),
        since(Spec::V3_4, "contents_local", LOCAL),
        key("dropins", Kind::List(&Kind::Map(&DROPIN))),
        key("enabled", TRUTH),
        key("mask", TRUTH),
        key("name", TEXT),
    ],
    units::contents,
);

const DROPIN: Shape = finished(
    &[
        key("contents", TEXT),
        since(Spec::V3_4, "contents_local", LOCAL),
        key("name", TEXT),
    ],
    units::contents,
);

/// The cluster that a host is a node of.
pub const CLUSTER: Kind = Kind::Map(&Shape {
    fields: &[
        key("agent", Kind::Map(&AGENT)),
        key("bootstrap_token", Kind::Map(&RESOURCE)),
        key("ca", Kind::Map(&RESOURCE)),
        key("certificate", Kind::Map(&RESOURCE)),
        key("dns", TEXTS),
        key("domain", TEXT),
        key("endpoint", TEXT),
        key("key", Kind::Map(&RESOURCE)),
        key("labels", Kind::Later),
        key("name", TEXT),
    ],
    finish: None,
});

/// The program that makes a host a node.
const AGENT: Shape = shape(&[
    key("args", TEXTS),
    key("binary", TEXT),
    key("image", TEXT),
    key("preset", TEXT),
]);

/// The section `[update]` of the policy.
pub const UPDATE: Kind = Kind::Map(&Shape {
    fields: &[
        key("allow_downgrade", TRUTH),
        key("ca", TEXT),
        key("channel", TEXT),
        key("enabled", TRUTH),
        key("poll", TEXT),
        key("proxy", TEXT),
        key("reboot", TEXT),
        key("server", TEXT),
        key("wave", NUMBER),
    ],
    finish: None,
});

/// The section `[reboot]` of the policy.
pub const REBOOT: Kind = Kind::Map(&Shape {
    fields: &[
        key("drain_deadline", TEXT),
        key("etcd", Kind::Map(&ETCD)),
        key("fleet_lock", Kind::Map(&FLEET_LOCK)),
        key("login_grace", TEXT),
        key("strategy", TEXT),
        key("windows", Kind::List(&Kind::Map(&WINDOW))),
    ],
    finish: None,
});

/// Secrets are named by files: fragments of policy are for everybody to read.
const ETCD: Shape = shape(&[
    key("brake_threshold", NUMBER),
    key("ca", TEXT),
    key("certificate", TEXT),
    key("endpoints", TEXTS),
    key("expire_after", TEXT),
    key("group", TEXT),
    key("key", TEXT),
    key("password_file", TEXT),
    key("user", TEXT),
]);

const FLEET_LOCK: Shape = shape(&[key("ca", TEXT), key("group", TEXT), key("url", TEXT)]);

const WINDOW: Shape = shape(&[
    key("days", TEXTS),
    key("length", TEXT),
    key("start", TEXT),
    key("time_zone", TEXT),
]);

/// Where else a key of this name belongs, for somebody who wrote it one level
/// too high.
pub fn belongs_below(name: &str) -> Option<&'static str> {
    [
        ("ignition", &IGNITION),
        ("passwd", &PASSWD),
        ("storage", &storage::STORAGE),
        ("systemd", &SYSTEMD),
    ]
    .into_iter()
    .find(|(_, shape)| shape.fields.iter().any(|field| field.name == name))
    .map(|(section, _)| section)
}
