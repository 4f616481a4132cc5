//! Options of a pod: what stands before the first image.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::value::{EnvOption, HostsEntry, NetOption, PortOption, ValueError, VolumeOption};

/// What `run` and `prepare` take before the first image.
#[derive(Debug, clap::Args)]
pub struct PodOptions {
    /// A volume for all apps, or one that apps mount by name
    ///
    /// SOURCE:TARGET[:ro], where SOURCE is a path or the name of a volume that stays, or
    /// NAME,kind=host|named|empty|tmpfs[,source=PATH][,size=BYTES][,readonly][,recursive=false]
    #[arg(long, value_name = "VOLUME")]
    pub volume: Vec<VolumeOption>,
    /// A port of the host that leads into the pod: [ADDRESS:]HOST:POD[/tcp|udp]
    #[arg(long, value_name = "PORT")]
    pub port: Vec<PortOption>,
    /// The pod's network: default, host, none, or CNI networks by name
    #[arg(long, value_name = "NETWORK", default_value = "default")]
    pub net: NetOption,
    /// A DNS server, instead of the host's
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<std::net::IpAddr>,
    /// A domain that short names are looked up in
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// An option for resolv.conf
    #[arg(long, value_name = "OPTION")]
    pub dns_opt: Vec<String>,
    /// The pod's host name; otherwise one made of its UUID
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// A line for /etc/hosts: ADDRESS=NAME, or host for those of the host
    #[arg(long, value_name = "ENTRY")]
    pub hosts_entry: Vec<HostsEntry>,
    /// Who shares System V IPC and POSIX message queues
    #[arg(long, value_enum, default_value_t = IpcMode::Pod)]
    pub ipc: IpcMode,
    /// Whose processes the apps see
    #[arg(long, value_enum, default_value_t = PidMode::App)]
    pub pid: PidMode,
    /// User IDs of the pod: host, or auto for a range that no other pod has
    #[arg(long, value_name = "MODE", default_value = "host")]
    pub userns: UserNamespace,
    /// A variable for all apps: NAME=VALUE, or NAME for the caller's value
    #[arg(long, value_name = "ENV")]
    pub set_env: Vec<EnvOption>,
    /// Writes the pod's UUID to this file
    #[arg(long, value_name = "FILE")]
    pub uuid_file_save: Option<PathBuf>,
    /// When images are fetched
    #[arg(long, value_enum, default_value_t = PullPolicy::New)]
    pub pull_policy: PullPolicy,
    /// Checks that are left out: image (signatures)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CHECK")]
    pub insecure_options: Vec<Insecure>,
}

/// A pod as people ask for it, and its apps.
#[derive(Debug, clap::Args)]
pub struct PodArguments {
    /// What stands before the first image.
    #[command(flatten)]
    pub options: PodOptions,
    /// Images, each with its options and arguments: IMAGE --help lists them
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "IMAGE …"
    )]
    pub words: Vec<String>,
}

/// Who shares IPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpcMode {
    /// The apps of the pod.
    Pod,
    /// Nobody: each app has its own.
    App,
    /// The pod and the host.
    Host,
}

/// Whose processes an app sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PidMode {
    /// Its own; they end with it.
    #[default]
    App,
    /// The host's. What an app leaves behind is ended by the unit that it runs in.
    Host,
}

/// Whose user IDs the pod has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserNamespace {
    /// The host's.
    Host,
    /// A range of its own, which rocket chooses.
    Auto,
}

impl FromStr for UserNamespace {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "host" => Ok(Self::Host),
            "auto" => Ok(Self::Auto),
            _ => Err(ValueError("expected host or auto".into())),
        }
    }
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    /// Only if it is not in the store.
    New,
    /// Never.
    Never,
    /// Always asks whether there is another one by that name.
    Update,
}

/// A check that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Insecure {
    /// Signatures of images.
    Image,
}

/// When a detached pod is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Restart {
    /// Never.
    No,
    /// When it failed.
    OnFailure,
    /// Always.
    Always,
}
