//! The daemon that decides when this host reboots, and the program that runs before it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::bus::{self, Access, Locksmith1};
use crate::daemon::{self, Ends, Setup};
use crate::engine::{self, Engine};
use crate::hooks;
use crate::host::Host;
use crate::locks::Network;
use crate::machine::ThisMachine;
use crate::serve::{self, Serve};
use crate::state::{DIRECTORY, Store};
use crate::view::View;
use ::daemon::log;
use ::daemon::policy::Roots;
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use zbus::Connection;

/// Decides when this host reboots.
#[derive(Parser)]
#[command(name = "locksmithd", version)]
struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs the daemon (the default).
    Daemon,
    /// Runs the programs in pre-reboot.d.
    Drain,
    /// Answers FleetLock's requests from the lock in etcd, for hosts of other systems.
    Serve(Serve),
}

/// Runs it. Exit status: 0 done, 1 failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let result = match Args::parse().verb.unwrap_or(Verb::Daemon) {
        Verb::Daemon => run(),
        Verb::Drain => {
            let drained = hooks::drain(Path::new("/"), Path::new(DIRECTORY));
            drained.map_err(anyhow::Error::msg)
        }
        Verb::Serve(args) => share(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn share(args: &Serve) -> anyhow::Result<()> {
    serve::serve(args, &Roots::default()).await
}

#[tokio::main(flavor = "current_thread")]
async fn run() -> anyhow::Result<()> {
    let (send, requests) = mpsc::channel(16);
    let (view, shown) = watch::channel(View::default());
    let (says, engine) = watch::channel(Engine::Unknown);
    let ends = Ends {
        requests,
        view,
        engine,
    };
    let mut terminate = signal(SignalKind::terminate()).context("waiting for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for signals")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let bus = Connection::system()
        .await
        .context("reaching the system bus")?;
    let daemon = daemon::run(setup(&bus)?, ends, stop);
    tokio::select! {
        () = daemon => Ok(()),
        served = serve(&bus, send, shown) => served,
        followed = engine::follow(bus.clone(), says) => {
            followed.context("following update-engine")
        }
    }
}

/// Serves the daemon on the bus.
async fn serve(
    bus: &Connection,
    send: mpsc::Sender<daemon::Request>,
    shown: watch::Receiver<View>,
) -> anyhow::Result<()> {
    let mut ready = shown.clone();
    // What is shown on the bus is complete from the beginning.
    ready.changed().await.context("starting")?;
    let object = Locksmith1::new(send, shown.clone(), Access { uid: 0 });
    bus.object_server().at(bus::PATH, object).await?;
    bus.request_name(bus::NAME)
        .await
        .with_context(|| format!("taking the name {} on the system bus", bus::NAME))?;
    let object = bus.object_server().interface(bus::PATH).await?;
    tokio::select! {
        () = bus::signals(object, shown) => Ok(()),
        () = bus.closed() => anyhow::bail!("the system bus is gone"),
    }
}

fn setup(bus: &Connection) -> anyhow::Result<Setup> {
    Ok(Setup {
        store: Store::open(DIRECTORY)?,
        host: Host::look(Path::new("/"))?,
        machine: Arc::new(ThisMachine::new(bus.clone(), PathBuf::from("/"))),
        locks: Arc::new(Network),
        roots: Roots::default(),
    })
}
