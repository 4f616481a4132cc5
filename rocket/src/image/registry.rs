//! Images in registries.
//!
//! The client is our own, on `reqwest`: the one of the crate `oci-client` reads manifests
//! and tokens of any length, does not take up a broken download, asks no second place, and
//! sends credentials to wherever a registry says.

mod client;
mod download;
mod error;
mod pauses;
mod tls;
mod token;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Runtime;

use super::digest::Digest;
use super::fetch::{FetchOptions, Found, keep, take_in};
use super::local::{expectations, for_this_machine};
use super::manifest::{Descriptor, MAX_CONFIG, Manifest, ManifestError, parse};
use super::name::Reference;
use super::progress::Progress;
use super::registries::{Endpoint, Registries};
use super::source::Source;
use super::store::Store;
use super::trust::cosign::{self, Claim};
use super::trust::{self, Demand};
use super::unpack::Expected;
use super::{Error, Image};

use client::Client;
use download::Downloads;
pub use error::RegistryError;

/// How deep an index may name indexes.
const MAX_DEPTH: usize = 3;

/// One repository, at the places where it can be had.
pub struct Repository {
    name: Reference,
    clients: Vec<Client>,
    /// The place that answered last; it is asked first.
    current: AtomicUsize,
}

impl Repository {
    /// Nothing is asked yet.
    pub fn new(name: &Reference, endpoints: Vec<Endpoint>) -> Result<Self, RegistryError> {
        let clients = endpoints.into_iter().map(Client::new);
        Ok(Self {
            name: name.clone(),
            clients: clients.collect::<Result<_, _>>()?,
            current: AtomicUsize::new(0),
        })
    }

    /// The places, the one that answered last first.
    fn in_order(&self) -> impl Iterator<Item = (usize, &Client)> {
        let current = self.current.load(Ordering::Relaxed);
        let count = self.clients.len();
        let places = (0..count).map(move |place| (current + place) % count.max(1));
        places.filter_map(|place| Some((place, self.clients.get(place)?)))
    }

