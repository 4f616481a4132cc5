//! Updates: taken, proven on trial, taken back, all by policy.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bootloader::{Slot, choose};
use qemu::Vm;
use serde_json::{Value, json};

use crate::context::{BOOT, Context, booted, contains, same};
use crate::disk::Disk;
use crate::relay::{Identity, KNOWN_TO_THE_PROXY, Proxy};
use crate::repository::{Missing, Repository};
use crate::scenario::{Scenario, scenario};
use crate::trial::{BROKEN_VERSION, LATER_VERSION, TRIAL_VERSION, VERSION, slot_holds};

pub const SCENARIOS: &[Scenario] = &[
    scenario!(
        a_host_takes_good_releases_and_comes_back_from_a_bad_one,
        15,
        "`updatectl apply` takes a release from a tar file, which is tried and kept. Then by \
         policy alone: one over https with an authority of its own, by a proxy, whose sshd \
         cannot start is taken back and denied with the failing unit named; the next one, \
         over http, is taken."
    ),
    scenario!(
        an_update_cut_off_goes_on_where_it_was,
        15,
        "The engine killed, then the power cut, at 30, 60 and 90 % of a fetch: nothing that is \
         in its slot is fetched again, and the release is in its slot whole before it is tried."
    ),
    scenario!(
        power_cuts_around_a_trial_leave_a_release_that_runs,
        10,
        "The power cut when an update is read back, when it was written, when it was armed, when \
         the host restarts into it, and twice on trial: the host comes up with the old or the \
         new release, and goes on."
    ),
];

/// How long a host may take to see, fetch and arm a release; scaled.
const TAKE: Duration = Duration::from_secs(240);

fn a_host_takes_good_releases_and_comes_back_from_a_bad_one(context: &Context) -> Result<()> {
    let repository = Repository::start(context)?;
    repository.publish(VERSION)?;
    repository.publish(TRIAL_VERSION)?;
    let (identity, mut proxy) = (Identity::new()?, Proxy::closed()?);
    proxy.open()?;
    let inner = format!(
        "{KNOWN_TO_THE_PROXY}:{}",
        identity.protect(repository.port())?
    );
    let setup = context.setup_of(&context.prepared().lived_image());
    context.warm(&setup, |vm| {
        repository.bring(vm, ARCHIVE, &[VERSION])?;
        repository.follow_at(vm, ARCHIVE, "enabled = false")?;
        let applied = vm.exec_within("updatectl apply", TAKE)?;
        ensure!(applied.status == 0, "updatectl apply: {}", applied.stderr);
        same("armed", text(&status(vm)?["update"]["state"]), "armed")?;
        vm.start("systemctl reboot")?;
        goes_to(vm, TRIAL_VERSION, "b")?;
        let kept = blessed(vm, TRIAL_VERSION, "b")?;
        same("denied", &kept["denied"].to_string(), "[]")?;

        repository.publish(BROKEN_VERSION)?;
        follow_by_proxy(
            vm,
            &repository,
            (&format!("https://{inner}"), &proxy),
            &identity,
        )?;
        vm.expect(&format!("booting {BROKEN_VERSION} from slot a"), TAKE)?;
        let back = vm.wait_boot_complete_despite_failure(BOOT * 3)?;
        ensure!(
            back.version == TRIAL_VERSION && back.slot == "b",
            "came back on {back:?}"
        );
        let denied = &status(vm)?["denied"][0];
        same("denied", text(&denied["version"]), BROKEN_VERSION)?;
        ensure!(
            text(&denied["reason"]).contains("sshd@.service"),
            "the reason does not name the unit that failed: {denied}"
        );

        let tunnel = format!("CONNECT {inner}");
        let asked = proxy.asked();
        let only_that = !asked.is_empty() && asked.iter().all(|asked| *asked == tunnel);
        ensure!(only_that, "the proxy was asked for {asked:?}");

        repository.follow(vm, BY_POLICY)?;
        repository.publish(LATER_VERSION)?;
        goes_to(vm, LATER_VERSION, "a")?;
        blessed(vm, LATER_VERSION, "a")?;
        is_modest(vm)
    })
}

/// Where the host has the repository as a tar file.
const ARCHIVE: &str = "/srv/repository.tar";

/// Keys of a host that takes what there is.
const BY_POLICY: &str = "poll = \"5s\"\nreboot = \"immediately\"";

