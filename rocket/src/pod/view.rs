//! How a pod looks to people and tools.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{Exit, Liveness, Manifest, Pod, Record, State, StoreError};

/// What a pod is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is being prepared.
    Preparing,
    /// Whoever prepared it is gone.
    Abandoned,
    /// It waits to be run.
    Prepared,
    /// Its processes are being made.
    Starting,
    /// It runs.
    Running,
    /// It ran, and nobody saw it end.
    Aborted,
    /// It has run.
    Exited,
    /// It is being removed.
    Removing,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Preparing => "preparing",
            Self::Abandoned => "abandoned",
            Self::Prepared => "prepared",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Aborted => "aborted",
            Self::Exited => "exited",
            Self::Removing => "removing",
        })
    }
}

/// A pod, as `list` and `status` show it.
#[derive(Debug, Serialize)]
pub struct View {
    /// Its name for ever.
    pub uuid: Uuid,
    /// The name under which it was declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is doing.
    pub state: Phase,
    /// When it was prepared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// The unit it runs in, if it was detached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its apps.
    pub apps: Vec<AppView>,
    /// What is wrong with what is kept of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An app of a pod.
#[derive(Debug, Serialize)]
pub struct AppView {
    /// Its name.
    pub name: String,
    /// What its image was asked for by.
    pub image: String,
    /// The image's digest.
    pub image_id: String,
    /// Its first process, while that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Its exit status, once it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u8>,
}

/// A pod as it is now. What is damaged is shown with what is wrong.
pub fn view(pod: &Pod, live: &Liveness) -> View {
    read(pod, live).unwrap_or_else(|error| View {
        uuid: pod.uuid(),
        name: None,
        state: match pod.state() {
            State::Garbage => Phase::Removing,
            State::Preparing => Phase::Abandoned,
            _ => Phase::Aborted,
        },
        created: None,
        started: None,
        finished: None,
        unit: None,
        addresses: Vec::new(),
        apps: Vec::new(),
        error: Some(format!("{:#}", anyhow::Error::from(error))),
    })
}

fn read(pod: &Pod, live: &Liveness) -> Result<View, StoreError> {
    if matches!(pod.state(), State::Preparing | State::Garbage) {
        return Ok(unfinished(pod));
    }
    let manifest = pod.manifest()?;
    let record = pod.record()?;
    let exit = pod.exit()?;
    let state = phase(pod, record.as_ref(), live);
    Ok(View {
        uuid: pod.uuid(),
        name: pod.name()?,
        state,
        created: Some(manifest.created),
        started: record.as_ref().map(|record| record.started),
        finished: exit.as_ref().map(|exit| exit.finished),
        unit: record.as_ref().and_then(|record| record.unit.clone()),
        addresses: record
            .as_ref()
            .map(|record| record.addresses.clone())
            .unwrap_or_default(),
        apps: apps(&manifest, record.as_ref(), exit.as_ref(), live),
        error: None,
    })
}

/// What a pod is doing, from where it is, who holds it, and which of its processes are there.
pub fn phase(pod: &Pod, record: Option<&Record>, live: &Liveness) -> Phase {
    match pod.state() {
        State::Preparing if pod.is_busy() => Phase::Preparing,
        State::Preparing => Phase::Abandoned,
        State::Prepared => Phase::Prepared,
        State::Running if record.is_some_and(|record| live.any(record)) => Phase::Running,
        // A supervisor is there also when none of its containers is.
        State::Running if pod.is_busy() && record.is_some_and(|record| record.is_held(live)) => {
            Phase::Running
        }
        State::Running if pod.is_busy() => Phase::Starting,
        State::Running => Phase::Aborted,
        State::Exited => Phase::Exited,
        State::Garbage => Phase::Removing,
    }
}

fn unfinished(pod: &Pod) -> View {
    let manifest = pod.manifest().ok();
    View {
        uuid: pod.uuid(),
        name: None,
        state: match pod.state() {
            State::Garbage => Phase::Removing,
            _ if pod.is_busy() => Phase::Preparing,
            _ => Phase::Abandoned,
        },
        created: manifest.as_ref().map(|manifest| manifest.created),
        started: None,
        finished: None,
        unit: None,
        addresses: Vec::new(),
        apps: Vec::new(),
        error: None,
    }
}

fn apps(
    manifest: &Manifest,
    record: Option<&Record>,
    exit: Option<&Exit>,
    live: &Liveness,
) -> Vec<AppView> {
    let pid = |name: &str| {
        let record = record?;
        let process = record.apps.iter().find(|process| process.name == name)?;
        live.has(record, process).then_some(process.pid)
    };
    let status = |name: &str| exit?.apps.iter().find(|ended| ended.name == name)?.status;
    manifest
        .apps
        .iter()
        .map(|app| AppView {
            name: app.name.clone(),
            image: app.image.name.clone(),
            image_id: app.image.id.clone(),
            pid: pid(&app.name),
            status: status(&app.name),
        })
        .collect()
}
