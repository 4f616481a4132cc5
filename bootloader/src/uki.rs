//! The unified kernel image in a slot: its length, release and command line.
//!
//! A UKI is a PE32+ image (Microsoft PE format; UAPI.5 Unified Kernel Image) that
//! lies raw at the start of its partition. Nothing says how long it is except its
//! own headers, so these are read first, and then only that much.
//!
//! Parsing believes no number: every range is checked against the bytes that are
//! there. Whether the content is the right one is not decided here: that is for the
//! firmware's signature check and for dm-verity. Whether it is *whole* is: the
//! partition that holds a UKI is named after it ([`Uki::fingerprint`]).

use core::ops::Range;

use gpt_disk_types::Guid;
use sha2::{Digest, Sha256};

/// How many bytes from the start are always enough for [`total_size`], if the image
/// was made by a sane linker. Larger headers are refused.
pub const HEADER_BYTES: usize = 64 * 1024;

/// Most sections that the Windows loader, and thus any linker, allows.
const MAX_SECTIONS: u16 = 96;

const X86_64: u16 = 0x8664;
const PE32_PLUS: u16 = 0x20b;
const COFF_HEADER: usize = 20;
const SECTION_HEADER: usize = 40;
/// Offset of the data directories in a PE32+ optional header.
const DIRECTORIES: usize = 112;
/// Index of the certificate table among them.
const CERTIFICATES: usize = 4;

/// The bytes are not a UKI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// Nothing was ever written there.
    #[error("the partition is empty")]
    Empty,
    /// A magic number is wrong.
    #[error("not a PE image: no {magic} at byte {offset}")]
    Magic {
        /// What was expected.
        magic: &'static str,
        /// Where.
        offset: usize,
    },
    /// The headers say that they go on beyond the bytes that are there.
    #[error("{what} ends at byte {end}, beyond the {have} bytes read")]
    Truncated {
        /// The part that does not fit.
        what: &'static str,
        /// Where it would end.
        end: u64,
        /// Bytes that are there.
        have: usize,
    },
    /// A program for another processor.
    #[error("made for machine type {machine:#06x}, not for x86-64")]
    Machine {
        /// The PE machine type.
        machine: u16,
    },
    /// More sections than a PE image can have, or none.
    #[error("{count} sections are none or too many")]
    Sections {
        /// Number of sections in the header.
        count: u16,
    },
    /// The image is longer than its partition.
    #[error("the image is {size} bytes long, but its partition has only {room}")]
    TooLarge {
        /// Length that the headers say.
        size: u64,
        /// Bytes in the partition.
        room: u64,
    },
    /// A section that a UKI must have is not there.
    #[error("no section {name}")]
    NoSection {
        /// Name of the section.
        name: &'static str,
    },
    /// Some byte is not what was written.
    #[error("damaged: its fingerprint is {found}, the partition's GUID says {expected}")]
    Damaged {
        /// Fingerprint of the bytes that are there.
        found: Guid,
        /// Unique GUID of the partition.
        expected: Guid,
    },
    /// A section does not hold what it should.
    #[error("section {name} holds no {what}")]
    Content {
        /// Name of the section.
        name: &'static str,
        /// What was looked for.
        what: &'static str,
    },
}

/// Length in bytes of the image whose first bytes are `prefix`, in a partition of
/// `room` bytes.
///
/// That is the furthest end of its headers, its sections and its certificate table.
/// `prefix` must hold all headers: [`HEADER_BYTES`] do.
pub fn total_size(prefix: &[u8], room: u64) -> Result<u64, UkiError> {
    let headers = Headers::parse(prefix)?;
    let mut size = u64::from(headers.size_of_headers).max(headers.sections.end as u64);
    for section in headers.sections(prefix) {
        if section.raw_size > 0 {
            size = size.max(u64::from(section.raw_offset) + u64::from(section.raw_size));
        }
    }
    if let Some((offset, length)) = headers.certificates {
        size = size.max(u64::from(offset) + u64::from(length));
    }
    if size > room {
        return Err(UkiError::TooLarge { size, room });
    }
    Ok(size)
}

/// A whole UKI in memory.
#[derive(Clone, Copy, Debug)]
pub struct Uki<'a> {
    image: &'a [u8],
}

