//! VMware: the guestinfo variables `ignition.config.data` and
//! `ignition.config.data.encoding`, or properties of those names in the OVF
//! environment, which the host gives as a variable too.

mod backdoor;
mod ovf;

use std::fmt;
use std::io::{self, Read as _};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use crate::fetch::{CONFIG_LIMIT, Fetcher};
use crate::log;

use super::{Provider, ProviderError, Raw};

/// An XML document of the virtual appliance's properties.
const ENVIRONMENT: &str = "guestinfo.ovfEnv";
const DATA: &str = "guestinfo.ignition.config.data";
const ENCODING: &str = "guestinfo.ignition.config.data.encoding";

/// Where a host keeps what it tells its guests. Tests put a map in its place.
pub trait Guestinfo: fmt::Debug + Send + Sync {
    /// The variable `name`, or None if it is not set.
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
}

/// The machine's variables.
#[derive(Debug, Clone)]
pub struct VmWare {
    host: Arc<dyn Guestinfo>,
}

impl Default for VmWare {
    fn default() -> Self {
        Self::new(Arc::new(backdoor::Backdoor))
    }
}

/// A text and how it was packed.
#[derive(Debug, Default)]
struct Packed {
    source: &'static str,
    data: Vec<u8>,
    encoding: String,
}

impl VmWare {
    /// Asks `host`.
    pub fn new(host: Arc<dyn Guestinfo>) -> Self {
        Self { host }
    }

    /// The variable `name`; one that is empty counts as not set.
    fn variable(&self, name: &str) -> Result<Vec<u8>, ProviderError> {
        let value = self.host.get(name).map_err(|source| ProviderError::Host {
            what: format!("VMware's {name}"),
            source,
        })?;
        Ok(value.unwrap_or_default())
    }

    /// What the appliance's properties say. One that cannot be read is no
    /// reason to stop: the variables may be there.
    fn environment(&self) -> Result<Packed, ProviderError> {
        let document = self.variable(ENVIRONMENT)?;
        if document.trim_ascii().is_empty() {
            return Ok(Packed::default());
        }
        let properties = match ovf::properties(&document, [DATA, ENCODING]) {
            Ok(properties) => properties,
            Err(message) => {
                log::warn(&format!("VMware's {ENVIRONMENT} is passed over: {message}"));
                return Ok(Packed::default());
            }
        };
        let [data, encoding] = properties.map(Option::unwrap_or_default);
        Ok(Packed {
            source: "OVF environment (property guestinfo.ignition.config.data)",
            data: data.into_bytes(),
            encoding,
        })
    }

    /// The variables, and where they are not set the properties; each apart,
    /// as upstream.
    fn packed(&self) -> Result<Packed, ProviderError> {
        let mut packed = self.environment()?;
        let data = self.variable(DATA)?;
        if !data.is_empty() {
            packed.source = "VMware guestinfo (guestinfo.ignition.config.data)";
            packed.data = data;
        }
        let encoding = self.variable(ENCODING)?;
        if !encoding.is_empty() {
            packed.encoding = String::from_utf8_lossy(&encoding).into_owned();
        }
        Ok(packed)
    }
}

impl Provider for VmWare {
    fn name(&self) -> &'static str {
        "vmware"
    }

    fn config(&self, _: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let packed = self.packed()?;
        if packed.data.is_empty() {
            return Ok(None);
        }
        let raw = Raw {
            source: packed.source.to_owned(),
            bytes: packed.data,
        };
        unpack(raw, packed.encoding.trim()).map(Some)
    }
}

/// Undoes `encoding`; its names are upstream's.
fn unpack(raw: Raw, encoding: &str) -> Result<Raw, ProviderError> {
    match encoding {
        "" => Ok(raw),
        "b64" | "base64" => raw.base64_decoded(),
        "gz" | "gzip" => gunzip(raw),
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => gunzip(raw.base64_decoded()?),
        other => Err(ProviderError::Encoding {
            place: raw.source,
            message: format!(
                "the encoding {other:?} is not known; write base64, gzip or gzip+base64 \
                 into {ENCODING}, or nothing"
            ),
        }),
    }
}

fn gunzip(raw: Raw) -> Result<Raw, ProviderError> {
    let failed = |message: String| ProviderError::Encoding {
        place: raw.source.clone(),
        message,
    };
    let mut bytes = Vec::new();
    let limit = CONFIG_LIMIT as u64;
    MultiGzDecoder::new(raw.bytes.as_slice())
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(format!("expected gzip: {error}")))?;
    if bytes.len() as u64 > limit {
        let limit = CONFIG_LIMIT >> 20;
        return Err(failed(format!(
            "unpacked larger than the limit of {limit} MiB"
        )));
    }
    Ok(Raw { bytes, ..raw })
}
