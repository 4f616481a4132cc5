//! Another program in an app that runs.

use std::path::PathBuf;

use anyhow::Context as _;

use super::run::until_all_ended;
use super::spec::{self, Place};
use super::{App, AppProcess, Manifest};
use crate::relay::Relay;
use crate::runtime::exec::Entry;
use crate::runtime::{Running, Session, Streams};

/// Runs `command` beside the first process of `app`: as the same user, with the same rights
/// and limits. Returns its exit status.
///
/// # Errors
/// It cannot be started.
pub fn enter(
    manifest: &Manifest,
    app: &App,
    process: &AppProcess,
    command: &[String],
) -> anyhow::Result<u8> {
    let relay = Relay::new(Session::Caller)?;
    let running = begin(manifest, app, process.pid, command, Streams::default())?;
    let ended = until_all_ended(&relay, &[(app.name.clone(), running)])?;
    Ok(ended.into_iter().find_map(|app| app.status).unwrap_or(0))
}

/// Begins such a program beside process `pid` of `app`.
///
/// # Errors
/// It cannot be started.
pub fn begin(
    manifest: &Manifest,
    app: &App,
    pid: i32,
    command: &[String],
    streams: Streams,
) -> anyhow::Result<Running> {
    let volumes = std::collections::BTreeMap::new();
    let place = Place {
        files: &PathBuf::new(),
        volumes: &volumes,
        joined: None,
        range: None,
        notify: None,
        is_limited: false,
    };
    let spec = spec::spec(manifest, app, &place).with_context(|| format!("app {}", app.name))?;
    let mut program = spec.process().clone().context("the app has no process")?;
    program.set_args(Some(command.to_vec()));
    let entry = Entry {
        seccomp: spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.seccomp().clone()),
        streams,
        ..Entry::new(pid, program)?
    };
    entry
        .run()
        .with_context(|| format!("entering app {}", app.name))
}