impl<'a> Uki<'a> {
    /// Looks at the UKI in `image`. Fails unless all of it is there.
    pub fn parse(image: &'a [u8]) -> Result<Self, UkiError> {
        let end = total_size(image, u64::MAX)?;
        let have = image.len();
        if end > have as u64 {
            return Err(UkiError::Truncated {
                what: "the image",
                end,
                have,
            });
        }
        Ok(Self { image })
    }

    /// The release's `os-release`, as it is.
    pub fn os_release(&self) -> Result<&'a str, UkiError> {
        text(self.image, ".osrel")
    }

    /// `IMAGE_VERSION` of the release's `os-release`: printable ASCII.
    pub fn version(&self) -> Result<&'a str, UkiError> {
        os_release_value(self.os_release()?, "IMAGE_VERSION")
            .filter(|version| version.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or(UkiError::Content {
                name: ".osrel",
                what: "IMAGE_VERSION",
            })
    }

    /// What the partition that holds this image has as its unique GUID: the first 128
    /// bits of the image's SHA-256, in the order of the text form. `/usr` and its
    /// verity tree are named by their root hash in the same way.
    ///
    /// Takes the time of hashing the whole image.
    pub fn fingerprint(&self) -> Guid {
        let size = total_size(self.image, u64::MAX).unwrap_or_default();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let hash = Sha256::digest(self.image.get(..size).unwrap_or(self.image));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        // The first three fields of a GUID are little-endian on disk.
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        Guid::from_bytes(bytes)
    }

    /// Checks that every byte is the one that was written to the partition whose
    /// unique GUID is `expected`.
    pub fn check_whole(&self, expected: Guid) -> Result<(), UkiError> {
        match self.fingerprint() {
            found if found == expected => Ok(()),
            found => Err(UkiError::Damaged { found, expected }),
        }
    }

    /// Checks that the kernel inside is a whole PE image, as far as its headers tell.
    ///
    /// systemd's stub (257) gives up on a kernel that is not, and takes some firmware
    /// down with it: such an image must not even be started.
    pub fn check_kernel(&self) -> Result<(), UkiError> {
        const NAME: &str = ".linux";
        let kernel = section(self.image, NAME)?;
        match total_size(kernel, kernel.len() as u64) {
            Ok(_) => Ok(()),
            Err(_) => Err(UkiError::Content {
                name: NAME,
                what: "whole kernel",
            }),
        }
    }

    /// The kernel command line.
    pub fn command_line(&self) -> Result<&'a str, UkiError> {
        text(self.image, ".cmdline").map(str::trim_ascii)
    }
}

/// The text in section `name` of `image`, without the padding at its end.
fn text<'a>(image: &'a [u8], name: &'static str) -> Result<&'a str, UkiError> {
    let bytes = section(image, name)?;
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).map_err(|_| UkiError::Content {
        name,
        what: "UTF-8 text",
    })
}

/// The content of section `name` of `image`: the first of that name, which is the
/// one that applies to every profile.
fn section<'a>(image: &'a [u8], name: &'static str) -> Result<&'a [u8], UkiError> {
    let section = Headers::parse(image)?
        .sections(image)
        .find(|section| section.is_named(name))
        .ok_or(UkiError::NoSection { name })?;
    let length = section.virtual_size.min(section.raw_size);
    let end = u64::from(section.raw_offset) + u64::from(length);
    let have = image.len();
    usize::try_from(end)
        .ok()
        .and_then(|stop| image.get(section.raw_offset as usize..stop))
        .ok_or(UkiError::Truncated {
            what: name,
            end,
            have,
        })
}

/// The value of `key` in an `os-release` file, without quotes.
///
/// Escapes inside quotes (os-release(5)) do not occur in versions and are not undone.
fn os_release_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = text
        .lines()
        .filter_map(|line| line.trim_ascii().strip_prefix(key)?.strip_prefix('='))
        .next_back()?;
    let unquoted = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    Some(unquoted.unwrap_or(value)).filter(|value| !value.is_empty())
}

/// Where things are in a PE image, as far as its headers tell.
struct Headers {
    size_of_headers: u32,
    /// File offset and length.
    certificates: Option<(u32, u32)>,
    /// The section headers.
    sections: Range<usize>,
}

