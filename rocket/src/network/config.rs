//! Settings of rocket's own network.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::{fs, io};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{NetworkError, failed};

/// Where settings are, below a directory of policy.
const FILE: &str = "network.toml";

/// Largest name of a device, linux/if.h.
const MOST_NAME: usize = 15;

/// The bridge and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name of the bridge.
    pub bridge: String,
    /// Addresses of version 4; the first is the host's.
    pub ipv4: Ipv4Net,
    /// Addresses of version 6; the first is the host's. None if it is switched off.
    pub ipv6: Option<Ipv6Net>,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    default: Section,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    bridge: Option<String>,
    ipv4: Option<Ipv4Net>,
    ipv6: Option<Version6>,
    mtu: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Version6 {
    Switch(bool),
    Network(Ipv6Net),
}

impl Settings {
    /// Reads the first `network.toml` of these directories of policy.
    ///
    /// # Errors
    /// The file cannot be read or is wrong.
    pub fn load(config: &[PathBuf]) -> Result<Self, NetworkError> {
        let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        for dir in config {
            let path = dir.join(FILE);
            match fs::read_to_string(&path) {
                Ok(text) => return Self::parse(&text, &path, machine.trim()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("reading", path)(error)),
            }
        }
        Self::parse("", Path::new(FILE), machine.trim())
    }

    fn parse(text: &str, path: &Path, machine: &str) -> Result<Self, NetworkError> {
        let wrong = |message: String| NetworkError::Settings {
            path: path.to_owned(),
            message,
        };
        let file: File = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let section = file.default;
        let bridge = section.bridge.unwrap_or_else(|| "rocket0".to_owned());
        let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if bridge.is_empty() || bridge.len() > MOST_NAME || !bridge.chars().all(is_good) {
            return Err(wrong(format!(
                "default.bridge: {bridge:?} is not the name of a device (at most {MOST_NAME} \
                 letters, digits, - _ and .)"
            )));
        }
        let standard = Ipv4Net::new_assert(Ipv4Addr::new(10, 117, 0, 0), 16);
        let ipv4 = section.ipv4.unwrap_or(standard).trunc();
        if !(8..=29).contains(&ipv4.prefix_len()) {
            return Err(wrong(format!(
                "default.ipv4: {ipv4} has to be a network of /8 to /29"
            )));
        }
        let ipv6 = match section.ipv6 {
            Some(Version6::Switch(false)) => None,
            Some(Version6::Network(network)) if network.prefix_len() == 64 => Some(network.trunc()),
            Some(Version6::Network(network)) => {
                return Err(wrong(format!("default.ipv6: {network} has to be a /64")));
            }
            None | Some(Version6::Switch(true)) => Some(unique_local(machine)),
        };
        let mtu = section.mtu.unwrap_or(1500);
        if !(1280..=65535).contains(&mtu) {
            return Err(wrong(format!(
                "default.mtu: {mtu} is not within 1280 and 65535"
            )));
        }
        Ok(Self {
            bridge,
            ipv4,
            ipv6,
            mtu,
        })
    }
}

/// A network of this host's own, RFC 4193: the 40 bits that have to be random are a hash of
/// the machine's ID, so that they stay.
fn unique_local(machine: &str) -> Ipv6Net {
    let hash = Sha256::digest(format!("rocket network {machine}"));
    let mut bytes = [0_u8; 16];
    bytes[0] = 0xfd;
    bytes[1..6].copy_from_slice(&hash[..5]);
    Ipv6Net::new_assert(Ipv6Addr::from(bytes), 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("network.toml"), "m").map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_file_there_is_a_network_of_both_versions() {
        let settings = read("").unwrap();
        assert_eq!(settings.ipv4.to_string(), "10.117.0.0/16");
        let ipv6 = settings.ipv6.unwrap();
        assert_eq!(ipv6.addr().segments()[0] >> 8, 0xfd);
        assert_ne!(unique_local("a"), unique_local("b"));
    }

    #[test]
    fn settings_are_checked_by_key() {
        let text = "[default]\nipv4 = \"192.168.5.9/24\"\nipv6 = false\nbridge = \"pods\"";
        let settings = read(text).unwrap();
        assert_eq!(settings.ipv4.to_string(), "192.168.5.0/24");
        assert_eq!(settings.ipv6, None);
        for (text, said) in [
            ("[default]\nipv4 = \"10.0.0.0/30\"", "default.ipv4"),
            ("[default]\nipv6 = \"fd00::/48\"", "default.ipv6"),
            ("[default]\nmtu = 100", "default.mtu"),
            ("[default]\nbridge = \"a b\"", "default.bridge"),
            ("[default]\nbrigde = \"a\"", "brigde"),
        ] {
            assert!(read(text).unwrap_err().contains(said), "{text}");
        }
    }
}
