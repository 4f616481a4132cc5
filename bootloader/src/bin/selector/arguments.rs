//! Kernel arguments of this host: read from the ESP, handed to a kernel image.

#![allow(unsafe_code)]

use crate::{disk, trouble::Trouble};
use alloc::{vec, vec::Vec};
use bootloader::kargs::{FILE, FILE_BYTES};
use uefi::proto::console::text::{Input, Key};
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::media::file::{File, FileAttribute, FileMode};
use uefi::proto::media::fs::SimpleFileSystem;
use uefi::runtime::{self, VariableVendor};
use uefi::{CString16, Handle, Status, cstr16, table};

/// Most keys that are looked at: a key that is held down repeats.
const KEYS: usize = 64;

/// The file with this host's arguments; None if there is none. At most one byte more
/// than such a file may have.
pub fn file() -> Result<Option<Vec<u8>>, Trouble> {
    const WHAT: &str = "reading this host's kernel arguments";
    let firmware = |why: uefi::Error| Trouble::firmware(WHAT)(why);
    let partition = disk::own_partition()?;
    let mut volume = disk::open::<SimpleFileSystem>(partition, WHAT)?;
    let mut directory = volume.open_volume().map_err(firmware)?;
    let unsupported = || firmware(Status::UNSUPPORTED.into());
    let name = CString16::try_from(FILE).map_err(|_| unsupported())?;
    let file = match directory.open(&name, FileMode::Read, FileAttribute::empty()) {
        Ok(file) => file,
        Err(why) if why.status() == Status::NOT_FOUND => return Ok(None),
        Err(why) => return Err(firmware(why)),
    };
    let mut file = file.into_regular_file().ok_or_else(unsupported)?;
    let mut bytes = vec![0; FILE_BYTES + 1];
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]).map_err(firmware)? {
            0 => break,
            more => length = bytes.len().min(length + more),
        }
    }
    bytes.truncate(length);
    Ok(Some(bytes))
}

/// Does the firmware check signatures? As systemd's stub sees it, which then ignores
/// what is handed to it.
pub fn secure_boot() -> bool {
    let mut value = [0; 1];
    let name = cstr16!("SecureBoot");
    let read = runtime::get_variable(name, &VariableVendor::GLOBAL_VARIABLE, &mut value);
    read.is_ok() && value[0] != 0
}

/// Was the key `k` pressed since the machine was switched on?
pub fn refused() -> bool {
    let Some(table) = table::system_table_raw() else {
        return false;
    };
    // SAFETY: the firmware's system table and its keyboard live as long as boot
    // services, and nothing here ends these. `Input` is transparent over the
    // protocol, and no other reference to it is made while this one lives.
    let Some(keyboard) = (unsafe { table.as_ref().stdin.cast::<Input>().as_mut() }) else {
        return false;
    };
    for _ in 0..KEYS {
        match keyboard.read_key() {
            Ok(Some(Key::Printable(key))) if matches!(char::from(key), 'k' | 'K') => return true,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return false,
        }
    }
    false
}

/// A command line that an image is started with instead of its own.
pub struct Options {
    units: Vec<u16>,
}

impl Options {
    /// Puts `line` into memory as the image wants it.
    pub fn new(line: &str) -> Self {
        let units = line.encode_utf16().chain([0]).collect();
        Self { units }
    }

    /// Hands the line to `image`. It must stay where it is until the image has been
    /// started and has come back.
    pub fn give(&self, image: Handle) -> Result<(), Trouble> {
        const WHAT: &str = "handing kernel arguments to it";
        let mut loaded = disk::open::<LoadedImage>(image, WHAT)?;
        // At most as many as a kernel takes: they fit.
        let bytes = size_of_val(self.units.as_slice()) as u32;
        // SAFETY: the caller keeps `self`, and with it the line, for as long as the
        // image may read it.
        unsafe { loaded.set_load_options(self.units.as_ptr().cast(), bytes) };
        Ok(())
    }
}
