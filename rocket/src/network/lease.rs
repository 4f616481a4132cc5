//! Addresses that are taken.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{NetworkError, Settings, failed};
use crate::options::PortOption;

/// The address that was given last: the next one is looked for behind it, so that an address
/// is not used again at once.
const LAST: &str = "last";

/// How the name of a file ends that is being written.
const NEW: &str = "new";

/// What is read of a file at most.
const MOST: u64 = 1 << 20;

/// A pod's addresses and the host's ports that lead to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The pod.
    pub pod: Uuid,
    /// Its address of version 4.
    pub ipv4: Ipv4Addr,
    /// Its address of version 6.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ipv6: Option<Ipv6Addr>,
    /// Ports that lead into it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ports: Vec<PortOption>,
}

/// All of a network, locked: nobody else takes or frees one as long as this is there.
#[derive(Debug)]
pub struct Leases {
    dir: PathBuf,
    all: Vec<Lease>,
    lock: File,
}

impl Leases {
    /// Those of the network that is kept in `dir`. Waits for other rockets.
    ///
    /// # Errors
    /// Files cannot be read. One that is damaged is removed: it can only be what a host that
    /// lost power left, and addresses do not outlive a boot. So is one that was not finished.
    pub fn lock(dir: &Path) -> Result<Self, NetworkError> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(dir);
        made.map_err(failed("creating", dir))?;
        let lock = File::open(dir).map_err(failed("opening", dir))?;
        lock.lock().map_err(failed("locking", dir))?;
        let mut all = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed("listing", dir))? {
            let path = entry.map_err(failed("listing", dir))?.path();
            let lease = match path.extension().and_then(OsStr::to_str) {
                Some("lease") => read(&path).map_err(failed("reading", &path))?,
                Some(NEW) => None,
                _ => continue,
            };
            match lease {
                Some(lease) => all.push(lease),
                None => remove(&path)?,
            }
        }
        all.sort_by_key(|lease| lease.ipv4);
        Ok(Self {
            dir: dir.to_owned(),
            all,
            lock,
        })
    }

    /// What is taken, in the order of addresses.
    pub fn all(&self) -> &[Lease] {
        &self.all
    }

    /// Takes an address for a pod, and ports.
    ///
    /// # Errors
    /// None is left, a port leads to another pod, or the file cannot be written.
    pub fn take(
        &mut self,
        settings: &Settings,
        pod: Uuid,
        ports: &[PortOption],
    ) -> Result<Lease, NetworkError> {
        if let Some((port, other)) = conflict(&self.all, ports) {
            return Err(NetworkError::PortTaken {
                port: port.to_string(),
                pod: other.to_string(),
            });
        }
        let taken: BTreeSet<Ipv4Addr> = self.all.iter().map(|lease| lease.ipv4).collect();
        let last = self.dir.join(LAST);
        let after = fs::read_to_string(&last)
            .ok()
            .and_then(|text| text.parse().ok());
        let ipv4 = next(settings.ipv4, &taken, after).ok_or_else(|| NetworkError::Full {
            network: settings.ipv4.to_string(),
            taken: taken.len(),
        })?;
        let lease = Lease {
            pod,
            ipv4,
            ipv6: settings
                .ipv6
                .map(|network| same_host(settings.ipv4, ipv4, network)),
            ports: ports.to_vec(),
        };
        let path = self.path(ipv4);
        write(&path, &lease).map_err(failed("writing", &path))?;
        fs::write(&last, ipv4.to_string()).map_err(failed("writing", &last))?;
        self.all.push(lease.clone());
        Ok(lease)
    }

    /// Takes out what no pod holds that `is_there`. It is free once [`Self::free`] has been
    /// told so.
    pub fn set_aside(&mut self, is_there: impl Fn(Uuid) -> bool) -> Vec<Lease> {
        let (kept, gone) = std::mem::take(&mut self.all)
            .into_iter()
            .partition(|lease| is_there(lease.pod));
        self.all = kept;
        gone
    }

    /// Frees what was taken out.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn free(&self, gone: &[Lease]) -> Result<(), NetworkError> {
        gone.iter()
            .try_for_each(|lease| remove(&self.path(lease.ipv4)))
    }

    /// The lock, for a program that is started while this is there: it has the lock until it
    /// ends, whatever becomes of us.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn lend(&self) -> io::Result<OwnedFd> {
        Ok(nix::unistd::dup(&self.lock)?)
    }

    fn path(&self, address: Ipv4Addr) -> PathBuf {
        self.dir.join(format!("{address}.lease"))
    }
}

/// The first free address behind the last one that was given; network, gateway and broadcast
/// are nobody's.
fn next(network: Ipv4Net, taken: &BTreeSet<Ipv4Addr>, after: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let first = u32::from(network.network()) + 2;
    let end = u32::from(network.broadcast());
    let start = after
        .map(u32::from)
        .filter(|after| (first..end - 1).contains(after))
        .map_or(first, |after| after + 1);
    (start..end)
        .chain(first..start)
        .map(Ipv4Addr::from)
        .find(|address| !taken.contains(address))
}

/// The address in `network` with the number that `address` has in its own.
fn same_host(own: Ipv4Net, address: Ipv4Addr, network: Ipv6Net) -> Ipv6Addr {
    let host = u32::from(address) - u32::from(own.network());
    Ipv6Addr::from(u128::from(network.network()) | u128::from(host))
}

