//! Where a group's lock is.

use crate::record::{GroupName, HolderId};

/// What all keys of ours begin with.
pub const PREFIX: &str = "/ballast/locksmith/v1";

/// The keys of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The group.
    pub group: GroupName,
    /// Its document.
    pub semaphore: String,
    /// What keys of its queue begin with.
    pub queue: String,
}

impl Keys {
    /// The keys of `group`.
    pub fn new(group: GroupName) -> Self {
        Self {
            semaphore: format!("{PREFIX}/{group}/semaphore"),
            queue: format!("{PREFIX}/{group}/queue/"),
            group,
        }
    }

    /// The key by which `id` waits.
    pub fn waiter(&self, id: &HolderId) -> String {
        format!("{}{id}", self.queue)
    }
}
