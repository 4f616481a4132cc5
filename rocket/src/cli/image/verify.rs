//! `rocket image verify`.

use std::process::ExitCode;

use serde::Serialize;

use super::meant;
use crate::dirs::Dirs;
use crate::image::store::Damage;
use crate::image::{Digest, Store, limits};

/// What to check
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids; all images if there are none
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Unpacks again what differs, and removes what has to be fetched again
    #[arg(long)]
    repair: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Checked {
    id: Digest,
    damages: Vec<Damage>,
}

/// Fails if anything is damaged and was not repaired.
pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    let store = Store::open(dirs)?;
    let limits = limits(dirs)?;
    let ids = match args.images.is_empty() {
        true => store.image_ids()?,
        false => args
            .images
            .iter()
            .map(|text| meant(dirs, &store, text).map(|(_, id)| id))
            .collect::<Result<_, _>>()?,
    };
    let mut checked = Vec::new();
    for id in ids {
        let damages = store.verify(&id, args.repair, &limits)?;
        if !args.json {
            show(&id, &damages);
        }
        checked.push(Checked { id, damages });
    }
    if args.json {
        super::super::print_json(&checked)?;
    }
    let mut damages = checked.iter().flat_map(|image| &image.damages);
    match damages.all(|damage| damage.repaired) {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::from(1)),
    }
}

fn show(id: &Digest, damages: &[Damage]) {
    if damages.is_empty() {
        println!("{id} is as it was fetched");
    }
    for damage in damages {
        let repaired = if damage.repaired { ", repaired" } else { "" };
        println!("{id} {}: {}{repaired}", damage.path.display(), damage.what);
    }
}
