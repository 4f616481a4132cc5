//! Telling a server that first boot failed.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::fetch::{FetchError, Fetcher, Network};
use crate::log;

use super::{Asked, Attempt, Outcome};

/// What telling may take, and before it fetching an authority.
const PATIENCE: Duration = Duration::from_secs(15);

/// Names this machine among others.
const MACHINE: &str = "/sys/class/dmi/id/product_uuid";

/// What is told. Messages hold no secrets; lines of the log are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary<'a> {
    /// The program.
    pub program: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The firmware's UUID of the machine, if it has one.
    pub machine: Option<String>,
    /// The kernel's name of the boot.
    #[serde(rename = "bootID")]
    pub boot_id: &'a str,
    /// The stage that failed.
    pub stage: &'a str,
    /// Why, as on the consoles.
    pub message: &'a str,
    /// Whether only a change of the config helps.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The stages of this boot.
    pub stages: Vec<Stage<'a>>,
}

/// A stage and how long it took.
#[derive(Debug, Serialize)]
pub struct Stage<'a> {
    stage: &'a str,
    milliseconds: u64,
    outcome: Outcome,
}

impl<'a> Summary<'a> {
    /// Of an `attempt` whose last stage failed for the reason `message`.
    pub fn new(attempt: &'a Attempt, message: &'a str, is_final: bool) -> Self {
        let machine = std::fs::read_to_string(Path::new(MACHINE)).ok();
        let stages = attempt.stages.iter().map(|run| Stage {
            stage: &run.stage,
            milliseconds: run.milliseconds,
            outcome: run.outcome,
        });
        Self {
            program: "ignition",
            version: env!("CARGO_PKG_VERSION"),
            machine: machine.map(|machine| machine.trim().to_owned()),
            boot_id: &attempt.boot_id,
            stage: attempt.stages.last().map_or("", |run| &run.stage),
            message,
            is_final,
            stages: stages.collect(),
        }
    }
}

/// Posts `summary` as JSON to who `asked`, trusting and through what their
/// config says. Errors of the server and of the connection are tried again
/// for 15 seconds; redirects are not followed.
pub fn post(asked: &Asked, summary: &Summary<'_>) -> Result<(), FetchError> {
    let mut fetcher = Fetcher::new(Network::Present, PATIENCE);
    // An authority that cannot be had may not be needed.
    if let Err(error) = fetcher.configure(&asked.config) {
        log::warn(&error.to_string());
    }
    let body = serde_json::to_vec(summary).unwrap_or_default();
    fetcher.post(&asked.url, body)
}
