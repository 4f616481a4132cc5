//! How far an installation has come, and the way to stop it.

use std::future::Future;

use tokio::sync::watch;

use super::InstallError;
use crate::patch::PatchFault;

/// What an installation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Finds out what is on the disk.
    #[default]
    Looking,
    /// Copies blocks that the disk has.
    Copying,
    /// Fetches blocks that the disk has not.
    Fetching,
    /// Reads everything back and checks it.
    Checking,
    /// The slot is armed.
    Armed,
}

/// What became of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PatchUse {
    /// There is none from the running release, or it would not have spared anything.
    #[default]
    None,
    /// It was applied.
    Applied,
    /// It did not come; the rest came in other ways.
    NotServed,
    /// It was not a good one; the rest came in other ways.
    Wrong(PatchFault),
    /// It made other blocks than were signed; the rest came in other ways.
    OtherBlocks,
}

impl PatchUse {
    /// Why a patch was not applied to its end, for people.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::None | Self::Applied => None,
            Self::NotServed => Some("it did not come".to_string()),
            Self::Wrong(fault) => Some(fault.to_string()),
            Self::OtherBlocks => Some("it makes other blocks than were signed".to_string()),
        }
    }
}

/// Figures of one installation. Bytes are of blocks in the slot, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// What it does.
    pub phase: Phase,
    /// `/usr` and kernel image.
    pub total: u64,
    /// Were there and right.
    pub kept: u64,
    /// Came from the disk.
    pub copied: u64,
    /// Came from the server.
    pub fetched: u64,
    /// Of these, were made by a patch.
    pub patched: u64,
    /// What became of the patch.
    pub patch: PatchUse,
    /// Of `/usr`, kernel image and tree, written to the disk.
    pub written: u64,
    /// As sent by the server: compressed, with what nobody wanted.
    pub received: u64,
    /// What `received` will be in the end, known from the first request on. It grows
    /// when the server turns out to have no ranges; what has to be sent again because a
    /// connection was lost comes on top.
    pub expected: u64,
    /// Sent to the server.
    pub requests: u64,
}

impl Progress {
    /// Bytes of the release that are in the slot.
    pub fn in_place(&self) -> u64 {
        self.kept + self.copied + self.fetched
    }

    /// How much of what is in the slot the disk had already, 0 to 100.
    pub fn reused_percent(&self) -> u64 {
        (self.kept + self.copied) * 100 / self.in_place().max(1)
    }
}

/// The two ends that an installation holds: it tells its progress and asks whether it is
/// to stop.
#[derive(Debug)]
pub struct Watch {
    progress: watch::Sender<Progress>,
    cancel: watch::Receiver<bool>,
}

impl Watch {
    /// Sends progress to `progress` and stops as soon as `cancel` holds true.
    pub fn new(progress: watch::Sender<Progress>, cancel: watch::Receiver<bool>) -> Self {
        Self { progress, cancel }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(change);
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.update(|p| p.phase = phase);
    }

    pub(super) fn last(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Fails if the installation is to stop.
    pub(super) fn check(&self) -> Result<(), InstallError> {
        if *self.cancel.borrow() {
            Err(InstallError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Returns as soon as the installation is to stop.
    pub async fn cancelled(&self) {
        let mut cancel = self.cancel.clone();
        if cancel.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left who could say so.
            std::future::pending::<()>().await;
        }
    }

    /// What `work` gives, unless the installation is to stop meanwhile.
    pub(super) async fn or_cancelled<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, InstallError> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(InstallError::Cancelled),
            done = work => Ok(done),
        }
    }
}
