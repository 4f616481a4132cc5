//! `updatectl`: a client of the daemon on D-Bus, without a private path. Only `config`
//! reads files instead, because they are also wrong while no daemon runs.

mod args;
mod config;
mod failure;
mod generate;
mod history;
mod jobs;
mod proxy;
mod status;

use std::io::Write;

use daemon::policy::Roots;
use jiff::Timestamp;
use serde_json::json;
use zbus::Connection;

pub use args::{Args, Config, Verb};
pub use failure::ClientError;
pub use generate::generate;
pub use proxy::Update1Proxy;
pub use status::{ago, bytes, render};

use crate::state::Record;
use crate::view::View;

/// Where output goes: data to one, talk to the other.
pub struct Output<'a> {
    /// Standard output.
    pub data: &'a mut dyn Write,
    /// Standard error.
    pub talk: &'a mut dyn Write,
    /// `talk` is a terminal: progress is drawn on one line.
    pub is_terminal: bool,
    /// Data is JSON.
    pub json: bool,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("json", &self.json).finish()
    }
}

impl Output<'_> {
    /// Prints a value as JSON, or what `text` makes of it.
    fn print(
        &mut self,
        value: &impl serde::Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), ClientError> {
        let text = if self.json {
            let json = serde_json::to_string_pretty(value);
            json.map_err(|error| ClientError::Failed(error.to_string()))? + "\n"
        } else {
            text()
        };
        self.data
            .write_all(text.as_bytes())
            .map_err(ClientError::Output)
    }

    fn done(&mut self, message: &str) -> Result<(), ClientError> {
        let value = json!({ "result": "done", "message": message });
        self.print(&value, || format!("{message}\n"))
    }
}

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
        Verb::Generate { dir } => Some(generate(dir).map_err(ClientError::Output)),
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
