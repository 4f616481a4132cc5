//! Which file systems this first boot has begun to make, and made.
//!
//! A cut in the middle of `mkfs` may leave what looks like the wanted file
//! system and is half of it. So "begun" is on the root's disk before a device is
//! touched, and "made" once the new file system is on its own. Devices are known
//! by their PARTUUID, or else by where they are plugged in and their size: names
//! such as `/dev/vdb` may move between boots.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::durable::Attributes;
use crate::root::Root;

use super::DisksError;

/// Removed with the rest of the directory when the host is provisioned.
const PATH: &str = "/etc/.ignition/disks.json";

/// How far a file system has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It is wiped, or half made, or made.
    Begun,
    /// It is whole.
    Made,
}

/// The steps of all attempts, by device.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Journal {
    devices: BTreeMap<String, Step>,
}

impl Journal {
    /// The journal of earlier attempts, empty if there were none.
    pub fn open(root: &Root) -> Result<Self, DisksError> {
        match root.read(PATH)? {
            None => Ok(Self::default()),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(broken),
        }
    }

    /// How far `device` has come.
    pub fn step(&self, device: &str) -> Option<Step> {
        self.devices.get(device).copied()
    }

    /// Notes a step durably.
    pub fn note(&mut self, root: &Root, device: &str, step: Step) -> Result<(), DisksError> {
        self.devices.insert(device.to_owned(), step);
        let bytes = serde_json::to_vec(self).map_err(broken)?;
        Ok(root.write_bytes(PATH, &bytes, Attributes::own(0o600))?)
    }
}

fn broken(source: serde_json::Error) -> DisksError {
    DisksError::Journal {
        path: PATH.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_on_the_disk_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let mut journal = Journal::open(&root).unwrap();
        assert_eq!(journal.step("a"), None);
        journal.note(&root, "a", Step::Begun).unwrap();
        journal.note(&root, "b", Step::Begun).unwrap();
        journal.note(&root, "a", Step::Made).unwrap();
        let again = Journal::open(&root).unwrap();
        assert_eq!(again.step("a"), Some(Step::Made));
        assert_eq!(again.step("b"), Some(Step::Begun));
        root.write_bytes(PATH, b"{", Attributes::own(0o600))
            .unwrap();
        let error = Journal::open(&root).unwrap_err();
        assert!(error.to_string().contains("journal"));
    }
}
