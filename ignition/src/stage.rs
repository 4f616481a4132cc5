//! The stages, in the order in which the initrd runs them.
//!
//! | stage | reads | leaves |
//! |---|---|---|
//! | `fetch-offline` | the provider | the cache, or the flag that the network is needed |
//! | `fetch` | the provider, the network | the cache, if the stage before could not |
//! | `kargs` | the cache, the kernel command line | the ESP's file of arguments; a reboot into them |
//! | `disks` | the cache, the disks, the network | partitions, arrays, volumes, file systems |
//! | `mount` | the cache | file systems mounted below the root |
//! | `files` | the cache | users, files, units below the root; the record |
//! | `umount` | the cache | these file systems unmounted |

pub mod disks;
pub mod fetch;
pub mod files;
pub mod kargs;
pub mod mount;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::config;
use crate::config::{Accepts, Config, Invalid, unsupported};
use crate::fetch::{FetchError, Network};
use crate::provider::{ProviderError, System};
use crate::state::{State, StateError};

/// A stage's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Finds and merges the config without the network.
    FetchOffline,
    /// Finds and merges the config with the network.
    Fetch,
    /// Kernel arguments.
    Kargs,
    /// Partitions, arrays, encrypted volumes, file systems.
    Disks,
    /// Mounts for the files stage.
    Mount,
    /// Users, files, units.
    Files,
    /// Undoes `mount`.
    Umount,
}

const KARGS: &str = "kargs";
const DISKS: &str = "disks";
const MOUNT: &str = "mount";

/// All names, for messages.
pub const STAGES: &str = "fetch-offline fetch kargs disks mount files umount";

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FetchOffline => "fetch-offline",
            Self::Fetch => "fetch",
            Self::Kargs => "kargs",
            Self::Disks => "disks",
            Self::Mount => "mount",
            Self::Files => "files",
            Self::Umount => "umount",
        })
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "fetch-offline" => Self::FetchOffline,
            "fetch" => Self::Fetch,
            "kargs" => Self::Kargs,
            "disks" => Self::Disks,
            "mount" => Self::Mount,
            "files" => Self::Files,
            "umount" => Self::Umount,
            other => return Err(format!("no stage {other:?}; stages are: {STAGES}")),
        })
    }
}

/// What all stages are told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The platform, e.g. `qemu`.
    pub platform: String,
    /// The root of the file system to provision.
    pub root: PathBuf,
    /// Where the merged config is kept between stages.
    pub config_cache: PathBuf,
    /// The flag file that asks for the network.
    pub need_network: PathBuf,
    /// Where other state is kept between stages.
    pub state_file: PathBuf,
    /// How long one fetch is tried.
    pub fetch_timeout: Duration,
    /// Where the kernel command line is read.
    pub cmdline: PathBuf,
    /// Configs that come with the system.
    pub system: System,
    /// Which file of a home SSH keys are written to.
    pub keys_file: files::KeysFile,
    /// Which specs a config may be of.
    pub accepts: Accepts,
}

