//! VirtualBox: the guest property `/Ignition/Config`, asked of the host's
//! property service through the guest device.

mod hgcm;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::fetch::{CONFIG_LIMIT, Fetcher};

use super::{Provider, ProviderError, Raw};

pub use hgcm::{Parameter, Status};

/// The name upstream gave the property.
const PROPERTY: &str = "/Ignition/Config";

const SERVICE: &str = "VBoxGuestPropSvc";

/// Function of the service: name in; value, time and size out.
const GET_PROPERTY: u32 = 1;

/// How often the value may grow while it is read.
const ATTEMPTS: usize = 10;

/// The host's services. Tests put one of their own in their place.
pub trait Services: fmt::Debug + Send + Sync {
    /// Connects to `service` and calls its `function` once.
    ///
    /// Parameters that the service fills are changed. An error is one of
    /// reaching the service; what it says of its own is the status.
    fn call(
        &self,
        service: &str,
        function: u32,
        parameters: &mut [Parameter],
    ) -> io::Result<Status>;
}

/// The machine's property.
#[derive(Debug, Clone)]
pub struct VirtualBox {
    host: Arc<dyn Services>,
}

impl Default for VirtualBox {
    fn default() -> Self {
        Self::new(Arc::new(hgcm::Device::new(PathBuf::from("/dev/vboxguest"))))
    }
}

impl VirtualBox {
    /// Asks `host`.
    pub fn new(host: Arc<dyn Services>) -> Self {
        Self { host }
    }

    /// The property's value, or None if it is not set.
    fn property(&self) -> io::Result<Option<Vec<u8>>> {
        let mut room = 4096;
        for _ in 0..ATTEMPTS {
            let mut parameters = [
                Parameter::Text(PROPERTY.to_owned()),
                Parameter::Buffer(vec![0; room]),
                Parameter::Number64(0),
                Parameter::Number32(0),
            ];
            let status = self.host.call(SERVICE, GET_PROPERTY, &mut parameters)?;
            let [_, Parameter::Buffer(value), _, Parameter::Number32(size)] = parameters else {
                return Err(io::Error::other("the parameters changed their kinds"));
            };
            match status {
                Status::SUCCESS => return Ok(Some(text(value))),
                Status::NOT_FOUND => return Ok(None),
                Status::BUFFER_OVERFLOW => room = enough(size, room)?,
                Status(code) => {
                    let message = format!("the property service gave error {code}");
                    return Err(io::Error::other(message));
                }
            }
        }
        Err(io::Error::other("the property changes all the time"))
    }
}

/// A buffer's size for a value of `size` bytes that did not fit into `room`.
fn enough(size: u32, room: usize) -> io::Result<usize> {
    let size = size as usize;
    if size > CONFIG_LIMIT {
        let message = format!("larger than the limit of {} MiB", CONFIG_LIMIT >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(size.max(room + 1))
}

/// The value, up to the zero before the property's flags.
fn text(mut value: Vec<u8>) -> Vec<u8> {
    let end = value.iter().position(|byte| *byte == 0);
    value.truncate(end.unwrap_or(value.len()));
    value
}

impl Provider for VirtualBox {
    fn name(&self) -> &'static str {
        "virtualbox"
    }

    fn config(&self, _: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let value = self.property().map_err(|source| ProviderError::Host {
            what: format!("VirtualBox's guest property {PROPERTY}"),
            source,
        })?;
        Ok(value.map(|bytes| Raw {
            source: format!("VirtualBox guest property ({PROPERTY})"),
            bytes,
        }))
    }
}
