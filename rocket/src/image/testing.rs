//! Images made for tests.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::digest::Digest;
use super::fetch::FetchOptions;
use super::trust::Checks;
use crate::options::PullPolicy;

/// An image whose content is known.
pub struct Fixture {
    pub layers: Vec<Vec<u8>>,
    pub archives: Vec<Vec<u8>>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

/// What a layer has: names and contents.
pub type Files<'a> = &'a [(&'a str, &'a str)];

pub fn archive(files: Files<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl Fixture {
    pub fn new(layers: &[Files<'_>]) -> Self {
        Self::of(layers.iter().map(|files| archive(files)).collect())
    }

    pub fn of(archives: Vec<Vec<u8>>) -> Self {
        let ids: Vec<_> = archives.iter().map(|bytes| Digest::of(bytes)).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": { "Cmd": ["/app"] },
            "rootfs": { "type": "layers", "diff_ids": ids },
        });
        let config = serde_json::to_vec(&config).unwrap();
        let layers: Vec<_> = archives.iter().map(|bytes| gzip(bytes)).collect();
        let describe = |kind: &str, bytes: &[u8]| {
            serde_json::json!({
                "mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len(),
            })
        };
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        let listed: Vec<_> = layers.iter().map(|bytes| describe(kind, bytes)).collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": super::manifest::IMAGE,
            "config": describe(super::manifest::CONFIG, &config),
            "layers": listed,
        });
        Self {
            layers,
            archives,
            config,
            manifest: serde_json::to_vec(&manifest).unwrap(),
        }
    }

    pub fn id(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Everything that is named by a digest.
    pub fn blobs(&self) -> BTreeMap<Digest, Vec<u8>> {
        let small = [&self.manifest, &self.config];
        let all = small.into_iter().chain(&self.layers);
        all.map(|bytes| (Digest::of(bytes), bytes.clone()))
            .collect()
    }

    /// Writes an OCI layout.
    pub fn layout(&self, path: &Path) {
        let blobs = path.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for (digest, bytes) in self.blobs() {
            fs::write(blobs.join(digest.hex()), bytes).unwrap();
        }
        let index = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": super::manifest::IMAGE,
                "digest": self.id(), "size": self.manifest.len(),
                "annotations": { "org.opencontainers.image.ref.name": "1.0" },
            }],
        });
        fs::write(path.join("index.json"), index.to_string()).unwrap();
        let layout = r#"{"imageLayoutVersion":"1.0.0"}"#;
        fs::write(path.join("oci-layout"), layout).unwrap();
    }

    /// What `docker save` writes; a layer that is there twice is a link, as it was in the
    /// old form.
    pub fn docker_archive(&self, name: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes).unwrap();
        };
        let config = format!("{}.json", Digest::of(&self.config).hex());
        add(&config, &self.config);
        let mut places: Vec<String> = Vec::new();
        for (number, bytes) in self.archives.iter().enumerate() {
            let place = format!("{number}/layer.tar");
            add(&place, bytes);
            places.push(place);
        }
        let manifest = serde_json::json!([{
            "Config": config, "RepoTags": [name], "Layers": places,
        }]);
        add("manifest.json", manifest.to_string().as_bytes());
        builder.into_inner().unwrap()
    }
}

/// As if somebody insisted.
pub fn insecure() -> FetchOptions {
    FetchOptions {
        policy: PullPolicy::New,
        checks: Checks::SkipImage,
        ..FetchOptions::default()
    }
}

/// All names below a directory, with what is in the files.
pub fn listing(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, directory: &Path, all: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() && !path.is_symlink() {
                walk(root, &path, all);
            } else {
                let content = fs::read(&path).unwrap_or_default();
                all.insert(name, Digest::of(&content).hex());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(root, root, &mut all);
    all
}