/// Why a stage failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The config itself is wrong.
    #[error(transparent)]
    Config(#[from] Invalid),
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// Something that the config names could not be fetched.
    #[error("{place}")]
    Fetch {
        /// Where the config names it.
        place: String,
        /// The cause.
        source: FetchError,
    },
    /// What makes this host a node of a cluster is wrong.
    #[error("{place}: {message}")]
    Node {
        /// Where the config names it.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// State between stages could not be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A config could not be put into JSON.
    #[error("representing the merged config")]
    Represent(#[from] serde_json::Error),
    /// A file for later stages could not be changed.
    #[error("changing {}", .path.display())]
    Flag {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A stage that the config asks for was not run.
    #[error("the config needs the stage {stage}, which was not run; run it before this one")]
    Order {
        /// The stage that is missing.
        stage: &'static str,
    },
    /// The kargs stage failed.
    #[error(transparent)]
    Kargs(#[from] kargs::KargsError),
    /// The disks stage failed.
    #[error(transparent)]
    Disks(#[from] disks::DisksError),
    /// The mount or the umount stage failed.
    #[error(transparent)]
    Mount(#[from] mount::MountError),
    /// The files stage failed.
    #[error(transparent)]
    Files(#[from] files::FilesError),
}

impl StageError {
    /// Whether only a change of the config helps, so that trying again (by a
    /// reboot, in another slot) is pointless.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Config(_) | Self::Order { .. } | Self::Node { .. } => true,
            Self::Provider(ProviderError::Unknown(_) | ProviderError::Encoding { .. }) => true,
            Self::Provider(ProviderError::Fetch { source, .. }) | Self::Fetch { source, .. } => {
                source.is_final()
            }
            Self::Kargs(error) => error.is_final(),
            Self::Disks(error) => error.is_final(),
            Self::Mount(error) => error.is_final(),
            Self::Files(error) => error.is_final(),
            Self::Provider(
                ProviderError::Read { .. }
                | ProviderError::Mount { .. }
                | ProviderError::Host { .. }
                | ProviderError::NoDisc { .. },
            )
            | Self::State(_)
            | Self::Represent(_)
            | Self::Flag { .. } => false,
        }
    }
}

/// Runs one stage.
pub fn run(stage: Stage, settings: &Settings) -> Result<(), StageError> {
    match stage {
        Stage::FetchOffline => fetch::run(settings, Network::Absent),
        Stage::Fetch => fetch::run(settings, Network::Present),
        Stage::Files => {
            let (config, state) = cached(settings)?;
            require(&state, KARGS, kargs::asked(&config))?;
            require(&state, DISKS, disks::asked(&config))?;
            require(&state, MOUNT, mount::asked(&config))?;
            Ok(files::run(settings, &config, &state)?)
        }
        Stage::Disks => {
            let (config, mut state) = cached(settings)?;
            require(&state, KARGS, kargs::asked(&config))?;
            state.volumes = disks::run(settings, &config, &state)?;
            finish(settings, state, DISKS)
        }
        Stage::Mount => {
            let (config, state) = cached(settings)?;
            require(&state, DISKS, disks::asked(&config))?;
            mount::mount(&settings.root, &config, &state)?;
            finish(settings, state, MOUNT)
        }
        Stage::Umount => {
            let (config, state) = cached(settings)?;
            Ok(mount::unmount(&settings.root, &config, &state)?)
        }
        Stage::Kargs => {
            let (config, state) = cached(settings)?;
            kargs::run(settings, &config, &state)?;
            finish(settings, state, KARGS)
        }
    }
}

/// Notes for later stages that this one came to its end.
fn finish(settings: &Settings, mut state: State, stage: &str) -> Result<(), StageError> {
    state.finished.insert(stage.to_owned());
    Ok(state.save(&settings.state_file)?)
}

/// Fails if `stage` was not run although the config asks for it: files would
/// land on the wrong file system.
fn require(state: &State, stage: &'static str, asked: bool) -> Result<(), StageError> {
    if asked && !state.finished.contains(stage) {
        return Err(StageError::Order { stage });
    }
    Ok(())
}

/// What the fetch stages left.
fn cached(settings: &Settings) -> Result<(Config, State), StageError> {
    let path = &settings.config_cache;
    let bytes = std::fs::read(path).map_err(|source| StateError::Read {
        path: path.clone(),
        source,
    })?;
    let config: Config = serde_json::from_slice(&bytes).map_err(|source| StateError::Parse {
        path: path.clone(),
        source,
    })?;
    let state = State::load(&settings.state_file)?;
    let origins = config::Origins::new(&config, Vec::new())?;
    let refused = unsupported(&config, &origins);
    if !refused.is_empty() {
        return Err(Invalid(refused).into());
    }
    Ok((config, state))
}
