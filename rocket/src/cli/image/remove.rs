//! `rocket image rm` and `rocket image gc`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use super::meant;
use crate::dirs::Dirs;
use crate::image::store::{Collected, held_by_pods};
use crate::image::{Digest, Source, Store};

/// What to remove
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Names, or ids: then all names of the image
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What to remove
#[derive(Debug, clap::Args)]
pub struct GcArgs {
    /// Also images that have names, if no pod needs them
    #[arg(long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What was removed.
#[derive(Debug, Default, Serialize)]
struct Removed {
    names: Vec<String>,
    /// None: another rocket fetches, so the content stays for the next time.
    content: Option<Collected>,
}

pub fn rm(dirs: &Dirs, args: &RmArgs) -> anyhow::Result<ExitCode> {
    let store = Store::open(dirs)?;
    let mut removed = Removed::default();
    for text in &args.images {
        let (source, id) = meant(dirs, &store, text)?;
        match source {
            Source::Stored(_) => removed.names.extend(forget(&store, &id)?),
            named => {
                let name = named.to_string();
                store.forget_name(&name)?;
                removed.names.push(name);
            }
        }
    }
    collect(dirs, &store, &mut removed)?;
    show(&removed, args.json)
}

pub fn gc(dirs: &Dirs, args: &GcArgs) -> anyhow::Result<ExitCode> {
    let store = Store::open(dirs)?;
    let mut removed = Removed::default();
    if args.all {
        let held = held_by_pods(dirs)?;
        for id in store.image_ids()? {
            if !held.contains(&id) {
                removed.names.extend(forget(&store, &id)?);
            }
        }
    }
    collect(dirs, &store, &mut removed)?;
    show(&removed, args.json)
}

/// Removes all names of an image.
fn forget(store: &Store, id: &Digest) -> anyhow::Result<Vec<String>> {
    let names = store.names()?.known.into_values();
    let names: Vec<String> = names
        .filter(|name| name.id == *id)
        .map(|name| name.name)
        .collect();
    for name in &names {
        store.forget_name(name)?;
    }
    Ok(names)
}

fn collect(dirs: &Dirs, store: &Store, removed: &mut Removed) -> anyhow::Result<()> {
    let in_use = || -> Result<BTreeSet<Digest>, _> { held_by_pods(dirs) };
    removed.content = store.gc(in_use).context("collecting")?;
    Ok(())
}

fn show(removed: &Removed, json: bool) -> anyhow::Result<ExitCode> {
    let damaged = removed.content.iter().flat_map(|content| &content.damaged);
    let status = match damaged.clone().next() {
        Some(_) => ExitCode::from(crate::FAILED),
        None => ExitCode::SUCCESS,
    };
    damaged.for_each(|what| eprintln!("rocket: {what}"));
    if json {
        super::super::print_json(removed)?;
        return Ok(status);
    }
    for name in &removed.names {
        println!("{name} removed");
    }
    match &removed.content {
        None => eprintln!(
            "rocket: another rocket uses the store: content that nothing needs is removed by \
             the next `rocket image gc`"
        ),
        Some(done) => println!(
            "{} images, {} layers, {} blobs and {} leftovers removed",
            done.images, done.layers, done.blobs, done.leftovers
        ),
    }
    Ok(status)
}
