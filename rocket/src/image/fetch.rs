//! Bringing an image into the store, from wherever it is.

mod intake;

use std::sync::Arc;

use jiff::Timestamp;

use super::digest::Digest;
use super::local::LocalImage;
use super::manifest::{Descriptor, ImageManifest};
use super::name::Reference;
use super::progress::{Progress, Show};
use super::registry;
use super::source::Source;
use super::store::{Layer, Name, Record, Stamp, Store};
use super::trust::policy::Policies;
use super::trust::{self, Checks, Demand, TrustError, Verified};
use super::unpack::{Expected, Limits};
use super::{Error, Image};
use crate::options::PullPolicy;

pub use intake::{Bytes, take_in};

/// Layers that are fetched at once.
pub const JOBS: usize = 4;

/// How an image is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOptions {
    /// Whether what is in the store is good enough.
    pub policy: PullPolicy,
    /// Whether somebody insists.
    pub checks: Checks,
    /// What is shown meanwhile.
    pub show: Show,
    /// What a layer may be at most.
    pub limits: Limits,
    /// How many layers are fetched at once, at least one.
    pub jobs: usize,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            policy: PullPolicy::New,
            checks: Checks::default(),
            show: Show::default(),
            limits: Limits::default(),
            jobs: JOBS,
        }
    }
}

/// An image whose manifest and configuration are here and were checked.
pub struct Found {
    /// Its manifest's bytes.
    pub manifest: Vec<u8>,
    /// What these bytes say.
    pub parsed: ImageManifest,
    /// The bytes of the index that named it.
    pub index: Option<Vec<u8>>,
    /// Its configuration's bytes.
    pub config: Vec<u8>,
    /// What each layer must be.
    pub layers: Vec<Expected>,
}

impl Found {
    /// The digest of its manifest.
    pub fn id(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Bytes of all its layers, as they are fetched.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

/// Fetches an image: asks the policies, then the source, and takes in what is missing. What
/// the store has is used; asking only whether it is there is [`Store::find`]'s.
pub fn fetch(store: &Store, source: &Source, options: &FetchOptions) -> Result<Image, Error> {
    let policies = Policies::load(store.dirs()).map_err(TrustError::from)?;
    let demand = trust::demand(&policies, source, options.checks)?;
    let _in_use = store.in_use()?;
    match source {
        Source::Stored(digits) => {
            let found = store.find(source, PullPolicy::Never)?;
            found.ok_or_else(|| Error::absent(digits))
        }
        Source::Registry(reference) => registry::fetch(store, source, reference, &demand, options),
        _ => import(store, source, source, &demand, options),
    }
}

/// Takes in an image from a file of this host under a name of a registry, whose policies of
/// trust then apply.
pub fn import_as(
    store: &Store,
    source: &Source,
    name: Option<Reference>,
    options: &FetchOptions,
) -> Result<Image, Error> {
    let name = name.map_or_else(|| source.clone(), Source::Registry);
    let policies = Policies::load(store.dirs()).map_err(TrustError::from)?;
    let demand = trust::demand(&policies, &name, options.checks)?;
    let _in_use = store.in_use()?;
    import(store, source, &name, &demand, options)
}

/// Takes in an image from a file of this host.
fn import(
    store: &Store,
    source: &Source,
    name: &Source,
    demand: &Demand<'_>,
    options: &FetchOptions,
) -> Result<Image, Error> {
    // Before the file is read: if it changes meanwhile, it is read again the next time.
    let stamp = Stamp::of(source).filter(|_| name.local().is_some());
    let local = LocalImage::open(source, store)?;
    check_pin(name, &local.found)?;
    let verified = match demand {
        Demand::Satisfied(verified) => verified.clone(),
        Demand::Signature(policy) => trust::local(policy, name, &local)?,
    };
    let progress = Arc::new(Progress::new(options.show, local.found.size()));
    let bytes = intake::Copies::new(&local, Arc::clone(&progress));
    let taken = take_in(store, &local.found.layers, &bytes, options, &progress);
    progress.finish();
    taken?;
    keep(store, name, &local.found, verified, stamp)
}

/// A name with a digest is one of this image only.
fn check_pin(name: &Source, found: &Found) -> Result<(), Error> {
    let index = found.index.as_deref().map(Digest::of);
    match name.pin() {
        Some(pin) if *pin != found.id() && Some(*pin) != index => Err(Error::Digest {
            object: "the image".to_owned(),
            expected: *pin,
            found: found.id(),
        }),
        _ => Ok(()),
    }
}

/// Writes down what was fetched; from here on it is known.
pub fn keep(
    store: &Store,
    source: &Source,
    found: &Found,
    verified: Verified,
    stamp: Option<Stamp>,
) -> Result<Image, Error> {
    let id = store.put_blob(&found.manifest)?;
    let index = found.index.as_ref().map(|index| store.put_blob(index));
    store.put_blob(&found.config)?;
    let record = record(id, index.transpose()?, found);
    let name = Name {
        name: source.to_string(),
        id,
        verified: verified.clone(),
        stamp,
    };
    store.put_image(&record, &name)?;
    let image = store.load(&id, &name.name, verified)?;
    image.ok_or_else(|| Error::absent(&name.name))
}

fn record(id: Digest, index: Option<Digest>, found: &Found) -> Record {
    let layers = found.parsed.layers.iter().zip(&found.layers);
    let kind = found.parsed.media_type.clone();
    Record {
        manifest: Descriptor {
            media_type: kind.unwrap_or_else(|| super::manifest::IMAGE.to_owned()),
            digest: id,
            size: found.manifest.len() as u64,
            artifact_type: None,
            platform: None,
            annotations: None,
        },
        index,
        config: found.parsed.config.clone(),
        layers: layers
            .map(|(blob, expected)| Layer {
                diff_id: expected.diff_id,
                blob: blob.clone(),
            })
            .collect(),
        fetched: Timestamp::now(),
    }
}
