//! `/etc/hosts` and `/etc/resolv.conf` of pods.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::options::HostsEntry;
use crate::pod::Dns;

/// Who a pod is.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Its host name.
    pub hostname: &'a str,
    /// Its addresses; none if it has the host's network, or none at all.
    pub addresses: &'a [IpAddr],
}

/// `/etc/hosts`: the pod itself, what was asked for, and what the host's file has if that was
/// asked for.
pub fn hosts(names: Names<'_>, entries: &[HostsEntry], of_host: &str) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    if names.addresses.is_empty() {
        let _ = writeln!(text, "127.0.1.1 {}", names.hostname);
    }
    for address in names.addresses {
        let _ = writeln!(text, "{address} {}", names.hostname);
    }
    for entry in entries {
        match entry {
            HostsEntry::Name { address, name } => {
                let _ = writeln!(text, "{address} {name}");
            }
            HostsEntry::Host => {
                text.push_str(of_host);
                if !of_host.is_empty() && !of_host.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
    }
    text
}

/// `/etc/resolv.conf`: what was asked for, the rest as the host has it. A pod with a network
/// of its own does not reach servers on the host's loopback: they are left out.
pub fn resolv_conf(dns: &Dns, of_host: &str, has_own_network: bool) -> String {
    let mut text = String::new();
    let of_host: Vec<(&str, &str)> = of_host
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace))
        .collect();
    let is_loopback = |address: &str| address.parse::<IpAddr>().is_ok_and(|a| a.is_loopback());
    if dns.servers.is_empty() {
        for (_, server) in of_host.iter().filter(|(key, _)| *key == "nameserver") {
            if !has_own_network || !is_loopback(server.trim()) {
                let _ = writeln!(text, "nameserver {}", server.trim());
            }
        }
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (key, own) in [("search", &dns.search), ("options", &dns.options)] {
        if own.is_empty() {
            let host = of_host.iter().rev().find(|(found, _)| *found == key);
            if let Some((_, value)) = host {
                let _ = writeln!(text, "{key} {}", value.trim());
            }
        } else {
            let _ = writeln!(text, "{key} {}", own.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_knows_itself_and_what_was_asked_for() {
        let addresses = ["10.117.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let names = Names {
            hostname: "web",
            addresses: &addresses,
        };
        let entries = ["10.0.0.5=db".parse().unwrap(), HostsEntry::Host];
        let text = hosts(names, &entries, "192.0.2.1 other");
        let expected = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n\
                        10.117.0.2 web\nfd00::2 web\n10.0.0.5 db\n192.0.2.1 other\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn servers_on_the_hosts_loopback_are_left_out_of_other_networks() {
        let host = "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch lan\noptions edns0\n";
        let dns = Dns::default();
        let own = resolv_conf(&dns, host, true);
        assert_eq!(own, "nameserver 192.0.2.53\nsearch lan\noptions edns0\n");
        assert!(resolv_conf(&dns, host, false).contains("127.0.0.53"));
        let asked = Dns {
            servers: vec!["1.2.3.4".parse().unwrap()],
            search: vec!["a".into(), "b".into()],
            options: Vec::new(),
        };
        let text = resolv_conf(&asked, host, true);
        assert_eq!(text, "nameserver 1.2.3.4\nsearch a b\noptions edns0\n");
    }
}
