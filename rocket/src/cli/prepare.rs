//! `rocket prepare`.

use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;

use crate::dirs::Dirs;
use crate::image::fetch::JOBS;
use crate::image::progress::Show;
use crate::image::registries::Registries;
use crate::image::trust::Checks;
use crate::image::{FetchOptions, Image, Store, limits, obtain};
use crate::options::{AppArguments, Insecure, PodArguments, PodOptions, split};
use crate::pod::{self, Pod, Pods, Source, State};

/// Makes a pod of images, to be run later.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "rocket prepare [OPTIONS] IMAGE [APP OPTIONS] [-- ARGUMENTS] [--- IMAGE …]"
)]
pub struct Args {
    #[command(flatten)]
    pod: PodArguments,
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let mut pod = prepare(dirs, &args.pod)?;
    pod.advance(State::Prepared)?;
    println!("{}", pod.uuid());
    Ok(ExitCode::SUCCESS)
}

/// A pod with all that it takes to run it, locked. As long as it is not [`State::Prepared`] it
/// is given up when this process ends: who runs it at once never leaves it to anybody else.
pub fn prepare(dirs: &Dirs, asked: &PodArguments) -> anyhow::Result<Pod> {
    let options = &asked.options;
    let apps = split(&asked.words)?;
    let store = Store::open(dirs)?;
    let fetch = fetch_options(dirs, options)?;
    let images: Vec<Image> = apps
        .iter()
        .map(|app| image(&store, app, &fetch))
        .collect::<anyhow::Result<_>>()?;
    let ids: Vec<String> = images.iter().map(|image| image.id.to_string()).collect();
    let sources: Vec<(AppArguments, Source<'_>)> = apps
        .into_iter()
        .zip(images.iter().zip(&ids))
        .map(|(app, (image, id))| {
            let source = Source {
                id,
                name: &image.name,
                config: &image.config,
                layers: &image.layers,
            };
            (app, source)
        })
        .collect();
    let pod = Pods::open(dirs)?.create()?;
    let manifest = pod::manifest(
        pod.uuid(),
        Timestamp::now(),
        options,
        &sources,
        &pod::Process,
    )?;
    for image in &images {
        store.hold(image, pod.path())?;
    }
    pod.write_manifest(&manifest)?;
    if let Some(path) = &options.uuid_file_save {
        std::fs::write(path, format!("{}\n", pod.uuid()))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(pod)
}

/// From the store, or from where it comes from.
fn image(store: &Store, app: &AppArguments, options: &FetchOptions) -> anyhow::Result<Image> {
    let failed = || format!("image {}", app.image);
    let source = Registries::resolve(store.dirs(), &app.image).with_context(failed)?;
    obtain(store, &source, options).with_context(failed)
}

fn fetch_options(dirs: &Dirs, options: &PodOptions) -> anyhow::Result<FetchOptions> {
    Ok(FetchOptions {
        policy: options.pull_policy,
        checks: match options.insecure_options.contains(&Insecure::Image) {
            true => Checks::SkipImage,
            false => Checks::All,
        },
        show: Show::for_stderr(),
        limits: limits(dirs)?,
        jobs: JOBS,
    })
}
