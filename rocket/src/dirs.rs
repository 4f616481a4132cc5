//! Where rocket keeps what it has.

use std::path::{Path, PathBuf};

/// Where CNI plugins are on a host, the one that wins first.
const PLUGINS: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];

/// Directories of one rocket. What survives a reboot is under `data`, what must not under
/// `run`; policy is looked for under `/etc`, then `/usr/lib`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    data: PathBuf,
    run: PathBuf,
    config: Vec<PathBuf>,
    root: Option<PathBuf>,
}

impl Default for Dirs {
    fn default() -> Self {
        Self {
            data: "/var/lib/rocket".into(),
            run: "/run/rocket".into(),
            config: vec!["/etc/rocket".into(), "/usr/lib/rocket".into()],
            root: None,
        }
    }
}

impl Dirs {
    /// All of them below one directory: `data`, `run`, `etc` and `cni`. What `--root` and
    /// tests use.
    pub fn below(root: &Path) -> Self {
        Self {
            data: root.join("data"),
            run: root.join("run"),
            config: vec![root.join("etc")],
            root: Some(root.to_owned()),
        }
    }

    /// The same, with policy in other directories; the one that wins first.
    pub fn with_config(root: &Path, config: Vec<PathBuf>) -> Self {
        Self {
            config,
            ..Self::below(root)
        }
    }

    /// The one directory that they are below, if there is one.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Images, layers, their names and what is being fetched.
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// Pods, by state.
    pub fn pods(&self) -> PathBuf {
        self.data.join("pods")
    }

    /// Named volumes.
    pub fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    /// Which pod has which range of user IDs.
    pub fn ranges(&self) -> PathBuf {
        self.data.join("ranges")
    }

    /// What is true until the next boot: containers made for other engines, addresses.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Directories of policy, the one that wins first: `trust.d`, `registries.d` and others
    /// are below each.
    pub fn config(&self) -> &[PathBuf] {
        &self.config
    }

    /// Configurations of CNI networks.
    pub fn networks(&self) -> PathBuf {
        match &self.root {
            Some(root) => root.join("cni/net.d"),
            None => "/etc/cni/net.d".into(),
        }
    }

    /// Where CNI plugins are looked for, the one that wins first.
    pub fn plugins(&self) -> Vec<PathBuf> {
        let own = self.root.iter().map(|root| root.join("cni/bin"));
        own.chain(PLUGINS.map(PathBuf::from)).collect()
    }
}
