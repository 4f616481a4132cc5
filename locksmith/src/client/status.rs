//! `locksmithctl status` as text: one screen, in words.

use ::daemon::client::{Screen, ago, ahead, one_line};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::GroupView;
use crate::lock::{Claim, Holder};
use crate::view::{Brake, Group, View};

/// Whom the lock belongs to, who waits, what this host plans, what is wrong and what to do
/// about it.
pub fn render(view: &View, group: &GroupView, now: Timestamp) -> String {
    let mut screen = Screen::default();
    let host = &view.host;
    let version = host.version.as_deref().unwrap_or("no release is known");
    let trial = if host.settled { "" } else { ", not kept yet" };
    screen.row("Host", &format!("{}  {version}{trial}", host.name));
    screen.row("Reboot", &needed(view));
    screen.row("Window", &window(view, now));
    lock(view, &mut screen);
    match group {
        None => {}
        Some(Ok(group)) => members(view, group, now, &mut screen),
        Some(Err(error)) => screen.row("Group", &format!("nothing is known: {}", one_line(error))),
    }
    if let Some(error) = &view.lock.error {
        screen.row("Lock", &format!("does not work: {}", one_line(error)));
    }
    if let Some(last) = &view.last
        && view.pause.is_some()
    {
        let text = format!("{}: {}", ago(last.at, now), one_line(&last.reason));
        screen.row("Last", &text);
    }
    screen.row("Next", &next(view, now));
    for problem in &view.problems {
        screen.row("Policy", problem);
    }
    for warning in &view.warnings {
        screen.row("Warning", warning);
    }
    screen.text()
}

fn needed(view: &View) -> String {
    match &view.need {
        Some(need) => format!("needed: {}", one_line(&need.reason)),
        None if view.need_unknown => "not known: update-engine does not answer".into(),
        None => "not needed".into(),
    }
}

fn window(view: &View, now: Timestamp) -> String {
    let window = &view.window;
    match (window.open, window.until) {
        (true, None) => "open at any time".into(),
        (true, Some(until)) => format!("open; closes {}", when(until, now)),
        (false, Some(until)) => format!("closed; opens {}", when(until, now)),
        (false, None) => "closed for good".into(),
    }
}

/// `in 5 h, on Sat 21 Nov 02:30 CET`.
fn when(time: Timestamp, now: Timestamp) -> String {
    let local = time.to_zoned(TimeZone::system());
    let local = local.strftime("%a %e %b %H:%M %Z");
    format!("{}, on {local}", ahead(time, now))
}

fn lock(view: &View, screen: &mut Screen) {
    let lock = &view.lock;
    let text = match (lock.strategy.as_str(), &lock.group) {
        ("reboot", _) => "none is asked ([reboot] strategy is reboot)".to_string(),
        ("off", _) => "none: this host does not reboot by itself ([reboot] strategy is off)".into(),
        (strategy, Some(group)) => format!("{strategy}, group {group}"),
        (strategy, None) => format!("{strategy}, but the policy does not say where it is"),
    };
    screen.row("Lock", &text);
}

/// Holders, queue, brakes.
fn members(view: &View, group: &Group, now: Timestamp, screen: &mut Screen) {
    let held = format!("{} of {} held", group.holders.len(), group.max);
    let waiting = match group.waiting {
        0 => String::new(),
        n => format!(", {n} waiting"),
    };
    screen.row("Group", &format!("{}: {held}{waiting}", group.group));
    for holder in &group.holders {
        member(view, holder, now, screen);
    }
    for (number, waiter) in group.queue.iter().enumerate() {
        let (claim, since) = (&waiter.claim, ago(waiter.since, now));
        let who = format!("{}. {}", number + 1, name(claim, view));
        screen.row(
            "Waiting",
            &format!("{who}  since {since}: {}", errand(claim)),
        );
    }
    for brake in &group.brakes {
        for (number, line) in brake_lines(brake).iter().enumerate() {
            screen.row(if number == 0 { "Brake" } else { "" }, line);
        }
    }
    for gone in &group.expired {
        let text = format!(
            "{} was taken for gone {} by {}",
            gone.host,
            ago(gone.at, now),
            gone.by
        );
        screen.row("Expired", &text);
    }
}

