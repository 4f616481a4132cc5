//! `rocket fetch`.

use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use crate::dirs::Dirs;
use crate::image::progress::Show;
use crate::image::registries::Registries;
use crate::image::trust::{Checks, Verified};
use crate::image::{Digest, FetchOptions, Image, Store, limits, obtain};
use crate::options::{Insecure, PullPolicy};

/// Fetches images into the store, from registries or files
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names like example.com/team/app:1.2, or oci:PATH[:TAG], oci-archive:PATH[:TAG],
    /// docker-archive:PATH[:NAME]
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    how: How,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// How images are fetched.
#[derive(Debug, clap::Args)]
pub struct How {
    /// When a registry is asked for what is in the store
    #[arg(long, value_enum, default_value_t = PullPolicy::Update)]
    pull_policy: PullPolicy,
    /// Checks that are left out: image (signatures)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CHECK")]
    insecure_options: Vec<Insecure>,
    /// Layers that are fetched at once
    #[arg(long, value_name = "NUMBER", default_value_t = crate::image::fetch::JOBS)]
    jobs: usize,
    /// Shows nothing while it fetches
    #[arg(long)]
    quiet: bool,
}

impl How {
    /// With the limits that this host has.
    pub fn options(&self, dirs: &Dirs) -> anyhow::Result<FetchOptions> {
        Ok(FetchOptions {
            policy: self.pull_policy,
            checks: match self.insecure_options.contains(&Insecure::Image) {
                true => Checks::SkipImage,
                false => Checks::All,
            },
            show: match self.quiet {
                true => Show::Nothing,
                false => Show::for_stderr(),
            },
            limits: limits(dirs)?,
            jobs: self.jobs,
        })
    }
}

/// What was fetched.
#[derive(Debug, Serialize)]
pub struct Fetched {
    name: String,
    id: Digest,
    verified: Verified,
}

impl From<&Image> for Fetched {
    fn from(image: &Image) -> Self {
        Self {
            name: image.name.clone(),
            id: image.id,
            verified: image.verified.clone(),
        }
    }
}

/// Prints the id of each image.
pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let store = Store::open(dirs)?;
    let options = args.how.options(dirs)?;
    let mut fetched = Vec::new();
    for text in &args.images {
        let failed = || format!("fetching {text}");
        let source = Registries::resolve(dirs, text).with_context(failed)?;
        let image = obtain(&store, &source, &options).with_context(failed)?;
        if !args.json {
            println!("{}", image.id);
        }
        fetched.push(Fetched::from(&image));
    }
    if args.json {
        super::print_json(&fetched)?;
    }
    Ok(ExitCode::SUCCESS)
}
