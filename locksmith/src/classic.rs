//! The semaphore of CoreOS' locksmith, which a group may come from.
//!
//! It was kept in etcd's v2 store. Where that was migrated to v3, its keys have a slash
//! in front.

use serde::Deserialize;

use crate::record::{BadText, GroupName, HolderId, MAX_HOLDERS};

/// Most bytes of a classic semaphore that are looked at.
const MAX_BYTES: usize = 256 * 1024;

/// Where the semaphores are.
const PREFIX: &str = "coreos.com/updateengine/rebootlock";

/// The group of hosts that classic locksmith had no name for.
const DEFAULT_GROUP: &str = "default";

/// A classic semaphore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classic {
    /// How many hosts may hold it at once.
    pub max: u32,
    /// Who holds it.
    pub holders: Vec<HolderId>,
}

/// Why something is not a classic semaphore that can be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ClassicError {
    /// It is too large to be one.
    #[error("it has {0} bytes, more than a semaphore can have")]
    Large(usize),
    /// It is not JSON, or lacks something.
    #[error("it is not the JSON of a classic semaphore")]
    Damaged(#[source] serde_json::Error),
    /// More hosts than can hold the lock at once.
    #[error("max is {0}; what can be taken over is from 0 to {MAX_HOLDERS}")]
    Max(i64),
    /// A holder cannot be named here.
    #[error("holder {0:?} cannot be taken over; unlock it there first")]
    Holder(String, #[source] BadText),
    /// A host holds it twice.
    #[error("holder {0} is there twice; unlock it there first")]
    Twice(HolderId),
}

/// As it is written: `semaphore` is what `max` leaves free, and can be negative.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "semaphore")]
    _free: i64,
    max: i64,
    // A Go slice that was never filled is null.
    holders: Option<Vec<String>>,
}

impl Classic {
    /// Reads a semaphore.
    pub fn parse(bytes: &[u8]) -> Result<Self, ClassicError> {
        if bytes.len() > MAX_BYTES {
            return Err(ClassicError::Large(bytes.len()));
        }
        let written: Written = serde_json::from_slice(bytes).map_err(ClassicError::Damaged)?;
        let max = u32::try_from(written.max)
            .ok()
            .filter(|max| *max <= MAX_HOLDERS);
        let max = max.ok_or(ClassicError::Max(written.max))?;
        let mut holders = Vec::new();
        for id in written.holders.unwrap_or_default() {
            let id = HolderId::new(id.as_str()).map_err(|why| ClassicError::Holder(id, why))?;
            if holders.contains(&id) {
                return Err(ClassicError::Twice(id));
            }
            holders.push(id);
        }
        Ok(Self { max, holders })
    }
}

/// Keys at which the semaphore of `group` may be, likeliest first.
pub fn keys(group: &GroupName) -> Vec<String> {
    let named = format!("{PREFIX}/groups/{group}/semaphore");
    let nameless = format!("{PREFIX}/semaphore");
    let both = match group.as_str() {
        DEFAULT_GROUP => vec![nameless, named],
        _ => vec![named],
    };
    let slash = |key: &String| [format!("/{key}"), key.clone()];
    both.iter().flat_map(slash).collect()
}

#[cfg(test)]
mod tests;
