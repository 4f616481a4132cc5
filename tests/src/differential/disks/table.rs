//! A disk's partition table, read from its bytes: with code of its own, since what wrote one
//! must not judge it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::identities::Identities;
use super::look::Lines;

/// Bytes of a table that are read at most, entries included.
const LONGEST: u64 = 1 << 20;
/// Bytes of a header.
const HEADER: usize = 92;

/// Puts all that the table on `image` says into `lines`; its keys begin with `disk`.
pub fn read(
    image: &Path,
    block_size: u32,
    disk: &str,
    identities: &mut Identities,
    lines: &mut Lines,
) -> Result<()> {
    let read = || format!("reading {}", image.display());
    let file = File::open(image).with_context(read)?;
    let size = file.metadata().with_context(read)?.len();
    let look = Look {
        file,
        size,
        block: u64::from(block_size),
    };
    let block = look.bytes(0, 512).with_context(read)?;
    lines.insert(format!("{disk} MBR"), hex(&block));
    for (name, at) in [("main", 1), ("backup", size / look.block - 1)] {
        let name = format!("{disk} {name} table");
        look.copy(at, &name, identities, lines).with_context(read)?;
    }
    Ok(())
}

struct Look {
    file: File,
    size: u64,
    block: u64,
}

impl Look {
    fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>> {
        let length = length.min(LONGEST).min(self.size.saturating_sub(at));
        let mut bytes = vec![0; usize::try_from(length)?];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// The copy whose header is in the block `at`.
    fn copy(
        &self,
        at: u64,
        name: &str,
        identities: &mut Identities,
        lines: &mut Lines,
    ) -> Result<()> {
        let header = self.bytes(at * self.block, self.block)?;
        if !header.starts_with(b"EFI PART") {
            lines.insert(name.to_owned(), format!("none: {}", hex(&header)));
            return Ok(());
        }
        let mut unsigned = header[..HEADER].to_vec();
        unsigned[16..20].fill(0);
        let header_sound = crc(&unsigned) == u32_at(&header, 16);
        let [array, count, length] = [
            u64_at(&header, 72),
            u32_at(&header, 80).into(),
            u32_at(&header, 84).into(),
        ];
        let entries = self.bytes(
            array.saturating_mul(self.block),
            count.saturating_mul(length),
        )?;
        let text = format!(
            "revision {:#x}, header of {} bytes, sound {header_sound}, at {}, other at {}, \
             usable {} to {}, disk {}, array at {array} of {count} entries of {length} bytes, \
             sound {}, rest {}",
            u32_at(&header, 8),
            u32_at(&header, 12),
            u64_at(&header, 24),
            u64_at(&header, 32),
            u64_at(&header, 40),
            u64_at(&header, 48),
            identities.name(&guid(&header[56..72])),
            crc(&entries) == u32_at(&header, 88),
            hex(&header[HEADER..]),
        );
        lines.insert(name.to_owned(), text);
        let entries = entries.chunks_exact(usize::try_from(length.max(128))?);
        for (index, entry) in entries.enumerate() {
            if entry.iter().any(|byte| *byte != 0) {
                let text = describe(entry, identities);
                lines.insert(format!("{name}, partition {}", index + 1), text);
            }
        }
        Ok(())
    }
}

fn describe(entry: &[u8], identities: &mut Identities) -> String {
    format!(
        "type {}, GUID {}, blocks {} to {}, attributes {:#x}, name {}",
        guid(&entry[..16]),
        identities.name(&guid(&entry[16..32])),
        u64_at(entry, 32),
        u64_at(entry, 40),
        u64_at(entry, 48),
        name(&entry[56..128]),
    )
}

/// All 36 units of a name: what is behind its end is there too.
fn name(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2);
    let units: Vec<u16> = units.map(|u| u16::from_le_bytes([u[0], u[1]])).collect();
    let text = String::from_utf16_lossy(&units);
    format!("{:?}", text.trim_end_matches('\0'))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// The first three fields are little-endian numbers.
fn guid(bytes: &[u8]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let digits: String = order.map(|at| format!("{:02x}", bytes[at])).concat();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| digits[part].to_owned()).join("-")
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Bytes as digits, without the zeros at the end.
fn hex(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|byte| *byte != 0);
    let bytes = &bytes[..end.map_or(0, |end| end + 1)];
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootloader::block::FileDisk;
    use bootloader::gpt::{self, Geometry, Gpt, Guid, Partition};

    fn lines(change: impl FnOnce(&mut Vec<u8>)) -> Lines {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 20).unwrap();
        let geometry = Geometry {
            block_size: 512,
            block_count: 2048,
        };
        let mut table = Gpt::new(geometry, Guid::from_bytes([7; 16]), 128).unwrap();
        let partition = Partition {
            number: 3,
            type_guid: Guid::from_bytes([1; 16]),
            guid: Guid::from_bytes([2; 16]),
            first_lba: 40,
            last_lba: 47,
            attributes: 4,
            name: "näme".to_owned(),
        };
        table.set_partition(&partition).unwrap();
        let mut disk = FileDisk::open(image.path(), 512).unwrap();
        table.format(&mut disk).unwrap();
        gpt::protect(&mut disk).unwrap();
        let mut bytes = std::fs::read(image.path()).unwrap();
        change(&mut bytes);
        std::fs::write(image.path(), bytes).unwrap();
        let mut lines = Lines::new();
        let mut identities = Identities::known_from(&["02020202-0202-0202-0202-020202020202"]);
        read(image.path(), 512, "a", &mut identities, &mut lines).unwrap();
        lines
    }

    #[test]
    fn a_table_is_read_in_both_copies() {
        let lines = lines(|_| {});
        for copy in ["main", "backup"] {
            let partition = &lines[&format!("a {copy} table, partition 3")];
            assert_eq!(
                partition,
                "type 01010101-0101-0101-0101-010101010101, \
                 GUID 02020202-0202-0202-0202-020202020202, \
                 blocks 40 to 47, attributes 0x4, name \"näme\""
            );
            let header = &lines[&format!("a {copy} table")];
            assert!(
                header.contains("usable 34 to 2014, disk fresh 1"),
                "{header}"
            );
            assert_eq!(header.matches("sound true").count(), 2, "{header}");
        }
        assert!(lines["a MBR"].ends_with("55aa"));
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn one_other_byte_is_seen_wherever_it_is() {
        let sound = lines(|_| {});
        let end = 2047 * 512;
        for at in [
            446,
            512 + 8,
            512 + 91,
            512 + 300,
            1024 + 256 + 60,
            end + 40,
            end - 512,
        ] {
            let other = lines(|bytes| bytes[at] ^= 1);
            assert_ne!(sound, other, "{at}");
        }
        assert!(lines(|bytes| bytes[512] = 0)["a main table"].starts_with("none"));
    }
}
