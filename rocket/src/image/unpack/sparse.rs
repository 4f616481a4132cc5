//! Files with holes, in all the ways that GNU tar has for them.

use std::io::Read as _;

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::entries::{BLOCK, Entries, Entry, Skip, TarError};
use super::number::number;
use super::pax::Records;

/// Most pieces of one sparse file.
const MAX_PIECES: usize = 64 << 10;

impl<R: Skip> Entries<R> {
    /// The map of a file with holes, in any of the ways that GNU tar has for it.
    pub(super) fn sparse(
        &mut self,
        header: &Header,
        records: &Records,
        entry: &mut Entry,
    ) -> Result<(), TarError> {
        let (pieces, size) = if header.entry_type() == EntryType::GNUSparse {
            self.gnu_map(header)?
        } else if let Some(map) = records.get("GNU.sparse.map") {
            let size = records.number("GNU.sparse.size")?;
            (text_map(map)?, size.ok_or(TarError::Sparse)?)
        } else if records.get("GNU.sparse.major").is_some() {
            let size = records.number("GNU.sparse.realsize")?;
            (self.leading_map()?, size.ok_or(TarError::Sparse)?)
        } else if records.has_prefix("GNU.sparse.") {
            return Err(TarError::Sparse);
        } else {
            return Ok(());
        };
        check_pieces(&pieces, size, self.content)?;
        entry.pieces = Some(pieces);
        entry.size = size;
        Ok(())
    }

    /// Pieces in the header, and in blocks that follow it.
    fn gnu_map(&mut self, header: &Header) -> Result<(Vec<(u64, u64)>, u64), TarError> {
        let gnu = header.as_gnu().ok_or(TarError::Sparse)?;
        let size = number(&gnu.realsize, "realsize")?;
        let mut pieces = Vec::new();
        let mut add = |sparse: &[tar::GnuSparseHeader]| -> Result<(), TarError> {
            for piece in sparse.iter().filter(|piece| !piece.is_empty()) {
                let offset = number(&piece.offset, "offset")?;
                pieces.push((offset, number(&piece.numbytes, "numbytes")?));
            }
            match pieces.len() {
                0..=MAX_PIECES => Ok(()),
                _ => Err(TarError::Sparse),
            }
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut extended = GnuExtSparseHeader::new();
            let block = self.block()?.ok_or(TarError::Short)?;
            extended.as_mut_bytes().copy_from_slice(&block);
            add(extended.sparse())?;
            more = extended.is_extended();
        }
        Ok((pieces, size))
    }

    /// Decimal numbers, one a line, in the first blocks of the content.
    fn leading_map(&mut self) -> Result<Vec<(u64, u64)>, TarError> {
        let mut block: Vec<u8> = Vec::new();
        let mut line = |entries: &mut Self| -> Result<u64, TarError> {
            loop {
                if let Some(end) = block.iter().position(|byte| *byte == b'\n') {
                    let value = decimal(&block[..end])?;
                    block.drain(..=end);
                    return Ok(value);
                }
                if block.len() > 64 {
                    return Err(TarError::Sparse);
                }
                let mut next = [0; BLOCK as usize];
                entries
                    .read_exact(&mut next)
                    .map_err(|_| TarError::Sparse)?;
                block.extend(next);
            }
        };
        let count = line(self)?;
        if count > MAX_PIECES as u64 {
            return Err(TarError::Sparse);
        }
        (0..count).map(|_| Ok((line(self)?, line(self)?))).collect()
    }
}

fn decimal(text: &[u8]) -> Result<u64, TarError> {
    let text = std::str::from_utf8(text).map_err(|_| TarError::Sparse)?;
    text.parse().map_err(|_| TarError::Sparse)
}

/// `offset,length,offset,length`
fn text_map(map: &[u8]) -> Result<Vec<(u64, u64)>, TarError> {
    let numbers = map.split(|byte| *byte == b',').map(decimal);
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
    let pieces = numbers.chunks_exact(2);
    if !pieces.remainder().is_empty() || numbers.len() / 2 > MAX_PIECES {
        return Err(TarError::Sparse);
    }
    Ok(pieces.map(|pair| (pair[0], pair[1])).collect())
}

/// Pieces must be in order, within the file, and as long together as the content.
fn check_pieces(pieces: &[(u64, u64)], size: u64, content: u64) -> Result<(), TarError> {
    let mut end = 0;
    let mut sum = 0u64;
    for (offset, length) in pieces {
        if *offset < end {
            return Err(TarError::Sparse);
        }
        end = offset.checked_add(*length).ok_or(TarError::Sparse)?;
        sum = sum.checked_add(*length).ok_or(TarError::Sparse)?;
    }
    if end > size || sum != content {
        return Err(TarError::Sparse);
    }
    Ok(())
}
