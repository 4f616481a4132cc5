//! What becomes of a group's document: pure functions from the one that was read to the
//! one that is to be put in its place, if it still is the one that was read.
//!
//! The whole safety of the lock is here and in that condition. Every answer that lets a
//! host reboot comes with a document to be written, also if the host held the lock
//! before: a write makes every earlier one that is still on its way fail, so that no
//! release that was given up on can take the lock away after this answer.

mod classic_merge;

use jiff::Timestamp;
use semver::Version;
use serde_json::Map;

use crate::lock::{Brake, Released, Standing};
use crate::record::{
    BadText, Claim, Document, Expired, Holder, HolderId, MAX_BRAKES, MAX_EXPIRED, MAX_REPORTS,
    Report, Reports, check_version,
};

pub use classic_merge::{MigrateError, migrate};

/// Whether others were in the queue before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nobody was: it is this host's turn.
    Front,
    /// Somebody was.
    Behind,
}

/// What is asked, and what the asking host knows.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What it asks for.
    pub claim: &'a Claim,
    /// Its place in the queue.
    pub place: Place,
    /// The time on its clock.
    pub now: Timestamp,
    /// How many reports make a brake, by its policy.
    pub threshold: u32,
    /// Holders that it has seen without a sign of life for as long as its policy says.
    pub gone: &'a [HolderId],
}

/// What becomes of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The host holds the lock once `document` was written.
    Grant {
        /// What is to be written.
        document: Document,
        /// What it says of the host.
        holder: Box<Holder>,
        /// Holders that are taken for gone by it.
        expired: Vec<Holder>,
    },
    /// All places are taken, or others come first.
    Wait,
    /// Hosts are kept from the release.
    Braked(Brake),
    /// Another host with the same ID holds the lock.
    Twin(Box<Holder>),
}

/// Decides about a claim.
///
/// At most `max` holders come out of a grant, whatever went in; those there were keep
/// their place, but for as many of the gone as make room for this one.
pub fn claim(document: &Document, asked: &Asked) -> Verdict {
    let to = asked.claim.to.as_ref();
    let brake = to.and_then(|to| brake(document, to, asked.threshold));
    if let Some(brake) = brake.filter(Brake::is_on) {
        return Verdict::Braked(brake);
    }
    match document.holder(&asked.claim.id) {
        Some(holder) if is_twin(&holder.claim, asked.claim) => {
            Verdict::Twin(Box::new(holder.clone()))
        }
        Some(_) => renew(document, asked),
        None if asked.place == Place::Behind => Verdict::Wait,
        None => enter(document, asked),
    }
}

/// A host has its name or its boot in common with what it said before. A cloned machine
/// ID would let two hosts reboot in one place.
fn is_twin(known: &Claim, asking: &Claim) -> bool {
    let named = !known.host.is_empty() && !asking.host.is_empty();
    named && known.host != asking.host && known.boot_id != asking.boot_id
}

fn renew(document: &Document, asked: &Asked) -> Verdict {
    let mut document = document.clone();
    let id = &asked.claim.id;
    let Some(holder) = document.holders.iter_mut().find(|h| h.claim.id == *id) else {
        return Verdict::Wait;
    };
    holder.claim = asked.claim.clone();
    sign(holder, asked.now);
    let holder = Box::new(holder.clone());
    Verdict::Grant {
        document,
        holder,
        expired: Vec::new(),
    }
}

fn sign(holder: &mut Holder, now: Timestamp) {
    holder.seen = now;
    holder.signs = holder.signs.wrapping_add(1);
}

fn enter(document: &Document, asked: &Asked) -> Verdict {
    let mut document = document.clone();
    let Some(expired) = make_room(&mut document, asked) else {
        return Verdict::Wait;
    };
    let holder = Holder {
        claim: asked.claim.clone(),
        since: asked.now,
        seen: asked.now,
        signs: 1,
        other: Map::new(),
    };
    document.holders.push(holder.clone());
    Verdict::Grant {
        document,
        holder: Box::new(holder),
        expired,
    }
}

