//! Small builds, for tests of what reads a repository: a release directory as
//! `cargo image -- build` leaves it, whose `/usr` is any bytes and whose kernel image
//! starts nothing, but is one as far as hosts look.

use std::path::Path;

use anyhow::{Context, Result};
use semver::Version;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use update_engine::release::Digest;
use update_engine::tree::Tree;

/// Salt of all samples.
pub const SALT: Digest = Digest([0x5a; 32]);

/// A release that does not boot.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its version.
    pub version: Version,
    /// `/usr`: a whole number of blocks.
    pub usr: Vec<u8>,
    /// What lies in the kernel image as its initrd.
    pub initrd: Vec<u8>,
}

impl Sample {
    /// A release whose `/usr` has `blocks` blocks of compressible bytes. The blocks
    /// `changed` are those of `version` only, the rest are the same in all samples.
    pub fn new(version: Version, blocks: usize, changed: std::ops::Range<usize>) -> Self {
        let of_version = Digest(Sha256::digest(version.to_string()).into());
        let block = |number: usize| {
            let of = changed.contains(&number).then_some(of_version);
            let seed = Sha256::digest(format!("{number} {of:?}"));
            let byte = move |at: usize| seed[at % 32] ^ (at / 512) as u8;
            (0..update_engine::release::BLOCK).map(byte)
        };
        Self {
            usr: (0..blocks).flat_map(block).collect(),
            initrd: of_version.to_string().into_bytes().repeat(200),
            version,
        }
    }

    /// The kernel image.
    pub fn boot(&self) -> Vec<u8> {
        let os_release = format!("ID=ballast\nIMAGE_VERSION=\"{}\"\n", self.version);
        pe(&[
            (".osrel", os_release.as_bytes()),
            (".cmdline", b"console=ttyS0"),
            (".initrd", &self.initrd),
            (".linux", &pe(&[(".text", b"a kernel")])),
        ])
    }

    /// Writes the release directory; `dir` is made.
    pub fn write(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let tree = Tree::build(&self.usr, SALT, [1; 16])?;
        let mut files = serde_json::Map::new();
        for (name, bytes) in [
            ("usr.img", self.usr.as_slice()),
            ("usr.verity", tree.bytes()),
            ("boot.efi", &self.boot()),
        ] {
            let sha256 = Digest(Sha256::digest(bytes).into());
            files.insert(name.into(), json!({"size": bytes.len(), "sha256": sha256}));
            std::fs::write(dir.join(name), bytes).with_context(|| format!("writing {name}"))?;
        }
        let manifest = json!({
            "format": 1,
            "version": self.version,
            "architecture": "x86-64",
            "verity": {"root": tree.root(), "salt": SALT, "block_size": 4096, "hash": "sha256"},
            "files": files,
        });
        std::fs::write(dir.join("release.json"), manifest.to_string())
            .context("writing release.json")
    }
}

/// A PE32+ image of sections, as far as its headers tell where it ends.
fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
    const ALIGN: usize = 512;
    let headers = (0x40 + 24 + 240 + 40 * sections.len()).next_multiple_of(ALIGN);
    let mut bytes = vec![0; headers];
    let put = |bytes: &mut Vec<u8>, at: usize, data: &[u8]| {
        bytes[at..at + data.len()].copy_from_slice(data);
    };
    put(&mut bytes, 0, b"MZ");
    put(&mut bytes, 0x3c, &[0x40]);
    put(&mut bytes, 0x40, b"PE\0\0\x64\x86");
    put(&mut bytes, 0x46, &(sections.len() as u16).to_le_bytes());
    put(&mut bytes, 0x54, &240u16.to_le_bytes());
    put(&mut bytes, 0x58, &0x20bu16.to_le_bytes());
    put(&mut bytes, 0x58 + 60, &(headers as u32).to_le_bytes());
    for (index, (name, content)) in sections.iter().enumerate() {
        let (at, offset) = (0x40 + 24 + 240 + 40 * index, bytes.len());
        let raw = content.len().next_multiple_of(ALIGN);
        put(&mut bytes, at, name.as_bytes());
        put(&mut bytes, at + 8, &(content.len() as u32).to_le_bytes());
        put(&mut bytes, at + 16, &(raw as u32).to_le_bytes());
        put(&mut bytes, at + 20, &(offset as u32).to_le_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(offset + raw, 0);
    }
    bytes
}
