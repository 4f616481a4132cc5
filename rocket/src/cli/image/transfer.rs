//! `rocket image export` and `rocket image import`.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::super::fetch::{Fetched, How};
use super::meant;
use crate::dirs::Dirs;
use crate::image::fetch::import_as;
use crate::image::{Store, export::oci_archive, local_source};

/// What to write where
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// A name or an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The archive; - is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replaces a file that is there
    #[arg(long)]
    overwrite: bool,
}

/// What to take in
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// An archive (OCI or docker, compressed or not) or the directory of an OCI layout
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name that it gets, for instance example.com/team/app:1.2; policies of trust for
    /// this name apply
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Which image, if the file has several
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    #[command(flatten)]
    how: How,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn export(dirs: &Dirs, args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let store = Store::open(dirs)?;
    let (source, id) = meant(dirs, &store, &args.image)?;
    let name = source.to_string();
    if args.file == Path::new("-") {
        oci_archive(&store, &id, &name, std::io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    super::super::output::whole(&args.file, args.overwrite, |file| {
        Ok(oci_archive(&store, &id, &name, BufWriter::new(file))?)
    })?;
    Ok(ExitCode::SUCCESS)
}

pub fn import(dirs: &Dirs, args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let store = Store::open(dirs)?;
    let source = local_source(&args.file, args.image.as_deref())?;
    let name = match &args.name {
        Some(name) => name.parse().map(Some)?,
        None => None,
    };
    let options = args.how.options(dirs)?;
    let image = import_as(&store, &source, name, &options)
        .with_context(|| format!("importing {}", args.file.display()))?;
    match args.json {
        true => super::super::print_json(&Fetched::from(&image))?,
        false => println!("{}", image.id),
    }
    Ok(ExitCode::SUCCESS)
}
