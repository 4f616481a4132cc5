//! Why a repository was not believed, and what an operator should look at.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use semver::Version;
use tough::error::Error as Tuf;
use tough::schema::RoleType;

use super::fetch::FetchError;
use super::name::BadName;
use super::tar::TarError;

/// Why a repository or something in it was not taken.
///
/// Every message names what an operator should check. What may help is to try again
/// only where [`ServerError::is_transient`] says so.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is none of the kinds that are known.
    #[error(
        "{address:?} is not the address of a repository: {reason}; check `[update] server`, \
         which takes an http or https address, a directory or a tar file"
    )]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The release's own root of trust could not be read.
    #[error(
        "reading the trusted root {}; it is part of the release: reinstall the host if it is \
         not there", .path.display()
    )]
    Trust {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The root of trust is not one.
    #[error("the trusted root of this host is damaged; reinstall the host")]
    BadTrust {
        /// What is wrong with it.
        source: Box<Tuf>,
    },
    /// What is known of the repository could not be read or written.
    #[error(
        "keeping what is known of the repository in {}; check the space and permissions there",
        .dir.display()
    )]
    State {
        /// The directory.
        dir: PathBuf,
        /// What went wrong.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Certificates could not be read.
    #[error("reading certificates of authorities from {}; check `[update] ca`", .path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The HTTP client could not be set up.
    #[error("setting up HTTP; check `[update] proxy` and `[update] ca`")]
    Client {
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The directory could not be opened.
    #[error("opening the repository in {}; check `[update] server`", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The archive is not one that is taken.
    #[error("opening the repository in {}", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        source: TarError,
    },
    /// A file could not be fetched.
    #[error(
        "reading the repository at {server}; check its address, the network, the proxy and, \
         for https, the clock and `[update] ca`"
    )]
    Fetch {
        /// Where the repository is.
        server: String,
        /// What went wrong.
        source: FetchError,
    },
    /// There is no repository.
    #[error(
        "there is no repository at {server}: it has no metadata/timestamp.json; check \
         `[update] server`, which names the directory above metadata and targets"
    )]
    NoRepository {
        /// Where the repository is.
        server: String,
    },
    /// A file that signed metadata names is not there.
    #[error(
        "the repository at {server} lacks {file}, which its signed metadata names; check \
         that the mirror is complete"
    )]
    Incomplete {
        /// Where the repository is.
        server: String,
        /// The file.
        file: String,
    },
    /// Metadata is too old to be believed.
    #[error(
        "the {role} metadata of {server} has expired, so newer releases may be held back \
         from this host, whose clock says {now}; check the clock with `timedatectl`; if it \
         is right, the mirror is stale or the publisher stopped signing"
    )]
    Expired {
        /// Where the repository is.
        server: String,
        /// Whose metadata.
        role: RoleType,
        /// What this host's clock says.
        now: Timestamp,
    },
    /// Metadata is too old, though the clock does not say so.
    #[error(
        "the {role} metadata of {server} expired on {expires}; this host's clock says {now}, \
         but it must be later than {later}, so the clock is in the past; set it, see \
         `timedatectl`; if the message stays, the mirror is stale"
    )]
    ClockInThePast {
        /// Where the repository is.
        server: String,
        /// Whose metadata.
        role: RoleType,
        /// Until when it could be believed.
        expires: Timestamp,
        /// What this host's clock says.
        now: Timestamp,
        /// What it must be at least: the release's build, or an earlier update.
        later: Timestamp,
    },
    /// Metadata is older than metadata that this host has seen.
    #[error(
        "the repository at {server} shows an older state than this host has already seen \
         ({what}); check that the mirror is up to date and was not restored from an old copy"
    )]
    Rollback {
        /// Where the repository is.
        server: String,
        /// Which metadata, and its versions.
        what: String,
    },
    /// Files of different states of the repository.
    #[error(
        "the repository at {server} mixes files of different states ({what}); check that the \
         mirror copies it whole, timestamp.json last, and that no cache serves old files"
    )]
    Mixed {
        /// Where the repository is.
        server: String,
        /// What does not fit.
        what: String,
    },
    /// Signatures are missing, wrong, or by other keys.
    #[error(
        "the {role} metadata of {server} is not signed by as many of its keys as root \
         version {root} of this host asks for; check `[update] server`; if keys were rotated \
         after this release was made, the server must keep every metadata/N.root.json after \
         {root}, or the host must be reinstalled; if the repository was set up anew with \
         other keys, remove {}", .dir.display()
    )]
    Signature {
        /// Where the repository is.
        server: String,
        /// Whose metadata.
        role: RoleType,
        /// Version of the root that was trusted at the start.
        root: u64,
        /// Where the newest trusted root is kept.
        dir: PathBuf,
        /// How many signatures were right.
        source: Box<Tuf>,
    },
    /// There are more roots than are gone through in one attempt.
    #[error(
        "the repository at {server} has more than {limit} root versions after {root}; check \
         `[update] server`; a host that is really that far behind goes on from where it is \
         with the next attempt"
    )]
    EndlessRoots {
        /// Where the repository is.
        server: String,
        /// Version of the root that was trusted at the start.
        root: u64,
        /// Most steps of one attempt.
        limit: u64,
    },
    /// Metadata does not say what metadata says.
    #[error(
        "the metadata of {server} makes no sense; check that the server is the right one and \
         that nothing between changes what it sends"
    )]
    Metadata {
        /// Where the repository is.
        server: String,
        /// What is wrong.
        source: Box<Tuf>,
    },
    /// The signed metadata names a file in a way that could lead elsewhere.
    #[error(
        "the signed metadata of {server} names a file in a way that is not taken; check who \
         publishes there"
    )]
    TargetName {
        /// Where the repository is.
        server: String,
        /// The name.
        source: BadName,
    },
    /// No such channel.
    #[error(
        "the repository at {server} has no channel {channel:?}; check `[update] channel`; \
         there are: {}", .known.join(", ")
    )]
    NoChannel {
        /// Where the repository is.
        server: String,
        /// The channel.
        channel: String,
        /// Channels that are there.
        known: Vec<String>,
    },
    /// No such release.
    #[error(
        "the repository at {server} has no release {version}; check the version, and whether \
         it was published there"
    )]
    NoRelease {
        /// Where the repository is.
        server: String,
        /// The release.
        version: Version,
    },
    /// A file is larger than what is read into memory.
    #[error(
        "{target} of {server} has {length} bytes, more than the {limit} that are read; check \
         who publishes there"
    )]
    TooLarge {
        /// Where the repository is.
        server: String,
        /// The file.
        target: String,
        /// Its signed length.
        length: u64,
        /// Most bytes.
        limit: u64,
    },
    /// A file holds other bytes than its signed hash says.
    #[error(
        "{target} of {server} is not the file that was signed: it was changed, or is half \
         copied; check the server's copy and any cache between"
    )]
    Changed {
        /// Where the repository is.
        server: String,
        /// The file.
        target: String,
    },
    /// A file is not what its name says.
    #[error("{target} of {server} is signed but of no use; check what was published there")]
    Content {
        /// Where the repository is.
        server: String,
        /// The file.
        target: String,
        /// What is wrong.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl ServerError {
    /// Whether the same may succeed in a moment, with nothing changed by hand.
    ///
    /// All else is a refusal: asking again at once would get the same answer.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Fetch { source, .. } => source.is_transient(),
            // A mirror in the middle of being copied looks like these.
            Self::Incomplete { .. } | Self::Mixed { .. } | Self::EndlessRoots { .. } => true,
            _ => false,
        }
    }
}

