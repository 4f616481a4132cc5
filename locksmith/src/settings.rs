//! Locksmith's part of the policy, as it acts on it.

use std::fmt;

use daemon::policy::reboot::{self, Etcd, FleetLock, Reboot, Strategy};
use daemon::policy::{Policy, Schema, SectionError};
use serde::{Deserialize, Serialize};

use crate::plan::Allowed;

/// The sections that locksmith knows.
pub fn schema() -> Schema {
    reboot::schema(Schema::default())
}

/// `[reboot]` and the sections below it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// `[reboot]`.
    pub reboot: Reboot,
    /// `[reboot.etcd]`.
    pub etcd: Etcd,
    /// `[reboot.fleet_lock]`.
    pub fleet_lock: FleetLock,
}

/// Where a lock is, and how to get there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In etcd.
    Etcd(Etcd),
    /// With a server that speaks FleetLock.
    FleetLock(FleetLock),
}

impl Place {
    /// Both lead to one lock. How to get there may differ.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Etcd(one), Self::Etcd(other)) => {
                one.group == other.group && one.endpoints == other.endpoints
            }
            (Self::FleetLock(one), Self::FleetLock(other)) => {
                one.group == other.group && one.url == other.url
            }
            _ => false,
        }
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        match self {
            Self::Etcd(etcd) => etcd.group.as_str(),
            Self::FleetLock(fleet_lock) => fleet_lock.group.as_str(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Etcd(_) => write!(f, "group {} in etcd", self.group()),
            Self::FleetLock(lock) => match &lock.url {
                Some(url) => write!(f, "group {} at {url}", self.group()),
                None => write!(f, "group {}", self.group()),
            },
        }
    }
}

impl Settings {
    /// What `policy` says.
    pub fn read(policy: &Policy) -> Result<Self, SectionError> {
        Ok(Self {
            reboot: policy.section()?,
            etcd: policy.section()?,
            fleet_lock: policy.section()?,
        })
    }

    /// Where the lock is that the strategy wants; nothing if it wants none, or if the
    /// policy does not say where.
    pub fn place(&self) -> Option<Place> {
        match self.reboot.strategy {
            Strategy::EtcdLock if !self.etcd.endpoints.is_empty() => {
                Some(Place::Etcd(self.etcd.clone()))
            }
            Strategy::FleetLock if self.fleet_lock.url.is_some() => {
                Some(Place::FleetLock(self.fleet_lock.clone()))
            }
            _ => None,
        }
    }

    /// Whether this host may reboot, if the policy could be read whole.
    pub fn allowed(&self) -> Allowed {
        match (self.reboot.strategy, self.place()) {
            (Strategy::Off, _) => Allowed::ByOperator,
            (Strategy::Reboot, _) => Allowed::Alone,
            (_, Some(_)) => Allowed::Locked,
            // A lock is wanted, and nobody says where: that is no leave to do without.
            (_, None) => Allowed::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(strategy: Strategy, endpoints: &[&str], group: &str) -> Settings {
        Settings {
            reboot: Reboot {
                strategy,
                ..Reboot::default()
            },
            etcd: Etcd {
                endpoints: endpoints.iter().map(|e| e.parse().unwrap()).collect(),
                group: group.parse().unwrap(),
                ..Etcd::default()
            },
            fleet_lock: FleetLock::default(),
        }
    }

    #[test]
    fn a_strategy_that_lacks_its_server_is_no_leave_to_do_without() {
        let etcd = ["https://10.0.0.1:2379"];
        for (strategy, endpoints, expected) in [
            (Strategy::Reboot, &etcd[..0], Allowed::Alone),
            (Strategy::Off, &etcd[..], Allowed::ByOperator),
            (Strategy::EtcdLock, &etcd[..], Allowed::Locked),
            (Strategy::EtcdLock, &etcd[..0], Allowed::Unknown),
            (Strategy::FleetLock, &etcd[..], Allowed::Unknown),
        ] {
            let settings = settings(strategy, endpoints, "a");
            assert_eq!(settings.allowed(), expected, "{strategy}");
            assert_eq!(settings.place().is_some(), expected == Allowed::Locked);
        }
    }

    #[test]
    fn another_group_is_another_lock_and_another_key_is_not() {
        let place = |group| settings(Strategy::EtcdLock, &["http://a"], group).place();
        let (one, other) = (place("a").unwrap(), place("b").unwrap());
        assert!(!one.is_same(&other));
        let Place::Etcd(mut etcd) = one.clone() else {
            panic!("no etcd");
        };
        etcd.key = Some("/etc/new.pem".parse().unwrap());
        assert!(one.is_same(&Place::Etcd(etcd)));
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Place>(&text).unwrap(), one);
    }

    /// The file that is shipped, with every key that has a value taken out of its comment.
    #[test]
    fn the_defaults_in_the_shipped_file_are_the_defaults() {
        let shipped = include_str!("../dist/usr/lib/ballast/config.d/50-reboot.toml");
        let is_set = |line: &&str| !line.ends_with('=') && !line.starts_with("#windows");
        let text: String = shipped
            .lines()
            .filter(|line| {
                line.starts_with('[') || (line.starts_with('#') && !line.starts_with("# "))
            })
            .filter(is_set)
            .map(|line| format!("{}\n", line.trim_start_matches('#')))
            .collect();
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.toml"), &text).unwrap();
        let roots = daemon::policy::Roots::new(vec![root.path().to_path_buf()]);
        let (policy, problems) = daemon::policy::load(&roots, &schema());
        assert_eq!(problems, [], "{text}");
        assert_eq!(Settings::read(&policy).unwrap(), Settings::default());
        // Every key is there, with a value or without.
        let keys = [
            daemon::policy::schema::keys::<Reboot>(),
            daemon::policy::schema::keys::<Etcd>(),
            daemon::policy::schema::keys::<FleetLock>(),
        ];
        for key in keys.concat() {
            let there = shipped.lines().any(|l| l.starts_with(&format!("#{key} =")));
            assert!(there, "{key}");
        }
    }
}
