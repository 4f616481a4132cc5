//! The keys of volumes.

use std::fmt;
use std::fs::File;
use std::io::Read as _;

use crate::config::{Luks, Resource, filled, is_bound};
use crate::durable::Attributes;
use crate::fetch::{Fetcher, hex};
use crate::root::Root;

use super::super::{Context, DisksError};
use super::place;

/// Where keys are on the host, readable by root only.
const DIRECTORY: &str = "/etc/luks";

/// What cryptsetup takes of a key file.
const LIMIT: usize = 8 << 20;

/// Bytes of a key that is made up.
const RANDOM: usize = 64;

/// A key.
pub struct Key {
    bytes: Vec<u8>,
    passing: bool,
}

/// Never what it is.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key of {} bytes", self.bytes.len())
    }
}

impl Key {
    /// The key itself.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it only serves until clevis has bound the volume.
    pub fn is_passing(&self) -> bool {
        self.passing
    }

    /// Puts it where the host opens the volume `name` with it; durable. Not a passing
    /// one.
    pub fn keep(&self, root: &Root, name: &str) -> Result<(), DisksError> {
        if self.passing {
            return Ok(());
        }
        root.make_directories(DIRECTORY)?;
        root.set_attributes(DIRECTORY, Attributes::own(0o700))?;
        let path = format!("{DIRECTORY}/{name}");
        Ok(root.write_bytes(&path, &self.bytes, Attributes::own(0o600))?)
    }
}

/// The keys of `volumes`, in the same order. One without a source is made up once,
/// and found again by the next attempt; or made up for the binding only.
pub fn keys(
    context: &Context<'_>,
    root: &Root,
    fetcher: &Fetcher,
    volumes: &[Luks],
) -> Result<Vec<Key>, DisksError> {
    let all = volumes.iter().enumerate();
    all.map(|(index, wanted)| {
        let device = wanted.device.as_deref().unwrap_or_default();
        let at = context.subject(place(index), device);
        let read = |resource: &Resource| {
            fetcher.read(resource).map_err(|source| DisksError::Fetch {
                place: at.place.clone(),
                source,
            })
        };
        let given = wanted.key_file.as_ref();
        let given = given.filter(|key| filled(key.source.as_ref()).is_some());
        let passing = given.is_none() && is_bound(wanted);
        let random = || random().map_err(|source| at.device("making a key for", source));
        let bytes = match given {
            Some(resource) => read(resource)?,
            None if passing => random()?,
            None => match root.read(&format!("{DIRECTORY}/{}", wanted.name))? {
                Some(kept) => kept,
                None => random()?,
            },
        };
        if bytes.is_empty() || bytes.len() > LIMIT {
            let message = format!(
                "gets no key of {} bytes; give a keyFile of 1 to {LIMIT} bytes",
                bytes.len()
            );
            return Err(at.conflict(message));
        }
        Ok(Key { bytes, passing })
    })
    .collect()
}

/// Hexadecimal, so that a human can type it, too.
fn random() -> std::io::Result<Vec<u8>> {
    let mut bytes = [0; RANDOM];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex(&bytes).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Network;
    use crate::stage::disks::{Kernel, Purpose};
    use crate::state::State;
    use serde_json::{Value, json};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    fn read(root: &Root, volumes: Value) -> Result<Vec<Key>, DisksError> {
        let volumes: Vec<Luks> = serde_json::from_value(volumes).unwrap();
        let state = State::default();
        let context = Context {
            kernel: Kernel::default(),
            state: &state,
            purpose: Purpose::Write,
        };
        let fetcher = Fetcher::new(Network::Absent, Duration::from_secs(1));
        keys(&context, root, &fetcher, &volumes)
    }

    #[test]
    fn a_key_without_a_source_is_made_up_once() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let wanted = json!([{"name": "a", "device": "/dev/a"},
            {"name": "b", "device": "/dev/b", "keyFile": {"source": ""}}]);
        let first = read(&root, wanted.clone()).unwrap();
        assert_eq!(first[0].bytes().len(), 2 * RANDOM);
        assert_ne!(first[0].bytes(), first[1].bytes());
        assert!(!format!("{first:?}").contains(&String::from_utf8_lossy(first[0].bytes())[..8]));
        first[0].keep(&root, "a").unwrap();
        let mode = |path: &str| {
            let path = directory.path().join(path);
            std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!((mode("etc/luks"), mode("etc/luks/a")), (0o700, 0o600));
        let second = read(&root, wanted).unwrap();
        assert_eq!(second[0].bytes(), first[0].bytes());
        assert_ne!(second[1].bytes(), first[1].bytes());
    }

    #[test]
    fn a_key_for_a_binding_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let clevis = json!({"tpm2": true});
        let wanted = json!([{"name": "a", "device": "/dev/a", "clevis": clevis},
            {"name": "b", "device": "/dev/b", "clevis": clevis,
             "keyFile": {"source": "data:,k"}}]);
        let found = read(&root, wanted).unwrap();
        assert_eq!(
            (found[0].is_passing(), found[1].is_passing()),
            (true, false)
        );
        found[0].keep(&root, "a").unwrap();
        assert!(!directory.path().join("etc").exists());
    }

    #[test]
    fn a_key_of_the_config_is_decompressed_and_verified_by_the_fetcher() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let key = |key: Value| json!([{"name": "a", "device": "/dev/a", "keyFile": key}]);
        let found = read(&root, key(json!({"source": "data:,se%00cret%0A"}))).unwrap();
        assert_eq!(found[0].bytes(), b"se\0cret\n");
        let empty = read(&root, key(json!({"source": "data:,"}))).unwrap_err();
        assert!(empty.to_string().contains("no key of 0 bytes"), "{empty}");
        let hash = format!("sha256-{}", "0".repeat(64));
        let wrong = json!({"source": "data:,secret", "verification": {"hash": hash}});
        let error = read(&root, key(wrong)).unwrap_err();
        assert!(error.is_final());
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}