/// What an error of `tough` is told with.
pub(crate) struct Context {
    pub(crate) server: String,
    pub(crate) dir: PathBuf,
    pub(crate) root: u64,
    pub(crate) root_limit: u64,
    pub(crate) now: Timestamp,
}

impl Context {
    /// What an error of `tough` means for an operator.
    pub(crate) fn explain(self, error: Tuf) -> ServerError {
        let server = self.server.clone();
        let what = error.to_string();
        match error {
            Tuf::Transport { source, .. } => self.explain_transport(&source),
            Tuf::ExpiredMetadata { role, .. } => ServerError::Expired {
                server,
                role,
                now: self.now,
            },
            Tuf::OlderMetadata { .. }
            | Tuf::OlderSnapshotInTimestamp { .. }
            | Tuf::SnapshotRoleMissing { .. }
            | Tuf::SnapshotRoleRollback { .. } => ServerError::Rollback { server, what },
            Tuf::VersionMismatch { .. } => ServerError::Mixed { server, what },
            Tuf::VerifyMetadata { role, .. } => ServerError::Signature {
                server,
                role,
                root: self.root,
                dir: self.dir,
                source: Box::new(error),
            },
            Tuf::MaxUpdatesExceeded { .. } => ServerError::EndlessRoots {
                server,
                root: self.root,
                limit: self.root_limit,
            },
            Tuf::ParseTrustedMetadata { .. } | Tuf::VerifyTrustedMetadata { .. } => {
                let source = Box::new(error);
                ServerError::BadTrust { source }
            }
            error if is_state(&error) => ServerError::State {
                dir: self.dir,
                source: Box::new(error),
            },
            error => ServerError::Metadata {
                server,
                source: Box::new(error),
            },
        }
    }

    /// Our own error went through `tough` as the cause of one of its own; or `tough`
    /// found the hash or the length wrong.
    fn explain_transport(self, error: &tough::TransportError) -> ServerError {
        let server = self.server;
        let cause = StdError::source(error);
        if let Some(Tuf::HashMismatch { .. }) = cause.and_then(|e| e.downcast_ref()) {
            let what = format!("{error}");
            return ServerError::Mixed { server, what };
        }
        let file = error.url().rsplit("///").next().unwrap_or_default();
        let source = match cause.and_then(|e| e.downcast_ref::<super::metadata::Carried>()) {
            Some(carried) => match carried.take() {
                Some(source) => source,
                None => FetchError::broken(file, error.to_string()),
            },
            None => FetchError::broken(file, error.to_string()),
        };
        match source {
            FetchError::Missing { file } if file == super::metadata::TIMESTAMP => {
                ServerError::NoRepository { server }
            }
            FetchError::Missing { file } => ServerError::Incomplete { server, file },
            source => ServerError::Fetch { server, source },
        }
    }
}

/// Whether `tough` failed in its own directory.
fn is_state(error: &Tuf) -> bool {
    matches!(
        error,
        Tuf::DatastoreInit { .. }
            | Tuf::DatastoreCreate { .. }
            | Tuf::DatastoreOpen { .. }
            | Tuf::DatastoreRemove { .. }
            | Tuf::DatastoreSerialize { .. }
            | Tuf::SystemTimeSteppedBackward { .. }
    )
}
