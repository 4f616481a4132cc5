//! From the policy to a lock.

use std::path::PathBuf;

use daemon::policy::reboot::{self, Etcd, FilePath};

use crate::daemon::Locks;
use crate::etcd::{EtcdLock, Options, Terms};
use crate::fleet_lock::{FleetLock, FleetOptions};
use crate::lock::{GroupName, Lock, LockError};
use crate::settings::Place;

/// Locks on the network.
#[derive(Debug, Clone, Copy)]
pub struct Network;

impl Locks for Network {
    fn open(&self, place: &Place) -> Result<Box<dyn Lock>, LockError> {
        match place {
            Place::Etcd(etcd) => {
                let lock = EtcdLock::open(options(etcd), terms(etcd)?)?;
                Ok(Box::new(lock))
            }
            Place::FleetLock(fleet_lock) => {
                let lock = FleetLock::open(fleet_options(fleet_lock)?)?;
                Ok(Box::new(lock))
            }
        }
    }
}

/// Where etcd is, and who this host is to it.
pub fn options(etcd: &Etcd) -> Options {
    Options {
        endpoints: etcd.endpoints.iter().map(ToString::to_string).collect(),
        ca: path(&etcd.ca),
        certificate: path(&etcd.certificate),
        key: path(&etcd.key),
        user: etcd.user.as_ref().map(ToString::to_string),
        password_file: path(&etcd.password_file),
    }
}

/// What the policy says about the lock there.
pub fn terms(etcd: &Etcd) -> Result<Terms, LockError> {
    Ok(Terms {
        group: group("reboot.etcd.group", etcd.group.as_str())?,
        brake_threshold: etcd.brake_threshold.get(),
        expire_after: etcd.expire_after.map(|long| long.length().duration()),
    })
}

/// Where a FleetLock server is, and whom this host shares its lock with.
fn fleet_options(fleet_lock: &reboot::FleetLock) -> Result<FleetOptions, LockError> {
    let url = fleet_lock.url.as_ref().map_or("", |url| url.as_str());
    let url = url
        .parse()
        .map_err(|source: url::ParseError| LockError::Settings {
            key: "reboot.fleet_lock.url",
            what: format!("using the address {url:?}"),
            source: source.into(),
        })?;
    Ok(FleetOptions {
        url,
        group: group("reboot.fleet_lock.group", fleet_lock.group.as_str())?,
        ca: path(&fleet_lock.ca),
    })
}

fn path(file: &Option<FilePath>) -> Option<PathBuf> {
    file.as_ref().map(|file| PathBuf::from(file.as_str()))
}

fn group(key: &'static str, name: &str) -> Result<GroupName, LockError> {
    GroupName::new(name).map_err(|source| LockError::Settings {
        key,
        what: format!("using the group {name:?}"),
        source: source.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_policy_names_is_what_is_asked() {
        let etcd = Etcd {
            endpoints: vec!["https://10.0.0.1:2379".parse().unwrap()],
            group: "workers".parse().unwrap(),
            password_file: Some("/etc/password".parse().unwrap()),
            ..Etcd::default()
        };
        let options = options(&etcd);
        assert_eq!(options.endpoints, ["https://10.0.0.1:2379"]);
        assert_eq!(options.password_file, Some("/etc/password".into()));
        let terms = terms(&etcd).unwrap();
        assert_eq!(
            (terms.group.as_str(), terms.brake_threshold),
            ("workers", 1)
        );
        assert_eq!(terms.expire_after, None);
        let fleet_lock = reboot::FleetLock {
            url: Some("http://lock.example/below".parse().unwrap()),
            ..reboot::FleetLock::default()
        };
        let options = fleet_options(&fleet_lock).unwrap();
        assert_eq!(options.url.as_str(), "http://lock.example/below");
        assert!(Network.open(&Place::FleetLock(fleet_lock)).is_ok());
    }
}
