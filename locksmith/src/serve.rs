//! `locksmithd serve --fleet-lock`: a program of its own, to be run by whoever wants other
//! systems' hosts to share the lock.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use daemon::log;
use daemon::policy::{Roots, load};

use crate::etcd::Client;
use crate::fleet_lock::server::{Server, ServerOptions};
use crate::locks;
use crate::settings::{self, Settings};

/// What is served, and where.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Answer FleetLock's requests at this address, as in `[::]:3333`
    #[arg(long, value_name = "ADDRESS")]
    pub fleet_lock: SocketAddr,

    /// The server's certificate (PEM); without it there is no TLS
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,

    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
}

/// Serves until the process ends. Where etcd is, and how to get there, is in this host's
/// `[reboot.etcd]`; clients name their groups.
pub async fn serve(args: &Serve, roots: &Roots) -> anyhow::Result<()> {
    let (policy, problems) = load(roots, &settings::schema());
    for problem in problems {
        log::warn(problem);
    }
    let settings = Settings::read(&policy).context("reading the policy")?;
    if settings.etcd.endpoints.is_empty() {
        bail!("`[reboot.etcd] endpoints` is not set: the policy does not say where etcd is");
    }
    let etcd = Client::new(locks::options(&settings.etcd)).context("setting up etcd")?;
    let options = ServerOptions {
        tls: args.certificate.clone().zip(args.key.clone()),
        ..ServerOptions::default()
    };
    let server = Server::bind(args.fleet_lock, etcd, options).await?;
    let address = server.address().context("finding the port")?;
    log::info(format!("serving FleetLock at {address}"));
    server.serve().await;
    Ok(())
}
