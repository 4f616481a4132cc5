//! Puts a pod on rocket's own bridge.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use uuid::Uuid;

use super::link::{Links, Peer};
use super::{Lease, Leases, NetworkError, Settings, failed, rules};
use crate::dirs::Dirs;
use crate::options::PortOption;

/// The device that a pod sees.
const INSIDE: &str = "eth0";

/// Switches on the loopback device of the namespace that process `pid` is in.
///
/// # Errors
/// The process is gone, or the kernel refuses it.
pub fn loopback(pid: i32) -> Result<(), NetworkError> {
    // It is the first device of every namespace.
    Links::of(pid)
        .and_then(|mut links| links.up(1))
        .map_err(refused("switching on the loopback of process", pid))
}

/// The bridge of a host, as its settings have it.
#[derive(Debug)]
pub struct Bridge {
    settings: Settings,
    leases: PathBuf,
}

/// The pod has the namespace that process `pid` is in: gives it addresses and ports, and
/// returns them.
///
/// # Errors
/// No address or port is free, or the kernel refuses something. What was done so far goes
/// with the namespace, and the address with the next [`Bridge::collect`].
pub fn attach(
    dirs: &Dirs,
    pod: Uuid,
    pid: i32,
    ports: &[PortOption],
) -> Result<Vec<IpAddr>, NetworkError> {
    Bridge::open(dirs)?.attach(pod, pid, ports)
}

impl Bridge {
    /// Reads the settings.
    ///
    /// # Errors
    /// They are wrong.
    pub fn open(dirs: &Dirs) -> Result<Self, NetworkError> {
        Ok(Self {
            settings: Settings::load(dirs.config())?,
            leases: dirs.run().join("network"),
        })
    }

    fn attach(
        &self,
        pod: Uuid,
        pid: i32,
        ports: &[PortOption],
    ) -> Result<Vec<IpAddr>, NetworkError> {
        let mut links = Links::here().map_err(refused("asking the kernel about", "devices"))?;
        let mut leases = Leases::lock(&self.leases)?;
        let bridge = self.ensure(&mut links, &leases)?;
        let lease = leases.take(&self.settings, pod, ports)?;
        if !ports.is_empty() {
            rules::load(&self.settings, &leases)?;
        }
        drop(leases);
        self.connect(&mut links, bridge, pid, &lease)?;
        Ok([Some(IpAddr::V4(lease.ipv4)), lease.ipv6.map(IpAddr::V6)]
            .into_iter()
            .flatten()
            .collect())
    }

    /// Takes addresses and ports back from pods that are gone. `is_there` is asked while
    /// nobody can take an address.
    ///
    /// # Errors
    /// A file cannot be removed, or rules cannot be loaded.
    pub fn collect(&self, is_there: impl Fn(Uuid) -> bool) -> Result<(), NetworkError> {
        if !self.leases.is_dir() {
            return Ok(());
        }
        let mut leases = Leases::lock(&self.leases)?;
        let gone = leases.set_aside(is_there);
        // Before their files: if this is killed in between, the files tell the next one that
        // there are rules to remove.
        if gone.iter().any(|lease| !lease.ports.is_empty()) {
            rules::load(&self.settings, &leases)?;
        }
        leases.free(&gone)
    }

    /// The bridge's number. Makes it, its rules, and has the kernel forward, if it is not there.
    /// It is switched on last: one that is not was left by a rocket that was killed.
    fn ensure(&self, links: &mut Links, leases: &Leases) -> Result<u32, NetworkError> {
        let name = self.settings.bridge.as_str();
        let ask = |links: &mut Links| {
            links
                .find(name)
                .map_err(refused("looking for device", name))
        };
        let found = ask(links)?;
        if let Some(bridge) = found.filter(|bridge| bridge.is_up) {
            return Ok(bridge.index);
        }
        allow_forwarding()?;
        rules::load(&self.settings, leases)?;
        if found.is_none() {
            links
                .add_bridge(name, self.settings.mtu)
                .map_err(refused("making bridge", name))?;
        }
        let made = ask(links)?.ok_or_else(|| NetworkError::Link {
            operation: "finding bridge",
            object: name.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        })?;
        let index = made.index;
        set(
            format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"),
            "1",
        )?;
        for address in self.gateways() {
            links
                .add_address(index, address)
                .map_err(refused("giving the bridge address", address))?;
        }
        links
            .up(index)
            .map_err(refused("switching on bridge", name))?;
        Ok(index)
    }

    fn connect(
        &self,
        links: &mut Links,
        bridge: u32,
        pid: i32,
        lease: &Lease,
    ) -> Result<(), NetworkError> {
        let outside = outside(lease.pod);
        let peer = Peer { name: INSIDE, pid };
        links
            .add_pair(&outside, bridge, self.settings.mtu, peer)
            .map_err(refused("making device", &outside))?;
        let mut inside = Links::of(pid).map_err(refused("entering the network of process", pid))?;
        let device = inside
            .find(INSIDE)
            .and_then(|device| device.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(refused("finding the pod's device", INSIDE))?;
        let index = device.index;
        let networks = [
            Some(IpNet::from(Ipv4Net::new_assert(
                lease.ipv4,
                self.settings.ipv4.prefix_len(),
            ))),
            lease
                .ipv6
                .map(|address| IpNet::from(Ipv6Net::new_assert(address, 64))),
        ];
        for address in networks.into_iter().flatten() {
            inside
                .add_address(index, address)
                .map_err(refused("giving the pod address", address))?;
        }
        inside
            .up(index)
            .map_err(refused("switching on the pod's device", INSIDE))?;
        for gateway in self.gateways().map(|network| network.addr()) {
            inside
                .add_default_route(gateway)
                .map_err(refused("giving the pod a route through", gateway))?;
        }
        Ok(())
    }

    /// The host's own addresses on the bridge.
    fn gateways(&self) -> impl Iterator<Item = IpNet> + use<> {
        let four = self.settings.ipv4;
        let first = u32::from(four.network()) + 1;
        let four = IpNet::from(Ipv4Net::new_assert(first.into(), four.prefix_len()));
        let six = self.settings.ipv6.map(|network| {
            let first = u128::from(network.network()) + 1;
            IpNet::from(Ipv6Net::new_assert(first.into(), network.prefix_len()))
        });
        [Some(four), six].into_iter().flatten()
    }
}

/// The host's end of a pod's pair of devices.
fn outside(pod: Uuid) -> String {
    let hex = pod.simple().to_string();
    format!("rk{}", &hex[..8])
}

/// Has the kernel pass packets on. An interface that learns its route from advertisements
/// would stop doing so, unless it is told that it is not a router: `accept_ra` of 2.
fn allow_forwarding() -> Result<(), NetworkError> {
    set("/proc/sys/net/ipv4/ip_forward", "1")?;
    let all = Path::new("/proc/sys/net/ipv6/conf");
    let Ok(entries) = fs::read_dir(all) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let path = entry.path().join("accept_ra");
        if fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
            set(&path, "2")?;
        }
    }
    set(all.join("all/forwarding"), "1")
}

/// Writes a setting of the kernel, if it is another.
fn set(path: impl AsRef<Path>, value: &str) -> Result<(), NetworkError> {
    let path = path.as_ref();
    match fs::read_to_string(path) {
        Ok(now) if now.trim() == value => Ok(()),
        _ => fs::write(path, value).map_err(failed("writing", path)),
    }
}

fn refused(
    operation: &'static str,
    object: impl ToString,
) -> impl FnOnce(io::Error) -> NetworkError {
    let object = object.to_string();
    move |source| NetworkError::Link {
        operation,
        object,
        source,
    }
}
