//! What the release itself says about its repository.

use std::path::Path;

use jiff::Timestamp;

use super::error::ServerError;

/// What a host believes before it has asked anybody.
#[derive(Debug, Clone)]
pub struct Trust {
    /// `root.json` of the release.
    pub root: Vec<u8>,
    /// A time before which the release was not built.
    pub built: Timestamp,
    /// What the host's clock says.
    pub now: Timestamp,
}

impl Trust {
    /// Where a release keeps its root.
    pub const ROOT: &str = "/usr/share/ballast/tuf/root.json";

    /// The file whose time of modification is a release's build, as for systemd, which
    /// never lets the clock start before it.
    pub const EPOCH: &str = "/usr/lib/clock-epoch";

    /// The trust of the running release.
    pub fn of_host() -> Result<Self, ServerError> {
        let failed = |source| ServerError::Trust {
            path: Self::ROOT.into(),
            source,
        };
        let modified = |path: &str| Path::new(path).metadata()?.modified();
        let built = modified(Self::EPOCH)
            .or_else(|_| modified(Self::ROOT))
            .map_err(failed)?;
        Ok(Self {
            root: std::fs::read(Self::ROOT).map_err(failed)?,
            built: Timestamp::try_from(built).unwrap_or(Timestamp::UNIX_EPOCH),
            now: Timestamp::now(),
        })
    }
}