/// Lets the host follow the repository over https; fails unless it trusts the server only
/// once it knows its authority.
fn follow_by_proxy(
    vm: &mut Vm,
    repository: &Repository<'_>,
    (server, proxy): (&str, &Proxy),
    identity: &Identity,
) -> Result<()> {
    const AUTHORITY: &str = "/etc/ballast/e2e-authority.pem";
    let by_proxy = format!("proxy = \"{}\"", proxy.url());
    repository.follow_at(vm, server, &format!("{by_proxy}\nenabled = false"))?;
    let refused = vm.exec("updatectl check")?;
    ensure!(
        refused.status != 0,
        "the server is trusted: {}",
        refused.stdout
    );
    contains("what updatectl said", &refused.stderr, "certificate")?;
    vm.write_file(AUTHORITY, identity.authority().as_bytes())?;
    let keys = format!("{by_proxy}\nca = \"{AUTHORITY}\"\n{BY_POLICY}");
    repository.follow_at(vm, server, &keys)
}

/// Most memory that an idle engine may hold, in KiB.
const IDLE: u64 = 12 << 10;

/// Fails if the engine holds much memory while it waits, or may do more than it must.
fn is_modest(vm: &mut Vm) -> Result<()> {
    // The next poll is seconds away when this one has ended.
    // One by policy may be under way, with which it is refused (4).
    vm.exec_ok("until updatectl check; do test $? = 4 || exit; sleep 1; done")?;
    let held = resident(vm, ENGINE, "VmRSS")?;
    println!("     resident memory of the idle engine: {held} KiB");
    ensure!(held <= IDLE, "the idle engine holds {held} KiB");
    vm.exec_ok("systemd-analyze security --no-pager --threshold=40 update-engine.service")?;
    Ok(())
}

/// When an update is cut off, in percent of what it fetches, and whether by a power cut;
/// otherwise the engine is killed.
const CUTS: [(u64, bool); 6] = [
    (30, false),
    (35, true),
    (60, false),
    (65, true),
    (90, false),
    (95, true),
];

fn an_update_cut_off_goes_on_where_it_was(context: &Context) -> Result<()> {
    let repository = Repository::start(context)?;
    repository.publish(VERSION)?;
    repository.publish(LATER_VERSION)?;
    let keys = "enabled = false\npoll = \"10s\"\nreboot = \"immediately\"";
    let disk = Disk::at(context.file("disk.img"));
    let missing = || Missing::on(&disk, &repository, VERSION, LATER_VERSION);
    context.warm(&context.setup_lived(&disk), |vm| {
        repository.follow(vm, keys)?;
        let mut needed = missing()?;
        let whole = needed.bytes();
        repository.pass(whole * CUTS[0].0 / 100);
        vm.exec_ok("updatectl apply --no-wait")?;
        for (cut, (_, power)) in CUTS.into_iter().enumerate() {
            repository.wait_still(TAKE)?;
            if power {
                vm.cut_power()?;
            } else {
                kill_engine(vm)?;
            }
            needed.check(&repository.asked())?;
            needed = missing()?;
            let done = whole.saturating_sub(needed.bytes());
            match CUTS.get(cut + 1) {
                Some((next, _)) => repository.pass((whole * next / 100).saturating_sub(done)),
                None => repository.pass_all(),
            }
            if power {
                vm.power_on()?;
                booted(&vm.wait_boot_complete(BOOT)?, VERSION, "a", "normal")?;
            }
        }
        vm.cut_power_when(&format!("booting {LATER_VERSION} from slot b"), TAKE)?;
        needed.check(&repository.asked())?;
        let held = slot_holds(context.prepared(), &disk, Slot::B)?;
        same("what slot b holds", held, LATER_VERSION)
    })
}

/// A drop-in that sends the engine's words to the console, too.
const CONSOLE: (&str, &str) = (
    "/etc/systemd/system/update-engine.service.d/50-console.conf",
    "[Service]\nStandardError=journal+console\n",
);

