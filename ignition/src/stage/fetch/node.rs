//! A config that makes a node of a cluster: its certificate, key and authority are brought
//! and judged before anything is written.

use std::time::SystemTime;

use base64::Engine as _;

use crate::cluster::{self, FaultKind, Material, NodeName, Part, judge};
use crate::config::{Config, File, Resource, list};
use crate::fetch::{FetchError, Fetcher, needs_network};
use crate::log;
use crate::stage::StageError;

/// A file of the config that says which host this is.
const HOST_NAME: &str = "/etc/hostname";

/// Judges what `config` writes to `/etc/cluster`, and puts what it fetched into the config,
/// so that what is written is what was judged. `place` says where a key was written.
///
/// Without the network, what needs it is left to the stage that has it: it is called again
/// there.
///
/// # Errors
/// Something is wrong, or cannot be fetched.
pub fn check(
    fetcher: &Fetcher,
    config: &mut Config,
    place: &dyn Fn(&str) -> String,
) -> Result<(), StageError> {
    let mut bring = |path: &str| bring(fetcher, config, path, place);
    let [ca, certificate, key] = [
        bring(cluster::CA)?,
        bring(cluster::CERTIFICATE)?,
        bring(cluster::KEY)?,
    ];
    if ca.is_none() && certificate.is_none() && key.is_none() {
        return Ok(());
    }
    let [given, host, domain] = [cluster::NAME, HOST_NAME, cluster::DOMAIN].map(&mut bring);
    let (given, host, domain) = (text(given?), text(host?), text(domain?));
    let is_given = given.is_some();
    let name = given.or(host).map(|name| NodeName {
        name,
        domain,
        is_given,
    });
    let bytes = |part: &Option<Brought>| part.as_ref().map(|part| part.bytes.clone());
    let material = Material {
        ca: bytes(&ca),
        certificate: bytes(&certificate),
        key: bytes(&key),
        name,
    };
    for fault in judge(&material, SystemTime::now()).faults {
        let part = match fault.part {
            Part::Ca => &ca,
            Part::Certificate => &certificate,
            Part::Key => &key,
        };
        let place = part.as_ref().map_or("", |part| &part.place).to_owned();
        match fault.kind {
            FaultKind::Wrong | FaultKind::Expired => {
                let message = fault.to_string();
                return Err(StageError::Node { place, message });
            }
            // Clocks of machines without a battery start years ago; the host looks again,
            // when it has asked a server for the time, before the agent starts.
            FaultKind::NotYet | FaultKind::Warning => log::warn(&format!("{place}: {fault}")),
        }
    }
    Ok(())
}

/// A file's contents, and where the config names them.
struct Brought {
    place: String,
    bytes: Vec<u8>,
}

/// A file of one word.
fn text(found: Option<Brought>) -> Option<String> {
    let text = String::from_utf8_lossy(&found?.bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The contents of the file at `path`; nothing if the config has none, or if they need the
/// network and there is none.
fn bring(
    fetcher: &Fetcher,
    config: &mut Config,
    path: &str,
    place: &dyn Fn(&str) -> String,
) -> Result<Option<Brought>, StageError> {
    let Some((number, file)) = file_at(config, path) else {
        return Ok(None);
    };
    let place = place(&format!("storage.files.{number}"));
    let mut bytes = Vec::new();
    let parts = file
        .contents
        .iter_mut()
        .chain(file.append.iter_mut().flatten());
    for resource in parts.filter(|resource| resource.source.is_some()) {
        let fetched = match fetcher.read(resource) {
            Ok(fetched) => fetched,
            Err(FetchError::NeedsNetwork { .. }) => return Ok(None),
            Err(source) => return Err(StageError::Fetch { place, source }),
        };
        if needs_network(resource) {
            *resource = embedded(&fetched);
        }
        bytes.extend(fetched);
    }
    Ok((!bytes.is_empty()).then_some(Brought { place, bytes }))
}

fn file_at<'c>(config: &'c mut Config, path: &str) -> Option<(usize, &'c mut File)> {
    let files = config.storage.as_mut()?.files.as_mut()?;
    let number = list(Some(&*files))
        .iter()
        .position(|file| file.path == path)?;
    Some((number, files.get_mut(number)?))
}

fn embedded(bytes: &[u8]) -> Resource {
    let packed = base64::engine::general_purpose::STANDARD.encode(bytes);
    Resource {
        source: Some(format!("data:;base64,{packed}")),
        ..Resource::default()
    }
}
