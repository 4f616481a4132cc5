//! `rocket enter`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::dirs::Dirs;
use crate::pod::{self, App, Liveness, Manifest, Pods};

/// Runs a program in an app of a pod.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The app, if the pod has several
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// The pod's UUID, or its beginning, or the name of a declared pod
    uuid: String,
    /// The program and its arguments; otherwise a shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let pod = Pods::open(dirs)?.find(&args.uuid)?;
    let live = Liveness::of_this_boot()?;
    let manifest = pod.manifest()?;
    let record = pod
        .record()?
        .with_context(|| format!("pod {} was not started", pod.uuid()))?;
    let app = choose(&manifest, args.app.as_deref())?;
    let process = record
        .apps
        .iter()
        .find(|process| process.name == app.name && live.has(&record, process))
        .with_context(|| format!("app {} of pod {} does not run", app.name, pod.uuid()))?;
    let shell = ["/bin/sh".to_owned()];
    let command = if args.command.is_empty() {
        &shell[..]
    } else {
        &args.command
    };
    Ok(ExitCode::from(pod::enter(
        &manifest, app, process, command,
    )?))
}

/// The app of that name; without a name the only one.
pub fn choose<'a>(manifest: &'a Manifest, name: Option<&str>) -> anyhow::Result<&'a App> {
    match (name, manifest.apps.as_slice()) {
        (Some(name), apps) => apps
            .iter()
            .find(|app| app.name == name)
            .with_context(|| format!("pod {} has no app {name}", manifest.uuid)),
        (None, [app]) => Ok(app),
        (None, apps) => {
            let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
            bail!(
                "pod {} has several apps; choose one with --app: {}",
                manifest.uuid,
                names.join(", ")
            );
        }
    }
}
