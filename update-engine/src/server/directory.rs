//! A repository in a directory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use super::fetch::{FetchError, FetchStream, Part};
use super::file;

/// The directory, held open: it stays the same one if its path comes to mean another.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
        Ok(Self(open(path, flags, Mode::empty())?))
    }

    /// Opens a file below the directory. A link may lead to another place below it,
    /// not out of it: a mirror's owner must not make the engine read this host's
    /// files, and a device or pipe must not hold it up.
    pub(crate) fn open(&self, name: &str, part: &Part) -> Result<FetchStream, FetchError> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let file: File = match openat2(&self.0, name, how) {
            Ok(fd) => fd.into(),
            Err(errno) => return Err(not_opened(name, errno)),
        };
        let about = file.metadata().map_err(|e| FetchError::broken(name, e))?;
        if !about.is_file() {
            return Err(FetchError::refused(name, "it is not a regular file"));
        }
        let (offset, length) = bounds(part, about.len());
        Ok(file::part(Arc::new(file), offset, length, name))
    }
}

fn not_opened(name: &str, errno: Errno) -> FetchError {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => FetchError::Missing {
            file: name.to_string(),
        },
        Errno::EXDEV | Errno::ELOOP => FetchError::refused(
            name,
            "a symbolic link in its path leads out of the repository or in a circle; check \
             who made this copy",
        ),
        errno => FetchError::broken(name, io::Error::from(errno)),
    }
}

/// From where to where to read a file of `length` bytes. A whole file is read to its
/// real end, so that one that is too long is noticed.
pub(crate) fn bounds(part: &Part, length: u64) -> (u64, u64) {
    match part {
        Part::AtMost(_) | Part::Whole(_) => (0, length),
        Part::Range { range, .. } => (range.start, range.end - range.start),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use futures_util::TryStreamExt as _;

    use super::*;

    async fn read(dir: &Path, name: &str, part: Part) -> Result<Vec<u8>, FetchError> {
        let chunks: Vec<_> = Directory::new(dir)
            .unwrap()
            .open(name, &part)?
            .try_collect()
            .await?;
        Ok(chunks.concat())
    }

    #[tokio::test]
    async fn files_and_parts_of_them_are_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("targets")).unwrap();
        fs::write(dir.path().join("targets/x"), b"0123456789").unwrap();
        symlink("x", dir.path().join("targets/link")).unwrap();
        let whole = read(dir.path(), "targets/x", Part::Whole(10)).await;
        assert_eq!(whole.unwrap(), b"0123456789");
        let range = Part::Range {
            range: 3..6,
            of: 10,
        };
        let part = read(dir.path(), "targets/link", range).await;
        assert_eq!(part.unwrap(), b"345");
        let missing = read(dir.path(), "targets/y", Part::Whole(1)).await;
        assert!(matches!(missing, Err(FetchError::Missing { .. })));
    }

    #[tokio::test]
    async fn nothing_outside_of_the_directory_and_no_device_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        let place = dir.path();
        symlink(outside.path(), place.join("absolute")).unwrap();
        symlink("../".repeat(20) + "etc/passwd", place.join("up")).unwrap();
        symlink("/dev", place.join("dir")).unwrap();
        symlink("circle", place.join("circle")).unwrap();
        nix::unistd::mkfifo(&place.join("pipe"), Mode::S_IRWXU).unwrap();
        for name in ["absolute", "up", "dir/zero", "circle", "pipe", "../x"] {
            let error = read(place, name, Part::AtMost(9)).await.unwrap_err();
            assert!(
                matches!(error, FetchError::Refused { .. }),
                "{name}: {error}"
            );
        }
    }
}
