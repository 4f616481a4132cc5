//! The daemon as its clients see it.

// What the methods do is said where they are implemented, in `crate::bus`; the generated
// ones have nobody to document them.
#![allow(missing_docs)]

use std::collections::HashMap;

use zbus::{Variant, proxy};

/// The daemon.
#[proxy(
    interface = "org.ballast.Update1",
    default_service = "org.ballast.Update1",
    default_path = "/org/ballast/Update1"
)]
pub trait Update1 {
    fn check(&self) -> zbus::Result<u32>;
    fn apply(&self, version: &str, options: HashMap<&str, Variant<'_>>) -> zbus::Result<u32>;
    fn rollback(&self, reboot: bool) -> zbus::Result<()>;
    fn bless(&self) -> zbus::Result<()>;
    fn hold(&self, reason: &str) -> zbus::Result<()>;
    fn unhold(&self) -> zbus::Result<()>;
    fn allow(&self, version: &str) -> zbus::Result<()>;
    fn set_channel(&self, channel: &str) -> zbus::Result<()>;
    fn cancel(&self) -> zbus::Result<()>;
    fn history(&self) -> zbus::Result<String>;
    fn describe(&self) -> zbus::Result<String>;
    #[zbus(signal)]
    fn completed(&self, job: u32, result: &str, message: &str) -> zbus::Result<()>;
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn channel(&self) -> zbus::Result<String>;
}
