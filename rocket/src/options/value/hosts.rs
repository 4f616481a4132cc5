//! Lines of `/etc/hosts`.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ValueError;

/// `ADDRESS=NAME`, or `host` for all that the host's own file has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostsEntry {
    /// The lines of the host's file.
    Host,
    /// A name for an address.
    Name {
        /// The address.
        address: IpAddr,
        /// The name.
        name: String,
    },
}

impl FromStr for HostsEntry {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "host" {
            return Ok(Self::Host);
        }
        let wrong = || ValueError::new("expected ADDRESS=NAME, for instance 10.0.0.5=db, or host");
        let (address, name) = text.split_once('=').ok_or_else(wrong)?;
        let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || name.len() > 253 || !name.chars().all(is_good) {
            return Err(wrong());
        }
        Ok(Self::Name {
            address: address.parse().map_err(|_| wrong())?,
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_an_address_and_a_name() {
        assert_eq!("host".parse(), Ok(HostsEntry::Host));
        assert!("fd00::1=db.lan".parse::<HostsEntry>().is_ok());
        for bad in [
            "db",
            "db=10.0.0.1",
            "10.0.0.1=",
            "10.0.0.1=a b",
            "10.0.0.1=a\nb",
        ] {
            assert!(bad.parse::<HostsEntry>().is_err(), "{bad}");
        }
    }
}