fn member(view: &View, holder: &Holder, now: Timestamp, screen: &mut Screen) {
    let claim = &holder.claim;
    let text = format!(
        "{}  since {}, last sign of life {}: {}",
        name(claim, view),
        ago(holder.since, now),
        ago(holder.seen, now),
        errand(claim)
    );
    screen.row("Holder", &text);
    if claim.id.as_str() != view.host.id {
        let text = format!("if it is gone for good: locksmithctl unlock {}", claim.id);
        screen.row("", &text);
    }
}

fn name(claim: &Claim, view: &View) -> String {
    match claim.id.as_str() == view.host.id {
        true => format!("{} (this host)", claim.host),
        false => claim.host.to_string(),
    }
}

/// `0.2.0 -> 0.3.0, 0.3.0 is armed`.
pub(super) fn errand(claim: &Claim) -> String {
    let reason = one_line(&claim.reason);
    match (&claim.from, &claim.to) {
        (Some(from), Some(to)) => format!("{from} -> {to}, {reason}"),
        (None, Some(to)) => format!("-> {to}, {reason}"),
        _ => reason,
    }
}

fn brake_lines(brake: &Brake) -> Vec<String> {
    let version = &brake.version;
    let mut lines = vec![match brake.on {
        true => {
            format!("no host reboots into {version}; to lift it: locksmithctl brake lift {version}")
        }
        false => format!(
            "{version} was left by {} of {} hosts that it takes to stop it",
            brake.reports.len(),
            brake.threshold
        ),
    }];
    for report in &brake.reports {
        lines.push(format!("{}: {}", report.host, one_line(&report.reason)));
    }
    lines
}

/// `locksmithctl brake` as text.
pub(super) fn brakes(group: &Group) -> String {
    if group.brakes.is_empty() {
        return format!("no host of group {} had to leave a release\n", group.group);
    }
    let lines = group.brakes.iter().flat_map(brake_lines);
    lines.map(|line| line + "\n").collect()
}

/// What a host waits for that asks for the lock.
pub(super) fn waits(view: &View) -> String {
    let lock = &view.lock;
    match (&lock.error, lock.position, &lock.refused) {
        (Some(error), ..) => format!("the lock does not answer: {}", one_line(error)),
        (None, Some(1), _) => "waits for the lock: next in the queue".into(),
        (None, Some(n), _) => format!("waits for the lock: number {n} in the queue"),
        (None, None, Some(refused)) => format!("waits for the lock: {}", one_line(refused)),
        (None, None, None) => "asks for the lock".into(),
    }
}

/// What happens next.
fn next(view: &View, now: Timestamp) -> String {
    let kept = "once the release that runs is kept";
    match view.plan.state.as_str() {
        "asking" => waits(view),
        "kept" => {
            let reason = view.plan.reason.as_deref().unwrap_or_default();
            format!("nothing: the lock is kept here ({reason}) until locksmithctl unlock")
        }
        "grace" => match view.plan.grace_until {
            Some(until) => format!(
                "reboots {}, when people have had their time",
                ahead(until, now)
            ),
            None => "looks who is logged in, then reboots".into(),
        },
        "draining" => "reboots when the programs in pre-reboot.d have ended".into(),
        "rebooting" => "reboots now".into(),
        "settling" => format!("gives the lock back {kept}"),
        "releasing" => "gives the lock back".into(),
        _ => resting(view, now).unwrap_or_else(|| "nothing".into()),
    }
}

/// What keeps a host that rests.
pub(super) fn resting(view: &View, now: Timestamp) -> Option<String> {
    let need = view.need.as_ref()?;
    let strategy = view.lock.strategy.as_str();
    Some(match (view.pause, strategy) {
        (_, "off") if need.by == "host" => {
            "nothing by itself ([reboot] strategy is off): locksmithctl reboot".into()
        }
        (_, "etcd-lock" | "fleet-lock") if view.lock.group.is_none() => {
            "nothing: the policy does not say where the lock is".into()
        }
        (Some(until), _) => format!("tries again {}", when(until, now)),
        _ if !view.host.settled => "waits until the release that runs is kept".into(),
        _ if !view.window.open && strategy != "off" => match view.window.until {
            Some(until) => format!("begins when the window opens, {}", when(until, now)),
            None => "nothing: the window never opens".into(),
        },
        _ => "begins".into(),
    })
}

#[cfg(test)]
pub(super) mod tests;
