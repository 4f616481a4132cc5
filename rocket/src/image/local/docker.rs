//! What `docker save` writes: `manifest.json` names configurations and layers by their place
//! in the archive. There is no manifest of the image's own; the one that is made here is the
//! same for the same content, so its digest can stand for the image.

use std::io::Read;

use serde::Deserialize;

use super::super::Error;
use super::super::digest::{Digest, Hashing};
use super::super::fetch::Found;
use super::super::manifest::{
    CONFIG, Descriptor, ImageManifest, LAYER, MAX_CONFIG, MAX_LAYERS, MAX_MANIFEST, parse_config,
};
use super::super::name::Reference;
use super::super::unpack::Compression;
use super::files::{Files, plain};
use super::{LocalImage, expectations};

/// Most images and names in a message.
const MAX_SHOWN: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Finds the image of this name, or of this place (`@0`); without a name, the only one.
pub fn open(files: Files, image: Option<&str>) -> Result<LocalImage, Error> {
    if !files.has("manifest.json") {
        let why = "it is not there: what docker before 1.10 wrote, or another kind of archive \
                   (oci-archive:)";
        return Err(files.wrong("manifest.json", why));
    }
    let bytes = files.read("manifest.json", MAX_MANIFEST)?;
    let all: Vec<Saved> = serde_json::from_slice(&bytes)
        .map_err(|error| files.wrong("manifest.json", &error.to_string()))?;
    let saved = choose(&files, all, image)?;
    if saved.layers.len() > MAX_LAYERS {
        return Err(files.wrong("manifest.json", "there are too many layers"));
    }
    let config = files.read(&place(&files, &saved.config)?, MAX_CONFIG)?;
    check_config_name(&files, &saved.config, &config)?;
    let places = saved.layers.iter().map(|name| place(&files, name));
    let places: Vec<String> = places.collect::<Result<_, _>>()?;
    let parsed = manifest(&files, &config, &places)?;
    let name = files.path().display().to_string();
    let manifest = serde_json::to_vec(&parsed)
        .map_err(|error| files.wrong("manifest.json", &error.to_string()))?;
    Ok(LocalImage {
        found: Found {
            layers: expectations(&name, &parsed, &config)?,
            manifest,
            parsed,
            index: None,
            config,
        },
        places,
        files,
    })
}

fn choose(files: &Files, all: Vec<Saved>, image: Option<&str>) -> Result<Saved, Error> {
    let tags = |saved: &Saved| saved.repo_tags.clone().unwrap_or_default();
    let names: Vec<String> = all.iter().flat_map(tags).take(MAX_SHOWN).collect();
    let count = all.len();
    let mut all = all.into_iter();
    let (found, what) = match image {
        None if count == 1 => (all.next(), ""),
        None => (None, "write after a colon which image is meant"),
        Some(image) => {
            let found = match image.strip_prefix('@').map(str::parse) {
                Some(Ok(place)) => all.nth(place),
                _ => all.find(|saved| tags(saved).iter().any(|tag| same(tag, image))),
            };
            (found, "there is no image of this name")
        }
    };
    found.ok_or_else(|| Error::Choice {
        path: files.path().to_owned(),
        what: what.to_owned(),
        has: match names.is_empty() {
            true => format!("{count} without names (@0 is the first)"),
            false => names.join(", "),
        },
    })
}

/// Whether two spellings mean one name: docker leaves out its own registry and `latest`.
fn same(one: &str, other: &str) -> bool {
    let long = |name: &str| {
        let parsed: Result<Reference, _> = name.parse();
        let parsed = parsed.or_else(|_| format!("docker.io/{name}").parse());
        parsed.map_or_else(|_| name.to_owned(), |name| name.to_string())
    };
    long(one) == long(other)
}

fn place(files: &Files, name: &str) -> Result<String, Error> {
    let wrong = || files.wrong("manifest.json", &format!("{name:?} is no file's name"));
    plain(name.as_bytes()).ok_or_else(wrong)
}

/// The configuration's file is called by its digest, in both forms of the archive.
fn check_config_name(files: &Files, name: &str, config: &[u8]) -> Result<(), Error> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let hex = last.strip_suffix(".json").unwrap_or(last);
    match Digest::from_hex(hex) {
        Ok(expected) if expected != Digest::of(config) => Err(Error::Digest {
            object: files.describe(name),
            expected,
            found: Digest::of(config),
        }),
        _ => Ok(()),
    }
}

fn manifest(files: &Files, config: &[u8], places: &[String]) -> Result<ImageManifest, Error> {
    let wrong = |source| Error::Config(format!("of {}", files.path().display()), source);
    let (_, ids) = parse_config(config, places.len()).map_err(wrong)?;
    let layers = places.iter().zip(&ids);
    let layers = layers.map(|(place, diff_id)| layer(files, place, diff_id));
    Ok(ImageManifest {
        schema_version: 2,
        media_type: Some("application/vnd.oci.image.manifest.v1+json".to_owned()),
        artifact_type: None,
        config: descriptor(CONFIG.to_owned(), Digest::of(config), config.len() as u64),
        layers: layers.collect::<Result<_, _>>()?,
        annotations: None,
    })
}

/// An archive of a layer has the digest that the configuration names, which unpacking
/// checks. One that is compressed has to be read for its digest.
fn layer(files: &Files, place: &str, diff_id: &Digest) -> Result<Descriptor, Error> {
    let failed = |error: std::io::Error| files.wrong(place, &error.to_string());
    let mut start = Vec::new();
    let mut reader = Hashing::new(files.open(place)?);
    reader
        .by_ref()
        .take(8)
        .read_to_end(&mut start)
        .map_err(failed)?;
    let compression = Compression::of(&start);
    let suffix = match compression {
        Compression::None => "",
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
    };
    let size = files.size(place).map_err(failed)?;
    let digest = match compression {
        Compression::None => *diff_id,
        _ => {
            std::io::copy(&mut reader, &mut std::io::sink()).map_err(failed)?;
            reader.finish().0
        }
    };
    Ok(descriptor(format!("{LAYER}{suffix}"), digest, size))
}

fn descriptor(media_type: String, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type,
        digest,
        size,
        artifact_type: None,
        platform: None,
        annotations: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_docker_means_them() {
        assert!(same("debian:latest", "docker.io/library/debian"));
        assert!(same("example.com/app:1", "example.com/app:1"));
        assert!(!same("debian:12", "debian:13"));
    }
}
