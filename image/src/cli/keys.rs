//! `keys`: make keys, rotate them, look at them.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use image::keys::{self, KeyStore, ROLES, RoleSpec};
use tough::schema::RoleType;

/// Options of `keys`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Keys {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    create: Create,
}

/// Without a verb, keys are made.
#[derive(Args)]
struct Create {
    #[command(flatten)]
    place: Place,
    /// Keys of a role, like root=2/3: three keys of which two must sign [default:
    /// root=2/3, 1/1 for targets, snapshot and timestamp].
    #[arg(long = "role", value_name = "ROLE=K/N")]
    roles: Vec<RoleSpec>,
    /// Days until the root expires.
    #[arg(long, default_value_t = image::keys::ROOT_DAYS, value_name = "DAYS")]
    expires: u32,
}

#[derive(Args)]
struct Place {
    /// Directory of the keys [default: ~/.local/share/ballast/keys].
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Place {
    fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(keys::default_dir)
    }
}

#[derive(Subcommand)]
enum Verb {
    /// Make the next root, with new keys for the roles that are named. Publish
    /// afterwards, so that hosts get it.
    Rotate {
        #[command(flatten)]
        place: Place,
        /// Further directory with private keys of the root until now. Repeatable.
        #[arg(long, value_name = "DIR")]
        also: Vec<PathBuf>,
        /// Role that gets new keys, as many as now; or, like root=2/3, in new numbers.
        /// Repeatable. Without it, only the expiry is new.
        #[arg(long = "role", value_name = "ROLE", value_parser = parse_new)]
        roles: Vec<New>,
        /// Days until the root expires.
        #[arg(long, default_value_t = image::keys::ROOT_DAYS, value_name = "DAYS")]
        expires: u32,
    },
    /// Print the roles with their keys.
    List {
        #[command(flatten)]
        place: Place,
    },
}

/// New keys for a role.
#[derive(Clone)]
enum New {
    Same(RoleType),
    Numbers(RoleSpec),
}

fn parse_new(text: &str) -> Result<New, keys::NotARoleSpec> {
    match keys::parse_role(text) {
        Some(role) => Ok(New::Same(role)),
        None => text.parse().map(New::Numbers),
    }
}

impl Keys {
    pub fn run(self) -> Result<()> {
        match self.verb {
            None => {
                let create = self.create;
                let store = keys::create(&create.place.dir(), &create.roles, create.expires)?;
                print(&store);
            }
            Some(Verb::Rotate {
                place,
                also,
                roles,
                expires,
            }) => {
                let store = KeyStore::open(&place.dir(), &also)?;
                let specs: Result<Vec<_>> = roles.iter().map(|new| spec(&store, new)).collect();
                print(&keys::rotate(&place.dir(), &also, &specs?, expires)?);
            }
            Some(Verb::List { place }) => print(&KeyStore::open(&place.dir(), &[])?),
        }
        Ok(())
    }
}

fn spec(store: &KeyStore, new: &New) -> Result<RoleSpec> {
    match new {
        New::Numbers(spec) => Ok(*spec),
        New::Same(role) => keys::same_number(store, *role),
    }
}

fn print(store: &KeyStore) {
    let root = &store.newest().signed.signed;
    println!("{}", store.newest().path.display());
    println!("root {}, expires {}", root.version, root.expires);
    for role in ROLES {
        let Some(keys) = root.roles.get(&role) else {
            continue;
        };
        println!("{role}: {} of {} sign", keys.threshold, keys.keyids.len());
        for id in &keys.keyids {
            let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("  {id}");
        }
    }
}
