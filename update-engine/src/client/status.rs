//! `updatectl status` as text: one screen.

use daemon::client::{Screen, ago, ahead, one_line};
use jiff::Timestamp;

use crate::view::{Available, View};

/// What runs, what is armed, what was denied and why, what happens next and when.
pub fn render(view: &View, now: Timestamp) -> String {
    let mut screen = Screen::default();
    running(view, &mut screen);
    update(view, &mut screen);
    other(view, &mut screen);
    source(view, now, &mut screen);
    for denied in &view.denied {
        let what = format!("{}  {}", denied.version, one_line(&denied.reason));
        screen.row("Denied", &what);
    }
    if let Some(hold) = &view.held {
        let why = match hold.reason.as_str() {
            "" => "no reason was given",
            reason => reason,
        };
        screen.row("Held", &format!("since {}: {why}", ago(hold.since, now)));
    }
    if let Some(error) = &view.last_error {
        let times = match view.failures {
            0 | 1 => String::new(),
            n => format!(" ({n} times)"),
        };
        screen.row("Last error", &format!("{}{times}", one_line(error)));
    }
    screen.row("Next", &next(view, now));
    for problem in &view.policy.problems {
        screen.row("Policy", problem);
    }
    for warning in &view.warnings {
        screen.row("Warning", warning);
    }
    screen.text()
}

fn running(view: &View, screen: &mut Screen) {
    let Some(running) = &view.running else {
        return screen.row("Running", "not known: nothing will be updated");
    };
    let state = if running.blessed {
        "blessed"
    } else {
        "on trial"
    };
    let mut text = format!("{}  slot {}, {state}", running.version, running.slot);
    match running.boot_reason.as_deref() {
        None | Some("normal") => {}
        Some(reason) => text.push_str(&format!(" ({reason} boot)")),
    }
    screen.row("Running", &text);
}

fn update(view: &View, screen: &mut Screen) {
    let version = view.update.version.as_deref().unwrap_or("a release");
    let slot = view.update.slot.as_deref().unwrap_or_default();
    let text = match view.update.state.as_str() {
        "fetching" | "written" => match &view.progress {
            Some(_) => super::jobs::progress_text(view),
            None => format!("{version}  interrupted; it goes on by itself"),
        },
        "armed" => format!("{version}  slot {slot}, armed: tried on the next boot"),
        "rolled-back" => {
            let reason = view.update.reason.as_deref().unwrap_or_default();
            format!("{version}  rolled back: {}", one_line(reason))
        }
        _ => return,
    };
    screen.row("Update", &text);
}

fn other(view: &View, screen: &mut Screen) {
    let Some(other) = &view.other else {
        return;
    };
    let version = other.version.as_deref().unwrap_or("empty");
    let state = match (other.successful, other.next) {
        (true, true) => "started next",
        (true, false) => "the way back",
        (false, true) => "tried next",
        (false, false) => "not started",
    };
    let text = format!("{version}  slot {}, {state}", other.slot);
    screen.row("Other slot", &text);
}

fn source(view: &View, now: Timestamp, screen: &mut Screen) {
    let policy = &view.policy;
    let text = match &policy.server {
        Some(server) => format!("{} at {server}", policy.channel),
        None => format!("{}, but no server is set ([update] server)", policy.channel),
    };
    screen.row("Channel", &text);
    if let Some(checked) = view.checked {
        let found = match &view.available {
            Some(available) => offered(available, now),
            None => "nothing newer".into(),
        };
        screen.row("Checked", &format!("{}: {found}", ago(checked, now)));
    }
}

fn offered(available: &Available, now: Timestamp) -> String {
    let version = &available.version;
    let reason = available.reason.as_deref().unwrap_or_default();
    match (available.verdict.as_str(), available.until) {
        ("wait", Some(until)) => format!("{version}, this host's turn is {}", ahead(until, now)),
        ("wait", None) => format!("{version}, not for this host yet"),
        ("held", _) => format!("{version}, this host is held"),
        ("refused", _) => format!("{version}, not taken: {}", one_line(reason)),
        _ => format!("{version} is available"),
    }
}

fn next(view: &View, now: Timestamp) -> String {
    let state = view.update.state.as_str();
    let leaving = view.running.as_ref().map(|running| &running.slot) == view.update.slot.as_ref();
    match (view.activity.as_str(), state) {
        ("checking", _) => return "asks the server now".into(),
        ("installing", _) => return "arms the slot when everything is in place".into(),
        (_, "trial") => return "checks its health; then this release is kept".into(),
        (_, "rolled-back") if leaving => return "a reboot into the other slot".into(),
        (_, "armed") if view.policy.reboot == "off" => {
            return "a reboot, when locksmith or an operator says so".into();
        }
        _ => {}
    }
    match (view.next_check, view.policy.enabled) {
        (Some(time), _) => format!("asks the server {}", ahead(time, now)),
        (None, false) => "nothing: [update] enabled is false".into(),
        (None, true) => "nothing".into(),
    }
}

/// `512 B`, `1.5 kB`, `23.4 MB`.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests;
