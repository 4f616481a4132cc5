//! Entries of a tar stream, read one after the other within bounds.
//!
//! The crate `tar` knows the fields of a header. Its own iterator is not used: it reads
//! names and PAX records of any length into memory, and takes a line feed in the value of
//! an extended attribute for the end of it.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::super::digest::Hashing;
use super::number::{number, seconds};
use super::pax::Records;

/// What tar counts in.
pub(super) const BLOCK: u64 = 512;

/// Longest name, and longest PAX records of one entry, in bytes.
const MAX_NAME: u64 = 8 << 10;
const MAX_RECORDS: u64 = 1 << 20;

/// What is wrong with a stream.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream below failed.
    #[error("reading the archive")]
    Read(#[from] io::Error),
    /// It ends in the middle.
    #[error("the archive ends in the middle of an entry")]
    Short,
    /// A header whose sum is not right.
    #[error("a header in the archive has a wrong checksum: it is damaged, or no tar archive")]
    Checksum,
    /// A number that is none, or is out of range.
    #[error("a header's field {0} is not a number within its range")]
    Number(&'static str),
    /// A name or a record that is too long.
    #[error("an entry has a {what} of {length} bytes, more than {most}")]
    Long {
        /// What is too long.
        what: &'static str,
        /// How long.
        length: u64,
        /// How long it may be.
        most: u64,
    },
    /// Records that do not follow their own lengths.
    #[error("an entry's PAX records are damaged")]
    Records,
    /// Pieces of a sparse file that overlap, are not in order or do not fit.
    #[error("the map of a sparse file is damaged")]
    Sparse,
    /// A kind that nothing is known about.
    #[error("an entry is of the unknown kind {0:?}")]
    Kind(char),
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to [`Entry::link`].
    Symlink,
    /// Another name of [`Entry::link`].
    Hardlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// Everything about an entry but its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its name, as it is in the archive.
    pub name: Vec<u8>,
    /// What it links to.
    pub link: Vec<u8>,
    /// Permissions, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of the file, with its holes.
    pub size: u64,
    /// Time of the last change: seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the content belongs, if the file has holes: offset and length of each piece.
    pub pieces: Option<Vec<(u64, u64)>>,
}

/// A stream of which a part can be passed over.
pub trait Skip: Read + Sized {
    /// Passes over so many bytes; fewer only if there are not so many.
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        io::copy(&mut self.by_ref().take(count), &mut io::sink())
    }
}

// What is hashed has to be read.
impl<R: Read> Skip for Hashing<R> {}

/// Entries of a stream.
pub struct Entries<R> {
    inner: R,
    /// Content of this entry that was not read yet, and what fills its last block.
    pub(super) content: u64,
    padding: u64,
}

