//! What a group keeps in its lock: one document, and one key for each waiting host.
//!
//! The document is JSON and changed only by compare-and-swap. Fields that are not known
//! here are kept; a document of a newer format is refused, never overwritten.

mod text;

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use text::{BadText, GroupName, HolderId, Text};

/// The format of documents and queue entries that is written and understood.
pub const FORMAT: u32 = 1;

/// Most hosts that may hold a lock at once.
pub const MAX_HOLDERS: u32 = 1000;

/// Most versions under a brake.
pub const MAX_BRAKES: usize = 16;

/// Most reports that are kept for one version; so also the highest threshold.
pub const MAX_REPORTS: usize = 16;

/// Most expired holders that are remembered.
pub const MAX_EXPIRED: usize = 8;

/// Most bytes of a document. etcd takes 1.5 MiB in a request.
pub const MAX_BYTES: usize = 1_400_000;

/// Most bytes of a version.
const MAX_VERSION: usize = 128;

/// The name of a host, for people.
pub type HostName = Text<253>;
/// The random ID of a boot.
pub type BootId = Text<64>;
/// Why somebody wants something, for people.
pub type Reason = Text<256>;

/// What a host asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// By what it is known; its next boot has the same.
    pub id: HolderId,
    /// Its name.
    #[serde(default)]
    pub host: HostName,
    /// The boot in which it asks.
    #[serde(default)]
    pub boot_id: BootId,
    /// Why it wants to reboot.
    #[serde(default)]
    pub reason: Reason,
    /// The release that runs.
    #[serde(
        default,
        deserialize_with = "version",
        skip_serializing_if = "Option::is_none"
    )]
    pub from: Option<Version>,
    /// The release that is to run next, if it is another.
    #[serde(
        default,
        deserialize_with = "version",
        skip_serializing_if = "Option::is_none"
    )]
    pub to: Option<Version>,
}

/// A host that may reboot, or has and is not well yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What it asked for.
    #[serde(flatten)]
    pub claim: Claim,
    /// Since when it holds the lock, by its own clock.
    pub since: Timestamp,
    /// When it last gave a sign of life, by its own clock.
    pub seen: Timestamp,
    /// How many signs of life it gave: tells one from the next also where a clock stands.
    #[serde(default)]
    pub signs: u64,
    /// What a later release of ours has written.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A host that waits for the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    /// What it asks for.
    #[serde(flatten)]
    pub claim: Claim,
    /// Since when it waits, by its own clock.
    pub since: Timestamp,
}

/// A host that had to leave a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// By what it is known.
    pub id: HolderId,
    /// Its name.
    #[serde(default)]
    pub host: HostName,
    /// Why it had to.
    #[serde(default)]
    pub reason: Reason,
    /// When, by its own clock.
    pub at: Timestamp,
}

/// A release that hosts had to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// The release.
    #[serde(deserialize_with = "bounded_version")]
    pub version: Version,
    /// Who left it; each host once, the first ones if there are many.
    pub reports: Vec<Report>,
    /// What a later release of ours has written.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A holder that was taken for gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// By what it was known.
    pub id: HolderId,
    /// Its name.
    #[serde(default)]
    pub host: HostName,
    /// Who removed it.
    pub by: HolderId,
    /// When, by that one's clock.
    pub at: Timestamp,
}

/// Where the first state of a document was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrated {
    /// The key of the classic semaphore, or the name of a file.
    pub from: Text<512>,
    /// When.
    pub at: Timestamp,
}

/// The lock of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    format: u32,
    /// How many hosts may hold the lock at once; none if 0.
    pub max: u32,
    /// Who holds it.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// Releases that hosts had to leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub brakes: Vec<Reports>,
    /// The last holders that were taken for gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expired: Vec<Expired>,
    /// Where it comes from, if it is not new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrated: Option<Migrated>,
    /// What a later release of ours has written.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for Document {
    /// A lock that one host at a time may have.
    fn default() -> Self {
        Self {
            format: FORMAT,
            max: 1,
            holders: Vec::new(),
            brakes: Vec::new(),
            expired: Vec::new(),
            migrated: None,
            other: Map::new(),
        }
    }
}

