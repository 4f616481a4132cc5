//! Files of the laptop that a config embeds.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

/// Largest file, in bytes.
const FILE: u64 = 32 << 20;

/// Most bytes of all files together.
const TOTAL: u64 = 128 << 20;

/// A local file that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nobody said where local files are.
    #[error("local files are looked for below a directory: name it with --files-dir DIR")]
    NoDirectory,
    /// The path leads out of the directory, by itself or through a link.
    #[error("{path:?} leads out of {}; local paths stay inside of --files-dir", .directory.display())]
    Escapes {
        /// The path as written.
        path: String,
        /// The directory.
        directory: PathBuf,
    },
    /// It is not there or cannot be read.
    #[error("reading {path:?} below {} (--files-dir): {source}", .directory.display())]
    Read {
        /// The path as written.
        path: String,
        /// The directory.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is something else than a file or a directory, whichever was asked for.
    #[error("{path:?} is not a {expected}")]
    Kind {
        /// The path as written.
        path: String,
        /// What was asked for.
        expected: &'static str,
    },
    /// It is too long for a config.
    #[error(
        "{path:?} is too large to be embedded ({} MiB each, {} MiB together); \
         serve it and name it as source",
        FILE >> 20, TOTAL >> 20
    )]
    Large {
        /// The path as written.
        path: String,
    },
}

/// The files below one directory.
#[derive(Debug, Default)]
pub struct Files {
    directory: Option<PathBuf>,
    /// The directory as it was named, for messages.
    named: PathBuf,
    taken: u64,
}

impl Files {
    /// The files below `directory`; none without one.
    ///
    /// Fails if it is no directory.
    pub fn new(directory: Option<&Path>) -> io::Result<Self> {
        let named = directory.unwrap_or(Path::new("")).to_owned();
        let directory = directory.map(fs::canonicalize).transpose()?;
        if directory.as_ref().is_some_and(|path| !path.is_dir()) {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self {
            directory,
            named,
            taken: 0,
        })
    }

    /// What the file `path` holds.
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>, LocalError> {
        let found = self.resolve(path)?;
        let failed = |source| self.failed(path, source);
        if !found.is_file() {
            return Err(LocalError::Kind {
                path: path.to_owned(),
                expected: "file",
            });
        }
        let mut bytes = Vec::new();
        let most = FILE.min(TOTAL - self.taken);
        let file = File::open(&found).map_err(failed)?;
        file.take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > most {
            return Err(LocalError::Large {
                path: path.to_owned(),
            });
        }
        self.taken += bytes.len() as u64;
        Ok(bytes)
    }

    /// The real path of the directory `path`, which is inside.
    pub fn directory(&self, path: &str) -> Result<PathBuf, LocalError> {
        let found = self.resolve(path)?;
        if found.is_dir() {
            return Ok(found);
        }
        Err(LocalError::Kind {
            path: path.to_owned(),
            expected: "directory",
        })
    }

    /// How the inside path `real` is written in a config.
    pub fn relative(&self, real: &Path) -> String {
        let inside = self.directory.as_deref().unwrap_or(Path::new("/"));
        let relative = real.strip_prefix(inside).unwrap_or(real);
        relative.to_string_lossy().into_owned()
    }

    fn resolve(&self, path: &str) -> Result<PathBuf, LocalError> {
        let directory = self.directory.as_ref().ok_or(LocalError::NoDirectory)?;
        let escapes = || LocalError::Escapes {
            path: path.to_owned(),
            directory: self.named.clone(),
        };
        let relative = path.trim_start_matches('/');
        let climbs = |part| matches!(part, Component::ParentDir);
        if Path::new(relative).components().any(climbs) {
            return Err(escapes());
        }
        let found = fs::canonicalize(directory.join(relative))
            .map_err(|source| self.failed(path, source))?;
        if found.starts_with(directory) {
            Ok(found)
        } else {
            Err(escapes())
        }
    }

    fn failed(&self, path: &str, source: io::Error) -> LocalError {
        LocalError::Read {
            path: path.to_owned(),
            directory: self.named.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_outside_of_the_directory_is_read() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let inside = outside.path().join("files");
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("a"), "a").unwrap();
        symlink("a", inside.join("good")).unwrap();
        symlink("../secret", inside.join("bad")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        let mut files = Files::new(Some(&inside)).unwrap();
        for path in ["a", "good", "/a", "./a"] {
            assert_eq!(files.read(path).unwrap(), b"a", "{path}");
        }
        for path in ["../secret", "x/../../secret", "bad", "up/secret"] {
            let error = files.read(path).unwrap_err();
            assert!(
                matches!(error, LocalError::Escapes { .. }),
                "{path}: {error}"
            );
        }
        assert!(matches!(
            files.directory("up"),
            Err(LocalError::Escapes { .. })
        ));
    }

    #[test]
    fn what_is_no_file_or_too_long_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let large = File::create(directory.path().join("large")).unwrap();
        large.set_len(FILE + 1).unwrap();
        let mut files = Files::new(Some(directory.path())).unwrap();
        assert!(matches!(files.read("large"), Err(LocalError::Large { .. })));
        assert!(matches!(files.read("."), Err(LocalError::Kind { .. })));
        assert!(matches!(
            files.directory("large"),
            Err(LocalError::Kind { .. })
        ));
        assert!(matches!(files.read("none"), Err(LocalError::Read { .. })));
        let none = Files::new(None).unwrap().read("a").unwrap_err().to_string();
        assert!(none.contains("--files-dir"), "{none}");
    }
}
