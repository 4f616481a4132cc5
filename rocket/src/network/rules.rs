//! Rules for nftables: what leaves goes out under the host's address, ports lead in, nothing
//! else reaches a pod from outside.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use super::{Lease, Leases, NetworkError, Settings};
use crate::options::PortOption;

/// The table that is ours alone.
pub const TABLE: &str = "rocket";

/// All rules, as one transaction: the kernel has the old ones or these.
pub fn rules(settings: &Settings, leases: &[Lease]) -> String {
    let mut text = String::new();
    // The first line makes the table if there is none, so that the second can remove it.
    let _ = writeln!(
        text,
        "table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{"
    );
    text.push_str("\tchain ports {\n");
    for lease in leases {
        for port in &lease.ports {
            forward(&mut text, lease, port);
        }
    }
    text.push_str("\t}\n");
    let bridge = &settings.bridge;
    let _ = write!(
        text,
        "\tchain prerouting {{
\t\ttype nat hook prerouting priority dstnat
\t\tfib daddr type local jump ports
\t}}
\tchain output {{
\t\ttype nat hook output priority -100
\t\tfib daddr type local jump ports
\t}}
\tchain forward {{
\t\ttype filter hook forward priority filter
\t\tiifname != \"{bridge}\" oifname \"{bridge}\" ct state established,related accept
\t\tiifname != \"{bridge}\" oifname \"{bridge}\" ct status dnat accept
\t\tiifname != \"{bridge}\" oifname \"{bridge}\" drop
\t}}
\tchain postrouting {{
\t\ttype nat hook postrouting priority srcnat
"
    );
    let networks = [
        Some(("ip", settings.ipv4.to_string())),
        settings.ipv6.map(|network| ("ip6", network.to_string())),
    ];
    for (family, network) in networks.into_iter().flatten() {
        // Out of the host; from the host's loopback; a pod that reaches itself, or another on
        // the same bridge, through the host's port.
        let _ = write!(
            text,
            "\t\t{family} saddr {network} oifname != \"{bridge}\" masquerade
\t\toifname \"{bridge}\" {family} saddr != {network} fib saddr type local ct status dnat masquerade
\t\toifname \"{bridge}\" {family} saddr {network} ct status dnat masquerade
"
        );
    }
    text.push_str("\t}\n}\n");
    text
}

fn forward(text: &mut String, lease: &Lease, port: &PortOption) {
    let PortOption {
        address,
        host,
        pod,
        protocol,
    } = port;
    let on = |version: &str| match address {
        Some(address) => format!("{version} daddr {address} "),
        None => String::new(),
    };
    if !matches!(address, Some(IpAddr::V6(_))) {
        let (on, to) = (on("ip"), lease.ipv4);
        let family = "meta nfproto ipv4";
        let _ = writeln!(
            text,
            "\t\t{family} {on}{protocol} dport {host} dnat ip to {to}:{pod}"
        );
    }
    if let (Some(to), false) = (lease.ipv6, matches!(address, Some(IpAddr::V4(_)))) {
        let (on, family) = (on("ip6"), "meta nfproto ipv6");
        let _ = writeln!(
            text,
            "\t\t{family} {on}{protocol} dport {host} dnat ip6 to [{to}]:{pod}"
        );
    }
}

/// Has the kernel take rules.
///
/// # Errors
/// `nft` is not there, or refuses them.
pub fn load(settings: &Settings, leases: &Leases) -> Result<(), NetworkError> {
    let said = |error: std::io::Error| NetworkError::Rules(error.to_string());
    let rules = rules(settings, leases.all());
    // It goes on when this process is killed, and is not to come after the rules of whoever
    // has the lock next: so it has the lock too.
    let lent = leases.lend().map_err(said)?;
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(said)?;
    drop(lent);
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(rules.as_bytes()).map_err(said)?;
    }
    let output = nft.wait_with_output().map_err(said)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().next().unwrap_or("no message");
    Err(NetworkError::Rules(format!("{first} ({})", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_port_leads_to_each_address_that_it_can_come_from() {
        let settings = Settings {
            bridge: "rocket0".into(),
            ipv4: "10.117.0.0/16".parse().unwrap(),
            ipv6: Some("fd01::/64".parse().unwrap()),
            mtu: 1500,
        };
        let lease = |ports: &[&str]| Lease {
            pod: Uuid::nil(),
            ipv4: "10.117.0.2".parse().unwrap(),
            ipv6: Some("fd01::2".parse().unwrap()),
            ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
        };
        let text = rules(
            &settings,
            &[lease(&["8080:80", "127.0.0.1:53:53/udp", "[::1]:1:2"])],
        );
        let ports: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("dport"))
            .map(str::trim)
            .collect();
        assert_eq!(
            ports,
            [
                "meta nfproto ipv4 tcp dport 8080 dnat ip to 10.117.0.2:80",
                "meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd01::2]:80",
                "meta nfproto ipv4 ip daddr 127.0.0.1 udp dport 53 dnat ip to 10.117.0.2:53",
                "meta nfproto ipv6 ip6 daddr ::1 tcp dport 1 dnat ip6 to [fd01::2]:2",
            ]
        );
        let mut without = settings;
        without.ipv6 = None;
        assert!(!rules(&without, &[]).contains("ip6"));
    }
}
