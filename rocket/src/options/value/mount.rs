//! Where an app sees a volume.

use std::path::PathBuf;
use std::str::FromStr;

use super::{ValueError, is_name};

/// `volume=NAME,target=PATH[,readonly]`: an app's view of one of the pod's volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// The volume's name.
    pub volume: String,
    /// Where it is in the app.
    pub target: PathBuf,
    /// The app cannot write to it.
    pub read_only: bool,
}

impl FromStr for MountOption {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| {
            ValueError::new(format!(
                "{why}; expected volume=NAME,target=PATH[,readonly]"
            ))
        };
        let (mut volume, mut target, mut read_only) = (None, None, false);
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("volume", name)) if is_name(name) => volume = Some(name.to_owned()),
                Some(("target", path)) if path.starts_with('/') => {
                    target = Some(PathBuf::from(path));
                }
                Some(("readonly", "true")) => read_only = true,
                Some(("readonly", "false")) => read_only = false,
                None if part == "readonly" => read_only = true,
                _ => return Err(wrong(&format!("{part:?} is not understood"))),
            }
        }
        Ok(Self {
            volume: volume.ok_or_else(|| wrong("the volume is missing"))?,
            target: target.ok_or_else(|| wrong("the target is missing"))?,
            read_only,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_names_volume_and_target() {
        let mount: MountOption = "volume=data,target=/srv,readonly".parse().unwrap();
        assert_eq!((mount.volume.as_str(), mount.read_only), ("data", true));
        for bad in [
            "",
            "volume=data",
            "target=/srv",
            "volume=a/b,target=/x",
            "volume=a,target=x",
        ] {
            assert!(bad.parse::<MountOption>().is_err(), "{bad}");
        }
    }
}
