//! Reading every block of `/usr` once.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// Bytes read at a time.
const PART: usize = 1 << 20;

/// Reads all of `device`; dm-verity compares every block with its signed hash on the
/// way. (Where the kernel is told to panic on a bad block, it does so here.)
pub(super) fn read_all(device: &Path) -> Result<(), String> {
    let mut file =
        File::open(device).map_err(|error| format!("opening {}: {error}", device.display()))?;
    let mut part = vec![0; PART];
    let mut offset = 0;
    loop {
        match file.read(&mut part) {
            Ok(0) if offset == 0 => return Err(format!("{} is empty", device.display())),
            Ok(0) => return Ok(()),
            Ok(length) => offset += length as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(format!(
                    "/usr is damaged: reading {} at byte {offset}: {error}",
                    device.display()
                ));
            }
        }
    }
}
