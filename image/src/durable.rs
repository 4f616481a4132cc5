//! Files that are there whole, or not at all, also after a power cut.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// First characters of the names of files that are being written.
pub const PARTIAL: &str = ".partial-";

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and writing fails.
    Refuse,
    /// The new one takes its place in one step.
    Replace,
}

/// A file being written in `dir`, for [`keep`].
pub fn partial(dir: &Path) -> Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempfile_in(dir)
        .with_context(|| format!("creating a file in {}", dir.display()))
}

/// Gives `file` its name: content to the disk, mode, name, directory to the disk.
pub fn keep(file: NamedTempFile, path: &Path, mode: u32, existing: Existing) -> Result<()> {
    let context = || format!("writing {}", path.display());
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))
        .with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    match existing {
        Existing::Refuse => file.persist_noclobber(path).with_context(context)?,
        Existing::Replace => file.persist(path).with_context(context)?,
    };
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// Writes a whole file.
pub fn write(path: &Path, content: &[u8], mode: u32, existing: Existing) -> Result<()> {
    let mut file = partial(path.parent().unwrap_or(Path::new("/")))?;
    file.write_all(content)
        .with_context(|| format!("writing {}", path.display()))?;
    keep(file, path, mode, existing)
}

/// Names made or removed in `dir` so far survive a power cut.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("writing directory {}", dir.display()))
}

/// Creates `dir` and what is missing above it, each to the disk.
pub fn create_dirs(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new("/"));
    create_dirs(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
    .with_context(|| format!("creating {}", dir.display()))?;
    sync_dir(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        create_dirs(path.parent().unwrap()).unwrap();
        write(&path, b"one", 0o600, Existing::Refuse).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert!(write(&path, b"two", 0o600, Existing::Refuse).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"two", 0o644, Existing::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "nothing partial is left");
    }
}
