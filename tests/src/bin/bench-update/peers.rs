//! The same update by other programs.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context, Result, ensure};
use image::serve;
use image::tools::{Tools, remove_tree, run_logged};

use crate::cost::{Cost, clocked, timed};

/// Debian packages of the programs.
pub const PACKAGES: [&str; 5] = ["casync", "openssl", "rauc", "squashfs-tools", "xz-utils"];

/// Bytes that RAUC compares.
const RAUC_BLOCK: usize = 4096;

/// Bytes of a block of the bundle's squashfs: what RAUC's manual advises for streaming.
const SQUASHFS_BLOCK: usize = 64 << 10;

/// How that is compressed: the level that squashfs takes by default.
const SQUASHFS_LEVEL: i32 = 15;

/// Fetching the whole image, compressed.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// `xz -9 --threads=1`.
    pub xz: u64,
    /// `zstd -19 --long=27`.
    pub zstd: u64,
}

/// Compresses the image as a whole.
pub fn whole(tools: &Tools, image: &Path, scratch: &Path) -> Result<Whole> {
    let start = |program: &str, arguments: &[&str]| {
        let out = scratch.join(format!("whole.{program}"));
        let file = fs::File::create(&out).with_context(|| format!("creating {}", out.display()))?;
        let mut command = tools.command(program);
        command.args(arguments).arg("--stdout").arg(image);
        let child = command.stdout(file).spawn();
        let child = child.with_context(|| format!("running {program}"))?;
        Ok::<_, anyhow::Error>((child, out))
    };
    let finish = |(mut child, out): (Child, PathBuf)| {
        let status = child.wait().context("waiting for a compressor")?;
        ensure!(
            status.success(),
            "making {} failed ({status})",
            out.display()
        );
        let size = size(&out)?;
        fs::remove_file(&out).with_context(|| format!("removing {}", out.display()))?;
        Ok(size)
    };
    let xz = start("xz", &["-9", "--threads=1"])?;
    let zstd = start("zstd", &["-19", "--long=27", "--quiet"])?;
    Ok(Whole {
        xz: finish(xz)?,
        zstd: finish(zstd)?,
    })
}

/// `casync extract` over http, with the old image as seed. Chunks of 64 KiB on average,
/// zstd: casync's own choice.
pub fn casync(tools: &Tools, old: &Path, new: &Path, scratch: &Path) -> Result<Cost> {
    let site = scratch.join("casync");
    remove_tree(&site)?;
    fs::create_dir_all(&site).context("making a directory for casync")?;
    let mut make = tools.command("casync");
    make.arg("make")
        .arg(format!("--store={}", site.join("store").display()))
        .args(["--compression=zstd", "--chunk-size=65536"])
        .arg(site.join("new.caibx"))
        .arg(new);
    run_logged(&mut make, "bench-casync")?;
    let server = serve::Server::start(&site, ([127, 0, 0, 1], 0).into(), |_| {})?;
    let out = scratch.join("casync.img");
    let mut extract = clocked(tools, "casync");
    extract
        .arg("extract")
        .arg(format!("--store={}/store", server.url()))
        .arg(format!("--seed={}", old.display()))
        .arg(format!("{}/new.caibx", server.url()))
        .arg(&out);
    let (cpu, wall) = timed(&mut extract)?;
    ensure!(same(&out, new)?, "casync made another image");
    let cost = Cost {
        bytes: server.bytes(),
        requests: Some(server.requests()),
        cpu: Some(cpu),
        wall: Some(wall),
        memory_mib: None,
    };
    fs::remove_file(&out).context("removing casync's image")?;
    remove_tree(&site)?;
    Ok(cost)
}

/// What RAUC's adaptive update would fetch, computed: it needs nbd and dm-verity in a
/// running kernel to be measured.
///
/// `rauc bundle` makes the index of both images and the bundle. Of the new image, each
/// block of 4 KiB whose hash the old one's index lacks is read from the bundle: with it
/// comes the block of squashfs that holds it. The index itself comes whole. What else is
/// read of the bundle (signature, squashfs's tables, verity hashes, what the kernel reads
/// ahead) is left out in RAUC's favour.
pub fn rauc(tools: &Tools, old: &Path, new: &Path, scratch: &Path) -> Result<Cost> {
    let keys = scratch.join("rauc-keys");
    remove_tree(&keys)?;
    fs::create_dir_all(&keys).context("making a directory for RAUC's keys")?;
    let mut request = tools.command("openssl");
    request
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj"])
        .args(["/CN=bench", "-days", "2", "-keyout"])
        .arg(keys.join("key.pem"))
        .arg("-out")
        .arg(keys.join("cert.pem"));
    run_logged(&mut request, "bench-rauc")?;
    // Of the old one only the index counts.
    let (old_index, _) = index(tools, old, &keys, 1, scratch)?;
    let (new_index, bundle) = index(tools, new, &keys, SQUASHFS_LEVEL, scratch)?;
    let image = fs::read(new).with_context(|| format!("reading {}", new.display()))?;
    let blocks = compressed_blocks(&image)?;
    let sum: u64 = blocks.iter().sum();
    ensure!(
        sum.abs_diff(bundle - new_index.len() as u64) * 50 < bundle,
        "blocks of squashfs of {sum} bytes do not make a bundle of {bundle}"
    );
    Ok(Cost {
        bytes: new_index.len() as u64 + missing(&old_index, &new_index, &blocks),
        ..Cost::default()
    })
}

