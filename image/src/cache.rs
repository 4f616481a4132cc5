//! Where everything that can be made again is kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The cache directory: `${XDG_CACHE_HOME:-$HOME/.cache}/ballast`.
///
/// Falls back to `/var/cache/ballast` when neither variable is set.
pub fn cache_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    match (set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(dir), _) => PathBuf::from(dir).join("ballast"),
        (None, Some(home)) => PathBuf::from(home).join(".cache/ballast"),
        (None, None) => PathBuf::from("/var/cache/ballast"),
    }
}

/// Takes the lock `name` in the cache directory; released when dropped.
///
/// Waits for another process that builds the same thing, so that two runs at
/// once make it once.
pub fn lock(name: &str) -> Result<File> {
    let dir = cache_dir();
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let path = dir.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    file.lock()
        .with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// What was made of other inputs than today's is kept this long after it was last used.
const KEPT_UNUSED: Duration = Duration::from_hours(48);

/// Says that the tree `dir` of the cache is used now.
///
/// Only to know later which trees are not, so that it may fail: other people's caches can
/// be read, too.
pub fn used(dir: &Path) {
    let _ = fs::write(dir.join(USED), "");
}

const USED: &str = ".used";

/// Deletes trees of the cache whose names begin with `prefix` and that nobody has used
/// for two days. Their lock must be held.
pub fn forget_unused(prefix: &str) -> Result<()> {
    forget_unused_in(&cache_dir(), prefix, SystemTime::now())
}

fn forget_unused_in(cache: &Path, prefix: &str, now: SystemTime) -> Result<()> {
    for entry in fs::read_dir(cache).with_context(|| format!("reading {}", cache.display()))? {
        let tree = entry?.path();
        let name = tree.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(prefix) || !tree.is_dir() {
            continue;
        }
        let stamp = fs::metadata(tree.join(USED)).or_else(|_| fs::metadata(&tree))?;
        let age = now.duration_since(stamp.modified()?).unwrap_or_default();
        if age > KEPT_UNUSED {
            fs::remove_dir_all(&tree).with_context(|| format!("deleting {}", tree.display()))?;
        }
    }
    Ok(())
}

/// A SHA-256 over named inputs; equal inputs give equal cache keys.
#[derive(Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds a value under a name.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds a file, or a directory with all it holds: names, modes and bytes.
    pub fn add_path(&mut self, root: &Path) -> Result<&mut Self> {
        let mut paths = Vec::new();
        walk(root, &mut paths)?;
        paths.sort();
        for path in paths {
            let meta = fs::symlink_metadata(&path)
                .with_context(|| format!("reading {}", path.display()))?;
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            self.add("mode", mode_of(&meta).to_le_bytes());
            if meta.is_symlink() {
                let target = fs::read_link(&path)?;
                self.add(&name, target.as_os_str().as_encoded_bytes());
            } else if meta.is_file() {
                let bytes =
                    fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                self.add(&name, bytes);
            }
        }
        Ok(self)
    }

    /// The key: 16 hexadecimal digits.
    pub fn finish(&self) -> String {
        hex(&self.0.clone().finalize())[..16].to_string()
    }
}

/// Only what git keeps of a mode, so that a clone's umask does not matter.
fn mode_of(meta: &fs::Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    meta.mode() & 0o170_100
}

/// Collects the files and links under `root` (or `root` itself).
pub fn walk(root: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    let meta = fs::symlink_metadata(root).with_context(|| format!("reading {}", root.display()))?;
    if !meta.is_dir() {
        out.push(root.to_path_buf());
        return Ok(());
    }
    let entries = fs::read_dir(root).with_context(|| format!("reading {}", root.display()))?;
    for entry in entries {
        walk(&entry?.path(), out)?;
    }
    Ok(())
}

/// Bytes as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of a file as hexadecimal, read in bounded pieces.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).with_context(|| format!("reading {}", path.display()))?;
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_depends_on_names_and_boundaries() {
        let key = |parts: &[(&str, &str)]| {
            let mut key = Key::default();
            for (name, value) in parts {
                key.add(name, value);
            }
            key.finish()
        };
        assert_eq!(key(&[("a", "b")]), key(&[("a", "b")]));
        assert_ne!(key(&[("a", "b")]), key(&[("ab", "")]));
        assert_ne!(key(&[("a", "bc")]), key(&[("a", "b"), ("c", "")]));
    }

    #[test]
    fn trees_that_nobody_used_for_days_are_deleted() {
        let cache = tempfile::tempdir().unwrap();
        for name in ["tools-old", "tools-now", "tree-old"] {
            fs::create_dir_all(cache.path().join(name).join("usr")).unwrap();
        }
        fs::write(cache.path().join("tools.lock"), "").unwrap();
        let later = SystemTime::now() + KEPT_UNUSED + Duration::from_secs(60);
        let stamp = File::create(cache.path().join("tools-now").join(USED)).unwrap();
        stamp.set_modified(later).unwrap();
        forget_unused_in(cache.path(), "tools-", SystemTime::now()).unwrap();
        assert!(cache.path().join("tools-old").is_dir());
        forget_unused_in(cache.path(), "tools-", later).unwrap();
        let left = |name| cache.path().join(name).exists();
        assert!(!left("tools-old"));
        assert!(left("tools-now") && left("tree-old") && left("tools.lock"));
    }

    #[test]
    fn key_of_a_directory_sees_content_mode_and_links() {
        let dir = tempfile::tempdir().unwrap();
        let key = || Key::default().add_path(dir.path()).unwrap().finish();
        fs::write(dir.path().join("x"), "1").unwrap();
        let first = key();
        fs::write(dir.path().join("x"), "2").unwrap();
        let second = key();
        std::os::unix::fs::symlink("x", dir.path().join("y")).unwrap();
        let third = key();
        assert_ne!(first, second);
        assert_ne!(second, third);
        assert_eq!(third, key());
    }
}