struct Section<'a> {
    name: &'a [u8],
    virtual_size: u32,
    raw_size: u32,
    raw_offset: u32,
}

impl Section<'_> {
    /// Names shorter than eight bytes are padded with NULs.
    fn is_named(&self, name: &str) -> bool {
        self.name
            .strip_prefix(name.as_bytes())
            .is_some_and(|rest| rest.iter().all(|b| *b == 0))
    }
}

impl Headers {
    fn parse(bytes: &[u8]) -> Result<Self, UkiError> {
        if bytes
            .get(..512)
            .is_some_and(|block| block.iter().all(|b| *b == 0))
        {
            return Err(UkiError::Empty);
        }
        magic(bytes, 0, b"MZ", "MZ")?;
        let pe = u32_at(bytes, 0x3c, "the DOS header")? as usize;
        magic(bytes, pe, b"PE\0\0", "PE signature")?;
        // `magic` found four bytes at `pe`, so this cannot overflow.
        let coff = pe + 4;
        let machine = u16_at(bytes, coff, "the COFF header")?;
        if machine != X86_64 {
            return Err(UkiError::Machine { machine });
        }
        let count = u16_at(bytes, coff + 2, "the COFF header")?;
        if count == 0 || count > MAX_SECTIONS {
            return Err(UkiError::Sections { count });
        }
        let optional = coff + COFF_HEADER;
        let optional_size = u16_at(bytes, coff + 16, "the COFF header")? as usize;
        let sections = optional + optional_size;
        let sections = sections..sections + usize::from(count) * SECTION_HEADER;
        slice(bytes, sections.start, sections.len(), "the section table")?;
        Self::parse_optional(bytes, optional..optional + optional_size, sections)
    }

    fn parse_optional(
        bytes: &[u8],
        optional: Range<usize>,
        sections: Range<usize>,
    ) -> Result<Self, UkiError> {
        const WHAT: &str = "the optional header";
        let header = slice(bytes, optional.start, optional.len(), WHAT)?;
        if u16_at(header, 0, WHAT)? != PE32_PLUS {
            return Err(UkiError::Magic {
                magic: "PE32+",
                offset: optional.start,
            });
        }
        let size_of_headers = u32_at(header, 60, WHAT)?;
        let directories = u32_at(header, DIRECTORIES - 4, WHAT)?;
        let mut certificates = None;
        if directories > CERTIFICATES as u32 {
            let entry = DIRECTORIES + CERTIFICATES * 8;
            let place = (
                u32_at(header, entry, WHAT)?,
                u32_at(header, entry + 4, WHAT)?,
            );
            certificates = Some(place).filter(|(_, length)| *length > 0);
        }
        Ok(Self {
            size_of_headers,
            certificates,
            sections,
        })
    }

    fn sections<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = Section<'a>> + use<'a> {
        let table = bytes.get(self.sections.clone()).unwrap_or_default();
        let (headers, _) = table.as_chunks::<SECTION_HEADER>();
        headers.iter().map(|header| {
            let number = |at: usize| {
                u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
            };
            Section {
                name: &header[..8],
                virtual_size: number(8),
                raw_size: number(16),
                raw_offset: number(20),
            }
        })
    }
}

fn slice<'a>(
    bytes: &'a [u8],
    start: usize,
    length: usize,
    what: &'static str,
) -> Result<&'a [u8], UkiError> {
    let end = start.saturating_add(length);
    bytes.get(start..end).ok_or(UkiError::Truncated {
        what,
        end: end as u64,
        have: bytes.len(),
    })
}

fn magic(bytes: &[u8], offset: usize, want: &[u8], magic: &'static str) -> Result<(), UkiError> {
    if slice(bytes, offset, want.len(), magic)? == want {
        Ok(())
    } else {
        Err(UkiError::Magic { magic, offset })
    }
}

fn u16_at(bytes: &[u8], offset: usize, what: &'static str) -> Result<u16, UkiError> {
    let field = slice(bytes, offset, 2, what)?;
    Ok(u16::from_le_bytes([field[0], field[1]]))
}

fn u32_at(bytes: &[u8], offset: usize, what: &'static str) -> Result<u32, UkiError> {
    let field = slice(bytes, offset, 4, what)?;
    Ok(u32::from_le_bytes([field[0], field[1], field[2], field[3]]))
}