/// Bytes of the blocks of squashfs that hold a block which is not in the old index.
fn missing(old: &[u8], new: &[u8], blocks: &[u64]) -> u64 {
    let (old, _) = old.as_chunks::<32>();
    let (new, _) = new.as_chunks::<32>();
    let old: HashSet<&[u8; 32]> = old.iter().collect();
    let held = new.chunks(SQUASHFS_BLOCK / RAUC_BLOCK).zip(blocks);
    held.filter(|(hashes, _)| hashes.iter().any(|hash| !old.contains(hash)))
        .map(|(_, bytes)| bytes)
        .sum()
}

/// The block-hash-index that RAUC makes of an image, and the size of its bundle when that
/// is compressed with `level`.
fn index(
    tools: &Tools,
    image: &Path,
    keys: &Path,
    level: i32,
    scratch: &Path,
) -> Result<(Vec<u8>, u64)> {
    let dir = scratch.join("rauc");
    let [input, output] = ["input", "output"].map(|name| dir.join(name));
    remove_tree(&dir)?;
    fs::create_dir_all(&input).context("making a directory for RAUC")?;
    fs::copy(image, input.join("usr.img")).context("copying the image")?;
    let manifest = "[update]\ncompatible=bench\nversion=1\n\n[bundle]\nformat=verity\n\n\
                    [image.rootfs]\nfilename=usr.img\nadaptive=block-hash-index\n";
    fs::write(input.join("manifest.raucm"), manifest).context("writing a manifest")?;
    let bundle = dir.join("bundle.raucb");
    let mut make = tools.command("rauc");
    make.arg("bundle")
        .arg(format!("--cert={}", keys.join("cert.pem").display()))
        .arg(format!("--key={}", keys.join("key.pem").display()))
        .arg(format!(
            "--mksquashfs-args=-comp zstd -Xcompression-level {level} -b {SQUASHFS_BLOCK}"
        ))
        .args([&input, &bundle]);
    run_logged(&mut make, "bench-rauc")?;
    let mut unpack = tools.command("unsquashfs");
    unpack.arg("-d").arg(&output).arg(&bundle);
    unpack.arg("usr.img.block-hash-index");
    run_logged(&mut unpack, "bench-rauc")?;
    let index = output.join("usr.img.block-hash-index");
    let bytes = fs::read(&index).with_context(|| format!("reading {}", index.display()))?;
    let blocks = size(image)?.div_ceil(RAUC_BLOCK as u64);
    ensure!(
        bytes.len() as u64 >= blocks * 32,
        "RAUC's index has {} bytes for {blocks} blocks",
        bytes.len()
    );
    let result = (bytes[..blocks as usize * 32].to_vec(), size(&bundle)?);
    remove_tree(&dir)?;
    Ok(result)
}

/// What squashfs makes of each block of an image: a block that does not get smaller stays
/// as it is, one of zeros takes no room.
fn compressed_blocks(image: &[u8]) -> Result<Vec<u64>> {
    let mut zstd = zstd::bulk::Compressor::new(SQUASHFS_LEVEL).context("starting zstd")?;
    let sizes = image.chunks(SQUASHFS_BLOCK).map(|block| {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(0);
        }
        let packed = zstd.compress(block).context("compressing a block")?;
        Ok(packed.len().min(block.len()) as u64)
    });
    sizes.collect()
}

/// CPU time of copying the image with `dd`, seconds.
pub fn dd(tools: &Tools, image: &Path, scratch: &Path) -> Result<f64> {
    let out = scratch.join("dd.img");
    let mut dd = clocked(tools, "dd");
    dd.arg(format!("if={}", image.display()))
        .arg(format!("of={}", out.display()))
        .args(["bs=1M", "conv=fsync"]);
    let (cpu, _) = timed(&mut dd)?;
    fs::remove_file(&out).context("removing dd's copy")?;
    Ok(cpu)
}

fn size(path: &Path) -> Result<u64> {
    let meta = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(meta.len())
}

fn same(a: &Path, b: &Path) -> Result<bool> {
    Ok(image::cache::sha256_file(a)? == image::cache::sha256_file(b)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rauc_reads_the_squashfs_blocks_that_hold_what_is_missing() {
        let hashes = |letters: &str| -> Vec<u8> { letters.bytes().flat_map(|l| [l; 32]).collect() };
        let per_block = SQUASHFS_BLOCK / RAUC_BLOCK;
        let first = "a".repeat(per_block);
        let second = "b".repeat(per_block - 1) + "c";
        let new = hashes(&(first + &second + "d"));
        assert_eq!(missing(&hashes("ab"), &new, &[1, 10, 100]), 110);
        assert_eq!(missing(&hashes("abcd"), &new, &[1, 10, 100]), 0);
        assert_eq!(missing(&[], &new, &[1, 10, 100]), 111);
    }
}
