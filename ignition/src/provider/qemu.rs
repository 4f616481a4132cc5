//! QEMU's firmware configuration device.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::fetch::Fetcher;
use crate::log;

use super::{Provider, ProviderError, Raw};

/// The name upstream gave the config among the firmware's files.
const ITEM: &str = "opt/com.coreos/config";

/// The config given by `-fw_cfg name=opt/com.coreos/config,file=…`.
#[derive(Debug, Clone)]
pub struct Qemu {
    /// Directory that the kernel module `qemu_fw_cfg` fills.
    sysfs: PathBuf,
}

impl Default for Qemu {
    fn default() -> Self {
        Self::new(PathBuf::from("/sys/firmware/qemu_fw_cfg"))
    }
}

impl Qemu {
    /// Reads below `sysfs`.
    pub fn new(sysfs: PathBuf) -> Self {
        Self { sysfs }
    }
}

impl Provider for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn config(&self, _: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        if !self.sysfs.exists() {
            load_module();
        }
        let path = self.sysfs.join("by_name").join(ITEM).join("raw");
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(Raw {
                source: format!("QEMU fw_cfg ({ITEM})"),
                bytes,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ProviderError::Read { path, source }),
        }
    }
}

/// udev loads the module on its own, maybe later; without it there is no
/// config, as on a machine that is not QEMU.
fn load_module() {
    let result = Command::new("modprobe")
        .arg("qemu_fw_cfg")
        .stdin(Stdio::null())
        .output();
    match result {
        Ok(output) if output.status.success() => {}
        Ok(output) => log::warn(&format!(
            "modprobe qemu_fw_cfg: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => log::warn(&format!("modprobe qemu_fw_cfg: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Network;
    use std::time::Duration;

    #[test]
    fn reads_the_item() {
        let sysfs = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(Network::Absent, Duration::from_secs(1));
        let provider = Qemu::new(sysfs.path().to_owned());
        assert_eq!(provider.config(&fetcher).unwrap(), None);
        let item = sysfs.path().join("by_name/opt/com.coreos/config");
        std::fs::create_dir_all(&item).unwrap();
        std::fs::write(item.join("raw"), "{}").unwrap();
        let raw = provider.config(&fetcher).unwrap().unwrap();
        assert_eq!(raw.bytes, b"{}");
        assert_eq!(raw.source, "QEMU fw_cfg (opt/com.coreos/config)");
    }
}
