//! What the daemon has under way, and its figures over time.

use tokio::sync::watch;
use tokio::time::Instant;

use crate::attempt::By;
use crate::install::{Phase, Progress};
use crate::next::Wish;

/// What goes on.
#[derive(Debug)]
pub(super) struct Task {
    /// Its number on D-Bus, if an operator began it.
    pub(super) job: Option<u32>,
    pub(super) wish: Wish,
    pub(super) by: By,
    /// Only ask.
    pub(super) only_check: bool,
    /// What is done in place of this one, which was stopped for it.
    pub(super) instead: Option<Ask>,
    /// The policy's look, which was stopped for this one, is begun again after it.
    pub(super) then_looks: bool,
    /// Set to stop it.
    pub(super) cancel: watch::Sender<bool>,
    /// Figures, while it installs.
    pub(super) meter: Option<Meter>,
}

/// What an operator asks for.
#[derive(Debug)]
pub(super) struct Ask {
    /// Its number on D-Bus.
    pub(super) job: u32,
    pub(super) wish: Wish,
    pub(super) by: By,
    pub(super) only_check: bool,
}

impl Task {
    /// It is the policy's look at the server, which is in no operator's way.
    pub(super) fn gives_way(&self) -> bool {
        self.job.is_none() && self.meter.is_none() && self.instead.is_none()
    }

    /// It installs what `wish` asks for, and no operator waits for it.
    pub(super) fn installs_unasked(&self, wish: &Wish) -> bool {
        let is_channels = matches!(self.wish, Wish::Policy | Wish::Channel);
        self.job.is_none() && self.meter.is_some() && is_channels && *wish == Wish::Channel
    }

    /// Stops it, at the next place where it can be stopped.
    pub(super) fn cancel(&self) {
        self.cancel.send_replace(true);
    }
}

/// Figures of an installation over time.
#[derive(Debug)]
pub(super) struct Meter {
    progress: watch::Receiver<Progress>,
    /// When was measured last, and how much there was then.
    last: (Instant, Progress),
    /// Bytes received per second, smoothed.
    pub(super) rate: f64,
}

impl Meter {
    pub(super) fn new(progress: watch::Receiver<Progress>) -> Self {
        let now = *progress.borrow();
        Self {
            progress,
            last: (Instant::now(), now),
            rate: 0.0,
        }
    }

    /// The figures as they were when they were measured.
    pub(super) fn last(&self) -> Progress {
        self.last.1
    }

    pub(super) fn measure(&mut self) {
        let now = (Instant::now(), *self.progress.borrow());
        let seconds = now.0.duration_since(self.last.0).as_secs_f64();
        if seconds > 0.0 {
            let received = now.1.received.saturating_sub(self.last.1.received);
            self.rate += (received as f64 / seconds - self.rate) * 0.2;
        }
        self.last = now;
    }
}

/// Where in an installation all blocks are in place.
pub(super) fn is_checking(progress: &Progress) -> bool {
    matches!(progress.phase, Phase::Checking | Phase::Armed)
}
