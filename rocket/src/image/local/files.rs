//! Files of a layout, in a directory or in a tar archive.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::Error;
use super::super::digest::Hashing;
use super::super::store::Store;
use super::super::unpack::{Compression, Entries, Kind, Skip, decoder};

/// Most entries of an archive.
const MAX_ENTRIES: usize = 100_000;

/// Most links that lead to a file.
const MAX_LINKS: usize = 8;

/// Where the files are.
pub struct Files {
    path: PathBuf,
    place: Place,
}

enum Place {
    Directory,
    Archive {
        file: Arc<File>,
        members: HashMap<String, Member>,
    },
}

enum Member {
    Content { offset: u64, size: u64 },
    Link(String),
}

impl Files {
    /// Those of a directory.
    pub fn directory(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            place: Place::Directory,
        })
    }

    /// Those of a tar archive. One that is compressed is unpacked to a file without a name
    /// first, since what is in it is read in any order.
    pub fn archive(path: &Path, store: &Store) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(Error::io("opening", path))?;
        let mut start = [0; 4];
        let read = file.read(&mut start).map_err(Error::io("reading", path))?;
        if Compression::of(&start[..read]) != Compression::None {
            file = decompressed(path, file, store)?;
        }
        let members = members(path, &file)?;
        Ok(Self {
            path: path.to_owned(),
            place: Place::Archive {
                file: Arc::new(file),
                members,
            },
        })
    }

    /// The directory or the archive.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of it, for messages.
    pub fn describe(&self, name: &str) -> String {
        format!("{name} in {}", self.path.display())
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        match &self.place {
            Place::Directory => self.path.join(name).is_file(),
            Place::Archive { members, .. } => member(members, name).is_some(),
        }
    }

    /// Opens a file. Names are ours, or were checked: they do not lead out.
    pub fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, Error> {
        match &self.place {
            Place::Directory => {
                let path = self.path.join(name);
                let file = File::open(&path).map_err(Error::io("opening", &path))?;
                Ok(Box::new(file))
            }
            Place::Archive { file, members } => {
                let found = member(members, name);
                let (offset, size) = found.ok_or_else(|| self.wrong(name, "it is not there"))?;
                Ok(Box::new(Window {
                    file: Arc::clone(file),
                    offset,
                    left: size,
                }))
            }
        }
    }

    /// Length of a file.
    pub fn size(&self, name: &str) -> io::Result<u64> {
        match &self.place {
            Place::Directory => Ok(std::fs::metadata(self.path.join(name))?.len()),
            Place::Archive { members, .. } => match member(members, name) {
                Some((_, size)) => Ok(size),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }

    /// All of a file that must not be longer than this.
    pub fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let path = self.path.join(name);
        let mut reader = self.open(name)?.take(most + 1);
        let read = reader.read_to_end(&mut bytes);
        read.map_err(Error::io("reading", &path))?;
        if bytes.len() as u64 > most {
            return Err(self.wrong(name, &format!("it is longer than {most} bytes")));
        }
        Ok(bytes)
    }

    /// What is wrong with a file of it.
    pub fn wrong(&self, name: &str, what: &str) -> Error {
        Error::Archive {
            path: self.path.join(name),
            what: what.to_owned(),
        }
    }
}

/// Whether an archive is docker's and has no OCI layout in it, which says more.
pub fn is_docker(path: &Path) -> Result<bool, Error> {
    let file = File::open(path).map_err(Error::io("opening", path))?;
    let (_, reader) = decoder(file).map_err(Error::io("reading", path))?;
    let mut entries = Entries::new(Hashing::new(reader));
    let (mut docker, mut oci) = (false, false);
    let broken = |source| Error::Tar {
        path: path.to_owned(),
        source,
    };
    for _ in 0..MAX_ENTRIES {
        let Some(entry) = entries.next_entry().map_err(broken)? else {
            break;
        };
        match plain(&entry.name).as_deref() {
            Some("manifest.json") => docker = true,
            Some("index.json") => oci = true,
            _ => {}
        }
    }
    Ok(docker && !oci)
}

fn decompressed(path: &Path, mut file: File, store: &Store) -> Result<File, Error> {
    let wrong = |source: io::Error| Error::io("decompressing", path)(source);
    file.seek(SeekFrom::Start(0)).map_err(wrong)?;
    let (_, mut reader) = decoder(file).map_err(wrong)?;
    let temporary = store.temporary();
    let mut options = File::options();
    let options = options.read(true).write(true).create_new(true);
    let mut to = options
        .open(&temporary)
        .map_err(Error::io("making", &temporary))?;
    // It lives as long as it is open.
    std::fs::remove_file(&temporary).map_err(Error::io("removing", &temporary))?;
    io::copy(&mut reader, &mut to).map_err(wrong)?;
    Ok(to)
}

fn members(path: &Path, file: &File) -> Result<HashMap<String, Member>, Error> {
    let broken = |source| Error::Tar {
        path: path.to_owned(),
        source,
    };
    let size = file.metadata().map_err(Error::io("reading", path))?.len();
    let mut entries = Entries::new(Seeking { file, at: 0, size });
    let mut members = HashMap::new();
    while let Some(entry) = entries.next_entry().map_err(broken)? {
        let Some(name) = plain(&entry.name) else {
            continue;
        };
        let member = match entry.kind {
            Kind::File if entry.pieces.is_none() => Member::Content {
                offset: entries.get_ref().at,
                size: entry.size,
            },
            Kind::Symlink => match beside(&name, &entry.link) {
                Some(target) => Member::Link(target),
                None => continue,
            },
            Kind::Hardlink => match plain(&entry.link) {
                Some(target) => Member::Link(target),
                None => continue,
            },
            _ => continue,
        };
        members.insert(name, member);
        if members.len() > MAX_ENTRIES {
            return Err(Error::Archive {
                path: path.to_owned(),
                what: format!("it has more than {MAX_ENTRIES} files"),
            });
        }
    }
    Ok(members)
}

fn member(members: &HashMap<String, Member>, name: &str) -> Option<(u64, u64)> {
    let mut name = name;
    for _ in 0..MAX_LINKS {
        match members.get(name)? {
            Member::Content { offset, size } => return Some((*offset, *size)),
            Member::Link(target) => name = target,
        }
    }
    None
}

/// A name without `.` and empty components; none if it goes up or is not UTF-8.
pub fn plain(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let parts = name.split('/').filter(|part| !matches!(*part, "" | "."));
    let parts: Vec<_> = parts.collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// Where a symbolic link leads, if that is in the archive.
fn beside(name: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    let mut parts: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => name.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// An archive that is passed over without being read.
struct Seeking<'a> {
    file: &'a File,
    at: u64,
    size: u64,
}

impl Read for Seeking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Skip for Seeking<'_> {
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        let skipped = count.min(self.size.saturating_sub(self.at));
        self.at += skipped;
        Ok(skipped)
    }
}

/// A part of a file.
struct Window {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = buffer.len().min(most);
        let count = self.file.read_at(&mut buffer[..most], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_within_the_archive_or_nowhere() {
        assert_eq!(
            beside("a/layer.tar", b"../b/layer.tar").as_deref(),
            Some("b/layer.tar")
        );
        assert_eq!(beside("a/b", b"/c").as_deref(), Some("c"));
        assert_eq!(beside("a/b", b"../../c"), None);
        assert_eq!(plain(b"./a//b").as_deref(), Some("a/b"));
        assert_eq!(plain(b"a/../b"), None);
    }
}
