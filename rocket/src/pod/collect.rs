//! Removing what nobody needs any more.

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::run::{group, users, volumes};
use super::view::{Phase, phase};
use super::{Exit, Liveness, Pod, Pods, State, StoreError};
use crate::dirs::Dirs;
use crate::network;
use crate::runtime::cgroup;

/// What one collection did.
#[derive(Debug, Default, serde::Serialize)]
pub struct Collected {
    /// Pods that ended without anybody seeing it; they are kept as exited ones.
    pub marked: Vec<Uuid>,
    /// Pods that are gone.
    pub removed: Vec<Uuid>,
    /// What could not be removed, and why.
    pub failed: Vec<(Uuid, String)>,
}

/// What a pod holds beside its directory is given back by this, when it ended.
///
/// # Errors
/// The first thing that could not be given back; the rest was tried.
pub fn release(dirs: &Dirs, pod: &Pod) -> anyhow::Result<()> {
    let left = leave_networks(dirs, pod);
    let ours = match pod.manifest()?.network {
        crate::options::NetOption::Default => {
            let uuid = pod.uuid();
            network::Bridge::open(dirs).and_then(|bridge| bridge.collect(|other| other != uuid))
        }
        _ => Ok(()),
    };
    let groups = cgroup::remove(&group(pod.uuid()));
    left?;
    ours?;
    groups?;
    Ok(())
}

/// Takes a pod that ended out of the networks of plugins that it is still in.
fn leave_networks(dirs: &Dirs, pod: &Pod) -> anyhow::Result<()> {
    let mut attachments = pod.attachments()?;
    if attachments.is_empty() {
        return Ok(());
    }
    let member = network::Member {
        pod: pod.uuid(),
        pid: None,
    };
    let left = network::detach_cni(dirs, &mut attachments, member);
    pod.write_attachments(&attachments)?;
    left.context("leaving networks, which the next `rocket gc` tries again")
}

/// What a pod still holds is given back by this, before it is removed or started again. Only
/// for whoever holds the pod.
///
/// # Errors
/// As for [`release`].
pub fn settle(dirs: &Dirs, pod: &Pod) -> anyhow::Result<()> {
    match pod.state() {
        State::Preparing | State::Prepared => Ok(()),
        State::Running => release(dirs, pod),
        // All but what a plugin could not do was given back when it ended.
        State::Exited | State::Garbage => leave_networks(dirs, pod),
    }
}

/// How long pods are kept that nobody uses.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Since they ended.
    pub exited: SignedDuration,
    /// Since they were prepared.
    pub prepared: SignedDuration,
}

/// Has pods that nobody saw ending end now, and removes those that were given up, those that
/// nobody used for as long as `keep` says, and what pods hold that are gone. Goes on when one
/// fails.
///
/// # Errors
/// The pods cannot be listed.
pub fn collect(dirs: &Dirs, pods: &Pods, keep: Keep, now: Timestamp) -> anyhow::Result<Collected> {
    let live = Liveness::of_this_boot()?;
    let mut done = Collected::default();
    for mut pod in pods.all()? {
        let uuid = pod.uuid();
        let result = end_if_dead(dirs, &mut pod, &live, now).and_then(|step| {
            if let Step::Ended = step {
                done.marked.push(uuid);
            }
            clear(dirs, pod, keep, now)
        });
        match result {
            Ok(Step::Ended) => done.removed.push(uuid),
            Ok(Step::Stays) => {}
            // Somebody else is at it.
            Err(error) if is_busy(&error) => {}
            Err(error) => done.failed.push((uuid, format!("{error:#}"))),
        }
    }
    // Only asked while nobody takes an address: a pod that does so runs already.
    let runs = |uuid| {
        pods.get(uuid)
            .is_ok_and(|pod| pod.state() == State::Running)
    };
    network::Bridge::open(dirs)?.collect(runs)?;
    users::collect(dirs)?;
    volumes::collect(dirs)?;
    Ok(done)
}

enum Step {
    Stays,
    Ended,
}

/// A pod of which no process is left, and which nobody holds, has ended.
fn end_if_dead(
    dirs: &Dirs,
    pod: &mut Pod,
    live: &Liveness,
    now: Timestamp,
) -> anyhow::Result<Step> {
    if pod.state() != State::Running || phase(pod, pod.record()?.as_ref(), live) != Phase::Aborted {
        return Ok(Step::Stays);
    }
    pod.lock()?;
    // It may have been started while this waited.
    if pod.record()?.is_some_and(|record| live.any(&record)) {
        return Ok(Step::Stays);
    }
    finish(dirs, pod, None, now)?;
    Ok(Step::Ended)
}

/// The pod has ended, as far as anybody knows: notes it, and gives back what it held.
///
/// # Errors
/// Another process holds it, or something cannot be given back.
pub fn end(dirs: &Dirs, mut pod: Pod, status: Option<u8>) -> anyhow::Result<()> {
    pod.lock()?;
    finish(dirs, &mut pod, status, Timestamp::now())
}

/// For whoever holds the pod. `status` is that of its only app.
fn finish(dirs: &Dirs, pod: &mut Pod, status: Option<u8>, now: Timestamp) -> anyhow::Result<()> {
    let released = release(dirs, pod);
    if pod.exit()?.is_none() {
        let apps = pod.manifest()?.apps;
        let status = if apps.len() == 1 { status } else { None };
        let ended = |app: super::App| super::Ended {
            name: app.name,
            status,
        };
        let apps = apps.into_iter().map(ended).collect();
        pod.write_exit(&Exit {
            finished: now,
            apps,
        })?;
    }
    pod.advance(State::Exited)?;
    released
}

