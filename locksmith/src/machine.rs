//! The machine that the daemon runs on, through the system bus.

use std::path::PathBuf;

use async_trait::async_trait;
use daemon::{log, reboot};
use futures_util::StreamExt as _;
use zbus::{Connection, OwnedObjectPath, proxy};

use crate::daemon::Machine;
use crate::hooks;
use crate::sessions::{self, Session};

/// What runs the operator's programs.
const DRAIN: &str = "ballast-drain.service";

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

/// This machine.
#[derive(Debug)]
pub struct ThisMachine {
    bus: Connection,
    root: PathBuf,
}

impl ThisMachine {
    /// The machine at the other end of `bus`, with its files below `root`.
    pub fn new(bus: Connection, root: PathBuf) -> Self {
        Self { bus, root }
    }

    /// Starts the unit, or waits for the one that runs already. Returns how that ended.
    async fn run_drain(&self) -> zbus::Result<String> {
        let manager = ManagerProxy::new(&self.bus).await?;
        manager.subscribe().await?;
        let mut ends = manager.receive_job_removed().await?;
        let job = manager.start_unit(DRAIN, "replace").await?;
        while let Some(end) = ends.next().await {
            let end = end.args()?;
            if end.job == job {
                return Ok(end.result.to_string());
            }
        }
        Err(zbus::Error::Failure("the bus is gone".into()))
    }
}

#[async_trait]
impl Machine for ThisMachine {
    fn reboot(&self) -> std::io::Result<()> {
        reboot::ask()
    }

    async fn sessions(&self) -> Result<Vec<Session>, String> {
        sessions::list(&self.bus)
            .await
            .map_err(|error| log::chain(&error))
    }

    fn tell(&self, sessions: &[Session], message: &str) {
        sessions::tell(&self.root, sessions, message);
    }

    async fn drain(&self) -> Result<(), String> {
        match self.run_drain().await.as_deref() {
            Ok("done") => Ok(()),
            Ok(result) => Err(hooks::failure(&self.root)
                .unwrap_or_else(|| format!("{DRAIN}: {result}; see journalctl -u {DRAIN}"))),
            Err(error) => Err(format!("starting {DRAIN}: {}", log::chain(error))),
        }
    }

    async fn stop_drain(&self) {
        let stopped = match ManagerProxy::new(&self.bus).await {
            Ok(manager) => manager.stop_unit(DRAIN, "replace").await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = stopped {
            log::error(format!("stopping {DRAIN}: {}", log::chain(&error)));
        }
    }
}
