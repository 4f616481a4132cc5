//! Kernel modules that udev loads on its own, maybe too late.

use std::process::{Command, Stdio};

use crate::log;

/// Loads `name`; what cannot be loaded is missed when its device is opened.
pub fn load(name: &str) {
    let result = Command::new("modprobe")
        .arg(name)
        .stdin(Stdio::null())
        .output();
    match result {
        Ok(output) if output.status.success() => {}
        Ok(output) => log::warn(&format!(
            "modprobe {name}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => log::warn(&format!("modprobe {name}: {error}")),
    }
}
