//! Three members, each in a network namespace of its own.

use std::path::Path;

use locksmith::etcd::Options;

use crate::member::Member;
use crate::network::Network;

pub const MEMBERS: usize = 3;

/// A cluster of etcd.
pub struct Cluster {
    pub members: Vec<Member>,
    pub network: Network,
}

impl Cluster {
    pub fn start(dir: &Path) -> Self {
        let network = Network::new(MEMBERS);
        let url = |member, port| format!("http://{}:{port}", network.address(member));
        let all: Vec<String> = (0..MEMBERS)
            .map(|m| format!("m{m}={}", url(m, 2380)))
            .collect();
        let start = |member| {
            let arguments = [
                format!("--listen-client-urls={}", url(member, 2379)),
                format!("--advertise-client-urls={}", url(member, 2379)),
                format!("--listen-peer-urls={}", url(member, 2380)),
                format!("--initial-advertise-peer-urls={}", url(member, 2380)),
                format!("--initial-cluster={}", all.join(",")),
            ];
            let namespace = network.namespace(member);
            Member::start(dir, &format!("m{member}"), Some(&namespace), &arguments)
        };
        Self {
            members: (0..MEMBERS).map(start).collect(),
            network,
        }
    }

    /// The way to it; each host begins with another member.
    pub fn options(&self, host: usize) -> Options {
        let server = |n| format!("http://{}:2379", self.network.address((host + n) % MEMBERS));
        Options {
            endpoints: (0..MEMBERS).map(server).collect(),
            ..Options::default()
        }
    }
}
