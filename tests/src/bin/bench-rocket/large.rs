//! An image as large as those of real services: programs and libraries of Debian, in layers.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use benchmarks::containers::{Image, Layer};
use image::cache::walk;
use serde_json::json;
use tar::{Builder, Header};

/// Bytes of its files, at least.
pub const BYTES: u64 = 500_000_000;

/// Bytes of the files of one layer.
const LAYER: u64 = 100_000_000;

/// An image of the regular files of a tree, as often as it takes.
pub fn image(tree: &Path) -> Result<Image> {
    let files = files(tree)?;
    ensure!(
        !files.is_empty(),
        "there are no files in {}",
        tree.display()
    );
    let names = |number: u32| {
        let files = files.iter();
        files.map(move |(name, path)| (Path::new(&number.to_string()).join(name), path.clone()))
    };
    let mut paths = (0..).flat_map(names);
    let mut layers = Vec::new();
    let mut total = 0;
    while total < BYTES {
        let (layer, bytes) = layer(&mut paths)?;
        total += bytes;
        layers.push(layer);
    }
    Ok(Image::new(layers, &json!({})))
}

/// All regular files that hold something, and what they are called in the image; in order,
/// so that the image is the same each time.
fn files(tree: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut paths = Vec::new();
    walk(tree, &mut paths)?;
    paths.sort();
    let full = |path: &PathBuf| {
        fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() > 0)
    };
    paths.retain(full);
    let named = |path: PathBuf| (path.strip_prefix(tree).unwrap_or(&path).to_owned(), path);
    Ok(paths.into_iter().map(named).collect())
}

fn layer(paths: &mut impl Iterator<Item = (PathBuf, PathBuf)>) -> Result<(Layer, u64)> {
    let mut tar = Builder::new(Vec::new());
    let mut bytes = 0;
    while bytes < LAYER {
        let Some((name, path)) = paths.next() else {
            break;
        };
        let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut header = Header::new_gnu();
        header.set_mode(fs::metadata(&path)?.mode() & 0o755);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, &name, &*content)
            .with_context(|| format!("packing {}", path.display()))?;
        bytes += content.len() as u64;
    }
    Ok((Layer::compressed(&tar.into_inner()?)?, bytes))
}
