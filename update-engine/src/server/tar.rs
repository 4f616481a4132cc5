//! A repository in one tar file.
//!
//! The file is gone through once, from header to header, and what lies where is
//! remembered; nothing is unpacked. The archive is not trusted: it cannot make the
//! index larger than its bounds, and what could mean different things to different
//! readers is refused by name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use tar::{Archive, EntryType, Header, PaxExtensions};

use super::directory::bounds;
use super::fetch::{FetchError, FetchStream, Part};
use super::file;
use super::name::{self, BadName};

/// Most entries of an archive.
const ENTRIES: usize = 100_000;

/// Most bytes of what is said about one entry (long names, pax records).
const EXTENSION: u64 = 64 * 1024;

/// How compressed files begin.
const COMPRESSED: [(&[u8], &str); 4] = [
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
];

/// Why an archive is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The file could not be read, or is not a tar file.
    #[error("reading the archive; check that it is a tar file and was copied whole")]
    Read(#[from] io::Error),
    /// The whole file is compressed.
    #[error("the archive is compressed with {0}; unpack it to a plain tar file first")]
    Compressed(&'static str),
    /// There are more entries than a repository has.
    #[error("the archive has more than {ENTRIES} entries")]
    TooMany,
    /// The archive ends within an entry.
    #[error("the archive ends within {0}; copy it again")]
    CutOff(String),
    /// A name that leads elsewhere.
    #[error("an entry of the archive has a name that is not taken; check who made it")]
    Name(#[from] BadName),
    /// Two entries of one name: which one counts would be a guess.
    #[error("the archive holds {0} twice; make it in one go, without appending")]
    Twice(String),
    /// An entry that is neither a file nor a directory.
    #[error(
        "{name} in the archive is {kind}, which is not taken; make it with \
         `tar --dereference --hard-dereference`, without `--sparse`"
    )]
    Kind {
        /// Name of the entry.
        name: String,
        /// What it is.
        kind: String,
    },
    /// Something is said about an entry that changes what it means.
    #[error("{name} in the archive has the property {key:?}, which is not taken")]
    Property {
        /// Name of the entry.
        name: String,
        /// Name of the property.
        key: String,
    },
    /// Too much is said about an entry.
    #[error("the archive says more than {EXTENSION} bytes about one entry")]
    Extension,
}

/// Where the files of an archive lie.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Index(HashMap<String, Place>);

/// Where a file lies in its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Where its first byte is.
    pub offset: u64,
    /// Bytes of the file.
    pub length: u64,
}

impl Index {
    /// Goes through an archive. The content of files is not looked at.
    pub fn read(mut archive: impl Read + Seek) -> Result<Self, TarError> {
        refuse_compressed(&mut archive)?;
        let end = archive.seek(SeekFrom::End(0))?;
        archive.rewind()?;
        let mut archive = Archive::new(archive);
        let mut index = Self::default();
        let mut said = Said::default();
        for (count, entry) in archive.entries_with_seek()?.raw(true).enumerate() {
            if count >= ENTRIES {
                return Err(TarError::TooMany);
            }
            let mut entry = entry?;
            let place = Place {
                offset: entry.raw_file_position(),
                length: entry.header().entry_size()?,
            };
            let header = entry.header().clone();
            if place
                .offset
                .checked_add(place.length)
                .is_none_or(|e| e > end)
            {
                return Err(TarError::CutOff(lossy(&header.path_bytes())));
            }
            if !said.hear(&header, &mut entry)? {
                index.add(&header, place, std::mem::take(&mut said))?;
            }
        }
        Ok(index)
    }

    /// Names of the files and where they lie.
    pub fn files(&self) -> impl Iterator<Item = (&str, Place)> {
        self.0.iter().map(|(name, place)| (name.as_str(), *place))
    }

