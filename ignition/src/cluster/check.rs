//! `ignition cluster check`: what a host has to show its cluster, and for how long.

mod announce;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use super::judge::date;
use super::{CA, CERTIFICATE, DIRECTORY, DOMAIN, Fault, FaultKind, KEY, NAME, TOKEN};
use super::{Judgement, Material, NodeName, Part, judge};

/// Longest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// The kernel's name of this host.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// What this host has to show its cluster.
#[derive(Debug, Parser)]
#[command(name = "ignition cluster", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says whether the certificate, its key and the authority in /etc/cluster are right.
    ///
    /// Exit status: 0 they are, perhaps with a warning, 1 something is wrong, 2 wrong usage,
    /// 3 a certificate has expired, or is not valid yet, 4 this host is in no cluster.
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    /// Root of the host, e.g. of a mounted disk
    #[arg(long, default_value = "/")]
    root: PathBuf,

    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,

    /// Tell the consoles and whoever logs in, too, and leave the node's name for its agent
    /// (/run/ballast/cluster.env)
    #[arg(long)]
    announce: bool,
}

/// Runs `ignition cluster` if `arguments` (with the program's name) say so.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next()?;
    if arguments.next()? != "cluster" {
        return None;
    }
    let parsed = Arguments::try_parse_from(std::iter::once(program).chain(arguments));
    Some(match parsed {
        Ok(Arguments {
            verb: Verb::Check(check),
        }) => check.run().unwrap_or_else(|message| {
            eprintln!("ignition: {message}");
            ExitCode::FAILURE
        }),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { 2 } else { 0 })
        }
    })
}

impl Check {
    fn run(&self) -> Result<ExitCode, String> {
        let report = Host::read(&self.root)?.report(SystemTime::now());
        if self.json {
            let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
            let written = writeln!(io::stdout(), "{text}");
            written.map_err(|error| format!("writing to standard output: {error}"))?;
        } else {
            report.say();
        }
        if self.announce {
            announce::announce(&report)?;
        }
        Ok(ExitCode::from(report.state.status()))
    }
}

/// What the host has.
#[derive(Debug, Default)]
struct Host {
    material: Material,
    has_token: bool,
    /// Whether there is anything at all.
    is_node: bool,
}

impl Host {
    fn read(root: &Path) -> Result<Self, String> {
        let read = |path: &str| read(&root.join(path.trim_start_matches('/')));
        let text = |path: &str| {
            let bytes = read(path)?;
            let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
            Ok::<_, String>(text.filter(|text| !text.is_empty()))
        };
        let (given, host) = (text(NAME)?, text(HOST_NAME)?);
        let is_given = given.is_some();
        let domain = text(DOMAIN)?;
        let name = given.or(host).map(|name| NodeName {
            name,
            domain,
            is_given,
        });
        let is_node = root.join(DIRECTORY.trim_start_matches('/')).is_dir();
        Ok(Self {
            material: Material {
                ca: read(CA)?,
                certificate: read(CERTIFICATE)?,
                key: read(KEY)?,
                name,
            },
            has_token: read(TOKEN)?.is_some(),
            is_node,
        })
    }

    fn report(&self, now: SystemTime) -> Report {
        let mut judgement = judge(&self.material, now);
        self.add_missing(&mut judgement);
        let worst = judgement.refusal().map(|fault| fault.kind);
        let state = match worst {
            _ if !self.is_node => State::None,
            Some(FaultKind::Expired) => State::Expired,
            Some(FaultKind::NotYet) => State::NotYet,
            Some(_) => State::Wrong,
            None if judgement.faults.is_empty() => State::Right,
            None => State::Warning,
        };
        let faults = match state {
            State::None => Vec::new(),
            _ => judgement.faults,
        };
        Report {
            state,
            node: self.material.name.as_ref().map(|name| name.name.clone()),
            names: judgement.names,
            expires: judgement.expires.map(date),
            days_left: judgement.expires.map(|until| days_between(now, until)),
            problems: faults.iter().map(Problem::from).collect(),
        }
    }

