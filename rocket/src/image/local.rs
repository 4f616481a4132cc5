//! Images in files: OCI layouts and archives of them, and what `docker save` writes.
//!
//! None of these asks anybody; what is in them is compared with its digests all the same.

mod docker;
mod files;
mod layout;

use std::io::Read;
use std::path::Path;

use super::Error;
use super::digest::Digest;
use super::fetch::Found;
use super::manifest::{ConfigError, Descriptor, ImageManifest, MAX_CONFIG, parse_config};
use super::source::{Local, Source};
use super::store::Store;
use super::unpack::Expected;

use files::Files;
pub use layout::{Signatures, for_this_machine};

/// One image of an archive or layout, whose layers were not looked at yet.
pub struct LocalImage {
    /// What it is.
    pub found: Found,
    places: Vec<String>,
    files: Files,
}

impl LocalImage {
    /// Finds the image that a source names.
    pub fn open(source: &Source, store: &Store) -> Result<Self, Error> {
        let (local, is_docker) = match source {
            Source::Layout(local) | Source::OciArchive(local) => (local, false),
            Source::DockerArchive(local) => (local, true),
            Source::Registry(_) | Source::Stored(_) => {
                return Err(Error::absent(&source.to_string()));
            }
        };
        let files = match source {
            Source::Layout(_) => Files::directory(&local.path)?,
            _ => Files::archive(&local.path, store)?,
        };
        match is_docker {
            true => docker::open(files, local.image.as_deref()),
            false => layout::open(files, local.image.as_deref()),
        }
    }

    /// The bytes of a layer.
    pub fn layer(&self, place: usize) -> Result<Box<dyn Read + Send>, Error> {
        let name = self.places.get(place).map_or("", String::as_str);
        self.files.open(name)
    }

    /// What else is in the file: signatures are beside the images that they are for.
    pub fn signatures(&self) -> Signatures<'_> {
        Signatures::new(&self.files)
    }
}

/// What a file on this host is, found by looking into it.
pub fn source(path: &Path, image: Option<&str>) -> Result<Source, Error> {
    let absolute = std::path::absolute(path).map_err(Error::io("finding", path))?;
    let local = Local {
        path: absolute,
        image: image.map(str::to_owned),
    };
    if path.is_dir() {
        return Ok(Source::Layout(local));
    }
    match files::is_docker(path)? {
        true => Ok(Source::DockerArchive(local)),
        false => Ok(Source::OciArchive(local)),
    }
}

/// What each layer must be, from the manifest and the configuration that it names.
pub fn expectations(
    object: &str,
    manifest: &ImageManifest,
    config: &[u8],
) -> Result<Vec<Expected>, Error> {
    let wrong = |source: ConfigError| Error::Config(format!("of {object}"), source);
    let (_, ids) = parse_config(config, manifest.layers.len()).map_err(wrong)?;
    let layers = manifest.layers.iter().zip(ids);
    Ok(layers
        .map(|(layer, diff_id)| Expected {
            digest: layer.digest,
            size: layer.size,
            diff_id,
        })
        .collect())
}

/// Small content that must have this digest.
fn content(files: &Files, descriptor: &Descriptor, most: u64) -> Result<Vec<u8>, Error> {
    let name = format!("blobs/sha256/{}", descriptor.digest.hex());
    let bytes = files.read(&name, most)?;
    let found = Digest::of(&bytes);
    if found != descriptor.digest {
        return Err(Error::Digest {
            object: files.describe(&name),
            expected: descriptor.digest,
            found,
        });
    }
    Ok(bytes)
}

fn config(files: &Files, manifest: &ImageManifest) -> Result<Vec<u8>, Error> {
    content(files, &manifest.config, MAX_CONFIG)
}
