//! Rebooting, and making sure of it.

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::reboot::RebootMode;

use crate::log;

/// How long an orderly shutdown may take before the next, harder way is tried.
const ORDERLY: Duration = Duration::from_secs(120);

/// How long a forced one may take.
const FORCED: Duration = Duration::from_secs(30);

/// Asks systemd for an orderly reboot, and returns.
pub fn ask() -> std::io::Result<()> {
    systemctl(&["reboot", "--no-block"])
}

/// Reboots, whatever it takes. Returns only if even the kernel refuses.
pub fn insist() {
    let ways: [(&[&str], Duration); 3] = [
        (&["reboot", "--no-block"], ORDERLY),
        (&["reboot", "--force"], FORCED),
        (&["reboot", "--force", "--force"], FORCED),
    ];
    for (arguments, patience) in ways {
        match systemctl(arguments) {
            Ok(()) => std::thread::sleep(patience),
            Err(error) => log::error(format!("systemctl {}: {error}", arguments.join(" "))),
        }
    }
    nix::unistd::sync();
    let Err(error) = nix::sys::reboot::reboot(RebootMode::RB_AUTOBOOT);
    log::error(format!("the kernel does not reboot: {error}"));
}

fn systemctl(arguments: &[&str]) -> std::io::Result<()> {
    let mut child = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()?;
    let status = child.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("systemctl: {status}")))
    }
}