    fn add_missing(&self, judgement: &mut Judgement) {
        let material = &self.material;
        let asks = self.has_token && material.certificate.is_none() && material.key.is_none();
        for (part, is_there) in [
            (Part::Ca, material.ca.is_some()),
            (Part::Certificate, material.certificate.is_some() || asks),
            (Part::Key, material.key.is_some() || asks),
        ] {
            if !is_there {
                judgement.faults.push(Fault {
                    part,
                    kind: FaultKind::Wrong,
                    message: "is missing".to_owned(),
                });
            }
        }
    }
}

/// A file, if it is there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let shown = path.display();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(format!("{shown} is for root only: use sudo"));
        }
        Err(error) => return Err(format!("opening {shown}: {error}")),
    };
    let mut bytes = Vec::new();
    let length = file.take(LIMIT + 1).read_to_end(&mut bytes);
    match length {
        Ok(length) if length as u64 > LIMIT => Err(format!("{shown} is longer than {LIMIT} bytes")),
        Ok(_) => Ok(Some(bytes)),
        Err(error) => Err(format!("reading {shown}: {error}")),
    }
}

/// Whole days from `now` to `until`; negative once it is over.
fn days_between(now: SystemTime, until: SystemTime) -> i64 {
    const DAY: u64 = 24 * 60 * 60;
    let days = |seconds: u64| i64::try_from(seconds / DAY).unwrap_or(i64::MAX);
    match until.duration_since(now) {
        Ok(left) => days(left.as_secs()),
        Err(over) => -days(over.duration().as_secs()) - 1,
    }
}

/// How a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Right,
    Warning,
    Wrong,
    Expired,
    NotYet,
    None,
}

impl State {
    fn status(self) -> u8 {
        match self {
            Self::Right | Self::Warning => 0,
            Self::Wrong => 1,
            Self::Expired | Self::NotYet => 3,
            Self::None => 4,
        }
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    state: State,
    node: Option<String>,
    names: Vec<String>,
    expires: Option<String>,
    days_left: Option<i64>,
    problems: Vec<Problem>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Problem {
    severity: &'static str,
    file: &'static str,
    message: String,
    advice: &'static str,
}

impl From<&Fault> for Problem {
    fn from(fault: &Fault) -> Self {
        let severity = match fault.kind {
            FaultKind::Warning => "warning",
            _ => "error",
        };
        let file = match fault.part {
            Part::Ca => CA,
            Part::Certificate => CERTIFICATE,
            Part::Key => KEY,
        };
        Self {
            severity,
            file,
            message: fault.to_string(),
            advice: advice(fault),
        }
    }
}

/// What to do about it. Docs/joining.md says the same at more length.
fn advice(fault: &Fault) -> &'static str {
    match (fault.kind, fault.part) {
        (FaultKind::NotYet, _) => "set the clock (timedatectl), or issue another certificate",
        (FaultKind::Expired | FaultKind::Warning, Part::Certificate) => {
            "issue another certificate, write it and its key to /etc/cluster/node.crt and \
             /etc/cluster/node.key, then: systemctl restart cluster-agent"
        }
        (_, Part::Ca) => {
            "write the authority's present certificate to /etc/cluster/ca.crt, then: \
             systemctl restart cluster-agent"
        }
        (_, Part::Certificate | Part::Key) => {
            "write the node's certificate and the key that belongs to it to \
             /etc/cluster/node.crt and /etc/cluster/node.key, then: systemctl restart \
             cluster-agent"
        }
    }
}

impl Report {
    /// For people, and for the journal of a unit.
    fn say(&self) {
        for problem in &self.problems {
            let text = format!("{}: {}; {}", problem.file, problem.message, problem.advice);
            match problem.severity {
                "warning" => crate::log::warn(&text),
                _ => crate::log::write(crate::log::Level::Error, &text),
            }
        }
        let node = self.node.as_deref().unwrap_or("this host");
        match (self.state, &self.expires, self.days_left) {
            (State::None, ..) => println!("{node} is in no cluster: {DIRECTORY} is not there"),
            (State::Right | State::Warning, Some(expires), Some(days)) => {
                println!("{node}: the certificate is right until {expires} ({days} days)");
            }
            (State::Right | State::Warning, ..) => {
                println!("{node} has no certificate yet, and a token to ask for one");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