/// Leaves a free place, for which as many of the gone go as it takes. None if there
/// cannot be one; the document is of no use then.
fn make_room(document: &mut Document, asked: &Asked) -> Option<Vec<Holder>> {
    let room = (document.max as usize).checked_sub(1)?;
    let mut expired = Vec::new();
    while document.holders.len() > room {
        let is_gone = |holder: &Holder| asked.gone.contains(&holder.claim.id);
        let at = document.holders.iter().position(is_gone)?;
        let holder = document.holders.remove(at);
        document.expired.push(Expired {
            id: holder.claim.id.clone(),
            host: holder.claim.host.clone(),
            by: asked.claim.id.clone(),
            at: asked.now,
        });
        expired.push(holder);
    }
    let old = document.expired.len().saturating_sub(MAX_EXPIRED);
    document.expired.drain(..old);
    Some(expired)
}

/// Notes a sign of life. None if `id` does not hold the lock; else how it stands once
/// the document was written.
pub fn alive(
    document: &Document,
    id: &HolderId,
    now: Timestamp,
    threshold: u32,
) -> Option<(Document, Standing)> {
    let mut document = document.clone();
    let holder = document.holders.iter_mut().find(|h| h.claim.id == *id)?;
    sign(holder, now);
    let to = holder.claim.to.clone();
    let brake = to.and_then(|to| brake(&document, &to, threshold));
    let standing = match brake.filter(Brake::is_on) {
        Some(brake) => Standing::Braked(brake),
        None => Standing::Held,
    };
    Some((document, standing))
}

/// Takes `id` out. The document is to be written also if it did not hold the lock: a
/// grant that is still on its way must not come after this.
pub fn release(document: &Document, id: &HolderId) -> (Document, Option<Holder>) {
    let mut document = document.clone();
    let at = document.holders.iter().position(|h| h.claim.id == *id);
    let holder = at.map(|at| document.holders.remove(at));
    (document, holder)
}

/// What is told of a release.
pub fn released(holder: Option<&Holder>) -> Released {
    match holder {
        Some(_) => Released::Given,
        None => Released::NotHeld,
    }
}

/// Another number of hosts that may hold the lock at once. Nobody loses it.
pub fn set_max(document: &Document, max: u32) -> Document {
    let mut document = document.clone();
    document.max = max;
    document
}

/// The brake on `version`, on or not; none if nobody had to leave it.
pub fn brake(document: &Document, version: &Version, threshold: u32) -> Option<Brake> {
    let known = document.brakes.iter().find(|b| b.version == *version)?;
    Some(judged(known, threshold))
}

/// All reports, as a policy with this threshold judges them.
pub fn brakes(document: &Document, threshold: u32) -> Vec<Brake> {
    let judge = |reports| judged(reports, threshold);
    document.brakes.iter().map(judge).collect()
}

/// A threshold that can be neither nothing nor more than what is kept.
fn judged(known: &Reports, threshold: u32) -> Brake {
    Brake {
        version: known.version.clone(),
        reports: known.reports.clone(),
        threshold: threshold.clamp(1, MAX_REPORTS as u32),
    }
}

/// Adds a report about `version`. None if the host has told that already, or enough
/// others have. Fails if the version is too long.
pub fn report(
    document: &Document,
    report: &Report,
    version: &Version,
) -> Result<Option<Document>, BadText> {
    check_version(version)?;
    let mut document = document.clone();
    let known = document.brakes.iter_mut().find(|b| b.version == *version);
    match known {
        Some(known) => {
            let told = known.reports.iter().any(|r| r.id == report.id);
            if told || known.reports.len() >= MAX_REPORTS {
                return Ok(None);
            }
            known.reports.push(report.clone());
        }
        None => {
            drop_oldest(&mut document);
            document.brakes.push(Reports {
                version: version.clone(),
                reports: vec![report.clone()],
                other: Map::new(),
            });
        }
    }
    Ok(Some(document))
}

/// Makes room for one more brake. The lowest version is the one that hosts are least
/// likely to be offered again.
fn drop_oldest(document: &mut Document) {
    while document.brakes.len() >= MAX_BRAKES {
        let brakes = document.brakes.iter().enumerate();
        let Some((lowest, _)) = brakes.min_by(|a, b| a.1.version.cmp(&b.1.version)) else {
            return;
        };
        document.brakes.remove(lowest);
    }
}

/// Forgets what was reported about `version`. None if there is nothing.
pub fn lift(document: &Document, version: &Version) -> Option<(Document, Reports)> {
    let mut document = document.clone();
    let at = document.brakes.iter().position(|b| b.version == *version)?;
    let reports = document.brakes.remove(at);
    Some((document, reports))
}

#[cfg(test)]
mod tests;
