//! Ports of the host that lead into a pod.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ValueError;

/// What is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// `[ADDRESS:]HOST:POD[/tcp|udp]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortOption {
    /// The host's address that is listened on; all of them without one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<IpAddr>,
    /// The host's port.
    pub host: u16,
    /// The pod's port.
    pub pod: u16,
    /// What is forwarded.
    pub protocol: Protocol,
}

impl FromStr for PortOption {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            ValueError::new(
                "expected [ADDRESS:]HOST:POD[/tcp|udp], for instance 8080:80 or [::1]:53:53/udp",
            )
        };
        let (ports, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(wrong()),
        };
        let (front, pod) = ports.rsplit_once(':').ok_or_else(wrong)?;
        let (address, host) = match front.rsplit_once(':') {
            None => (None, front),
            Some((address, host)) => {
                let bare = address
                    .strip_prefix('[')
                    .and_then(|rest| rest.strip_suffix(']'))
                    .unwrap_or(address);
                (Some(bare.parse().map_err(|_| wrong())?), host)
            }
        };
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
        Ok(Self {
            address,
            host: port(host).ok_or_else(wrong)?,
            pod: port(pod).ok_or_else(wrong)?,
            protocol,
        })
    }
}

impl fmt::Display for PortOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        write!(f, "{}:{}/{}", self.host, self.pod, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_people_know_them() {
        for (text, shown) in [
            ("8080:80", "8080:80/tcp"),
            ("53:53/udp", "53:53/udp"),
            ("127.0.0.1:80:80", "127.0.0.1:80:80/tcp"),
            ("[::1]:1:2/tcp", "[::1]:1:2/tcp"),
        ] {
            assert_eq!(text.parse::<PortOption>().unwrap().to_string(), shown);
        }
        for bad in [
            "80",
            "0:80",
            "80:0",
            "a:80",
            "80:80/sctp",
            "x:1:2",
            "1:2:3:",
            "65536:1",
        ] {
            assert!(bad.parse::<PortOption>().is_err(), "{bad}");
        }
    }
}
