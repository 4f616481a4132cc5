//! Telling whoever looks at the host that its certificate wants something.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::Report;
use crate::durable::{self, Attributes};
use crate::failure;
use crate::log;

/// The node's name for its agent, as a variable: a host may get its own from the network.
const NODE: &str = "/run/ballast/cluster.env";

/// What was last said on the consoles in this boot.
const SAID: &str = "/run/ballast/cluster-said";

/// Shown by login(1) and sshd, and by agetty.
const NOTICES: [&str; 2] = ["/run/motd.d/50-cluster", "/run/issue.d/50-cluster.issue"];

/// Leaves notices where people look, or takes them away again. A console hears the same
/// thing once.
pub(super) fn announce(report: &Report) -> Result<(), String> {
    if let Err(error) = tell_manager(report) {
        log::warn(&format!("telling the service manager: {error}"));
    }
    if let Some(node) = &report.node {
        replace(NODE, &format!("CLUSTER_NAME={node}\n"))?;
    }
    let text = notice(report);
    for path in NOTICES.into_iter().chain([SAID]) {
        if text.is_empty() {
            remove(path)?;
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    for path in NOTICES {
        replace(path, &format!("{text}\n"))?;
    }
    let key = key(report);
    if fs::read_to_string(SAID).is_ok_and(|said| said == key) {
        return Ok(());
    }
    failure::tell_consoles(&format!(
        "\r\n{}\r\n",
        text.trim_end().replace('\n', "\r\n")
    ));
    replace(SAID, &key)
}

/// What makes a message another one: not the time at which it is said.
pub(super) fn key(report: &Report) -> String {
    let problems = report.problems.iter();
    let problems: Vec<_> = problems.map(|one| (one.severity, one.file)).collect();
    format!("{:?} {:?} {problems:?}", report.state, report.expires)
}

/// Gives the unit's manager the first problem as the unit's status, sd_notify(3): between two
/// attempts, `systemctl status` shows no line of the journal from before the last one.
fn tell_manager(report: &Report) -> io::Result<()> {
    let (Some(socket), Some(problem)) =
        (std::env::var_os("NOTIFY_SOCKET"), report.problems.first())
    else {
        return Ok(());
    };
    let status = format!("STATUS={}; {}", problem.message, problem.advice);
    UnixDatagram::unbound()?
        .send_to(status.as_bytes(), socket)
        .map(drop)
}

fn notice(report: &Report) -> String {
    let lines = report.problems.iter();
    lines
        .map(|problem| {
            let mark = if problem.severity == "error" {
                "***"
            } else {
                "---"
            };
            format!(
                "{mark} cluster: {}\n    {}\n",
                problem.message, problem.advice
            )
        })
        .collect()
}

fn replace(path: &str, text: &str) -> Result<(), String> {
    let path = Path::new(path);
    let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
    parent
        .and_then(|()| durable::replace(path, text.as_bytes(), Attributes::own(0o644)))
        .map_err(|error| format!("writing {}: {error}", path.display()))
}

fn remove(path: &str) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("removing {path}: {error}"))
        }
        _ => Ok(()),
    }
}
