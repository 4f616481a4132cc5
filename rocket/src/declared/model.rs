//! What a declared pod is to be: all that its document says, with what its ConfigMaps and
//! Secrets hold.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::options::PortOption;

/// A pod as it was declared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Declaration {
    /// Its name, which no other declared pod of the host has.
    pub name: String,
    /// The namespace it says it is in.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Run one after the other before the others; sidecars go on.
    pub init: Vec<Container>,
    /// The containers.
    pub containers: Vec<Container>,
    /// What they can have mounted.
    pub volumes: Vec<Volume>,
    /// When containers are started again.
    pub restart: Restart,
    /// Seconds that containers have to stop.
    pub grace: u64,
    /// It has the host's network.
    pub host_network: bool,
    /// Its host name.
    pub hostname: String,
    /// How names are looked up.
    pub dns: Resolving,
    /// Further lines of `/etc/hosts`.
    pub hosts: Vec<(IpAddr, String)>,
    /// Ports of the host that lead into it.
    pub ports: Vec<PortOption>,
    /// Group of the files in its own volumes, and of its containers.
    pub fs_group: Option<u32>,
    /// Further groups of its containers.
    pub groups: Vec<u32>,
}

/// When containers are started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Restart {
    /// Whenever they end.
    Always,
    /// When they fail.
    OnFailure,
    /// Never.
    Never,
}

/// Where DNS servers come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resolving {
    /// Not from the host.
    pub only_own: bool,
    /// Servers.
    pub servers: Vec<IpAddr>,
    /// Domains of short names.
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
}

/// What a container is in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It ends before the next one starts.
    Init,
    /// It starts before the containers and ends after them.
    Sidecar,
    /// What the pod is for.
    Main,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Container {
    /// Its name, which no other container of the pod has.
    pub name: String,
    /// What it is in the pod.
    pub role: Role,
    /// Its image, as it was written.
    pub image: String,
    /// When the image is fetched.
    pub pull: Pull,
    /// Instead of the image's entry point.
    pub command: Option<Vec<String>>,
    /// Instead of the image's command.
    pub args: Option<Vec<String>>,
    /// Where it starts.
    pub directory: Option<PathBuf>,
    /// Its variables, the last of a name counts.
    pub variables: Vec<(String, Value)>,
    /// What it has mounted.
    pub mounts: Vec<Mount>,
    /// How it is seen whether it does what it is for.
    pub probes: Probes,
    /// Bytes of memory it may have.
    pub memory: Option<u64>,
    /// Thousandths of a processor it may have.
    pub cpus: Option<u32>,
    /// User ID, instead of the image's.
    pub user: Option<u32>,
    /// Group ID, instead of the user's.
    pub group: Option<u32>,
    /// It must not run as root.
    pub is_not_root: bool,
    /// Capabilities more.
    pub add: Vec<String>,
    /// Capabilities less.
    pub drop: Vec<String>,
    /// It may make any system call.
    pub is_unconfined: bool,
    /// It cannot write to its root.
    pub read_only: bool,
    /// Run in it before it is asked to stop.
    pub pre_stop: Option<Vec<String>>,
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Pull {
    /// Every time the pod starts.
    Always,
    /// If it is not there.
    IfNotPresent,
    /// Never.
    Never,
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Value {
    /// A text in which `$(NAME)` stands for variables before it.
    Text(String),
    /// A text as it is.
    Fixed(String),
    /// What is known once the pod is there.
    Field(Field),
}

/// What is known of a pod once it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Field {
    /// Its UUID.
    Uid,
    /// Its first address.
    Address,
    /// All its addresses.
    Addresses,
    /// The host's name.
    Node,
}

/// Where a container sees a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// The volume's name.
    pub volume: String,
    /// The path in the container.
    pub target: PathBuf,
    /// It cannot write to it.
    pub read_only: bool,
    /// The one file of the volume that is mounted.
    pub file: Option<String>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Where its files come from.
    pub source: Source,
}

/// Where the files of a volume come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Source {
    /// A path of the host.
    Host {
        /// The path.
        path: PathBuf,
        /// What it has to be.
        kind: HostKind,
    },
    /// Nowhere: it is empty when the pod starts, and gone when it ends.
    Empty,
    /// The same in memory, with this many bytes at most.
    Memory(Option<u64>),
    /// These files.
    Files {
        /// Each with its permissions.
        files: Vec<File>,
        /// They are never written to a disk.
        is_secret: bool,
    },
}

/// What a path of the host has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum HostKind {
    /// There.
    Any,
    /// A directory.
    Directory,
    /// A directory, which is made if it is not there.
    DirectoryOrCreate,
    /// A file.
    File,
    /// A file, which is made if it is not there.
    FileOrCreate,
    /// A socket.
    Socket,
}

/// A file of a ConfigMap or Secret.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Below the volume.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What is in it may be a secret.
        write!(
            f,
            "{} ({:o}, {} bytes)",
            self.path,
            self.mode,
            self.bytes.len()
        )
    }
}

/// How it is seen whether a container does what it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Probes {
    /// Whether it has started; the others wait for it.
    pub startup: Option<Probe>,
    /// Whether it is of use now.
    pub readiness: Option<Probe>,
    /// Whether it would be better started again.
    pub liveness: Option<Probe>,
}

/// A question that is asked again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// The question.
    pub check: Check,
    /// Seconds from the start to the first time.
    pub delay: u64,
    /// Seconds from one time to the next.
    pub period: u64,
    /// Seconds that an answer may take.
    pub timeout: u64,
    /// Good answers in a row that mean yes.
    pub successes: u32,
    /// Bad answers in a row that mean no.
    pub failures: u32,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Check {
    /// A program in the container ends with status 0.
    Exec(Vec<String>),
    /// An HTTP server answers with a status from 200 to 399.
    Http {
        /// Where, instead of at the pod's address.
        host: Option<IpAddr>,
        /// On which port.
        port: u16,
        /// For what.
        path: String,
        /// With which headers.
        headers: Vec<(String, String)>,
    },
    /// A connection is accepted.
    Tcp {
        /// Where, instead of at the pod's address.
        host: Option<IpAddr>,
        /// On which port.
        port: u16,
    },
}

impl Declaration {
    /// All its containers, in the order in which they start.
    pub fn all(&self) -> impl Iterator<Item = &Container> {
        self.init.iter().chain(&self.containers)
    }
}
