//! Arrays, encrypted volumes, file systems.

use ignition_config::v3_6::{Disk, Storage};

use crate::config::{Filesystem, Luks, Raid, filled, is_bound, list};
use crate::fetch::public_name;

use super::{Plan, origin};

impl Plan {
    /// What is made on disks and partitions.
    pub(super) fn volumes(&mut self, storage: &Storage) {
        for raid in list(storage.raid.as_ref()) {
            self.array(raid, list(storage.disks.as_ref()));
        }
        for luks in list(storage.luks.as_ref()) {
            self.volume(luks);
        }
        for filesystem in list(storage.filesystems.as_ref()) {
            self.filesystem(filesystem);
        }
    }

    fn array(&mut self, raid: &Raid, disks: &[Disk]) {
        let devices = list(raid.devices.as_ref());
        // What is there is lost with the tables of these disks, or not at all.
        let mut wiped = disks.iter().filter(|disk| disk.wipe_table == Some(true));
        let wiped = wiped.any(|disk| devices.contains(&disk.device));
        let step = self.step("disks", "make array", &raid.name);
        step.destroys = wiped;
        step.says(raid.level.clone().unwrap_or_default());
        step.says(format!("of {}", devices.join(", ")));
        if let Some(spares) = raid.spares.filter(|spares| *spares > 0) {
            step.says(format!("{spares} of them spare"));
        }
        step.says(format!("at /dev/md/{}", raid.name));
        step.says_if(!wiped, "one that is there as wanted is assembled and stays");
    }

    fn volume(&mut self, luks: &Luks) {
        let device = luks.device.as_deref().unwrap_or_default();
        let wipes = luks.wipe_volume == Some(true);
        let step = self.step("disks", "encrypt", device);
        step.destroys = wipes;
        step.says(format!("opened as /dev/mapper/{}", luks.name));
        match luks.key_file.as_ref().filter(|key| key.source.is_some()) {
            Some(key) => step.says(format!("its key: {}", origin(key))),
            None if is_bound(luks) => step.says("it opens without a key"),
            None => step.says("its key is made up by the machine"),
        };
        let clevis = luks.clevis.as_ref();
        let servers = list(clevis.and_then(|clevis| clevis.tang.as_ref()));
        for server in servers {
            let url = public_name(server.url.as_deref().unwrap_or_default());
            step.says(format!("bound by clevis to {url}"));
        }
        let tpm2 = clevis.is_some_and(|clevis| clevis.tpm2 == Some(true));
        step.says_if(tpm2, "bound by clevis to the machine's TPM");
        let custom = clevis.and_then(|clevis| clevis.custom.as_ref());
        if let Some(pin) = custom.and_then(|custom| filled(custom.pin.as_ref())) {
            step.says(format!("bound by clevis with the pin {pin}"));
        }
        step.says_if(wipes, "what is there is lost");
    }

    fn filesystem(&mut self, filesystem: &Filesystem) {
        let wipes = filesystem.wipe_filesystem == Some(true);
        let format = filled(filesystem.format.as_ref()).unwrap_or("as it is");
        let step = self.step("disks", "format", &filesystem.device);
        step.destroys = wipes;
        step.says(format).says_if(wipes, "what is there is lost");
        if let Some(path) = filled(filesystem.path.as_ref()) {
            step.says(format!("at {path} while files are written"));
        }
    }
}
