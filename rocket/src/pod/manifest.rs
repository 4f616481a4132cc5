//! What a pod is to be: all that was decided when it was prepared.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::options::{
    HostsEntry, IpcMode, NetOption, PidMode, PortOption, SeccompOption, Stream, UserNamespace,
    VolumeKind,
};

/// The format of `pod.json`. Others are refused.
pub(super) const VERSION: u32 = 1;

/// `pod.json`: written once, when the pod is prepared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format: 1.
    pub version: u32,
    /// The pod's name for ever.
    pub uuid: Uuid,
    /// When it was prepared.
    pub created: Timestamp,
    /// Its host name.
    pub hostname: String,
    /// Its network.
    pub network: NetOption,
    /// Ports that lead into it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortOption>,
    /// How names are looked up.
    pub dns: Dns,
    /// Lines of `/etc/hosts` beside its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostsEntry>,
    /// Who shares IPC.
    pub ipc: IpcMode,
    /// Whose processes its apps see.
    #[serde(default)]
    pub pid: PidMode,
    /// Whose user IDs it has.
    pub users: UserNamespace,
    /// What its apps have mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Its apps, at least one.
    pub apps: Vec<App>,
}

/// How a pod looks names up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Servers, instead of the host's.
    pub servers: Vec<std::net::IpAddr>,
    /// Domains of short names.
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
}

/// A volume of the pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Where its files are.
    #[serde(flatten)]
    pub kind: VolumeKind,
    /// Nobody can write to it.
    pub read_only: bool,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Its name, which no other app of the pod has.
    pub name: String,
    /// Its image.
    pub image: ImageName,
    /// The image's layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// Program and arguments.
    pub arguments: Vec<String>,
    /// `NAME=VALUE`.
    pub environment: Vec<String>,
    /// The working directory.
    pub directory: PathBuf,
    /// Whose rights it has.
    pub user: User,
    /// Where it sees which volume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// What it may take of the host.
    #[serde(default)]
    pub limits: Limits,
    /// Its capabilities, by name, `CAP_…`.
    pub capabilities: Vec<String>,
    /// Its system calls.
    pub seccomp: SeccompOption,
    /// It cannot write to its root.
    pub read_only: bool,
    /// Standard input, output and error.
    pub streams: [Stream; 3],
    /// The signal that asks it to stop, by number.
    pub stop_signal: i32,
}

/// Which image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageName {
    /// Its digest.
    pub id: String,
    /// What it was asked for by.
    pub name: String,
}

/// User and groups, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Further group IDs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
}

/// Where an app sees a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The volume's name.
    pub volume: String,
    /// The path in the app.
    pub target: PathBuf,
    /// It cannot write to it.
    pub read_only: bool,
}

/// What an app may take of the host. What is not given is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

impl Limits {
    /// Nothing is limited.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}
