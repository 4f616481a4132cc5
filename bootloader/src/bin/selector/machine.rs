//! The machine that the walk along the slots runs on.

use crate::arguments::{self, Options};
use crate::{console::say, disk::Disk, pages::Pages, trouble::Trouble, variables};
use alloc::string::{String, ToString};
use bootloader::attempt::{Machine, Problem, Start};
use bootloader::choose::Reason;
use bootloader::gpt::Guid;
use bootloader::kargs::{self, Kargs, Outcome};
use bootloader::slot::{BootPartition, SlotBits};
use bootloader::uki::{self, Uki, UkiError};
use bootloader::{BlockIo, Gpt, SlotTable};
use uefi::boot::{self, LoadImageSource};
use uefi::{Handle, Status};

/// Bytes in one read. Firmware is slow per request, and emulated firmware very slow.
const CHUNK: usize = 8 << 20;

/// The firmware, with the disk and its partition table.
pub struct Firmware {
    disk: Disk,
    gpt: Gpt,
    /// The partition with this program.
    esp: Guid,
}

/// A kernel image that the firmware has loaded and found well signed, if it cares.
pub struct Loaded {
    handle: Handle,
    version: String,
    command_line: Result<String, UkiError>,
}

impl Firmware {
    /// A machine with this disk, on which `gpt` is the table and `esp` the partition
    /// that this program came from.
    pub fn new(disk: Disk, gpt: Gpt, esp: Guid) -> Self {
        Self { disk, gpt, esp }
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

    /// Hands this host's kernel arguments to `image`, if it has some and they may be
    /// used, and tells people and the operating system what became of them. Without
    /// them the image is started with its own command line.
    fn give_arguments(&mut self, image: &Loaded, reason: Reason) -> Option<Options> {
        let given = match arguments::file() {
            Ok(None) => return None,
            Ok(Some(file)) => self.try_arguments(&file, image, reason),
            Err(why) => Err(why),
        };
        let (outcome, options) = match given {
            Ok(options) => (Outcome::Used, Some(options)),
            Err(why) => {
                say!("kernel arguments of this host not used: {why}");
                (why.outcome(), None)
            }
        };
        variables::arguments(outcome);
        options
    }

    /// Takes the try that new arguments need before anything is started with them.
    fn try_arguments(
        &mut self,
        file: &[u8],
        image: &Loaded,
        reason: Reason,
    ) -> Result<Options, Trouble> {
        let change = Kargs::parse(file)?;
        let esp = self.gpt.partitions().find(|p| p.guid == self.esp);
        let esp = esp.ok_or(Trouble::NoDisk)?;
        let trial = SlotBits::from_attributes(esp.attributes);
        let outcome = kargs::decide(&kargs::Boot {
            reason,
            secure: arguments::secure_boot(),
            refused: arguments::refused(),
            trial,
        });
        if outcome != Outcome::Used {
            return Err(Trouble::Unused(outcome));
        }
        let line = change.apply(image.command_line.as_ref().map_err(|why| *why)?)?;
        let options = Options::new(&line);
        if let Some(taken) = kargs::taken(trial) {
            let attributes = taken.into_attributes(esp.attributes);
            let set = self.gpt.set_attributes(esp.number, attributes);
            set.map_err(Trouble::table)?;
            self.gpt.commit(&mut self.disk)?;
        }
        options.give(image.handle)?;
        say!("kernel arguments of this host: {change}");
        Ok(options)
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
        let command_line = uki.command_line().map(String::from);
        let source = LoadImageSource::FromBuffer {
            buffer: &image,
            file_path: None,
        };
        let handle = boot::load_image(boot::image_handle(), source)
            .map_err(Trouble::firmware("loading it from memory"))?;
        Ok(Loaded {
            handle,
            version,
            command_line,
        })
    }

    fn start(&mut self, image: Loaded, start: Start) -> Trouble {
        let (candidate, tries) = (start.candidate, start.tries_left);
        let (version, slot) = (&image.version, candidate.slot);
        say!(
            "booting {version} from slot {slot} ({}), tries left {tries}",
            candidate.reason
        );
        // Stays where it is until the image has come back.
        let options = self.give_arguments(&image, candidate.reason);
        variables::describe(start);
        let status = match boot::start_image(image.handle) {
            Ok(()) => Status::SUCCESS,
            Err(why) => why.status(),
        };
        drop(options);
        // Nothing to unload: the firmware did that when the image came back (UEFI
        // Specification, EFI_BOOT_SERVICES.StartImage).
        Trouble::Returned(status)
    }

    fn report(&mut self, problem: Problem<Trouble>) {
        say!("{problem}");
    }
}
