//! Debian's `ignition`, which is Go Ignition.

use std::path::Path;

use anyhow::{Result, ensure};
use image::host::capture;
use image::tools::Tools;

/// The program, in the tree.
pub const PROGRAM: &str = "/usr/lib/dracut/modules.d/30ignition/ignition";
/// Its release, which the budgets are about.
pub const RELEASE: &str = "2.14.0";
/// Debian's package.
const PACKAGE: &str = "ignition";

/// A tree that has the program and what it calls; made once. Inside, the service manager's
/// sockets are those in `service_manager`.
///
/// Fails if it is another release.
pub fn tools(service_manager: &Path) -> Result<Tools> {
    let tools = Tools::ensure()?.with_packages(&[PACKAGE])?;
    let tools = tools.bind_at(service_manager, "/run/systemd");
    let version = capture(tools.command(PROGRAM).arg("-version"))?;
    ensure!(
        version.contains(RELEASE),
        "Debian's ignition is {:?}, and the budgets are about {RELEASE}",
        version.trim()
    );
    Ok(tools)
}