/// Gives back what a pod that ended still holds, and removes the pod if its time is over.
fn clear(dirs: &Dirs, mut pod: Pod, keep: Keep, now: Timestamp) -> anyhow::Result<Step> {
    let has_ended = matches!(pod.state(), State::Exited | State::Garbage);
    let settled = if has_ended && !pod.attachments()?.is_empty() {
        pod.hold()?;
        settle(dirs, &pod)
    } else {
        Ok(())
    };
    if is_due(&pod, keep, now)? {
        pod.hold()?;
        // One that was prepared again just now is not due any more.
        if is_due(&pod, keep, now)? {
            pod.remove()?;
            return settled.map(|()| Step::Ended);
        }
    }
    settled.map(|()| Step::Stays)
}

/// Nobody needs it: it was given up, its time is over, or it is garbage already.
fn is_due(pod: &Pod, keep: Keep, now: Timestamp) -> Result<bool, StoreError> {
    Ok(match pod.state() {
        State::Preparing => !pod.is_busy(),
        State::Garbage => true,
        State::Prepared => now.duration_since(pod.changed()?) >= keep.prepared,
        State::Exited => {
            let finished = pod
                .exit()?
                .map_or(Timestamp::UNIX_EPOCH, |exit| exit.finished);
            now.duration_since(finished) >= keep.exited
        }
        State::Running => false,
    })
}

fn is_busy(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Busy(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);
    const KEEP: Keep = Keep {
        exited: HOUR,
        prepared: HOUR,
    };

    fn manifest(pod: &Pod) -> super::super::Manifest {
        let text = format!(
            r#"{{"version": 1, "uuid": "{}", "created": "1970-01-01T00:00:00Z", "hostname": "h",
                "network": "none", "dns": {{}}, "ipc": "pod", "users": "host", "apps": []}}"#,
            pod.uuid()
        );
        serde_json::from_str(&text).unwrap()
    }

    fn host() -> (tempfile::TempDir, Dirs, Pods) {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(dir.path());
        let pods = Pods::open(&dirs).unwrap();
        (dir, dirs, pods)
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    #[test]
    fn what_was_given_up_goes_and_what_is_held_stays() {
        let (_dir, dirs, pods) = host();
        let held = pods.create().unwrap();
        let given_up = pods.create().unwrap().uuid();
        let mut prepared = pods.create().unwrap();
        prepared.advance(State::Prepared).unwrap();
        drop(prepared);
        let done = collect(&dirs, &pods, KEEP, at(0)).unwrap();
        assert_eq!(done.removed, [given_up]);
        assert!(done.failed.is_empty(), "{done:?}");
        assert_eq!(pods.all().unwrap().len(), 2);
        drop(held);
    }

    #[test]
    fn a_prepared_pod_that_nobody_runs_goes_when_its_time_is_over() {
        let (_dir, dirs, pods) = host();
        let mut pod = pods.create().unwrap();
        pod.advance(State::Prepared).unwrap();
        let (uuid, changed) = (pod.uuid(), pod.changed().unwrap());
        let removed = |after: SignedDuration| {
            let done = collect(&dirs, &pods, KEEP, changed + after).unwrap();
            assert!(done.failed.is_empty(), "{done:?}");
            done.removed
        };
        assert!(removed(HOUR - SignedDuration::from_secs(1)).is_empty());
        // Somebody is about to run it.
        assert!(removed(HOUR).is_empty());
        drop(pod);
        assert_eq!(removed(HOUR), [uuid]);
    }

    #[test]
    fn a_pod_that_is_prepared_again_counts_from_then() {
        let (_dir, dirs, pods) = host();
        let mut pod = pods.create().unwrap();
        pod.advance(State::Prepared).unwrap();
        let first = pod.changed().unwrap();
        while pod.changed().unwrap() == first {
            pod.advance(State::Exited).unwrap();
            pod.advance(State::Prepared).unwrap();
        }
        drop(pod);
        let done = collect(&dirs, &pods, KEEP, first + HOUR).unwrap();
        assert!(done.removed.is_empty(), "{done:?}");
    }

    #[test]
    fn a_pod_that_nobody_saw_ending_is_kept_for_the_time_of_grace() {
        let (_dir, dirs, pods) = host();
        let mut pod = pods.create().unwrap();
        pod.write_manifest(&manifest(&pod)).unwrap();
        pod.advance(State::Prepared).unwrap();
        pod.advance(State::Running).unwrap();
        let uuid = pod.uuid();
        assert!(
            collect(&dirs, &pods, KEEP, at(1))
                .unwrap()
                .marked
                .is_empty()
        );
        drop(pod);
        assert_eq!(collect(&dirs, &pods, KEEP, at(1)).unwrap().marked, [uuid]);
        assert!(
            collect(&dirs, &pods, KEEP, at(1))
                .unwrap()
                .removed
                .is_empty()
        );
        assert_eq!(pods.get(uuid).unwrap().state(), State::Exited);
        assert_eq!(collect(&dirs, &pods, KEEP, at(2)).unwrap().removed, [uuid]);
    }

    #[test]
    fn a_damaged_pod_is_told_of_and_the_others_go() {
        let (_dir, dirs, pods) = host();
        let mut bad = pods.create().unwrap();
        std::fs::write(bad.path().join("record.json"), "{").unwrap();
        bad.advance(State::Running).unwrap();
        let uuid = bad.uuid();
        drop(bad);
        let given_up = pods.create().unwrap().uuid();
        let done = collect(&dirs, &pods, KEEP, at(0)).unwrap();
        assert_eq!(done.failed[0].0, uuid);
        assert!(done.failed[0].1.contains("is damaged"), "{done:?}");
        assert_eq!(done.removed, [given_up]);
    }
}
