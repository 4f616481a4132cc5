//! Images of containers, made here.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use image::cache::hex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// Commands that scenarios use of busybox.
const APPLETS: &str = "sh cat echo sleep true false id ps mount grep ls nc wget httpd hostname ip \
    kill env touch dd sync test nslookup head stat mkdir rm wc seq cp mv";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image as registries have it.
pub struct Image {
    layers: Vec<Layer>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

/// One layer of it.
pub struct Layer {
    kind: String,
    bytes: Vec<u8>,
    diff_id: String,
}

impl Layer {
    /// Not compressed.
    pub fn plain(tar: Vec<u8>) -> Self {
        Self {
            kind: LAYER.to_owned(),
            diff_id: digest(&tar),
            bytes: tar,
        }
    }

    /// Compressed, as most tools do it.
    pub fn compressed(tar: &[u8]) -> Result<Self> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(tar).context("compressing a layer")?;
        Ok(Self {
            kind: format!("{LAYER}+gzip"),
            diff_id: digest(tar),
            bytes: gzip.finish().context("compressing a layer")?,
        })
    }

    /// As it is fetched.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Files, each with its mode.
    pub fn of_files(files: &[(&str, u32, &[u8])]) -> Result<Self> {
        let mut tar = Builder::new(Vec::new());
        for (path, mode, content) in files {
            file(&mut tar, path, *mode, content)?;
        }
        Ok(Self::plain(tar.into_inner()?))
    }

    /// By which it is fetched.
    pub fn digest(&self) -> String {
        digest(&self.bytes)
    }
}

impl Image {
    /// One of these layers, the lowest first; `config` says how it is run.
    pub fn new(layers: Vec<Layer>, config: &Value) -> Self {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let described = layers
            .iter()
            .map(|layer| descriptor(&layer.kind, &layer.bytes));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": described.collect::<Vec<_>>(),
        });
        Self {
            layers,
            config,
            manifest: manifest.to_string().into_bytes(),
        }
    }

    /// One of busybox, whose program this is, with a link for every command, and no entry
    /// point.
    pub fn of_program(program: &[u8], config: &Value) -> Result<Self> {
        Self::of_program_and(program, Vec::new(), config)
    }

    /// The same with layers above it.
    pub fn of_program_and(program: &[u8], above: Vec<Layer>, config: &Value) -> Result<Self> {
        let mut layers = vec![Layer::plain(layer(program)?)];
        layers.extend(above);
        Ok(Self::new(layers, config))
    }

    /// The same, with another layer on top.
    pub fn of_program_below(program: &[u8], top: Layer, config: &Value) -> Result<Self> {
        let layer = Layer::plain(layer(program)?);
        Ok(Self::new(vec![layer, top], config))
    }

    /// Its layers.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Its configuration.
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// Its manifest.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// The digest that it is known by.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// As `docker save` writes it, with the name `e2e.test/busybox:latest`.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let name = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
        let config = format!("{}.json", name(&digest(&self.config)));
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|layer| (format!("{}/layer.tar", name(&layer.diff_id)), layer))
            .collect();
        let manifest = json!([{
            "Config": config,
            "RepoTags": ["e2e.test/busybox:latest"],
            "Layers": layers.iter().map(|(path, _)| path).collect::<Vec<_>>(),
        }]);
        let mut tar = Builder::new(Vec::new());
        file(&mut tar, &config, 0o644, &self.config)?;
        for (path, layer) in layers {
            file(&mut tar, &path, 0o644, &layer.bytes)?;
        }
        let manifest = manifest.to_string();
        file(&mut tar, "manifest.json", 0o644, manifest.as_bytes())?;
        Ok(tar.into_inner()?)
    }
}

/// How content is named.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// What names some content in a manifest.
pub fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

/// The file system: the program, a link for every command, accounts.
fn layer(program: &[u8]) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for dir in ["bin", "etc", "tmp", "var", "proc", "sys", "dev", "run"] {
        let mut header = header(
            EntryType::Directory,
            if dir == "tmp" { 0o1777 } else { 0o755 },
        );
        tar.append_data(&mut header, dir, &b""[..])?;
    }
    file(&mut tar, "bin/busybox", 0o755, program)?;
    for applet in APPLETS.split_ascii_whitespace() {
        let mut header = header(EntryType::Symlink, 0o777);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    file(
        &mut tar,
        "etc/passwd",
        0o644,
        b"root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n",
    )?;
    file(&mut tar, "etc/group", 0o644, b"root:x:0:\nweb:x:33:\n")?;
    Ok(tar.into_inner()?)
}

fn file(tar: &mut Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, Path::new(path), content)
        .with_context(|| format!("packing {path}"))
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_what_the_image_is_made_of() {
        let image = Image::new(
            vec![Layer::compressed(b"layer").unwrap()],
            &json!({"Env": []}),
        );
        let manifest: Value = serde_json::from_slice(image.manifest()).unwrap();
        let layer = &image.layers()[0];
        assert_eq!(manifest["layers"][0]["digest"], layer.digest());
        assert_eq!(manifest["config"]["digest"], digest(image.config()));
        let config: Value = serde_json::from_slice(image.config()).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(b"layer"));
    }
}
