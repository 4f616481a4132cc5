//! The daemon that keeps a host's release up to date, and the programs around a trial.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use crate::bus::{self, Access, Update1};
use crate::daemon::{self, Ends, Machine, Setup};
use crate::gate;
use crate::health::Systemctl;
use crate::host::Host;
use crate::state::{DIRECTORY, Store};
use crate::updater::{HostUpdater, Updater};
use crate::view::View;
use ::daemon::policy::Roots;
use ::daemon::{log, reboot};
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Keeps this host's release up to date.
#[derive(Parser)]
#[command(name = "update-engine", version)]
struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs the daemon (the default).
    Daemon,
    /// Checks the health of a release on trial.
    Health,
    /// Reboots if a release on trial is not blessed in time.
    Trial,
    /// Keeps the release that runs: asks the daemon, unless that is masked.
    Bless,
}

/// Runs it. Exit status: 0 done, 1 failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let result = match Args::parse().verb.unwrap_or(Verb::Daemon) {
        Verb::Daemon => run(),
        Verb::Health => gate::gate(Path::new("/"), Path::new(DIRECTORY)),
        Verb::Trial => gate::watch(Path::new("/"), Path::new(DIRECTORY)),
        Verb::Bless => bless(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn bless() -> anyhow::Result<()> {
    if gate::bless(Path::new("/"), &Systemctl)? {
        return Ok(());
    }
    let error = Command::new("updatectl").arg("bless").exec();
    Err(error).context("running updatectl")
}

/// The machine that this runs on.
struct ThisMachine;

impl Machine for ThisMachine {
    fn reboot(&self) -> std::io::Result<()> {
        reboot::ask()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run() -> anyhow::Result<()> {
    let (send, requests) = mpsc::channel(16);
    let (view, shown) = watch::channel(View::default());
    let (jobs, finished) = mpsc::unbounded_channel();
    let ends = Ends {
        requests,
        view,
        finished: jobs,
    };
    let mut terminate = signal(SignalKind::terminate()).context("waiting for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for signals")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let daemon = daemon::run(setup()?, ends, stop);
    let mut ready = shown.clone();
    let serve = async {
        // What is shown on the bus is complete from the beginning.
        ready.changed().await.context("starting")?;
        let object = Update1::new(send, shown.clone(), Access { uid: 0 });
        let connection = zbus::connection::Builder::system()
            .serve_at(bus::PATH, object)
            .name(bus::NAME)
            .build()
            .await
            .with_context(|| format!("taking the name {} on the system bus", bus::NAME))?;
        let object = connection.object_server().interface(bus::PATH).await?;
        tokio::select! {
            () = bus::signals(object, shown, finished) => {}
            () = connection.closed() => anyhow::bail!("the system bus is gone"),
        }
        anyhow::Ok(())
    };
    tokio::select! {
        () = daemon => Ok(()),
        served = serve => served,
    }
}

fn setup() -> anyhow::Result<Setup> {
    let store = Store::open(DIRECTORY)?;
    let host = Host::look(Path::new("/")).map_err(|error| log::chain(&error));
    if let Err(why) = &host {
        log::error(format!("it is not known what this host runs: {why}"));
    }
    let updater = host.clone().ok().map(|host| {
        let directory = PathBuf::from(DIRECTORY).join("tuf");
        Arc::new(HostUpdater { host, directory }) as Arc<dyn Updater>
    });
    Ok(Setup {
        store,
        host,
        updater,
        machine: Box::new(ThisMachine),
        roots: Roots::default(),
    })
}
