//! What the firmware and the selector say, in EFI variables (efivarfs).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use bootloader::kargs::Outcome;

use super::KargsError;
use super::error::io;

const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const SYSTEMD: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const BALLAST: &str = "c78ca85e-8e04-4fdc-aace-bdbd51cff996";

/// Bytes in front of every value: its attributes.
const ATTRIBUTES: usize = 4;

/// Most bytes of a variable that is asked for here.
const LIMIT: u64 = 1024;

/// The variables.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// Mount point of efivarfs; another directory in tests.
    pub variables: PathBuf,
}

impl Default for Firmware {
    fn default() -> Self {
        let variables = PathBuf::from("/sys/firmware/efi/efivars");
        Self { variables }
    }
}

impl Firmware {
    /// UUID of the partition that the selector came from; None if another program, or
    /// none, has started this machine.
    pub fn esp(&self) -> Result<Option<String>, KargsError> {
        const NAME: &str = "LoaderDevicePartUUID";
        let Some(uuid) = self.text(NAME, SYSTEMD)? else {
            return Ok(None);
        };
        let uuid = uuid.to_ascii_lowercase();
        // It becomes part of a path.
        let plain = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        match uuid.len() == 36 && uuid.bytes().all(plain) {
            true => Ok(Some(uuid)),
            false => Err(KargsError::Variable {
                name: NAME,
                what: "UUID",
            }),
        }
    }

    /// What the selector did with the arguments of this host; None if it saw none.
    pub fn outcome(&self) -> Result<Option<Outcome>, KargsError> {
        const NAME: &str = "BallastKernelArguments";
        let said = self.text(NAME, BALLAST)?;
        let known = said.map(|name| {
            Outcome::from_name(&name).ok_or(KargsError::Variable {
                name: NAME,
                what: "outcome that this release knows",
            })
        });
        known.transpose()
    }

    /// Whether signatures are checked.
    pub fn secure_boot(&self) -> Result<bool, KargsError> {
        let value = self.read("SecureBoot", GLOBAL)?;
        Ok(value.is_some_and(|value| value.first().is_some_and(|on| *on != 0)))
    }

    /// UTF-16 with a terminator.
    fn text(&self, name: &'static str, vendor: &str) -> Result<Option<String>, KargsError> {
        let Some(value) = self.read(name, vendor)? else {
            return Ok(None);
        };
        let (pairs, _) = value.as_chunks::<2>();
        let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        let text = String::from_utf16(&units);
        text.map(Some).map_err(|_| KargsError::Variable {
            name,
            what: "UTF-16 text",
        })
    }

    fn read(&self, name: &str, vendor: &str) -> Result<Option<Vec<u8>>, KargsError> {
        let path = self.variables.join(format!("{name}-{vendor}"));
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(Some(bytes.split_off(ATTRIBUTES.min(bytes.len())))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io("reading", &path, source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(firmware: &Firmware, name: &str, value: &[u8]) {
        let bytes = [&[6, 0, 0, 0], value].concat();
        std::fs::write(firmware.variables.join(name), bytes).unwrap();
    }

    fn utf16(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().chain([0]);
        units.flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn variables_are_read_and_believed_within_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let variables = directory.path().to_owned();
        let firmware = Firmware { variables };
        assert_eq!(firmware.esp().unwrap(), None);
        assert_eq!(firmware.outcome().unwrap(), None);
        assert!(!firmware.secure_boot().unwrap());
        let secure = format!("SecureBoot-{GLOBAL}");
        for (value, on) in [(&[0][..], false), (&[1], true), (&[], false)] {
            set(&firmware, &secure, value);
            assert_eq!(firmware.secure_boot().unwrap(), on);
        }
        let outcome = format!("BallastKernelArguments-{BALLAST}");
        set(&firmware, &outcome, &utf16("given-up"));
        assert_eq!(firmware.outcome().unwrap(), Some(Outcome::GivenUp));
        set(&firmware, &outcome, &utf16("of a later selector"));
        let error = firmware.outcome().unwrap_err();
        assert!(
            error.to_string().contains("BallastKernelArguments"),
            "{error}"
        );
        let loader = format!("LoaderDevicePartUUID-{SYSTEMD}");
        let uuid = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
        set(&firmware, &loader, &utf16(uuid));
        assert_eq!(firmware.esp().unwrap(), Some(uuid.to_lowercase()));
        for bad in ["../../../../../../../../etc/passwd.x", "", "0FC63DAF"] {
            set(&firmware, &loader, &utf16(bad));
            assert!(firmware.esp().is_err(), "{bad}");
        }
        set(&firmware, &loader, &[0x00, 0xd8, 0, 0]);
        assert!(firmware.esp().is_err());
        std::fs::write(firmware.variables.join(&loader), [1]).unwrap();
        assert!(firmware.esp().is_err());
    }
}
