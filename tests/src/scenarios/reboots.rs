//! Clusters whose hosts reboot into new releases; for scenarios of others.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qemu::Vm;
use serde_json::Value;

use crate::context::{BOOT, contains, same};
use crate::etcd::Etcd;
use crate::repository::Repository;
use crate::trial::{BROKEN_VERSION, TRIAL_VERSION};

use super::update::{blessed, resident};

/// How many share a lock.
pub(super) const HOSTS: usize = 3;

/// How long the whole cluster may take for a release; scaled.
pub(super) const ROLL: Duration = Duration::from_secs(600);

/// Where hosts have what they show to etcd.
pub(super) const IDENTITY: &str = "/etc/ballast/etcd";

/// Hosts that share a lock have taken a release: never had two of them the lock, and the daemon
/// is content with little memory. A bad release takes down one, which goes back, and no other
/// leaves the old one. A holder that is gone for good is freed by what status says. Without etcd
/// nobody reboots, but who is told to.
pub(super) fn after_a_release(
    fleet: &mut [Vm],
    etcd: Etcd,
    repository: &Repository<'_>,
) -> Result<()> {
    never_more_than_one(&etcd)?;
    for vm in fleet.iter_mut() {
        is_modest(vm)?;
    }

    repository.publish(BROKEN_VERSION)?;
    let fates = each(fleet, meets_the_bad_release)?;
    let tried = fates.iter().filter(|fate| **fate == Fate::WentBack).count();
    ensure!(
        tried == 1,
        "{tried} hosts have tried {BROKEN_VERSION}: {fates:?}"
    );

    let [first, second, gone] = fleet else {
        bail!("{HOSTS} hosts are needed");
    };
    holder_that_is_gone(first, gone)?;
    drop(etcd);
    without_etcd(second)
}

/// Most memory that an idle daemon may cost a host, in KiB: its own, and its part of what it
/// shares with other processes, which is the program's file.
const IDLE: u64 = 8 << 10;

/// Fails if the daemon holds much memory while it has nothing to do.
fn is_modest(vm: &mut Vm) -> Result<()> {
    let resident = resident(vm, "locksmithd.service", "VmRSS")?;
    let pid = "$(systemctl show --value -p MainPID locksmithd.service)";
    let line = vm.exec_ok(&format!("grep ^Pss: /proc/{pid}/smaps_rollup"))?;
    let share = line.split_whitespace().nth(1).and_then(|v| v.parse().ok());
    let share: u64 = share.with_context(|| format!("no number: {line}"))?;
    println!("     the idle locksmithd costs {share} KiB, {resident} KiB are resident");
    ensure!(share <= IDLE, "the idle locksmithd costs {share} KiB");
    Ok(())
}

/// Hands a host the policy of a group and what it shows to etcd.
pub(super) fn becomes_a_member(vm: &mut Vm, etcd: &Etcd, windows: &str) -> Result<()> {
    let certified = etcd.authority().certify("host-1", &[])?;
    vm.exec_ok(&format!("mkdir -p {IDENTITY} /etc/ballast/config.d"))?;
    for (file, content) in [
        ("ca.crt", etcd.authority().pem()),
        ("node.crt", certified.certificate_pem()),
        ("node.key", certified.key_pem()),
    ] {
        vm.write_file(&format!("{IDENTITY}/{file}"), content.as_bytes())?;
    }
    let policy = format!(
        "[reboot]\nstrategy = \"etcd-lock\"\nlogin_grace = \"0s\"\nwindows = {windows}\n\
         [reboot.etcd]\nendpoints = [\"{}\"]\ngroup = \"e2e\"\nca = \"{IDENTITY}/ca.crt\"\n\
         certificate = \"{IDENTITY}/node.crt\"\nkey = \"{IDENTITY}/node.key\"\n",
        etcd.url()
    );
    vm.write_file("/etc/ballast/config.d/60-reboot.toml", policy.as_bytes())?;
    vm.exec_ok("updatectl config check && systemctl restart update-engine locksmithd")?;
    Ok(())
}

/// Does the same with every host, at once.
pub(super) fn each<T: Send>(
    fleet: &mut [Vm],
    act: impl Fn(&mut Vm) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let act = &act;
        let running: Vec<_> = fleet
            .iter_mut()
            .map(|vm| scope.spawn(move || act(vm)))
            .collect();
        let join = |(number, host): (usize, thread::ScopedJoinHandle<'_, Result<T>>)| {
            let result = host.join().map_err(|_| anyhow!("the test panicked"))?;
            result.with_context(|| format!("host-{}", number + 1))
        };
        running.into_iter().enumerate().map(join).collect()
    })
}

/// When a host was down.
pub(super) type Down = (Instant, Instant);

/// Waits until a host has rebooted into a release, and tells when it was down.
pub(super) fn goes_down_and_up(vm: &mut Vm, version: &str) -> Result<Down> {
    vm.expect("reboot: Restarting system", ROLL)?;
    let down = Instant::now();
    vm.expect(&format!("booting {version} from slot"), BOOT)?;
    vm.wait_boot_complete(BOOT)?;
    Ok((down, Instant::now()))
}

