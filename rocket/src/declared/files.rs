//! Which files declare pods.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::parse::{MOST, Text};

/// The directory of declared pods, below each directory of policy.
pub const DIRECTORY: &str = "pods";

/// Files of one directory.
const FILES: usize = 1024;

/// The files of a host, by name.
#[derive(Debug, Default)]
pub struct Files {
    /// Texts of those that count.
    pub texts: Vec<Text>,
    /// Files that are not read, and look as if they should be.
    pub strange: Vec<PathBuf>,
    /// Files that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// The files in `directories`, of which the first wins: a file hides one of the same name in
/// those after it. One that is empty, or a link to `/dev/null`, only hides.
///
/// # Errors
/// A directory cannot be read.
pub fn read(directories: &[PathBuf]) -> anyhow::Result<Files> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut files = Files::default();
    for directory in directories {
        let paths = list(directory).with_context(|| format!("listing {}", directory.display()))?;
        if paths.len() > FILES {
            bail!("{} has more than {FILES} files", directory.display());
        }
        for path in paths {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                files.strange.push(path);
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            if name.ends_with(".yaml") {
                found.entry(name.to_owned()).or_insert(path);
            } else if name.ends_with(".yml") || name.ends_with(".json") {
                files.strange.push(path);
            }
        }
    }
    for path in found.into_values() {
        match text(&path) {
            Ok(text) => files.texts.extend(text),
            Err(error) => files.unreadable.push((path, error.to_string())),
        }
    }
    Ok(files)
}

/// What is in a file; nothing if it only hides another one.
///
/// # Errors
/// It cannot be read.
pub fn text(path: &Path) -> io::Result<Option<Text>> {
    let about = match fs::metadata(path) {
        // A link that leads nowhere, or a file that was removed just now.
        Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => {
            return Err(io::Error::new(
                ErrorKind::NotFound,
                "the link leads nowhere",
            ));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        about => about?,
    };
    let is_null = fs::canonicalize(path)? == Path::new("/dev/null");
    if is_null || about.is_file() && about.len() == 0 {
        return Ok(None);
    }
    if !about.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a file"));
    }
    let mut bytes = Vec::new();
    // One byte more shows that it is too large.
    let most = u64::try_from(MOST).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(Some(Text {
        name: path.display().to_string(),
        bytes,
    }))
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_first_directory_wins_and_hides() {
        let dir = tempfile::tempdir().unwrap();
        let [etc, usr] = ["etc", "usr"].map(|name| dir.path().join(name));
        for directory in [&etc, &usr] {
            fs::create_dir(directory).unwrap();
        }
        for name in ["a", "b", "c", "d"] {
            fs::write(usr.join(format!("{name}.yaml")), "usr").unwrap();
        }
        fs::write(etc.join("a.yaml"), "etc").unwrap();
        fs::write(etc.join("b.yaml"), "").unwrap();
        symlink("/dev/null", etc.join("c.yaml")).unwrap();
        fs::write(etc.join(".a.yaml"), "no").unwrap();
        fs::write(etc.join("e.yml"), "no").unwrap();
        fs::write(etc.join("README"), "no").unwrap();
        let files = read(&[etc.clone(), usr, dir.path().join("none")]).unwrap();
        let texts: Vec<&[u8]> = files.texts.iter().map(|text| &text.bytes[..]).collect();
        assert_eq!(texts, [&b"etc"[..], b"usr"]);
        assert!(files.texts[1].name.ends_with("usr/d.yaml"));
        assert_eq!(files.strange, [etc.join("e.yml")]);
    }

    #[test]
    fn what_is_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a.yaml")).unwrap();
        let files = read(&[dir.path().to_owned()]).unwrap();
        let expected = (dir.path().join("a.yaml"), "not a file".to_owned());
        assert_eq!(files.unreadable, [expected]);
    }
}
