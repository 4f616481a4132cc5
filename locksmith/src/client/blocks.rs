//! `locksmithctl who-blocks`: what keeps this host from rebooting, one by one.

use ::daemon::client::{ago, one_line};
use jiff::Timestamp;
use serde::Serialize;

use super::GroupView;
use super::status::{errand, resting, waits};
use crate::lock::Holder;
use crate::view::{Group, View};

/// Something that keeps this host from rebooting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Block {
    /// `holder`, `queue`, `max`, `brake`, `lock` or `host`.
    pub kind: &'static str,
    /// The ID of the host that it is, if it is one.
    pub id: Option<String>,
    /// For people.
    pub text: String,
}

fn block(kind: &'static str, text: impl Into<String>) -> Block {
    Block {
        kind,
        id: None,
        text: text.into(),
    }
}

/// All that keeps this host from rebooting; nothing if it does not need to, or is about to.
pub fn blocks(view: &View, group: &GroupView, now: Timestamp) -> Vec<Block> {
    let (Some(need), "resting" | "asking" | "kept") = (&view.need, view.plan.state.as_str()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if view.plan.state == "kept" {
        let reason = view.plan.reason.as_deref().unwrap_or_default();
        let text = format!("an operator keeps the lock here: {reason}; locksmithctl unlock");
        found.push(block("host", text));
    }
    if view.plan.state == "resting"
        && let Some(text) = resting(view, now).filter(|text| text != "begins")
    {
        found.push(block("host", text));
    }
    if let Some(Ok(group)) = group {
        members(view, group, need.to.as_deref(), now, &mut found);
    }
    if let Some(error) = &view.lock.error {
        found.push(block(
            "lock",
            format!("the lock does not work: {}", one_line(error)),
        ));
    } else if found.is_empty() && view.plan.state == "asking" {
        found.push(block("lock", waits(view)));
    }
    found
}

/// Whom of the group it is.
fn members(view: &View, group: &Group, to: Option<&str>, now: Timestamp, found: &mut Vec<Block>) {
    let braked = group.brakes.iter().filter(|brake| brake.on);
    for brake in braked.filter(|brake| Some(brake.version.as_str()) == to) {
        let version = &brake.version;
        let hosts: Vec<_> = brake.reports.iter().map(|report| &*report.host).collect();
        let hosts = hosts.join(", ");
        let text = format!(
            "{hosts} had to leave {version}; if it is good all the same: \
             locksmithctl brake lift {version}"
        );
        found.push(block("brake", text));
    }
    if group.max == 0 {
        found.push(block(
            "max",
            "no host may hold the lock: locksmithctl set-max 1",
        ));
    } else if group.holders.len() >= group.max as usize {
        let others = group.holders.iter();
        let others = others.filter(|holder| holder.claim.id.as_str() != view.host.id);
        found.extend(others.map(|holder| held_by(holder, now)));
    }
    let before = group.queue.iter();
    for waiter in before.take_while(|waiter| waiter.claim.id.as_str() != view.host.id) {
        let claim = &waiter.claim;
        let since = ago(waiter.since, now);
        found.push(Block {
            id: Some(claim.id.to_string()),
            ..block(
                "queue",
                format!("{} waits longer, since {since}", claim.host),
            )
        });
    }
}

fn held_by(holder: &Holder, now: Timestamp) -> Block {
    let claim = &holder.claim;
    let text = format!(
        "{} holds the lock since {}, last sign of life {}: {}; if it is gone for good: \
         locksmithctl unlock {}",
        claim.host,
        ago(holder.since, now),
        ago(holder.seen, now),
        errand(claim),
        claim.id
    );
    Block {
        id: Some(claim.id.to_string()),
        ..block("holder", text)
    }
}

/// As text.
pub(super) fn render(view: &View, found: &[Block]) -> String {
    if !found.is_empty() {
        return found
            .iter()
            .map(|block| format!("{}\n", block.text))
            .collect();
    }
    match &view.need {
        Some(_) => "nothing: this host is about to reboot\n".into(),
        None => "nothing: no reboot is needed\n".into(),
    }
}

#[cfg(test)]
mod tests;
