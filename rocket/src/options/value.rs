//! Values of options, each read from one word.

mod hosts;
mod mount;
mod port;
mod size;
mod volume;

pub use hosts::HostsEntry;
pub use mount::MountOption;
pub use port::{PortOption, Protocol};
pub use size::{Bytes, Cpus};
pub use volume::{VolumeKind, VolumeOption};

use std::str::FromStr;

/// A value that is not written as its option wants it. Says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub(super) String);

impl ValueError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// `NAME=VALUE`, or `NAME` for the caller's own value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvOption {
    /// The variable.
    pub name: String,
    /// Its value; without one the caller's is taken, if there is one.
    pub value: Option<String>,
}

impl FromStr for EnvOption {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || text.contains('\0') {
            return Err(ValueError::new("expected NAME=VALUE or NAME"));
        }
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

/// Which network a pod is in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetOption {
    /// The host's own.
    Host,
    /// One with a loopback device only.
    None,
    /// The bridge that rocket makes.
    Default,
    /// Networks of CNI, by the names in their configurations.
    Cni(Vec<String>),
}

impl FromStr for NetOption {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "host" => Self::Host,
            "none" => Self::None,
            "default" => Self::Default,
            names => {
                let names: Vec<String> = names.split(',').map(str::to_owned).collect();
                if let Some(bad) = names.iter().find(|name| !is_name(name)) {
                    return Err(ValueError::new(format!(
                        "{bad:?} is not the name of a network; expected default, host, none, or \
                         names of networks in /etc/cni/net.d separated by commas"
                    )));
                }
                Self::Cni(names)
            }
        })
    }
}

/// What may name a volume, an app, a network: it becomes the name of a file.
pub(super) fn is_name(text: &str) -> bool {
    let first_is_good = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    first_is_good
        && text.len() <= 63
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_may_come_without_a_value() {
        let read = |text: &str| text.parse::<EnvOption>();
        assert_eq!(read("A=b=c").unwrap().value.as_deref(), Some("b=c"));
        assert_eq!(read("A=").unwrap().value.as_deref(), Some(""));
        assert_eq!(read("A").unwrap().value, None);
        assert!(read("=b").is_err());
    }

    #[test]
    fn networks_are_words_or_names() {
        assert_eq!("host".parse(), Ok(NetOption::Host));
        let named = NetOption::Cni(vec!["lan".into(), "storage".into()]);
        assert_eq!("lan,storage".parse(), Ok(named));
        assert!("../x".parse::<NetOption>().is_err());
        assert!("lan,".parse::<NetOption>().is_err());
    }
}
