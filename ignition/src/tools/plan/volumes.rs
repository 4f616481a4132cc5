//! Arrays, encrypted volumes, file systems.

use ignition_config::v3_6::{Disk, Storage};

use crate::config::{Filesystem, Luks, Raid, filled, is_bound, list};
use crate::fetch::public_name;
use crate::stage::disks::{Foretold, Verdict};

use super::{Plan, Step, origin};

impl Plan {
    /// Arrays: what becomes of those on disks that were given, of others what may.
    pub(super) fn arrays(&mut self, storage: &Storage, foretold: &Foretold) {
        for (index, raid) in list(storage.raid.as_ref()).iter().enumerate() {
            match foretold.verdicts.get(&format!("storage.raid.{index}")) {
                Some(Verdict::Kept(what)) => self.kept("keep array", &raid.name, what),
                verdict => self.array(raid, list(storage.disks.as_ref()), verdict),
            }
        }
    }

    /// Encrypted volumes.
    pub(super) fn volumes(&mut self, storage: &Storage, foretold: &Foretold) {
        for (index, luks) in list(storage.luks.as_ref()).iter().enumerate() {
            let device = luks.device.as_deref().unwrap_or_default();
            match foretold.verdicts.get(&format!("storage.luks.{index}")) {
                Some(Verdict::Kept(what)) => {
                    let what = format!(
                        "{what}, if the config's key opens it and it allows discards as the \
                         config says"
                    );
                    self.kept("keep volume", device, &what);
                }
                verdict => self.volume(luks, verdict),
            }
        }
    }

    /// File systems.
    pub(super) fn filesystems(&mut self, storage: &Storage, foretold: &Foretold) {
        for (index, wanted) in list(storage.filesystems.as_ref()).iter().enumerate() {
            match foretold
                .verdicts
                .get(&format!("storage.filesystems.{index}"))
            {
                Some(Verdict::Kept(what)) => {
                    self.kept("keep file system", &wanted.device, what);
                }
                verdict => self.filesystem(wanted, verdict),
            }
        }
    }

    fn kept(&mut self, action: &str, target: &str, what: &str) {
        let step = self.step("disks", action, target);
        step.says(format!("it is there as wanted: {what}"));
    }

    fn array(&mut self, raid: &Raid, disks: &[Disk], verdict: Option<&Verdict>) {
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
        match verdict {
            Some(Verdict::Made(lost)) => step.loses(lost.as_deref()),
            _ => {
                step.says_if(!wiped, "one that is there as wanted is assembled and stays");
                step.is_open(verdict);
            }
        }
    }

    fn volume(&mut self, luks: &Luks, verdict: Option<&Verdict>) {
        let device = luks.device.as_deref().unwrap_or_default();
        let wipes = luks.wipe_volume == Some(true);
        let step = self.step("disks", "encrypt", device);
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
        step.judged(verdict, wipes);
    }

    fn filesystem(&mut self, filesystem: &Filesystem, verdict: Option<&Verdict>) {
        let wipes = filesystem.wipe_filesystem == Some(true);
        let format = filled(filesystem.format.as_ref()).unwrap_or("as it is");
        let step = self.step("disks", "format", &filesystem.device);
        step.says(format).judged(verdict, wipes);
        if let Some(path) = filled(filesystem.path.as_ref()) {
            step.says(format!("at {path} while files are written"));
        }
    }
}

impl Step {
    /// What is lost, if it is known; else what `wipes` allows.
    fn judged(&mut self, verdict: Option<&Verdict>, wipes: bool) {
        if let Some(Verdict::Made(lost)) = verdict {
            return self.loses(lost.as_deref());
        }
        self.destroys = wipes;
        self.says_if(wipes, "what is there is lost");
        self.is_open(verdict);
    }

    fn loses(&mut self, lost: Option<&str>) {
        self.destroys = lost.is_some();
        match lost {
            Some(lost) => self.says(format!("what is there is lost: {lost}")),
            None => self.says("nothing is there"),
        };
    }

    fn is_open(&mut self, verdict: Option<&Verdict>) {
        if let Some(Verdict::Open(why)) = verdict {
            self.says(format!(
                "the machine decides whether it is there already ({why})"
            ));
        }
    }
}
