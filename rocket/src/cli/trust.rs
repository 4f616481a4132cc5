//! `rocket trust`: whose images may run.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde::Serialize;

use crate::dirs::Dirs;
use crate::durable;
use crate::image::fetch_key;
use crate::image::trust::keys::PublicKey;
use crate::image::trust::policy::{Policies, Policy, read_text};

/// Says whose images may run
///
/// `rocket trust --prefix example.com/team KEY` trusts images below the prefix that the key
/// has signed.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Names of images below it are trusted; "" is all that no other policy covers
    #[arg(long, required = true)]
    prefix: Option<String>,
    /// What names in signatures are below, if not the image's own
    #[arg(long, value_name = "PREFIX")]
    signed_as: Option<String>,
    /// Does not ask whether the key is the right one
    #[arg(long)]
    yes: bool,
    /// A public key in PEM: a file, or an https address
    #[arg(required = true)]
    key: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists policies
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Removes a policy that was made with `rocket trust`
    Rm {
        /// Its prefix
        prefix: String,
    },
}

pub fn run(dirs: &Dirs, args: &Args) -> anyhow::Result<ExitCode> {
    match (&args.verb, &args.prefix, &args.key) {
        (Some(Verb::List { json }), ..) => list(dirs, *json),
        (Some(Verb::Rm { prefix }), ..) => remove(dirs, prefix),
        (None, Some(prefix), Some(key)) => add(dirs, args, prefix, key),
        (None, ..) => bail!("a prefix and a key are needed: rocket trust --prefix PREFIX KEY"),
    }
}

fn add(dirs: &Dirs, args: &Args, prefix: &str, key: &str) -> anyhow::Result<ExitCode> {
    let text = match key.starts_with("https://") {
        true => fetch_key(key).with_context(|| format!("fetching the key {key}"))?,
        false if key.contains("://") => bail!("{key}: keys are fetched by https only"),
        false => read_text(Path::new(key)).with_context(|| format!("reading the key {key}"))?,
    };
    let parsed = PublicKey::from_pem(&text).with_context(|| format!("the key {key}"))?;
    eprintln!("key:         {key} ({})", parsed.kind());
    eprintln!("fingerprint: {}", parsed.fingerprint());
    eprintln!("trusted for: images below {prefix:?}");
    if !args.yes && !agreed()? {
        bail!("nothing was changed");
    }
    let policies = Policies::load(dirs)?;
    let there = policies.iter().find(|policy| policy.prefix == prefix);
    let path = own_file(dirs, prefix)?;
    let content = match there {
        Some(policy) if policy.file != path => bail!(
            "{} has a policy for {prefix:?} already: add the key there",
            policy.file.display()
        ),
        Some(policy) if policy.keys.contains(&parsed) => {
            println!("the key was trusted already");
            return Ok(ExitCode::SUCCESS);
        }
        Some(_) => with_key(&path, &text)?,
        None => policy_text(prefix, args.signed_as.as_deref(), &[text.trim()])?,
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    let written = durable::replace(&path, content.as_bytes());
    written.with_context(|| format!("writing {}", path.display()))?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// The file in which policies of this program are: one for each prefix.
fn own_file(dirs: &Dirs, prefix: &str) -> anyhow::Result<PathBuf> {
    let etc = dirs
        .config()
        .first()
        .context("this rocket has no directory of policy")?;
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = prefix.chars().map(plain).take(60).collect();
    // Different prefixes may look the same without their signs.
    let hash = crate::image::Digest::of(prefix.as_bytes()).hex();
    Ok(etc
        .join("trust.d")
        .join(format!("trust-{name}-{}.toml", &hash[..8])))
}

fn policy_text(prefix: &str, signed_as: Option<&str>, keys: &[&str]) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct File<'a> {
        policy: [One<'a>; 1],
    }
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct One<'a> {
        prefix: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        signed_as: Option<&'a str>,
        keys: &'a [&'a str],
    }
    let policy = [One {
        prefix,
        signed_as,
        keys,
    }];
    let text = toml::to_string(&File { policy }).context("writing a policy")?;
    Ok(format!("# Made by `rocket trust`.\n{text}"))
}

/// A policy that is there, with one more key; everything else of it stays.
fn with_key(path: &Path, key: &str) -> anyhow::Result<String> {
    let failed = || format!("reading {}", path.display());
    let text = read_text(path).with_context(failed)?;
    let mut table: toml::Table = text.parse().with_context(failed)?;
    let keys = table
        .get_mut("policy")
        .and_then(|policies| policies.get_mut(0))
        .and_then(|policy| policy.get_mut("keys"))
        .and_then(toml::Value::as_array_mut)
        .with_context(failed)?;
    keys.push(key.trim().into());
    let text = toml::to_string(&table).context("writing a policy")?;
    Ok(format!("# Made by `rocket trust`.\n{text}"))
}

fn agreed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody can be asked whether this is the right key: compare it, then pass --yes");
    }
    eprint!("Is this the right key? [y/N] ");
    std::io::stderr().flush().context("asking")?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("asking")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

#[derive(Debug, Serialize)]
struct Shown {
    prefix: String,
    required: bool,
    reject: bool,
    keys: Vec<String>,
    signed_as: Option<String>,
    file: PathBuf,
}

impl From<&Policy> for Shown {
    fn from(policy: &Policy) -> Self {
        let keys = policy.keys.iter();
        Self {
            prefix: policy.prefix.clone(),
            required: policy.required,
            reject: policy.reject,
            keys: keys.map(|key| key.fingerprint().to_owned()).collect(),
            signed_as: policy.signed_as.clone(),
            file: policy.file.clone(),
        }
    }
}

fn list(dirs: &Dirs, json: bool) -> anyhow::Result<ExitCode> {
    let policies = Policies::load(dirs)?;
    let shown: Vec<Shown> = policies.iter().map(Shown::from).collect();
    if json {
        super::print_json(&shown)?;
        return Ok(ExitCode::SUCCESS);
    }
    for policy in &shown {
        let rule = match (policy.reject, policy.required) {
            (true, _) => "rejected".to_owned(),
            (false, false) => "no signature needed".to_owned(),
            (false, true) => format!("signed by {}", policy.keys.join(" or ")),
        };
        println!("{:?}  {rule}  ({})", policy.prefix, policy.file.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(dirs: &Dirs, prefix: &str) -> anyhow::Result<ExitCode> {
    let path = own_file(dirs, prefix)?;
    if !path.exists() {
        bail!(
            "there is no policy for {prefix:?} that `rocket trust` has made; `rocket trust \
             list` shows the files of all"
        );
    }
    durable::remove(&path).with_context(|| format!("removing {}", path.display()))?;
    println!("{} removed", path.display());
    Ok(ExitCode::SUCCESS)
}
