//! What went wrong, in words for whoever has to do something about it.

use super::store::{Fault, StoreError};
use crate::lock::{Claim, LockError};
use crate::record::{Holder, RecordError};

/// What would not be read again must not be written.
pub(super) fn check(claim: &Claim) -> Result<(), LockError> {
    for version in [&claim.from, &claim.to].into_iter().flatten() {
        crate::record::check_version(version)
            .map_err(|why| LockError::Asked(format!("asking for {version}: {why}")))?;
    }
    Ok(())
}

pub(super) fn damaged(key: &str, source: RecordError) -> LockError {
    LockError::Content {
        key: key.to_owned(),
        advice: "read it with `etcdctl get`; while no host is rebooting it may be deleted, and \
                 starts anew",
        source: source.into(),
    }
}

pub(super) fn twin(claim: &Claim, holder: &Holder) -> LockError {
    LockError::Asked(format!(
        "{} holds the lock already as {}, and this host is {}: two hosts have the same ID; give \
         this one a machine ID of its own, or, if it was renamed while it held the lock, unlock \
         that ID first",
        claim.id, holder.claim.host, claim.host
    ))
}

impl From<StoreError> for LockError {
    fn from(error: StoreError) -> Self {
        let StoreError {
            fault,
            server,
            source,
        } = error;
        match fault {
            Fault::Unreachable => Self::Unreachable { server, source },
            Fault::NoLeader => Self::NoLeader { server, source },
            Fault::Denied => Self::NotAllowed {
                server,
                check: "certificate, key, user and password in `[reboot.etcd]`, and in etcd the \
                        role, which needs readwrite for the prefix /ballast/locksmith/",
                source,
            },
            Fault::Failed | Fault::NoLease => Self::Failed { server, source },
        }
    }
}