/// Fails if two hosts were down at the same time.
pub(super) fn apart(downs: &[Down]) -> Result<()> {
    let mut downs = downs.to_vec();
    downs.sort_unstable();
    for pair in downs.windows(2) {
        if let [(_, up), (down, _)] = pair {
            ensure!(up <= down, "two hosts were down at once");
        }
    }
    Ok(())
}

/// What a bad release did to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was tried, and left.
    WentBack,
    /// It was never tried.
    Stayed,
}

/// Ends when locksmith reboots the host, or has heard that others had to leave a release.
fn until_decided(version: &str) -> String {
    format!(
        "while :; do s=$(locksmithctl status --json | tr -d ' \\n') && case \"$s\" in \
         *'\"braked\":\"{version}\"'*) echo stays; exit;; \
         *'\"state\":\"draining\"'*|*'\"state\":\"rebooting\"'*) echo goes; exit;; \
         esac; sleep 2; done"
    )
}

fn meets_the_bad_release(vm: &mut Vm) -> Result<Fate> {
    let boot = vm.exec_ok(BOOT_ID)?;
    // A host that reboots may end the session before it has answered.
    let said = vm.exec_within(&until_decided(BROKEN_VERSION), ROLL);
    if said.is_ok_and(|said| said.stdout.trim() == "stays") {
        same("the boot", &vm.exec_ok(BOOT_ID)?, &boot)?;
        blessed(vm, TRIAL_VERSION, "b")?;
        return Ok(Fate::Stayed);
    }
    vm.expect(&format!("booting {BROKEN_VERSION} from slot a"), ROLL)?;
    let back = vm.wait_boot_complete_despite_failure(BOOT * 3)?;
    ensure!(
        back.version == TRIAL_VERSION && back.slot == "b",
        "came back on {back:?}"
    );
    Ok(Fate::WentBack)
}

const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// What `status` says before the command that frees the lock.
const ADVICE: &str = "if it is gone for good: ";

/// A holder loses its power for good; an operator who knows only what `status` says helps.
fn holder_that_is_gone(vm: &mut Vm, gone: &mut Vm) -> Result<()> {
    gone.exec_ok("locksmithctl lock moving to another rack")?;
    gone.cut_power()?;
    let status = vm.exec_ok("locksmithctl status")?;
    contains("status", &status, "moving to another rack")?;
    let advice = status.lines().find_map(|line| line.split_once(ADVICE));
    let (_, command) = advice.with_context(|| format!("status does not help: {status}"))?;
    let asked = vm.exec(command)?;
    ensure!(
        asked.status == 4,
        "nobody has confirmed {command}: {asked:?}"
    );
    contains("the warning", &asked.stderr, "If it still runs")?;
    vm.exec_ok(&format!("{command} --yes"))?;
    vm.exec_ok("locksmithctl lock && locksmithctl unlock")?;
    Ok(())
}

/// A host that needs a reboot does not reboot, until an operator insists.
fn without_etcd(vm: &mut Vm) -> Result<()> {
    vm.exec_ok("locksmithctl reboot new memory")?;
    vm.exec_ok(
        "until s=$(locksmithctl status --json | tr -d ' \\n'); \
         case $s in *'\"error\":\"'*) ;; *) false;; esac && \
         case $s in *'\"state\":\"asking\"'*) ;; *) false;; esac; do sleep 2; done",
    )?;
    let blocks = vm.exec_ok("locksmithctl who-blocks")?;
    contains(
        "who-blocks",
        &blocks,
        "the lock does not work: reaching https://",
    )?;
    vm.start("locksmithctl reboot --force")?;
    vm.wait_reboot(BOOT)?;
    vm.wait_boot_complete(BOOT)?;
    Ok(())
}

/// Where the group keeps its lock (docs/reboots.md).
const SEMAPHORE: &str = "/ballast/locksmith/v1/e2e/semaphore";

/// Goes back through all states that the lock has had; fails if two hosts held it in one.
fn never_more_than_one(etcd: &Etcd) -> Result<()> {
    let mut revision = 0;
    let mut states = 0;
    let mut holders = BTreeSet::new();
    loop {
        let at = format!("--rev={revision}");
        let answer = etcd.ctl(&["get", SEMAPHORE, "--write-out=json", &at])?;
        let answer: Value = serde_json::from_str(&answer).context("reading etcd's answer")?;
        let Some(pair) = answer["kvs"].get(0) else {
            break;
        };
        let document = STANDARD.decode(pair["value"].as_str().unwrap_or_default())?;
        let document: Value = serde_json::from_slice(&document).context("reading the lock")?;
        let held = document["holders"].as_array().context("no holders")?;
        ensure!(held.len() <= 1, "two hosts held the lock: {document}");
        holders.extend(held.iter().map(|holder| holder["id"].to_string()));
        states += 1;
        match pair["mod_revision"].as_u64().context("no revision")? {
            pair if pair == answer["kvs"][0]["create_revision"] => break,
            pair => revision = pair - 1,
        }
    }
    ensure!(holders.len() == HOSTS, "the lock was held by {holders:?}");
    println!("     the lock had {states} states, and never two holders");
    Ok(())
}
