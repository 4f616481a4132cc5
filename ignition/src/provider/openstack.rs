//! OpenStack: the config drive or the metadata service, whichever answers
//! first.

use std::sync::mpsc;
use std::thread;

use crate::fetch::{Fetcher, Network};
use crate::log;

use super::configdrive::{self, LABELS};
use super::disc::{Drives, wait_for};
use super::metadata::{LINK_LOCAL, Question};
use super::{Provider, ProviderError, Raw};

/// The instance's user data.
#[derive(Debug, Clone)]
pub struct OpenStack {
    base: String,
    drives: Drives,
}

impl Default for OpenStack {
    fn default() -> Self {
        Self::new(LINK_LOCAL.to_owned(), Drives::default())
    }
}

type Answer = Result<Option<Raw>, ProviderError>;

impl OpenStack {
    /// Asks the service at `base` and looks for a disc among `drives`.
    pub fn new(base: String, drives: Drives) -> Self {
        Self { base, drives }
    }

    fn metadata(&self, fetcher: &Fetcher) -> Answer {
        let answer = Question {
            name: "openstack",
            service: "OpenStack user data",
            url: format!("{}/openstack/latest/user_data", self.base),
            headers: Vec::new(),
            again: &[],
        }
        .ask(fetcher)?;
        match answer {
            Some(raw) => Ok(Some(raw)),
            // A service without user data: the drive may have it.
            None => self.drive_now().unwrap_or(Ok(None)),
        }
    }

    fn drive(&self, fetcher: &Fetcher) -> Answer {
        let patience = fetcher.patience();
        match wait_for(fetcher, patience, || self.drives.labelled(&LABELS)) {
            Some(device) => configdrive::read(&self.drives, &device),
            None => Err(configdrive::no_disc(LABELS[0], patience)),
        }
    }

    /// What a drive that is there already says.
    fn drive_now(&self) -> Option<Answer> {
        let device = self.drives.labelled(&LABELS)?;
        Some(configdrive::read(&self.drives, &device))
    }

    /// The first answer that is no error; if there is none, the service's
    /// error, which says more than that there is no disc.
    fn race(&self, fetcher: &Fetcher) -> Answer {
        let (sender, receiver) = mpsc::channel();
        let sources: [fn(&Self, &Fetcher) -> Answer; 2] = [Self::metadata, Self::drive];
        let runner = fetcher.with_own_stop();
        for (number, source) in sources.into_iter().enumerate() {
            let (this, runner, sender) = (self.clone(), runner.clone(), sender.clone());
            // Not joined: a connection that hangs must not hold the winner up.
            thread::spawn(move || {
                // Nobody listens once the other has won.
                let _ = sender.send((number, source(&this, &runner)));
            });
        }
        drop(sender);
        let mut errors = Vec::new();
        for (number, answer) in receiver {
            match answer {
                Ok(answer) => {
                    runner.stop();
                    return Ok(answer);
                }
                Err(error) => {
                    log::warn(&error.to_string());
                    errors.push((number, error));
                }
            }
        }
        errors.sort_by_key(|(number, _)| *number);
        match errors.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(None),
        }
    }
}

impl Provider for OpenStack {
    fn name(&self) -> &'static str {
        "openstack"
    }

    fn config(&self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        match fetcher.network() {
            Network::Present => self.race(fetcher),
            // Without the network only a drive that is there can win.
            Network::Absent => self.drive_now().unwrap_or_else(|| self.metadata(fetcher)),
        }
    }
}
