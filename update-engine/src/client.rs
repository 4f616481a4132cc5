//! `updatectl`: a client of the daemon on D-Bus, without a private path. Only `config`
//! reads files instead, because they are also wrong while no daemon runs.

mod args;
mod config;
mod history;
mod jobs;
mod proxy;
mod status;

use daemon::client::{Service, generate};
use daemon::policy::Roots;
use jiff::Timestamp;
use serde_json::json;
use zbus::Connection;

pub use args::{Args, Config, Verb};
pub use daemon::client::Output;
pub use proxy::Update1Proxy;
pub use status::{bytes, render};

use crate::state::Record;
use crate::view::View;

/// The daemon that this is the client of.
#[derive(Debug)]
pub enum Engine {}

impl Service for Engine {
    const INTERFACE: &'static str = "org.ballast.Update1";
    const UNIT: &'static str = "update-engine";
}

/// Why a verb came to nothing.
pub type ClientError = daemon::client::ClientError<Engine>;

/// Runs a verb that needs no daemon; `None` for all others.
pub fn run_offline(
    verb: &Verb,
    roots: &Roots,
    output: &mut Output<'_>,
) -> Option<Result<(), ClientError>> {
    match verb {
        Verb::Config {
            verb: Config::Check,
        } => Some(config::check(roots, output)),
        Verb::Config { verb: Config::Show } => Some(config::show(roots, output)),
        Verb::Generate { dir } => Some(generate::<Args>(dir).map_err(ClientError::Output)),
        _ => None,
    }
}

/// Runs a verb that the daemon at the other end of `connection` carries out.
pub async fn run(
    verb: &Verb,
    connection: &Connection,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let daemon = Update1Proxy::builder(connection)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await?;
    match verb {
        Verb::Status => {
            let view = describe(&daemon).await?;
            output.print(&view, || render(&view, Timestamp::now()))
        }
        Verb::Check => jobs::check(&daemon, output).await,
        Verb::Apply(apply) => jobs::apply(&daemon, apply, output).await,
        Verb::Rollback { no_reboot } => {
            daemon.rollback(!no_reboot).await?;
            output.done(if *no_reboot {
                "the other slot is started next"
            } else {
                "rebooting into the other slot"
            })
        }
        Verb::Bless => {
            daemon.bless().await?;
            output.done("the running release is blessed")
        }
        Verb::Hold { reason } => {
            daemon.hold(&reason.join(" ")).await?;
            output.done("no release is taken by policy until updatectl unhold")
        }
        Verb::Unhold => {
            daemon.unhold().await?;
            output.done("releases are taken by policy")
        }
        Verb::Allow { version } => {
            daemon.allow(&version.to_string()).await?;
            output.done(&format!("{version} may be taken again"))
        }
        Verb::Channel { name: Some(name) } => {
            daemon.set_channel(name).await?;
            output.done(&format!("this host follows {name}"))
        }
        Verb::Channel { name: None } => {
            let channel = daemon.channel().await?;
            output.print(&json!({ "channel": channel }), || format!("{channel}\n"))
        }
        Verb::Cancel => {
            daemon.cancel().await?;
            output.done("cancelled")
        }
        Verb::History => {
            let text = daemon.history().await?;
            let records: Vec<Record> = parse(&text)?;
            output.print(&records, || history::render(&records))
        }
        Verb::Config { .. } | Verb::Generate { .. } => Ok(()),
    }
}

async fn describe(daemon: &Update1Proxy<'_>) -> Result<View, ClientError> {
    parse(&daemon.describe().await?)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ClientError> {
    serde_json::from_str(text)
        .map_err(|error| ClientError::Failed(format!("the daemon's answer: {error}")))
}