    fn add(&mut self, header: &Header, place: Place, said: Said) -> Result<(), TarError> {
        let raw = said
            .name
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let name = lossy(&raw);
        let mut name = name.as_str();
        while let Some(rest) = name.strip_prefix("./") {
            name = rest;
        }
        let kind = header.entry_type();
        if kind.is_dir() {
            let name = name.strip_suffix('/').unwrap_or(name);
            return match name {
                "" | "." => Ok(()),
                name => Ok(name::check(name)?),
            };
        }
        name::check(name)?;
        if let Some(key) = said.property {
            let name = name.to_string();
            return Err(TarError::Property { name, key });
        }
        if !kind.is_file() {
            let (name, kind) = (name.to_string(), describe(kind));
            return Err(TarError::Kind { name, kind });
        }
        match self.0.insert(name.to_string(), place) {
            Some(_) => Err(TarError::Twice(name.to_string())),
            None => Ok(()),
        }
    }
}

/// What entries say about the entry that follows them.
#[derive(Default)]
struct Said {
    name: Option<Vec<u8>>,
    property: Option<String>,
}

impl Said {
    /// Takes in an entry that is about the next one. False if it is one by itself.
    fn hear(&mut self, header: &Header, entry: &mut impl Read) -> Result<bool, TarError> {
        let kind = header.entry_type();
        if kind.is_gnu_longname() {
            let mut name = content(header, entry)?;
            if name.last() == Some(&0) {
                name.pop();
            }
            self.name = Some(name);
        } else if kind.is_pax_local_extensions() {
            self.hear_pax(&content(header, entry)?)?;
        } else if kind.is_pax_global_extensions() {
            // Comments and the like are harmless; what changes entries is not taken.
            let mut global = Self::default();
            global.hear_pax(&content(header, entry)?)?;
            if let Some(key) = global.property.or(global.name.map(|_| "path".into())) {
                let name = "the whole".to_string();
                return Err(TarError::Property { name, key });
            }
        } else {
            // The target of a link (`K`) is of no interest: links are refused.
            return Ok(kind.is_gnu_longlink());
        }
        Ok(true)
    }

    fn hear_pax(&mut self, records: &[u8]) -> Result<(), TarError> {
        for record in PaxExtensions::new(records) {
            let record = record?;
            let key = lossy(record.key_bytes());
            match key.as_str() {
                "path" => self.name = Some(record.value_bytes().to_vec()),
                "size" => self.property = Some(key),
                sparse if sparse.starts_with("GNU.sparse.") => self.property = Some(key),
                _ => {}
            }
        }
        Ok(())
    }
}

fn content(header: &Header, entry: &mut impl Read) -> Result<Vec<u8>, TarError> {
    if header.entry_size()? > EXTENSION {
        return Err(TarError::Extension);
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content)?;
    Ok(content)
}

fn describe(kind: EntryType) -> String {
    match kind {
        EntryType::Link => "a hard link".into(),
        EntryType::Symlink => "a symbolic link".into(),
        EntryType::Char | EntryType::Block => "a device".into(),
        EntryType::Fifo => "a pipe".into(),
        EntryType::GNUSparse => "a sparse file".into(),
        other => format!("an entry of type {:?}", char::from(other.as_byte())),
    }
}

fn refuse_compressed(archive: &mut (impl Read + Seek)) -> Result<(), TarError> {
    let mut start = Vec::new();
    archive.rewind()?;
    archive.by_ref().take(8).read_to_end(&mut start)?;
    match COMPRESSED
        .iter()
        .find(|(magic, _)| start.starts_with(magic))
    {
        Some((_, name)) => Err(TarError::Compressed(name)),
        None => Ok(()),
    }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// An archive, held open.
#[derive(Debug)]
pub(crate) struct Tar {
    file: Arc<File>,
    index: Index,
}

impl Tar {
    pub(crate) fn new(path: &Path) -> Result<Self, TarError> {
        let file = File::open(path)?;
        let index = Index::read(io::BufReader::new(&file))?;
        Ok(Self {
            file: Arc::new(file),
            index,
        })
    }

    pub(crate) fn open(&self, name: &str, part: &Part) -> Result<FetchStream, FetchError> {
        let missing = || FetchError::Missing {
            file: name.to_string(),
        };
        let place = self.index.0.get(name).ok_or_else(missing)?;
        let (start, length) = bounds(part, place.length);
        // Not beyond the end of the file, into its neighbour.
        let start = start.min(place.length);
        let length = length.min(place.length - start);
        let file = self.file.clone();
        Ok(file::part(file, place.offset + start, length, name))
    }
}

#[cfg(test)]
mod tests;
