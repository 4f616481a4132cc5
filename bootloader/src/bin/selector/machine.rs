//! The machine that the walk along the slots runs on.

use crate::{console::say, disk::Disk, pages::Pages, trouble::Trouble, variables};
use alloc::string::{String, ToString};
use bootloader::attempt::{Machine, Problem, Start};
use bootloader::slot::BootPartition;
use bootloader::uki::{self, Uki};
use bootloader::{BlockIo, Gpt, SlotTable};
use uefi::boot::{self, LoadImageSource};
use uefi::{Handle, Status};

/// Bytes in one read. Firmware is slow per request, and emulated firmware very slow.
const CHUNK: usize = 8 << 20;

/// The firmware, with the disk and its partition table.
pub struct Firmware {
    disk: Disk,
    gpt: Gpt,
}

/// A kernel image that the firmware has loaded and found well signed, if it cares.
pub struct Loaded {
    handle: Handle,
    version: String,
}

impl Firmware {
    /// A machine with this disk, on which `gpt` is the table.
    pub fn new(disk: Disk, gpt: Gpt) -> Self {
        Self { disk, gpt }
    }

    /// Reads the UKI in `boot`: its headers, then as much as they say.
    fn read(&mut self, boot: &BootPartition) -> Result<Pages, Trouble> {
        let block = u64::from(self.disk.block_size());
        let room = boot.block_count.saturating_mul(block);
        let mut headers = Pages::new(room.min(uki::HEADER_BYTES as u64))?;
        self.disk.read(boot.first_lba, &mut headers)?;
        let size = uki::total_size(&headers, room)?;
        let mut image = Pages::new(size.next_multiple_of(block))?;
        let mut lba = boot.first_lba;
        for chunk in image.chunks_mut(CHUNK) {
            self.disk.read(lba, chunk)?;
            lba += chunk.len() as u64 / block;
        }
        // A signature covers the image to its last byte and no further.
        image.truncate(size);
        Ok(image)
    }
}

impl Machine for Firmware {
    type Image = Loaded;
    type Error = Trouble;

    fn save(&mut self, table: &SlotTable) -> Result<(), Trouble> {
        table.store(&mut self.gpt).map_err(Trouble::table)?;
        Ok(self.gpt.commit(&mut self.disk)?)
    }

    fn load(&mut self, boot: &BootPartition) -> Result<Loaded, Trouble> {
        let image = self.read(boot)?;
        let uki = Uki::parse(&image)?;
        uki.check_whole(boot.guid)?;
        uki.check_kernel()?;
        // An image without a name boots all the same: a name starts nothing.
        let version = uki.version().unwrap_or("unknown release").to_string();
        let source = LoadImageSource::FromBuffer {
            buffer: &image,
            file_path: None,
        };
        let handle = boot::load_image(boot::image_handle(), source)
            .map_err(Trouble::firmware("loading it from memory"))?;
        Ok(Loaded { handle, version })
    }

    fn start(&mut self, image: Loaded, start: Start) -> Trouble {
        let (candidate, tries) = (start.candidate, start.tries_left);
        let (version, slot) = (&image.version, candidate.slot);
        say!(
            "booting {version} from slot {slot} ({}), tries left {tries}",
            candidate.reason
        );
        variables::describe(start);
        let status = match boot::start_image(image.handle) {
            Ok(()) => Status::SUCCESS,
            Err(why) => why.status(),
        };
        // Nothing to unload: the firmware did that when the image came back (UEFI
        // Specification, EFI_BOOT_SERVICES.StartImage).
        Trouble::Returned(status)
    }

    fn report(&mut self, problem: Problem<Trouble>) {
        say!("{problem}");
    }
}
