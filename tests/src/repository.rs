//! A repository that guests update from, with a hand on its server.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use image::host::capture;
use image::publish::{self, PublishOptions};
use image::serve::{Answer, Server};
use qemu::Vm;
use qemu::deadline::scaled;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use update_engine::frames::FrameTable;
use update_engine::release::{BLOCK, BOOT_FRAMES, Descriptor, Frame, USR_FRAMES};

use crate::config::data_url;
use crate::context::Context;
use crate::disk::Disk;
use crate::http::HOST_AS_SEEN_BY_GUESTS;

/// Bytes that the engine rather fetches than asks twice: the largest hole between two
/// frames of one request.
const GAP: u64 = 4 << 10;

/// Where hosts have the policy.
const CONFIG: &str = "/etc/ballast/config.d";

/// Where a new one is before it counts.
const NEW_POLICY: &str = "/run/e2e-policy.toml";

/// How long the tar file may take to a host; scaled.
const BRING: Duration = Duration::from_secs(120);

/// Nothing reboots by locksmith's policy, which has a window at night, unless a fragment
/// with a later name says so.
fn policy(server: &str, keys: &str) -> String {
    format!("[reboot]\nstrategy = \"off\"\n[update]\nserver = \"{server}\"\n{keys}\n")
}

/// A repository, served until it is dropped.
pub struct Repository<'a> {
    context: &'a Context,
    dir: PathBuf,
    gate: Arc<Gate>,
    server: Option<Server>,
}

impl<'a> Repository<'a> {
    /// An empty repository.
    pub fn start(context: &'a Context) -> Result<Self> {
        let dir = context.file("repository");
        fs::create_dir(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let gate = Arc::new(Gate::default());
        let watch = Arc::clone(&gate);
        let server = Server::start(&dir, ([127, 0, 0, 1], 0).into(), move |answer| {
            watch.pass(answer);
        })?;
        Ok(Self {
            context,
            dir,
            gate,
            server: Some(server),
        })
    }

    /// Makes a release the one that hosts go to.
    pub fn publish(&self, version: &str) -> Result<()> {
        let prepared = self.context.prepared();
        let mut options = PublishOptions::new(&self.dir, prepared.keys());
        options.channel = Some("stable".to_string());
        options.from = Some(prepared.release(version));
        // Bytes on the wire are not what is looked at here, and a patch would leave
        // nothing to stop in.
        options.level = 1;
        options.patches = 0;
        publish::publish(&options).with_context(|| format!("publishing {version}"))?;
        Ok(())
    }

    /// Its port on this machine's loopback interface; it speaks http there.
    pub fn port(&self) -> u16 {
        self.server.as_ref().map_or(0, |s| s.address().port())
    }

    /// Where guests find it.
    pub fn url(&self) -> String {
        format!("http://{HOST_AS_SEEN_BY_GUESTS}:{}", self.port())
    }

    /// A policy that follows the repository, with these further keys of `[update]`.
    fn policy(&self, keys: &str) -> String {
        policy(&self.url(), keys)
    }

    /// A config with such a policy.
    pub fn config(&self, keys: &str) -> Value {
        json!({
            "ignition": { "version": "3.6.0" },
            "storage": { "files": [{
                "path": format!("{CONFIG}/50-e2e.toml"),
                "mode": 0o644,
                "contents": { "source": data_url(self.policy(keys)) },
            }] },
        })
    }

    /// Gives such a policy to a host that runs, and returns once its engine has read it.
    pub fn follow(&self, vm: &mut Vm, keys: &str) -> Result<()> {
        self.follow_at(vm, &self.url(), keys)
    }

    /// The same for a host that finds the repository at another address.
    pub fn follow_at(&self, vm: &mut Vm, server: &str, keys: &str) -> Result<()> {
        vm.write_file(NEW_POLICY, policy(server, keys).as_bytes())?;
        vm.exec_ok(&format!(
            "cursor=$(journalctl --quiet --lines=1 --show-cursor | sed -n 's/^-- cursor: //p') && \
             mkdir -p {CONFIG} && mv {NEW_POLICY} {CONFIG}/50-e2e.toml && \
             grep -q -m 1 '^policy: read again' < <(journalctl --quiet --follow --no-tail \
             --output=cat --after-cursor=\"$cursor\" --unit=update-engine.service 2> /dev/null)"
        ))?;
        Ok(())
    }

    /// Brings the repository to a host as one tar file, without the releases `left_out`.
    pub fn bring(&self, vm: &mut Vm, to: &str, left_out: &[&str]) -> Result<()> {
        const NAME: &str = "repository.tar";
        let mut tar = self.context.tool("tar");
        tar.arg("--create").arg("--file").arg(self.dir.join(NAME));
        for version in left_out {
            tar.arg(format!("--exclude=targets/releases/{version}"));
        }
        tar.arg("--directory").arg(&self.dir);
        capture(tar.args(["metadata", "targets"]))?;
        let fetch = format!("curl -sf -o {to} {}/{NAME}", self.url());
        let fetched = vm.exec_within(&fetch, BRING)?;
        ensure!(fetched.status == 0, "bringing the tar file: {fetched:?}");
        Ok(())
    }

    /// Lets everything pass until `bytes` more of images were asked for; then the server
    /// stands still.
    pub fn pass(&self, bytes: u64) {
        let mut state = self.gate.lock();
        state.asked.clear();
        state.left = Some(bytes);
        self.gate.changed.notify_all();
    }

    /// Lets everything pass.
    pub fn pass_all(&self) {
        let mut state = self.gate.lock();
        state.asked.clear();
        state.left = None;
        self.gate.changed.notify_all();
    }

    /// Waits until the server stands still.
    pub fn wait_still(&self, within: Duration) -> Result<()> {
        let state = self.gate.lock();
        let stands = |state: &mut State| state.left != Some(0);
        let waited = self
            .gate
            .changed
            .wait_timeout_while(state, scaled(within), stands);
        let timed_out = match waited {
            Ok((_, timeout)) => timeout.timed_out(),
            Err(poisoned) => poisoned.get_ref().1.timed_out(),
        };
        ensure!(
            !timed_out,
            "the host did not ask for that much of the release"
        );
        Ok(())
    }

    /// Parts of images that were asked for since the last `pass` or `pass_all`.
    pub fn asked(&self) -> Vec<Asked> {
        self.gate.lock().asked.clone()
    }
}

impl Drop for Repository<'_> {
    fn drop(&mut self) {
        // A server that stands still cannot end.
        self.pass_all();
        self.server.take();
    }
}