/// Why bytes are not taken as a document or an entry of the queue, or one is not written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It was written by a later release.
    #[error("it has format {0}, and this release knows {FORMAT} only: update this host by hand")]
    Newer(u64),
    /// It is larger than etcd takes.
    #[error("it would have {0} bytes, and at most {MAX_BYTES} are taken")]
    Large(usize),
    /// It is not JSON, or lacks something.
    #[error("it is damaged")]
    Damaged(#[source] serde_json::Error),
    /// It says what cannot be.
    #[error("it is damaged: {0}")]
    Wrong(String),
}

impl Document {
    /// Reads a document.
    ///
    /// Fails if it is of a newer format or damaged: whoever cannot read a lock must
    /// neither take it nor write it.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let document: Self = parse(bytes)?;
        document.check()?;
        Ok(document)
    }

    /// The bytes to be kept. Fails if there are too many.
    pub fn print(&self) -> Result<Vec<u8>, RecordError> {
        self.check()?;
        print(self)
    }

    /// The holder that is known by `id`.
    pub fn holder(&self, id: &HolderId) -> Option<&Holder> {
        self.holders.iter().find(|holder| holder.claim.id == *id)
    }

    fn check(&self) -> Result<(), RecordError> {
        let wrong = |what: String| Err(RecordError::Wrong(what));
        if self.max > MAX_HOLDERS {
            return wrong(format!("max is {}, above {MAX_HOLDERS}", self.max));
        }
        if self.brakes.len() > MAX_BRAKES {
            return wrong(format!("there are more than {MAX_BRAKES} brakes"));
        }
        if let Some(many) = self.brakes.iter().find(|b| b.reports.len() > MAX_REPORTS) {
            let version = &many.version;
            return wrong(format!("{version} has more than {MAX_REPORTS} reports"));
        }
        if self.expired.len() > MAX_EXPIRED {
            return wrong(format!("there are more than {MAX_EXPIRED} expired holders"));
        }
        let mut ids: Vec<&HolderId> = self.holders.iter().map(|h| &h.claim.id).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => wrong(format!("{} holds the lock twice", pair[0])),
            None => Ok(()),
        }
    }
}

/// An entry of the queue, as it is kept.
#[derive(Serialize, Deserialize)]
struct Entry {
    format: u32,
    #[serde(flatten)]
    waiter: Waiter,
}

impl Waiter {
    /// Reads an entry of the queue.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        parse(bytes).map(|entry: Entry| entry.waiter)
    }

    /// The bytes to be kept.
    pub fn print(&self) -> Result<Vec<u8>, RecordError> {
        let waiter = self.clone();
        print(&Entry {
            format: FORMAT,
            waiter,
        })
    }
}

/// The format is looked at first: what is newer may lack or have anything else.
#[derive(Deserialize)]
struct Format {
    format: u64,
}

fn parse<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, RecordError> {
    if bytes.len() > MAX_BYTES {
        return Err(RecordError::Large(bytes.len()));
    }
    let Format { format } = serde_json::from_slice(bytes).map_err(RecordError::Damaged)?;
    match format {
        1 => serde_json::from_slice(bytes).map_err(RecordError::Damaged),
        0 => Err(RecordError::Wrong("its format is 0".to_owned())),
        newer => Err(RecordError::Newer(newer)),
    }
}

fn print(record: &impl Serialize) -> Result<Vec<u8>, RecordError> {
    let bytes = serde_json::to_vec(record).map_err(RecordError::Damaged)?;
    match bytes.len() {
        length if length > MAX_BYTES => Err(RecordError::Large(length)),
        _ => Ok(bytes),
    }
}

/// Says why `version` is not taken into a record, if it is not.
pub fn check_version(version: &Version) -> Result<(), BadText> {
    let length = version.to_string().len();
    match length > MAX_VERSION {
        true => Err(BadText::Long {
            length,
            max: MAX_VERSION,
        }),
        false => Ok(()),
    }
}

fn bounded_version<'a, D: Deserializer<'a>>(input: D) -> Result<Version, D::Error> {
    let version = Version::deserialize(input)?;
    check_version(&version).map_err(serde::de::Error::custom)?;
    Ok(version)
}

fn version<'a, D: Deserializer<'a>>(input: D) -> Result<Option<Version>, D::Error> {
    let version = Option::<Version>::deserialize(input)?;
    if let Some(version) = &version {
        check_version(version).map_err(serde::de::Error::custom)?;
    }
    Ok(version)
}

#[cfg(test)]
pub(crate) mod tests;