impl<R: Skip> Entries<R> {
    /// At the beginning of an archive.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            content: 0,
            padding: 0,
        }
    }

    /// The stream, at the content of the entry that was returned last.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// What is left of the stream, after the last entry.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry; none at the end of the archive. What was not read of the one
    /// before is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut long_name = None;
        let mut long_link = None;
        let mut records = Records::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            match header.entry_type() {
                EntryType::GNULongName => long_name = Some(self.extension(&header, "name")?),
                EntryType::GNULongLink => long_link = Some(self.extension(&header, "link")?),
                EntryType::XHeader => records = self.records(&header)?,
                // It would hold for all that follows; no tool of images uses it for more
                // than a comment, and none heeds it.
                EntryType::XGlobalHeader => drop(self.records(&header)?),
                _ => {
                    let entry = self.entry(&header, &records)?;
                    return Ok(Some(name(entry, &header, long_name, long_link, &records)));
                }
            }
        }
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let left = self.content + self.padding;
        let skipped = self.inner.skip(left)?;
        (self.content, self.padding) = (0, 0);
        if skipped == left {
            Ok(())
        } else {
            Err(TarError::Short)
        }
    }

    /// The next header; none after the two empty blocks at the end, or if there is nothing.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let Some(header) = self.block()? else {
            return Ok(None);
        };
        if header.iter().any(|byte| *byte != 0) {
            let header = Header::from_byte_slice(&header).clone();
            check_sum(&header)?;
            let size = number(&header.as_old().size, "size")?;
            self.expect(size);
            return Ok(Some(header));
        }
        match self.block()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => Err(TarError::Checksum),
            _ => Ok(None),
        }
    }

    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK as usize]>, TarError> {
        let mut block = [0; BLOCK as usize];
        let mut filled = 0;
        while filled < block.len() {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Short),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(block))
    }

    fn expect(&mut self, content: u64) {
        self.content = content;
        self.padding = content.next_multiple_of(BLOCK).saturating_sub(content);
    }

    fn extension(&mut self, header: &Header, what: &'static str) -> Result<Vec<u8>, TarError> {
        let mut name = self.whole(header, what, MAX_NAME)?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn records(&mut self, header: &Header) -> Result<Records, TarError> {
        let bytes = self.whole(header, "set of PAX records", MAX_RECORDS)?;
        Records::parse(bytes).ok_or(TarError::Records)
    }

    /// All of the content of an entry that describes the next one.
    fn whole(
        &mut self,
        header: &Header,
        what: &'static str,
        most: u64,
    ) -> Result<Vec<u8>, TarError> {
        let length = number(&header.as_old().size, "size")?;
        if length > most {
            return Err(TarError::Long { what, length, most });
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(TarError::Short)
        }
    }

    fn entry(&mut self, header: &Header, records: &Records) -> Result<Entry, TarError> {
        let kind = kind(header)?;
        let stored = match records.number("size")? {
            Some(size) => size,
            None => number(&header.as_old().size, "size")?,
        };
        // Headers of directories and links say a size in some archives, and have no content;
        // only of a hard link it is content if POSIX wrote it. Nothing does.
        let has_content = matches!(kind, Kind::File);
        self.expect(if has_content { stored } else { 0 });
        let old = header.as_old();
        let uid = id(records, "uid", &old.uid)?;
        let gid = id(records, "gid", &old.gid)?;
        let mtime = match records.time("mtime")? {
            Some(time) => time,
            None => (seconds(&old.mtime)?, 0),
        };
        let device = match kind {
            Kind::Character | Kind::Block => device(header)?,
            _ => (0, 0),
        };
        let mut entry = Entry {
            kind,
            name: Vec::new(),
            link: Vec::new(),
            mode: (number(&old.mode, "mode")? & 0o7777) as u32,
            uid,
            gid,
            size: if has_content { stored } else { 0 },
            mtime,
            device,
            xattrs: records.xattrs(),
            pieces: None,
        };
        self.sparse(header, records, &mut entry)?;
        Ok(entry)
    }
}

/// The content of the entry that was returned last.
impl<R: Skip> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.content).unwrap_or(usize::MAX);
        let most = buffer.len().min(most);
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.content -= count as u64;
        Ok(count)
    }
}

/// An owner or a group.
fn id(records: &Records, key: &'static str, field: &[u8]) -> Result<u32, TarError> {
    let id = match records.number(key)? {
        Some(id) => id,
        None => number(field, key)?,
    };
    // The highest number means "no change" to the kernel.
    let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    id.ok_or(TarError::Number(key))
}

fn check_sum(header: &Header) -> Result<(), TarError> {
    let said = number(&header.as_old().cksum, "checksum")?;
    let bytes = header.as_bytes();
    let of = |(place, byte): (usize, &u8)| match place {
        148..156 => u64::from(b' '),
        _ => u64::from(*byte),
    };
    let sum: u64 = bytes.iter().enumerate().map(of).sum();
    if sum == said {
        Ok(())
    } else {
        Err(TarError::Checksum)
    }
}

fn kind(header: &Header) -> Result<Kind, TarError> {
    let ends_with_slash = header.path_bytes().ends_with(b"/");
    Ok(match header.entry_type() {
        // Before POSIX, a directory was a file with a slash at the end of its name.
        EntryType::Regular if ends_with_slash => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::Hardlink,
        EntryType::Char => Kind::Character,
        EntryType::Block => Kind::Block,
        EntryType::Fifo => Kind::Fifo,
        other => return Err(TarError::Kind(char::from(other.as_byte()))),
    })
}

/// Puts the names in that apply: records win over GNU's, these over the header's.
fn name(
    mut entry: Entry,
    header: &Header,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: &Records,
) -> Entry {
    let of = |key: &str| records.get(key).map(<[u8]>::to_vec);
    entry.name = of("GNU.sparse.name")
        .or_else(|| of("path"))
        .or(long_name)
        .unwrap_or_else(|| header.path_bytes().into_owned());
    entry.link = of("linkpath")
        .or(long_link)
        .or_else(|| header.link_name_bytes().map(|link| link.into_owned()))
        .unwrap_or_default();
    entry
}

fn device(header: &Header) -> Result<(u32, u32), TarError> {
    let ustar = header.as_ustar().map(|h| (&h.dev_major, &h.dev_minor));
    let gnu = header.as_gnu().map(|h| (&h.dev_major, &h.dev_minor));
    let (major, minor) = ustar.or(gnu).ok_or(TarError::Number("device"))?;
    let number = |field: &[u8]| {
        let number = number(field, "device")?;
        u32::try_from(number).map_err(|_| TarError::Number("device"))
    };
    Ok((number(major)?, number(minor)?))
}