/// Part of an image that a host asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `usr.zst` or `boot.zst`.
    pub file: &'static str,
    /// First byte, and the one behind the last.
    pub range: std::ops::Range<u64>,
}

impl Asked {
    fn of(answer: &Answer) -> Option<Self> {
        let of = |file: &&str| answer.path.ends_with(*file);
        let file = [USR_FRAMES, BOOT_FRAMES].into_iter().find(of)?;
        let range = answer.range.as_deref().and_then(|text| {
            let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
            Some(start.parse().ok()?..end.parse::<u64>().ok()? + 1)
        });
        Some(Self {
            file,
            range: range.unwrap_or(0..answer.bytes),
        })
    }
}

/// Stops the server's one thread.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    /// Bytes of images that may still be asked for; 0: the server stands still.
    left: Option<u64>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered; returns when the server may go on.
    fn pass(&self, answer: &Answer) {
        let mut state = self.lock();
        if let Some(asked) = Asked::of(answer) {
            let bytes = asked.range.end - asked.range.start;
            state.left = state.left.map(|left| left.saturating_sub(bytes));
            state.asked.push(asked);
        }
        self.changed.notify_all();
        let stands = |state: &mut State| state.left == Some(0);
        drop(self.changed.wait_while(state, stands));
    }
}

