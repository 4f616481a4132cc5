//! The lock in real etcd 3.5: who may use it, and what happens to it when members are
//! killed, stopped and cut off.
//!
//! `ETCD` names the program; network namespaces need root. Debian's is fetched with
//! `apt-get download etcd-server` and unpacked with `dpkg-deb -x`:
//!
//! ```text
//! ETCD=…/usr/bin/etcd cargo test -p locksmith --test etcd
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod cluster;
mod faults;
mod history;
mod member;
mod network;
mod verbs;

use std::time::Duration;

use locksmith::etcd::{EtcdLock, Options, Terms};
use locksmith::lock::{Claim, GroupName, HolderId, Text};
use semver::Version;

fn terms(group: &str) -> Terms {
    Terms {
        group: GroupName::new(group).unwrap(),
        brake_threshold: 1,
        expire_after: None,
    }
}

fn lock(options: &Options, group: &str) -> EtcdLock {
    EtcdLock::open(options.clone(), terms(group)).unwrap()
}

fn claim(id: &str) -> Claim {
    Claim {
        id: HolderId::new(id).unwrap(),
        host: Text::clip(id),
        boot_id: Text::clip("boot"),
        reason: Text::clip("update"),
        from: Some(Version::new(1, 0, 0)),
        to: Some(Version::new(1, 1, 0)),
    }
}

/// Asks again until it works, as hosts do.
async fn until<T, E: std::fmt::Display>(
    long: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let end = std::time::Instant::now() + long;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if std::time::Instant::now() > end => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}