    /// A manifest; by its digest, or by a tag. Each place is asked until one has it.
    async fn manifest(&self, selector: &str) -> Result<Vec<u8>, RegistryError> {
        let mut last = None;
        for (place, client) in self.in_order() {
            match client.manifest(selector).await {
                Ok(bytes) => {
                    self.current.store(place, Ordering::Relaxed);
                    return Ok(bytes);
                }
                // What the registry itself says counts more than what its mirrors say.
                Err(error) if place + 1 == self.clients.len() || last.is_none() => {
                    last = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(last.unwrap_or(RegistryError::NoEndpoint))
    }

    /// The same, if it is there: registries have no signatures of most images.
    async fn manifest_if_any(&self, selector: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        match self.manifest(selector).await {
            Err(error) if error.is_absent() => Ok(None),
            result => result.map(Some),
        }
    }

    /// Small content, compared with its digest.
    async fn content(&self, wanted: &Descriptor, most: u64) -> Result<Vec<u8>, RegistryError> {
        let mut last = None;
        for (_, client) in self.in_order() {
            match client.content(wanted, most).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => last = last.or(Some(error)),
            }
        }
        Err(last.unwrap_or(RegistryError::NoEndpoint))
    }

    /// What refers to a digest.
    async fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let mut bytes = None;
        for (_, client) in self.in_order() {
            bytes = match client.referrers(digest).await {
                Err(error) if error.is_absent() => bytes,
                result => result?.or(bytes),
            };
            if bytes.is_some() {
                break;
            }
        }
        let bytes = match bytes {
            Some(bytes) => Some(bytes),
            None => self.manifest_if_any(&cosign::referrers_tag(digest)).await?,
        };
        match bytes.as_deref().map(parse) {
            Some(Ok(Manifest::Index(index))) => Ok(index.manifests),
            _ => Ok(Vec::new()),
        }
    }

    /// Everything that claims to be a signature of a digest.
    async fn claims(&self, digest: &Digest) -> Result<Vec<Claim>, RegistryError> {
        let mut manifests = Vec::new();
        manifests.extend(self.manifest_if_any(&cosign::tag(digest)).await?);
        let referrers = self.referrers(digest).await?;
        for referrer in referrers.iter().take(cosign::MAX_MANIFESTS) {
            if referrer
                .artifact_type
                .as_deref()
                .is_none_or(cosign::is_kind)
            {
                manifests.extend(self.manifest_if_any(&referrer.digest.to_string()).await?);
            }
        }
        let mut claims = Vec::new();
        for bytes in manifests {
            let Ok(Manifest::Image(manifest)) = parse(&bytes) else {
                continue;
            };
            for unread in cosign::claims(&manifest) {
                let content = self.content(&unread.content, cosign::MAX_PAYLOAD).await?;
                claims.push(unread.with(content));
            }
        }
        Ok(claims)
    }

    /// The image for this machine: manifest and configuration, but no layer yet. `trusted`
    /// says of the digests whether they are, before anything else is asked for.
    async fn find(
        &self,
        trusted: impl AsyncFnOnce(&[Digest]) -> Result<(), Error>,
    ) -> Result<Found, Error> {
        let name = self.name.to_string();
        let wrong = |source: ManifestError| Error::Manifest(name.clone(), source);
        let mut bytes = self.manifest(&self.name.selector()).await?;
        let mut index = None;
        for _ in 0..MAX_DEPTH {
            let parsed = match parse(&bytes).map_err(wrong)? {
                Manifest::Image(parsed) => parsed,
                Manifest::Index(listed) => {
                    let chosen = for_this_machine(&name, &listed)?;
                    let next = self.manifest(&chosen.digest.to_string()).await?;
                    index = Some(std::mem::replace(&mut bytes, next));
                    continue;
                }
            };
            parsed.check_is_image().map_err(wrong)?;
            let outer = index.as_deref().map(Digest::of);
            let digests: Vec<_> = [Digest::of(&bytes)].into_iter().chain(outer).collect();
            trusted(&digests).await?;
            let config = self.content(&parsed.config, MAX_CONFIG).await?;
            return Ok(Found {
                layers: expectations(&name, &parsed, &config)?,
                manifest: bytes,
                parsed,
                index,
                config,
            });
        }
        Err(RegistryError::Depth(name).into())
    }
}

/// Fetches an image.
pub fn fetch(
    store: &Store,
    source: &Source,
    reference: &Reference,
    demand: &Demand<'_>,
    options: &FetchOptions,
) -> Result<Image, Error> {
    let registries = Registries::load(store.dirs())?;
    let endpoints = registries.endpoints(reference)?;
    let repository = Arc::new(Repository::new(reference, endpoints)?);
    let runtime = runtime()?;
    let mut verified = match demand {
        Demand::Satisfied(verified) => Some(verified.clone()),
        Demand::Signature(_) => None,
    };
    let trusted = async |digests: &[Digest]| {
        if let Demand::Signature(policy) = demand {
            let mut claims = Vec::new();
            for digest in digests {
                claims.extend(repository.claims(digest).await?);
            }
            verified = Some(trust::judge(policy, source, digests, &claims)?);
        }
        Ok(())
    };
    let found = runtime.block_on(repository.find(trusted))?;
    let Some(verified) = verified else {
        return Err(RegistryError::NoEndpoint.into());
    };
    let progress = Arc::new(Progress::new(options.show, found.size()));
    let layers: &[Expected] = &found.layers;
    let bytes = Downloads::new(&runtime, &repository, layers, &progress);
    let taken = take_in(store, layers, &bytes, options, &progress);
    progress.finish();
    taken?;
    keep(store, source, &found, verified, None)
}

/// Fetches a key, by https.
pub fn fetch_key(address: &str) -> Result<String, RegistryError> {
    runtime()?.block_on(client::text(address))
}

fn runtime() -> Result<Runtime, RegistryError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(1).enable_all();
    builder.build().map_err(RegistryError::Runtime)
}
