//! A group that comes from a classic semaphore.

use jiff::Timestamp;
use serde_json::Map;

use crate::classic::Classic;
use crate::record::{Claim, Document, Holder, HolderId, Migrated, Text};

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// It was done before.
    #[error("{} was taken over already, at {}", .0.from, .0.at)]
    Again(Migrated),
}

/// The document with what the classic semaphore holds: its number of places, and its
/// holders beside those there are. Once only: a second time would bring back hosts that
/// have released the lock since.
pub fn migrate(
    document: &Document,
    classic: &Classic,
    from: &str,
    now: Timestamp,
) -> Result<(Document, Vec<HolderId>), MigrateError> {
    if let Some(migrated) = &document.migrated {
        return Err(MigrateError::Again(migrated.clone()));
    }
    let mut document = document.clone();
    document.max = classic.max;
    let is_new = |id: &&HolderId| document.holder(id).is_none();
    let taken: Vec<HolderId> = classic.holders.iter().filter(is_new).cloned().collect();
    document
        .holders
        .extend(taken.iter().map(|id| taken_over(id, now)));
    document.migrated = Some(Migrated {
        from: Text::clip(from),
        at: now,
    });
    Ok((document, taken))
}

fn taken_over(id: &HolderId, now: Timestamp) -> Holder {
    Holder {
        claim: Claim {
            id: id.clone(),
            host: Text::default(),
            boot_id: Text::default(),
            reason: Text::clip("held the classic semaphore"),
            from: None,
            to: None,
        },
        since: now,
        seen: now,
        signs: 0,
        other: Map::new(),
    }
}