/// A port that leads to another pod on the same address, or on all of them.
fn conflict<'a>(leases: &[Lease], ports: &'a [PortOption]) -> Option<(&'a PortOption, Uuid)> {
    let meets = |a: &PortOption, b: &PortOption| {
        let same_address = match (a.address, b.address) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        (a.host, a.protocol) == (b.host, b.protocol) && same_address
    };
    ports.iter().find_map(|port| {
        let other = leases
            .iter()
            .find(|lease| lease.ports.iter().any(|other| meets(port, other)))?;
        Some((port, other.pod))
    })
}

fn remove(path: &Path) -> Result<(), NetworkError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("removing", path)(error)),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> io::Result<Option<Lease>> {
    if fs::metadata(path)?.len() > MOST {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&fs::read(path)?).ok())
}

fn write(path: &Path, lease: &Lease) -> io::Result<()> {
    let new = path.with_extension(NEW);
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(lease)?)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings(network: &str) -> Settings {
        Settings {
            bridge: "rocket0".into(),
            ipv4: network.parse().unwrap(),
            ipv6: Some("fd00::/64".parse().unwrap()),
            mtu: 1500,
        }
    }

    #[test]
    fn addresses_are_taken_in_turn_until_none_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings("10.0.0.0/29");
        let pods: Vec<Uuid> = (0..5).map(|_| Uuid::new_v4()).collect();
        let mut leases = Leases::lock(dir.path()).unwrap();
        for (number, pod) in pods.iter().enumerate() {
            let lease = leases.take(&settings, *pod, &[]).unwrap();
            assert_eq!(lease.ipv4.octets()[3], u8::try_from(number).unwrap() + 2);
            assert_eq!(
                lease.ipv6.unwrap().segments()[7],
                u16::from(lease.ipv4.octets()[3])
            );
        }
        let full = leases.take(&settings, Uuid::new_v4(), &[]).unwrap_err();
        assert!(
            full.to_string().contains("all 5 addresses of 10.0.0.0/29"),
            "{full}"
        );
        drop(leases);

        let mut leases = Leases::lock(dir.path()).unwrap();
        assert_eq!(leases.all().len(), 5);
        let gone = leases.set_aside(|pod| pod != pods[1]);
        leases.free(&gone).unwrap();
        let again = leases.take(&settings, Uuid::new_v4(), &[]).unwrap();
        assert_eq!(again.ipv4.to_string(), "10.0.0.3");
    }

    #[test]
    fn an_address_is_not_used_again_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings("10.0.0.0/24");
        let mut leases = Leases::lock(dir.path()).unwrap();
        leases.take(&settings, Uuid::new_v4(), &[]).unwrap();
        let gone = leases.set_aside(|_| false);
        leases.free(&gone).unwrap();
        let second = leases.take(&settings, Uuid::new_v4(), &[]).unwrap();
        assert_eq!(second.ipv4.to_string(), "10.0.0.3");
    }

    #[test]
    fn a_port_leads_to_one_pod() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings("10.0.0.0/24");
        let port = |text: &str| [text.parse::<PortOption>().unwrap()];
        let mut leases = Leases::lock(dir.path()).unwrap();
        leases
            .take(&settings, Uuid::new_v4(), &port("127.0.0.1:80:80"))
            .unwrap();
        leases
            .take(&settings, Uuid::new_v4(), &port("10.1.1.1:80:80"))
            .unwrap();
        leases
            .take(&settings, Uuid::new_v4(), &port("80:80/udp"))
            .unwrap();
        for bad in ["80:8080", "127.0.0.1:80:1"] {
            let error = leases
                .take(&settings, Uuid::new_v4(), &port(bad))
                .unwrap_err();
            assert!(matches!(error, NetworkError::PortTaken { .. }), "{bad}");
        }
    }

    #[test]
    fn what_was_not_finished_or_is_damaged_goes_when_the_next_one_looks() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["10.0.0.2.lease", "10.0.0.3.new"] {
            fs::write(dir.path().join(name), "{").unwrap();
        }
        assert!(Leases::lock(dir.path()).unwrap().all().is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn who_borrows_the_lock_has_it_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let leases = Leases::lock(dir.path()).unwrap();
        let lent = leases.lend().unwrap();
        drop(leases);
        let file = File::open(dir.path()).unwrap();
        assert!(file.try_lock().is_err());
        drop(lent);
        file.try_lock().unwrap();
    }

    proptest! {
        #[test]
        fn the_next_address_is_free_and_in_the_network(
            prefix in 24_u8..=29,
            taken in proptest::collection::btree_set(0_u32..256, 0..256),
            after in proptest::option::of(any::<u32>()),
        ) {
            let network = Ipv4Net::new(Ipv4Addr::new(10, 0, 0, 0), prefix).unwrap();
            let base = u32::from(network.network());
            let taken: BTreeSet<Ipv4Addr> = taken.into_iter().map(|n| (base + n).into()).collect();
            let usable = network.hosts().skip(1).filter(|host| !taken.contains(host)).count();
            match next(network, &taken, after.map(Ipv4Addr::from)) {
                Some(address) => {
                    prop_assert!(network.hosts().skip(1).any(|host| host == address));
                    prop_assert!(!taken.contains(&address));
                }
                None => prop_assert_eq!(usable, 0),
            }
        }
    }
}
