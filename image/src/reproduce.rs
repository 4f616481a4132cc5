//! Shows that equal inputs give equal bytes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::build::{BuildOptions, OUTPUTS, build};
use crate::cache::{cache_dir, sha256_file};
use crate::host;
use crate::tools::remove_tree;

/// Builds the same version twice in two directories that share nothing but the
/// downloaded packages, and compares every output.
///
/// Prints one line per file; fails naming the files that differ.
pub fn reproduce(version: &str) -> Result<()> {
    host::become_root("to build the image twice")?;
    let base = cache_dir().join("reproduce");
    remove_tree(&base)?;
    let mut results = Vec::new();
    for name in ["first", "second-directory"] {
        let work = base.join(name);
        results.push(build(&BuildOptions {
            version: version.to_string(),
            out: Some(work.join("release")),
            work: Some(work),
            ..BuildOptions::default()
        })?);
    }
    let mut differing = Vec::new();
    for name in OUTPUTS {
        let (first, second) = (results[0].join(name), results[1].join(name));
        let (a, b) = (sha256_file(&first)?, sha256_file(&second)?);
        let same = a == b && length(&first)? == length(&second)?;
        println!("{} {a} {name}", if same { "same  " } else { "DIFFER" });
        if !same {
            differing.push(name);
        }
    }
    if differing.is_empty() {
        return remove_tree(&base);
    }
    bail!(
        "built twice, these files differ: {}; compare them under {}",
        differing.join(", "),
        base.display()
    );
}

fn length(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)
        .with_context(|| format!("reading {}", path.display()))?
        .len())
}
