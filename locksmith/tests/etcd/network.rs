//! Network namespaces for a cluster, made by the test and removed with it.

use std::process::Command;

/// One namespace in the middle, in which the hosts are, and one for each member.
pub struct Network {
    tag: String,
    members: usize,
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
}

impl Network {
    /// Makes the namespaces. Needs root.
    pub fn new(members: usize) -> Self {
        let tag = format!("lk{}", std::process::id());
        let network = Self { tag, members };
        let hub = network.hub();
        ip(&format!("netns add {hub}"));
        ip(&format!("-n {hub} link set lo up"));
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        let forward = ["netns", "exec", hub.as_str(), "sh", "-c", forward];
        assert!(Command::new("ip").args(forward).status().unwrap().success());
        for member in 0..members {
            network.add(member);
        }
        network
    }

    fn add(&self, member: usize) {
        let (hub, own) = (self.hub(), self.namespace(member));
        ip(&format!("netns add {own}"));
        ip(&format!("-n {own} link set lo up"));
        ip(&format!(
            "-n {hub} link add m{member} type veth peer name uplink netns {own}"
        ));
        ip(&format!(
            "-n {hub} addr add 10.77.{member}.1/24 dev m{member}"
        ));
        ip(&format!("-n {hub} link set m{member} up"));
        ip(&format!(
            "-n {own} addr add {}/24 dev uplink",
            self.address(member)
        ));
        ip(&format!("-n {own} link set uplink up"));
        ip(&format!("-n {own} route add default via 10.77.{member}.1"));
    }

    /// The namespace in the middle.
    pub fn hub(&self) -> String {
        format!("{}-hub", self.tag)
    }

    /// The namespace of a member.
    pub fn namespace(&self, member: usize) -> String {
        format!("{}-{member}", self.tag)
    }

    /// Its address.
    pub fn address(&self, member: usize) -> String {
        format!("10.77.{member}.2")
    }

    /// Nothing gets through to and from the member any more, and nobody is told.
    pub fn cut(&self, member: usize) {
        ip(&format!(
            "-n {} link set uplink down",
            self.namespace(member)
        ));
    }

    /// It does again.
    pub fn heal(&self, member: usize) {
        let own = self.namespace(member);
        ip(&format!("-n {own} link set uplink up"));
        ip(&format!(
            "-n {own} route replace default via 10.77.{member}.1"
        ));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let members = (0..self.members).map(|member| self.namespace(member));
        for namespace in members.chain([self.hub()]) {
            let _ = Command::new("ip")
                .args(["netns", "del", &namespace])
                .output();
        }
    }
}