fn power_cuts_around_a_trial_leave_a_release_that_runs(context: &Context) -> Result<()> {
    let repository = Repository::start(context)?;
    repository.publish(VERSION)?;
    repository.publish(TRIAL_VERSION)?;
    let disk = Disk::at(context.file("disk.img"));
    context.warm(&context.setup_lived(&disk), |vm| {
        // Its lines are the moments.
        vm.exec_ok("mkdir -p /etc/systemd/system/update-engine.service.d")?;
        vm.write_file(CONSOLE.0, CONSOLE.1.as_bytes())?;
        repository.follow(
            vm,
            "enabled = false\npoll = \"5s\"\nreboot = \"immediately\"",
        )?;
        vm.exec_ok("systemctl daemon-reload; systemctl restart update-engine.service")?;
        let cut = |vm: &mut Vm, moment: &str, version, slot| {
            comes_back(context, (vm, &disk), moment, (version, slot))
        };
        vm.exec_ok("updatectl apply --no-wait")?;
        cut(vm, "reading it back", VERSION, "a")?;
        // The attempt goes on by itself.
        cut(vm, "state: fetching -> written", TRIAL_VERSION, "b")?;
        blessed(vm, TRIAL_VERSION, "b")?;
        let starts = format!("booting {VERSION} from slot a (normal)");
        let health = format!("checking the health of {VERSION}");
        for (before, on_trial) in [
            ("state: written -> armed", &starts),
            ("reboot: Restarting system", &health),
        ] {
            let back = format!("updatectl apply --no-wait --allow-downgrade {VERSION}");
            vm.exec_ok(&back)?;
            cut_power(context, (&mut *vm, &disk), before)?;
            if *on_trial != starts {
                vm.expect(&starts, TAKE)?;
            }
            // It failed, whatever it was that stopped the host.
            cut(vm, on_trial, TRIAL_VERSION, "b")?;
            let denied = &status(vm)?["denied"][0];
            same("denied", text(&denied["version"]), VERSION)?;
            vm.exec_ok(&format!("updatectl allow {VERSION}"))?;
        }
        Ok(())
    })
}

/// Cuts the power at a moment, and switches the machine on again; fails unless the slot that
/// the selector will choose holds a release whole.
fn cut_power(context: &Context, (vm, disk): (&mut Vm, &Disk), moment: &str) -> Result<()> {
    vm.cut_power_when(moment, TAKE)?;
    let chosen = choose(&disk.slots()?).first.slot;
    slot_holds(context.prepared(), disk, chosen)
        .with_context(|| format!("after a power cut at {moment:?}"))?;
    Ok(vm.power_on()?)
}

/// The same; fails also unless the host comes up with this release.
fn comes_back(
    context: &Context,
    (vm, disk): (&mut Vm, &Disk),
    moment: &str,
    (version, slot): (&str, &str),
) -> Result<()> {
    cut_power(context, (&mut *vm, disk), moment)?;
    let boot = vm.wait_boot_complete_despite_failure(BOOT)?;
    ensure!(
        boot.version == version && boot.slot == slot,
        "after a power cut at {moment:?} the host came up as {boot:?}"
    );
    Ok(())
}

/// Most memory that an engine may take for an update, in KiB.
const PEAK: u64 = 64 << 10;

/// Kills the engine, after a look at the memory that it took.
fn kill_engine(vm: &mut Vm) -> Result<()> {
    let peak = resident(vm, ENGINE, "VmHWM")?;
    ensure!(peak <= PEAK, "the engine took {peak} KiB");
    vm.exec_ok("systemctl kill --signal=KILL update-engine.service")?;
    // What it wrote is still in the guest's memory.
    vm.exec_ok("sync")?;
    Ok(())
}

const ENGINE: &str = "update-engine.service";

/// A line of `/proc/PID/status` of a unit's process, in KiB.
pub(super) fn resident(vm: &mut Vm, unit: &str, name: &str) -> Result<u64> {
    let pid = format!("$(systemctl show --value -p MainPID {unit})");
    let line = vm.exec_ok(&format!("grep {name}: /proc/{pid}/status"))?;
    let value = line.split_whitespace().nth(1).and_then(|v| v.parse().ok());
    value.with_context(|| format!("no number: {line}"))
}

/// Waits until the host has armed the release and rebooted into it by itself.
fn goes_to(vm: &mut Vm, version: &str, slot: &str) -> Result<()> {
    vm.expect(&format!("booting {version} from slot {slot}"), TAKE)?;
    booted(&vm.wait_boot_complete(BOOT)?, version, slot, "normal")
}

/// Waits until the running release is kept, and returns the status.
pub(super) fn blessed(vm: &mut Vm, version: &str, slot: &str) -> Result<Value> {
    // The job of ballast-bless.service has ended when nothing is queued any more.
    vm.exec("systemctl is-system-running --wait")?;
    let status = status(vm)?;
    let running = &status["running"];
    let found = json!([running["version"], running["slot"], running["blessed"]]);
    same(
        "what runs",
        &found.to_string(),
        &json!([version, slot, true]).to_string(),
    )?;
    Ok(status)
}

fn status(vm: &mut Vm) -> Result<Value> {
    let output = vm.exec_ok("updatectl status --json")?;
    serde_json::from_str(&output).with_context(|| format!("updatectl printed {output}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
