//! OCI's image layout: `index.json`, and content by digest below `blobs`.

use super::super::Error;
use super::super::digest::Digest;
use super::super::fetch::Found;
use super::super::manifest::{Descriptor, ImageManifest, Index, MAX_MANIFEST, Manifest, parse};
use super::super::platform::Machine;
use super::files::Files;
use super::{LocalImage, config, content, expectations};

/// Where the name of an image is: its tag, or by some tools all of its name.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";

/// How deep an index may name indexes.
const MAX_DEPTH: usize = 3;

/// Most names in a message.
const MAX_SHOWN: usize = 10;

/// Finds the image of this name; without a name, the only one.
pub fn open(files: Files, image: Option<&str>) -> Result<LocalImage, Error> {
    let index = index(&files)?;
    let candidates: Vec<&Descriptor> = match image {
        Some(name) => index
            .manifests
            .iter()
            .filter(|m| is_called(m, name))
            .collect(),
        None => index
            .manifests
            .iter()
            .filter(|m| !is_signature(m))
            .collect(),
    };
    let first = choose(&files, &index, &candidates, image)?;
    let mut named_by = None;
    let mut descriptor = first;
    let name = files.path().display().to_string();
    for _ in 0..MAX_DEPTH {
        let bytes = content(&files, &descriptor, MAX_MANIFEST)?;
        let parsed = parse(&bytes).map_err(|source| Error::Manifest(name.clone(), source))?;
        match parsed {
            Manifest::Image(parsed) => return local_image(files, bytes, parsed, named_by),
            Manifest::Index(index) => {
                descriptor = for_this_machine(&name, &index)?;
                named_by = Some(bytes);
            }
        }
    }
    Err(files.wrong("index.json", "indexes name indexes too deep"))
}

fn local_image(
    files: Files,
    manifest: Vec<u8>,
    parsed: ImageManifest,
    index: Option<Vec<u8>>,
) -> Result<LocalImage, Error> {
    let name = files.path().display().to_string();
    let check = parsed.check_is_image();
    check.map_err(|source| Error::Manifest(name.clone(), source))?;
    let config = config(&files, &parsed)?;
    let blobs = parsed.layers.iter().map(|layer| layer.digest.hex());
    Ok(LocalImage {
        places: blobs.map(|hex| format!("blobs/sha256/{hex}")).collect(),
        found: Found {
            layers: expectations(&name, &parsed, &config)?,
            manifest,
            parsed,
            index,
            config,
        },
        files,
    })
}

/// The manifest of an index that is for this machine.
pub fn for_this_machine(name: &str, index: &Index) -> Result<Descriptor, Error> {
    let machine = Machine::this();
    match machine.choose(&index.manifests) {
        Some(chosen) => Ok(chosen.clone()),
        None => {
            let platforms = index.manifests.iter().filter_map(|m| m.platform.as_ref());
            let has: Vec<_> = platforms.take(MAX_SHOWN).map(ToString::to_string).collect();
            Err(Error::Platform {
                image: name.to_owned(),
                machine: machine.to_string(),
                has: has.join(", "),
            })
        }
    }
}

fn index(files: &Files) -> Result<Index, Error> {
    let bytes = files.read("index.json", MAX_MANIFEST)?;
    let name = files.describe("index.json");
    match parse(&bytes) {
        Ok(Manifest::Index(index)) => Ok(index),
        Ok(Manifest::Image(_)) => Err(files.wrong("index.json", "it is no index")),
        Err(source) => Err(Error::Manifest(name, source)),
    }
}

fn choose(
    files: &Files,
    index: &Index,
    candidates: &[&Descriptor],
    image: Option<&str>,
) -> Result<Descriptor, Error> {
    let what = match candidates {
        [only] => return Ok((*only).clone()),
        [] => match image {
            Some(name) => format!("no image is called {name:?}"),
            None => "there is no image".to_owned(),
        },
        // Several of one name are for several machines.
        [first, rest @ ..] if rest.iter().all(|other| name(other) == name(first)) => {
            let manifests = candidates.iter().map(|m| (*m).clone()).collect();
            let of_name = Index {
                manifests,
                ..index.clone()
            };
            return for_this_machine(&files.path().display().to_string(), &of_name);
        }
        _ => "there are several images, write which after a colon".to_owned(),
    };
    let names = index.manifests.iter().filter_map(name).take(MAX_SHOWN);
    let has: Vec<_> = names.collect();
    Err(Error::Choice {
        path: files.path().to_owned(),
        what,
        has: match has.is_empty() {
            true => "no names".to_owned(),
            false => has.join(", "),
        },
    })
}

fn name(descriptor: &Descriptor) -> Option<&str> {
    let names = [REF_NAME, FULL_NAME].into_iter();
    names.filter_map(|key| descriptor.annotation(key)).next()
}

fn is_called(descriptor: &Descriptor, name: &str) -> bool {
    [REF_NAME, FULL_NAME]
        .iter()
        .any(|key| descriptor.annotation(key) == Some(name))
        || descriptor.digest.to_string() == name
}

/// What cosign puts beside images.
fn is_signature(descriptor: &Descriptor) -> bool {
    let kind = descriptor.annotation("kind").unwrap_or_default();
    let tag = descriptor.annotation(REF_NAME).unwrap_or_default();
    let ending = [".sig", ".att", ".sbom"]
        .iter()
        .any(|end| tag.ends_with(end));
    kind.starts_with("dev.cosignproject.cosign/sigs")
        || kind.starts_with("dev.cosignproject.cosign/atts")
        || (tag.starts_with("sha256-") && ending)
        || descriptor.artifact_type.is_some()
}

/// Signatures in a layout: what is neither the image nor a part of it.
pub struct Signatures<'a> {
    files: &'a Files,
}

impl<'a> Signatures<'a> {
    pub(super) fn new(files: &'a Files) -> Self {
        Self { files }
    }

    /// Manifests that may hold signatures of a digest: by cosign's tag, by cosign's own
    /// kind, and whatever else names a subject.
    pub fn candidates(&self, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        // What `docker save` wrote has none.
        if !self.files.has("index.json") {
            return Ok(Vec::new());
        }
        let tag = format!("sha256-{}.sig", digest.hex());
        let index = index(self.files)?;
        let candidate = |d: &Descriptor| {
            is_signature(d)
                && (!d
                    .annotation(REF_NAME)
                    .is_some_and(|name| name.starts_with("sha256-"))
                    || d.annotation(REF_NAME) == Some(tag.as_str()))
        };
        Ok(index.manifests.into_iter().filter(candidate).collect())
    }

    /// Content of the layout, compared with its digest.
    pub fn read(&self, descriptor: &Descriptor, most: u64) -> Result<Vec<u8>, Error> {
        content(self.files, descriptor, most)
    }
}
