//! Options of an app: what stands after its image.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::value::{Bytes, Cpus, EnvOption, MountOption, ValueError, is_name};

/// What follows an image.
#[derive(Debug, clap::Parser)]
#[command(
    no_binary_name = true,
    about = "Options of an app: they follow its image",
    override_usage = "… IMAGE [OPTIONS] [-- ARGUMENTS] [--- IMAGE …]"
)]
pub struct AppOptions {
    /// The program, instead of the image's entry point and command
    #[arg(long, value_name = "PROGRAM")]
    pub exec: Option<ExecOption>,
    /// The app's name in the pod; otherwise the last part of the image's name
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: Option<String>,
    /// The user, by name or number, instead of the image's; USER:GROUP is understood
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// The group, by name or number
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// The working directory
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    pub workdir: Option<PathBuf>,
    /// A variable: NAME=VALUE, or NAME for the caller's value
    #[arg(long, value_name = "ENV")]
    pub env: Vec<EnvOption>,
    /// A file of variables, one NAME=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// One of the pod's volumes: volume=NAME,target=PATH[,readonly]
    #[arg(long, value_name = "MOUNT")]
    pub mount: Vec<MountOption>,
    /// The most memory, for instance 512M
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Bytes>,
    /// The most processor time, in processors
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<Cpus>,
    /// The most processes and threads
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Option<u32>,
    /// A capability more, for instance CAP_NET_ADMIN, or ALL
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_add: Vec<String>,
    /// A capability less, or ALL
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_drop: Vec<String>,
    /// System calls: default, unconfined, or a profile in JSON as containers have it
    #[arg(long, value_name = "PROFILE", default_value = "default")]
    pub seccomp: SeccompOption,
    /// The root file system cannot be written to
    #[arg(long)]
    pub read_only: bool,
    /// Standard input: inherit, null, or file:PATH
    #[arg(long, value_name = "STREAM", default_value = "inherit")]
    pub stdin: Stream,
    /// Standard output: inherit, null, or file:PATH
    #[arg(long, value_name = "STREAM", default_value = "inherit")]
    pub stdout: Stream,
    /// Standard error: inherit, null, or file:PATH
    #[arg(long, value_name = "STREAM", default_value = "inherit")]
    pub stderr: Stream,
}

/// A program inside an image: a path, or a name to look for in its `PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOption(pub String);

impl FromStr for ExecOption {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ValueError("expected a program".into()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Which system calls an app may make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompOption {
    /// Those of rocket's own profile.
    Default,
    /// All.
    Unconfined,
    /// Those of a profile.
    Profile(PathBuf),
}

impl FromStr for SeccompOption {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "default" => Ok(Self::Default),
            "unconfined" => Ok(Self::Unconfined),
            path if path.contains('/') => Ok(Self::Profile(path.into())),
            _ => Err(ValueError(
                "expected default, unconfined or the path of a profile".into(),
            )),
        }
    }
}

/// Where one of an app's standard streams leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// To the caller's.
    Inherit,
    /// Nowhere.
    Null,
    /// To a file of the host; output is appended.
    File(PathBuf),
}

impl FromStr for Stream {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "inherit" => Ok(Self::Inherit),
            "null" => Ok(Self::Null),
            _ => match text.strip_prefix("file:") {
                Some(path) if path.starts_with('/') => Ok(Self::File(path.into())),
                _ => Err(ValueError("expected inherit, null or file:/PATH".into())),
            },
        }
    }
}

fn name(text: &str) -> Result<String, ValueError> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    Err(ValueError(
        "a name has letters, digits, - _ and ., begins with a letter or digit, and has at most \
         63 characters"
            .into(),
    ))
}

fn absolute(text: &str) -> Result<PathBuf, ValueError> {
    if text.starts_with('/') {
        return Ok(text.into());
    }
    Err(ValueError("expected an absolute path".into()))
}
