//! `/usr` as an erofs image with its dm-verity tree.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{Job, SOURCE_DATE_EPOCH};
use crate::tools::run_logged;

/// Salt of every release's verity tree, so that a block's hash names its
/// content across releases.
pub const SALT: &str = "3f5b1f0c8a2e4d7796b0c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f40516";

/// File system and verity UUIDs: fixed, they identify nothing by themselves.
const EROFS_UUID: &str = "5a9e4c1d-52f4-4a0e-9d4c-3a52b2b1f0a1";
const VERITY_UUID: &str = "0f7ad8ee-98a1-4b6a-8df0-9a8a4f6c5a02";

/// Block size of data and hashes, in bytes.
pub const BLOCK: &str = "4096";

/// Writes `usr.img` and `usr.verity`; returns the root hash, 64 hex digits.
pub fn make(job: &Job, stage: &Path) -> Result<String> {
    let (image, tree) = (job.out.join("usr.img"), job.out.join("usr.verity"));
    let mut mkfs = job.tools.command("mkfs.erofs");
    mkfs.args([
        "-b",
        BLOCK,
        "-T",
        SOURCE_DATE_EPOCH,
        "--ignore-mtime",
        "-U",
        EROFS_UUID,
    ])
    .args(["-x", "1", "-E", "force-inode-compact"])
    .arg(&image)
    .arg(stage.join("usr"));
    run_logged(&mut mkfs, "erofs")?;
    let hash_file = job.scratch.join("usrhash");
    let mut verity = job.tools.command("veritysetup");
    verity
        .arg("format")
        .arg(format!("--data-block-size={BLOCK}"))
        .arg(format!("--hash-block-size={BLOCK}"))
        .arg(format!("--salt={SALT}"))
        .arg(format!("--uuid={VERITY_UUID}"))
        .arg("--root-hash-file")
        .arg(&hash_file)
        .arg(&image)
        .arg(&tree);
    run_logged(&mut verity, "verity")?;
    let hash = fs::read_to_string(&hash_file).context("reading the verity root hash")?;
    let hash = hash.trim().to_string();
    ensure!(
        hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
        "veritysetup gave {hash:?} instead of a SHA-256 root hash"
    );
    Ok(hash)
}

/// Partition UUIDs of `/usr` and of its tree: the halves of the root hash
/// (systemd-gpt-auto-generator(8), Discoverable Partitions Specification).
pub fn partition_uuids(hash: &str) -> (String, String) {
    let uuid = |h: &str| {
        format!(
            "{}-{}-{}-{}-{}",
            &h[..8],
            &h[8..12],
            &h[12..16],
            &h[16..20],
            &h[20..32]
        )
    };
    (uuid(&hash[..32]), uuid(&hash[32..]))
}

#[cfg(test)]
mod tests {
    #[test]
    fn partition_uuids_are_the_halves_of_the_root_hash() {
        let hash = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";
        let (data, tree) = super::partition_uuids(hash);
        assert_eq!(data, "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(tree, "01234567-89ab-cdef-0123-456789abcdef");
    }
}