/// What of a release a host with another one has to fetch, by what is on its disk.
pub struct Missing {
    files: [(&'static str, FrameTable, Vec<bool>); 2],
}

impl Missing {
    /// Looks at slot b of `disk`, on a host that runs `old` from slot a and fetches `new`.
    pub fn on(disk: &Disk, repository: &Repository<'_>, old: &str, new: &str) -> Result<Self> {
        let prepared = repository.context.prepared();
        let (old, new_dir) = (prepared.release(old), prepared.release(new));
        let descriptor = descriptor(&repository.dir, new)?;
        let file = |name, image: &str, label, frames: &[Frame]| {
            let table = FrameTable::new(frames);
            let blocks = missing_blocks(&old.join(image), &new_dir.join(image), disk, label)?;
            let lacks = |frame| blocks[table.blocks(frame)].contains(&true);
            let missing = (0..table.count()).map(lacks).collect();
            anyhow::Ok((name, table, missing))
        };
        Ok(Self {
            files: [
                file(USR_FRAMES, "usr.img", "usr-b", &descriptor.usr.frames)?,
                file(BOOT_FRAMES, "boot.efi", "boot-b", &descriptor.boot.frames)?,
            ],
        })
    }

    /// Bytes of the frames that have something that is missing.
    pub fn bytes(&self) -> u64 {
        let of = |(_, table, missing): &(&str, FrameTable, Vec<bool>)| {
            let frames = (0..table.count()).filter(|frame| missing[*frame]);
            frames.map(|f| length(table, f)).sum::<u64>()
        };
        self.files.iter().map(of).sum()
    }

    /// Fails if a request was for frames of which everything is there.
    pub fn check(&self, asked: &[Asked]) -> Result<()> {
        for request in asked {
            let file = self.files.iter().find(|file| file.0 == request.file);
            let (_, table, missing) = file.context("no such file")?;
            let mut needless = 0;
            for (frame, is_missing) in missing.iter().enumerate() {
                let bytes = table.bytes(frame..frame + 1);
                if bytes.start < request.range.start || bytes.end > request.range.end {
                    continue;
                }
                needless = if *is_missing {
                    0
                } else {
                    needless + length(table, frame)
                };
                ensure!(
                    needless <= GAP,
                    "{} bytes {:?} were fetched, and frame {frame} ({bytes:?}) was in its slot",
                    request.file,
                    request.range
                );
            }
        }
        Ok(())
    }
}

fn length(table: &FrameTable, frame: usize) -> u64 {
    let bytes = table.bytes(frame..frame + 1);
    bytes.end - bytes.start
}

/// For each block of the image `new`, whether neither the running slot's image `old` has
/// it nor the partition `label` at its place.
fn missing_blocks(old: &Path, new: &Path, disk: &Disk, label: &str) -> Result<Vec<bool>> {
    let read = |path: &Path| {
        let mut bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        anyhow::Ok(bytes)
    };
    let digest = |block: &[u8]| <[u8; 32]>::from(Sha256::digest(block));
    let old: HashSet<[u8; 32]> = read(old)?.chunks(BLOCK).map(digest).collect();
    let new = read(new)?;
    let mut slot = vec![0; new.len()];
    disk.read(label, 0, &mut slot)?;
    let pairs = new.chunks(BLOCK).zip(slot.chunks(BLOCK));
    Ok(pairs
        .map(|(new, slot)| new != slot && !old.contains(&digest(new)))
        .collect())
}

/// The descriptor of a release in a repository.
fn descriptor(repository: &Path, version: &str) -> Result<Descriptor> {
    let dir = repository.join("targets/releases").join(version);
    let entries = fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".release.json") {
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            return Ok(Descriptor::parse(&bytes)?);
        }
    }
    anyhow::bail!("{} holds no descriptor", dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(frames: &[(u32, u32, bool)]) -> Missing {
        let table: Vec<Frame> = frames.iter().map(|f| Frame(f.0, f.1)).collect();
        let flags = frames.iter().map(|f| f.2).collect();
        Missing {
            files: [
                (USR_FRAMES, FrameTable::new(&table), flags),
                (BOOT_FRAMES, FrameTable::new(&[]), Vec::new()),
            ],
        }
    }

    fn asked(range: std::ops::Range<u64>) -> [Asked; 1] {
        [Asked {
            file: USR_FRAMES,
            range,
        }]
    }

    #[test]
    fn what_is_there_may_be_fetched_again_only_in_small_holes() {
        let m = missing(&[
            (1, 9000, true),
            (1, 4000, false),
            (1, 9000, true),
            (1, 9000, false),
        ]);
        assert_eq!(m.bytes(), 18_000);
        m.check(&asked(0..22_000)).unwrap();
        assert!(m.check(&asked(0..31_000)).is_err());
        assert!(m.check(&asked(22_000..31_000)).is_err());
    }
}
