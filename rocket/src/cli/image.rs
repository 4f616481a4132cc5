//! `rocket image`: what is in the store.

mod list;
mod remove;
mod transfer;
mod verify;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use crate::dirs::Dirs;
use crate::image::registries::Registries;
use crate::image::{Digest, Source, Store};
use crate::options::PullPolicy;

/// Lists, removes, checks and copies images of the store
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists images, the newest first
    List(list::Args),
    /// Removes names of images, and what nothing needs without them
    Rm(remove::RmArgs),
    /// Removes what no name and no pod needs, and what interrupted work left
    Gc(remove::GcArgs),
    /// Compares images with their digests
    Verify(verify::Args),
    /// Writes an image to a file, as an archive of an OCI layout
    Export(transfer::ExportArgs),
    /// Takes an image in from a file or directory, under a name of its own if one is given
    Import(transfer::ImportArgs),
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::List(args) => list::run(dirs, args),
        Verb::Rm(args) => remove::rm(dirs, args),
        Verb::Gc(args) => remove::gc(dirs, args),
        Verb::Verify(args) => verify::run(dirs, args),
        Verb::Export(args) => transfer::export(dirs, args),
        Verb::Import(args) => transfer::import(dirs, args),
    }
}

/// The image of the store that is meant by a name or an id.
fn meant(dirs: &Dirs, store: &Store, text: &str) -> anyhow::Result<(Source, Digest)> {
    let source = Registries::resolve(dirs, text)?;
    let found = match &source {
        Source::Stored(_) => {
            let image = store.find(&source, PullPolicy::Never)?;
            image.map(|image| image.id)
        }
        // Of a name the record is enough: it may be the image that is damaged.
        _ => store.name(&source.to_string())?.map(|name| name.id),
    };
    let id = found.with_context(|| {
        format!("the store has no image {text:?}; `rocket image list` shows what it has")
    })?;
    Ok((source, id))
}
