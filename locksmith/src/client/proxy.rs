//! The daemon as its clients see it.

// What the methods do is said where they are implemented, in `crate::bus`; the generated
// ones have nobody to document them.
#![allow(missing_docs)]

use zbus::proxy;

/// The daemon.
#[proxy(
    interface = "org.ballast.Locksmith1",
    default_service = "org.ballast.Locksmith1",
    default_path = "/org/ballast/Locksmith1"
)]
pub trait Locksmith1 {
    fn reboot(&self, reason: &str, force: bool) -> zbus::Result<String>;
    fn lock(&self, reason: &str) -> zbus::Result<String>;
    fn unlock(&self, id: &str) -> zbus::Result<String>;
    fn set_max(&self, max: u32) -> zbus::Result<String>;
    fn lift(&self, version: &str) -> zbus::Result<String>;
    fn migrate(&self, name: &str, content: &[u8]) -> zbus::Result<String>;
    fn group(&self) -> zbus::Result<String>;
    fn describe(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn position(&self) -> zbus::Result<u32>;
}
