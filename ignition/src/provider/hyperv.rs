//! Hyper-V: key-value pairs that the host sets for the machine.
//!
//! The config is the pair `ignition.config`, or as hosts bound a value's
//! length, `ignition.config.0`, `ignition.config.1` and so on, put together.
//!
//! A host sends its pairs once in a boot, to whoever registers first. They are
//! kept for the stage that comes with the network. Where Microsoft's daemon
//! was first, its pool file has them.

mod exchange;
mod pool;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use nix::fcntl::OFlag;

use crate::durable::{self, Attributes};
use crate::fetch::Fetcher;
use crate::module;

use super::disc::read_bounded;
use super::{Provider, ProviderError, Raw};

pub use exchange::{Quiet, converse};
pub use pool::{Pair, Pairs};

const KEY: &str = "ignition.config";

/// The key-value pairs of the machine.
#[derive(Debug, Clone)]
pub struct HyperV {
    device: PathBuf,
    kept: PathBuf,
    daemon: PathBuf,
}

impl Default for HyperV {
    fn default() -> Self {
        Self::new(
            PathBuf::from("/dev/vmbus/hv_kvp"),
            PathBuf::from("/run/ignition/hyperv-pairs"),
            PathBuf::from("/var/lib/hyperv/.kvp_pool_0"),
        )
    }
}

impl HyperV {
    /// Asks the host by `device` and keeps what it said in `kept`; before, reads
    /// that, and the pool file of the `daemon`.
    pub fn new(device: PathBuf, kept: PathBuf, daemon: PathBuf) -> Self {
        Self {
            device,
            kept,
            daemon,
        }
    }

    fn pairs(&self) -> Result<Pairs, ProviderError> {
        for path in [&self.kept, &self.daemon] {
            let bytes = match File::open(path).and_then(read_bounded) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => {
                    return Err(ProviderError::Read {
                        path: path.clone(),
                        source,
                    });
                }
            };
            return Pairs::decode(&bytes).map_err(|message| ProviderError::Encoding {
                place: path.display().to_string(),
                message,
            });
        }
        self.ask().map_err(|source| ProviderError::Host {
            what: format!("Hyper-V's key-value pairs ({})", self.device.display()),
            source,
        })
    }

    fn ask(&self) -> io::Result<Pairs> {
        if !self.device.exists() {
            module::load("hv_utils");
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let mut device = options
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&self.device)?;
        let pairs = converse(&mut device, Quiet::default())?;
        if let Some(directory) = self.kept.parent() {
            std::fs::create_dir_all(directory)?;
        }
        durable::replace(&self.kept, &pairs.encode(), Attributes::own(0o600))?;
        Ok(pairs)
    }
}

/// The one pair, else the parts in their order.
fn config(pairs: &Pairs) -> Option<Raw> {
    if let Some(value) = pairs.get(KEY).filter(|value| !value.is_empty()) {
        return Some(Raw {
            source: format!("Hyper-V key-value pair ({KEY})"),
            bytes: value.to_vec(),
        });
    }
    let parts = (0..).map_while(|number| pairs.get(&format!("{KEY}.{number}")));
    let parts: Vec<&[u8]> = parts.collect();
    let source = format!(
        "Hyper-V key-value pairs ({KEY}.0 to {})",
        parts.len().checked_sub(1)?
    );
    let bytes = parts.concat();
    Some(Raw { source, bytes })
}

impl Provider for HyperV {
    fn name(&self) -> &'static str {
        "hyperv"
    }

    fn config(&self, _: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        Ok(config(&self.pairs()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(given: &[(&str, &str)]) -> Pairs {
        let mut pairs = Pairs::default();
        for (key, value) in given {
            let pair = Pair {
                key: key.as_bytes().to_vec(),
                value: value.as_bytes().to_vec(),
            };
            pairs.set(pair).unwrap();
        }
        pairs
    }

    #[test]
    fn parts_are_put_together_up_to_the_first_gap() {
        let split = pairs(&[
            ("ignition.config.1", "b"),
            ("ignition.config.0", "a"),
            ("ignition.config.3", "d"),
            ("other", "x"),
        ]);
        let raw = config(&split).unwrap();
        assert_eq!(raw.bytes, b"ab");
        assert!(
            raw.source.contains("ignition.config.0 to 1"),
            "{}",
            raw.source
        );
        let whole = pairs(&[("ignition.config.0", "a"), ("ignition.config", "{}")]);
        assert_eq!(config(&whole).unwrap().bytes, b"{}");
        let empty = pairs(&[("ignition.config.0", "a"), ("ignition.config", "")]);
        assert_eq!(config(&empty).unwrap().bytes, b"a");
        assert_eq!(config(&pairs(&[("ignition.config.1", "b")])), None);
    }

    #[test]
    fn what_was_kept_comes_before_the_device() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let provider = HyperV::new(at("device"), at("kept"), at("daemon"));
        let error = provider.pairs().unwrap_err().to_string();
        assert!(error.contains("device"), "{error}");
        let write = |name: &str, value: &str| {
            std::fs::write(at(name), pairs(&[(KEY, value)]).encode()).unwrap();
        };
        write("daemon", "theirs");
        assert_eq!(config(&provider.pairs().unwrap()).unwrap().bytes, b"theirs");
        write("kept", "ours");
        assert_eq!(config(&provider.pairs().unwrap()).unwrap().bytes, b"ours");
        std::fs::write(at("kept"), b"x").unwrap();
        assert!(matches!(
            provider.pairs(),
            Err(ProviderError::Encoding { .. })
        ));
    }
}
