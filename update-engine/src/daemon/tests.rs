use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bootloader::Slot;
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::attempt::{By, NO_TRACE};
use crate::install::{Progress, Report};
use crate::marks;
use crate::next::Offer;
use crate::release::{Channel, SCHEMA};
use crate::settings::Update;
use crate::state::{Outcome, State};
use crate::testing::{GOOD, TestHost};
use crate::trial::{self, Trial};
use crate::updater::{Failure, Question};

mod bus;

fn v(text: &str) -> Version {
    text.parse().unwrap()
}

/// A server and an installer.
pub struct Double {
    disk: std::path::PathBuf,
    /// The channel's release, or why there is none.
    pub release: Mutex<Result<Version, String>>,
    /// Why installing fails.
    pub trouble: Mutex<Option<String>>,
    /// Installing waits until it is stopped.
    pub waits: std::sync::atomic::AtomicBool,
    pub installs: AtomicUsize,
}

impl Double {
    fn publish(&self, version: &str) {
        *self.release.lock().unwrap() = Ok(v(version));
    }
}

impl Updater for Double {
    fn look(
        &self,
        policy: &Update,
        question: &Question,
        _: watch::Receiver<bool>,
    ) -> Result<Offer, Failure> {
        let release = self.release.lock().unwrap().clone();
        let release = release.map_err(Failure::Failed)?;
        let named = question.version.iter().cloned();
        let releases: BTreeMap<_, _> = named
            .chain([release.clone()])
            .map(|version| (version, v("0.0.1")))
            .collect();
        Ok(Offer {
            channel: Some(Channel {
                schema: SCHEMA,
                channel: policy.channel.to_string(),
                release,
                steps: Vec::new(),
                waves: None,
            }),
            releases,
        })
    }

    fn install(
        &self,
        _: &Update,
        _: &Version,
        watch: &crate::install::Watch,
    ) -> Result<Report, Failure> {
        self.installs.fetch_add(1, Ordering::SeqCst);
        if let Some(trouble) = self.trouble.lock().unwrap().clone() {
            return Err(Failure::Failed(trouble));
        }
        if self.waits.load(Ordering::SeqCst) {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().block_on(watch.cancelled());
            return Err(Failure::Cancelled);
        }
        // What a real installation leaves on the disk.
        let table = marks::read(&self.disk).unwrap();
        let slot = bootloader::choose(&table).first.slot.other();
        marks::change(&self.disk, |table| table.arm(slot, 1)).unwrap();
        let progress = Progress {
            total: 1000,
            kept: 300,
            copied: 300,
            fetched: 400,
            received: 123,
            requests: 4,
            ..Progress::default()
        };
        Ok(Report { slot, progress })
    }
}

/// Counts reboots.
#[derive(Clone, Default)]
struct Reboots(Arc<AtomicUsize>);

impl Machine for Reboots {
    fn reboot(&self) -> std::io::Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A host and what its daemons have in common.
pub struct Rig {
    pub host: TestHost,
    pub double: Arc<Double>,
    reboots: Reboots,
}

/// A daemon, without its loop.
struct Engine {
    core: Core,
    results: UnboundedReceiver<Done>,
    finished: UnboundedReceiver<Finished>,
}

impl Rig {
    pub fn new() -> Self {
        let host = TestHost::new();
        host.policy("[update]\nserver = \"/srv/repository\"\n");
        let double = Double {
            disk: host.disk(),
            release: Mutex::new(Ok(v("0.2.0"))),
            trouble: Mutex::new(None),
            waits: false.into(),
            installs: AtomicUsize::new(0),
        };
        Self {
            host,
            double: Arc::new(double),
            reboots: Reboots::default(),
        }
    }

    fn directory(&self) -> std::path::PathBuf {
        self.host.path("var")
    }

    pub fn setup(&self) -> Setup {
        Setup {
            store: Store::open(self.directory()).unwrap(),
            host: Host::look(self.host.root()).map_err(|error| error.to_string()),
            updater: Some(self.double.clone()),
            machine: Box::new(self.reboots.clone()),
            roots: Roots::below(self.host.root()),
        }
    }

    /// The daemon starts.
    fn start(&self) -> Engine {
        let (done, results) = mpsc::unbounded_channel();
        let (ended, finished) = mpsc::unbounded_channel();
        let mut core = Core::new(self.setup(), done, ended);
        core.start();
        Engine {
            core,
            results,
            finished,
        }
    }

    /// The selector tries slot `b`, as it does with what is armed.
    fn boot_b(&self, version: &str) {
        self.host.edit(|table| {
            assert_eq!(bootloader::choose(table).first.slot, Slot::B);
            table.take_try(Slot::B);
        });
        self.host.boot(Slot::B, version);
    }

    fn reboots(&self) -> usize {
        self.reboots.0.load(Ordering::SeqCst)
    }
}

impl Engine {
    /// Lets a thread report.
    fn pump(&mut self) {
        let done = self.results.blocking_recv().unwrap();
        self.core.done(done);
    }

    /// The policy's next look, with everything that follows.
    fn poll(&mut self) {
        self.core.look_by_policy();
        while self.core.view().activity != "resting" {
            self.pump();
        }
    }

    /// A command that is begun, to its end.
    fn job(&mut self, command: Command) -> Finished {
        let Answer::Job(job) = self.core.command(command).unwrap() else {
            panic!("no job")
        };
        while self.core.view().activity != "resting" {
            self.pump();
        }
        let finished = self.finished.try_recv().unwrap();
        assert_eq!(finished.job, job);
        finished
    }

    fn state(&self) -> String {
        self.core.view().update.state
    }

    fn history(&mut self) -> Vec<Record> {
        match self.core.command(Command::History) {
            Ok(Answer::History(records)) => records,
            other => panic!("{other:?}"),
        }
    }

    fn refuses(&mut self, command: Command) -> String {
        match self.core.command(command.clone()) {
            Err(CommandError::Refused(why)) => why,
            other => panic!("{command:?}: {other:?}"),
        }
    }
}

const APPLY: Command = Command::Apply {
    version: None,
    downgrade: false,
};

#[test]
fn a_release_is_taken_tried_and_kept_by_policy_alone() {
    let rig = Rig::new();
    let mut engine = rig.start();
    assert_eq!(engine.state(), "idle");
    assert!(engine.core.due().is_some());
    engine.poll();
    assert_eq!(engine.state(), "armed");
    assert_eq!(rig.reboots(), 0);
    engine.poll();
    assert_eq!(rig.double.installs.load(Ordering::SeqCst), 1, "not twice");

    rig.boot_b("0.2.0");
    let mut engine = rig.start();
    assert_eq!(engine.state(), "trial");
    assert_eq!(engine.core.due(), None, "nothing is taken during a trial");
    assert!(engine.refuses(APPLY).contains("on trial"));
    engine.core.command(Command::Bless).unwrap();
    engine.core.command(Command::Bless).unwrap();
    assert_eq!(engine.state(), "blessed");
    assert!(rig.host.bits(Slot::B).successful);

    let view = engine.core.view();
    assert_eq!(view.running.unwrap().version, "0.2.0");
    assert_eq!(view.other.unwrap().version.as_deref(), Some("0.1.0"));
    let history = engine.history();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].outcome, Outcome::Blessed);
    assert_eq!((history[0].received, history[0].requests), (123, 4));
    assert_eq!((history[0].reused, history[0].total), (600, 1000));
    assert!(history[0].armed.is_some() && history[0].ended.is_some());
}

#[test]
fn a_release_that_does_not_come_up_is_denied_and_a_newer_one_is_taken() {
    let rig = Rig::new();
    rig.start().poll();
    rig.boot_b("0.2.0");
    rig.host.boot(Slot::A, "0.1.0");
    let mut engine = rig.start();
    assert_eq!(engine.state(), "rolled-back");
    let view = engine.core.view();
    assert_eq!(view.denied.len(), 1);
    assert_eq!(view.denied[0].version, v("0.2.0"));
    assert_eq!(view.denied[0].reason, NO_TRACE);
    // The selector has nothing to fall back from any more.
    let table = marks::read(&rig.host.disk()).unwrap();
    assert_eq!(
        bootloader::choose(&table).first.reason,
        bootloader::Reason::Normal
    );
    engine.poll();
    assert_eq!(engine.state(), "rolled-back");
    assert_eq!(engine.core.view().available.unwrap().verdict, "refused");
    assert_eq!(engine.history()[0].outcome, Outcome::RolledBack);

    rig.double.publish("0.3.0");
    engine.poll();
    assert_eq!(engine.state(), "armed");
    rig.boot_b("0.3.0");
    let mut engine = rig.start();
    engine.core.command(Command::Bless).unwrap();
    assert_eq!(engine.state(), "blessed");
    assert_eq!(engine.core.view().denied.len(), 1, "still told about");
}

#[test]
fn what_the_trial_left_is_the_reason() {
    let rig = Rig::new();
    rig.start().poll();
    rig.boot_b("0.2.0");
    let failed = Trial {
        version: v("0.2.0"),
        slot: Slot::B,
        boot: rig.host.look().boot_id,
        doing: "running health.d/10-sshd".into(),
        failure: Some("health.d/10-sshd failed: no greeting".into()),
    };
    trial::save(&rig.directory(), failed).unwrap();
    rig.host.boot(Slot::A, "0.1.0");
    let mut engine = rig.start();
    let denied = engine.core.view().denied;
    assert_eq!(denied[0].reason, "health.d/10-sshd failed: no greeting");

    // Allowed and tried again, it does not inherit the reason.
    engine.core.command(Command::Allow(v("0.2.0"))).unwrap();
    assert_eq!(engine.state(), "idle");
    engine.poll();
    rig.boot_b("0.2.0");
    rig.host.boot(Slot::A, "0.1.0");
    let engine = rig.start();
    assert_eq!(engine.core.view().denied[0].reason, NO_TRACE);
}

#[test]
fn an_engine_that_was_killed_goes_on_where_it_was() {
    let rig = Rig::new();
    rig.double.waits.store(true, Ordering::SeqCst);
    let mut engine = rig.start();
    engine.core.look_by_policy();
    engine.pump();
    assert_eq!(engine.state(), "fetching");
    // It is killed: nothing of it is told to anybody.
    drop(engine);
    rig.double.waits.store(false, Ordering::SeqCst);
    let mut engine = rig.start();
    assert_eq!(engine.state(), "fetching");
    engine.poll();
    assert_eq!(engine.state(), "armed");
    assert_eq!(engine.history().len(), 1, "the same attempt");
}

#[test]
fn an_engine_that_was_killed_right_after_arming_finds_the_slot_armed() {
    let rig = Rig::new();
    rig.double.waits.store(true, Ordering::SeqCst);
    let mut engine = rig.start();
    engine.core.look_by_policy();
    engine.pump();
    drop(engine);
    rig.host.edit(|table| table.arm(Slot::B, 1));
    assert_eq!(rig.start().state(), "armed");
    rig.boot_b("0.2.0");
    assert_eq!(rig.start().state(), "trial");
}

#[test]
fn a_failure_is_told_counted_and_tried_again() {
    let rig = Rig::new();
    *rig.double.trouble.lock().unwrap() = Some("the server went away".into());
    let mut engine = rig.start();
    engine.poll();
    let view = engine.core.view();
    assert_eq!((view.update.state.as_str(), view.failures), ("idle", 1));
    assert_eq!(view.last_error.as_deref(), Some("the server went away"));
    assert!(view.next_check.is_some());
    assert_eq!(engine.history()[0].outcome, Outcome::Failed);
    *rig.double.trouble.lock().unwrap() = None;
    engine.poll();
    let view = engine.core.view();
    assert_eq!((view.update.state.as_str(), view.failures), ("armed", 0));
    assert_eq!(view.last_error, None);

    *rig.double.release.lock().unwrap() = Err("expired".into());
    let finished = engine.job(Command::Check);
    assert_eq!(finished.result, "failed");
    assert_eq!(finished.message, "expired");
}

#[test]
fn an_installation_can_be_cancelled_and_an_armed_release_taken_back() {
    let rig = Rig::new();
    rig.double.waits.store(true, Ordering::SeqCst);
    let mut engine = rig.start();
    engine.core.command(APPLY).unwrap();
    engine.pump();
    assert!(engine.refuses(APPLY).contains("under way"));
    assert!(
        engine
            .refuses(Command::RollBack { reboot: true })
            .contains("never ran")
    );
    engine.core.command(Command::Cancel).unwrap();
    engine.pump();
    assert_eq!(engine.state(), "idle");
    assert_eq!(engine.finished.try_recv().unwrap().result, "cancelled");
    assert_eq!(engine.history()[0].outcome, Outcome::Cancelled);

    rig.double.waits.store(false, Ordering::SeqCst);
    assert_eq!(engine.job(APPLY).result, "done");
    assert_eq!(engine.state(), "armed");
    engine.core.command(Command::Cancel).unwrap();
    assert_eq!(engine.state(), "idle");
    assert_eq!(rig.host.bits(Slot::B).priority, 0);
    assert!(engine.refuses(Command::Cancel).contains("nothing"));
}

#[test]
fn an_operator_goes_before_the_policys_look() {
    let rig = Rig::new();
    let mut engine = rig.start();
    engine.core.look_by_policy();
    let checked = engine.job(Command::Check);
    assert_eq!(checked.message, "0.2.0 is available");
    assert_eq!(engine.state(), "idle", "a check takes nothing");
    let due = engine.core.due().unwrap();
    assert!(due <= tokio::time::Instant::now(), "the policy comes after");

    *rig.double.release.lock().unwrap() = Err("away".into());
    engine.core.look_by_policy();
    engine.core.command(APPLY).unwrap();
    assert!(engine.refuses(APPLY).contains("under way"));
    engine.core.command(Command::Cancel).unwrap();
    assert_eq!(engine.finished.try_recv().unwrap().result, "cancelled");
    engine.pump();
    assert_eq!(engine.core.view().activity, "resting");
    assert!(engine.finished.try_recv().is_err(), "told once");

    rig.double.publish("0.2.0");
    engine.core.look_by_policy();
    assert_eq!(engine.job(APPLY).result, "done");
    assert_eq!(engine.state(), "armed");
    assert_eq!(engine.history()[0].by, By::Operator);
    let available = engine.core.view().available.unwrap();
    assert_eq!(
        (&*available.version, &*available.verdict),
        ("0.2.0", "armed")
    );
}

#[test]
fn an_operator_follows_what_the_policy_installs() {
    let rig = Rig::new();
    rig.double.waits.store(true, Ordering::SeqCst);
    let mut engine = rig.start();
    engine.core.look_by_policy();
    engine.pump();
    assert_eq!(engine.core.view().activity, "installing");
    assert!(engine.refuses(Command::Check).contains("under way"));
    let Answer::Job(job) = engine.core.command(APPLY).unwrap() else {
        panic!("no job")
    };
    assert!(engine.refuses(APPLY).contains("under way"));
    engine.core.command(Command::Cancel).unwrap();
    engine.pump();
    let finished = engine.finished.try_recv().unwrap();
    assert_eq!((finished.job, &*finished.result), (job, "cancelled"));
    assert_eq!(rig.double.installs.load(Ordering::SeqCst), 1);

    // What somebody wanted before a restart is another version.
    let other = Command::Apply {
        version: Some(v("0.1.5")),
        downgrade: false,
    };
    engine.core.command(other).unwrap();
    engine.pump();
    let mut engine = rig.start();
    engine.core.look_by_policy();
    engine.pump();
    assert_eq!(engine.core.view().activity, "installing");
    assert!(engine.refuses(APPLY).contains("under way"));
}

#[test]
fn a_rollback_goes_to_the_other_slot_and_denies_what_ran() {
    let rig = Rig::new();
    let mut engine = rig.start();
    let roll_back = Command::RollBack { reboot: true };
    assert!(
        engine
            .refuses(roll_back.clone())
            .contains("slot b holds no release")
    );
    engine.poll();
    rig.boot_b("0.2.0");
    let mut engine = rig.start();
    engine.core.command(Command::Bless).unwrap();
    engine.core.command(roll_back.clone()).unwrap();
    assert_eq!(rig.reboots(), 1);
    assert_eq!(engine.state(), "rolled-back");
    let table = marks::read(&rig.host.disk()).unwrap();
    assert_eq!(bootloader::choose(&table).first.slot, Slot::A);
    assert!(table.bits(Slot::A).successful && table.bits(Slot::B).successful);
    engine.refuses(roll_back);
    // The way back is not overwritten before it was gone.
    rig.double.publish("0.3.0");
    engine.poll();
    assert_eq!(engine.state(), "rolled-back");
    assert!(
        engine
            .refuses(Command::Allow(v("0.2.0")))
            .contains("still runs")
    );

    rig.host.boot(Slot::A, "0.1.0");
    let mut engine = rig.start();
    let view = engine.core.view();
    assert_eq!(view.denied[0].reason, "rolled back by operator");
    assert_eq!(engine.history()[0].outcome, Outcome::RolledBack);
    engine.poll();
    assert_eq!(engine.state(), "armed");
    assert_eq!(rig.host.bits(Slot::A), table.bits(Slot::A));
}

#[test]
fn a_hold_stops_the_policy_until_it_is_lifted() {
    let rig = Rig::new();
    let mut engine = rig.start();
    let reason = "audit".to_string();
    engine.core.command(Command::Hold { reason }).unwrap();
    engine.poll();
    assert_eq!(engine.state(), "idle");
    assert_eq!(engine.core.view().available.unwrap().verdict, "held");
    // It survives a restart.
    let mut engine = rig.start();
    assert_eq!(engine.core.view().held.unwrap().reason, "audit");
    engine.core.command(Command::Unhold).unwrap();
    engine.poll();
    assert_eq!(engine.state(), "armed");
}

#[test]
fn versions_are_taken_by_name_and_older_ones_only_when_that_is_said() {
    let rig = Rig::new();
    let mut engine = rig.start();
    let apply = |version: &str, downgrade| Command::Apply {
        version: Some(v(version)),
        downgrade,
    };
    let finished = engine.job(apply("0.0.5", false));
    assert_eq!(finished.result, "refused");
    assert!(finished.message.contains("--allow-downgrade"));
    assert_eq!(engine.job(apply("0.1.0", true)).result, "nothing");
    assert_eq!(engine.job(apply("0.0.5", true)).result, "done");
    assert_eq!(engine.core.view().update.version.as_deref(), Some("0.0.5"));
    // A newer one takes its place.
    assert_eq!(engine.job(apply("0.2.0", false)).result, "done");
    assert_eq!(engine.core.view().update.version.as_deref(), Some("0.2.0"));
}

#[test]
fn the_channel_is_changed_for_good_unless_a_higher_fragment_says_otherwise() {
    let rig = Rig::new();
    let mut engine = rig.start();
    let set = |name: &str| Command::SetChannel(name.into());
    engine.core.command(set("beta")).unwrap();
    assert_eq!(engine.core.view().policy.channel, "beta");
    assert_eq!(rig.start().core.view().policy.channel, "beta");
    assert!(engine.refuses(set("../beta")).contains("name of a channel"));
    rig.host.write(
        "etc/ballast/config.d/90-fleet.toml",
        "[update]\nchannel = \"lts\"\n",
    );
    let error = engine.core.command(set("alpha")).unwrap_err().to_string();
    assert!(
        error.contains("90-fleet.toml:2 keeps the channel lts"),
        "{error}"
    );
}

#[test]
fn a_policy_that_is_wrong_is_told_and_the_last_good_one_stays() {
    let rig = Rig::new();
    let mut engine = rig.start();
    rig.host.policy("[update]\npoll = \"often\"\n");
    engine.core.reload();
    let view = engine.core.view();
    assert_eq!(view.policy.server.as_deref(), Some("/srv/repository"));
    assert!(view.policy.problems[0].contains("50-test.toml:2: update.poll: "));
    rig.host.policy("[update]\nenabled = false\n");
    engine.core.reload();
    let view = engine.core.view();
    assert!(view.policy.problems.is_empty());
    assert_eq!(view.next_check, None);
}

#[test]
fn a_command_counts_with_the_policy_as_it_was_written_last() {
    let rig = Rig::new();
    let mut engine = rig.start();
    rig.host.policy("[update]\nserver = \"/srv/elsewhere\"\n");
    engine.core.command(Command::Check).unwrap();
    let view = engine.core.view();
    assert_eq!(view.policy.server.as_deref(), Some("/srv/elsewhere"));
    assert_eq!(view.next_check, None, "one look at a time");
}

#[test]
fn the_policy_may_let_the_engine_reboot() {
    let rig = Rig::new();
    rig.host
        .policy("[update]\nserver = \"/srv/x\"\nreboot = \"immediately\"\n");
    rig.start().poll();
    assert_eq!(rig.reboots(), 1);
}

#[test]
fn nothing_is_begun_that_cannot_be_saved() {
    let rig = Rig::new();
    let mut engine = rig.start();
    fs::remove_dir_all(rig.directory()).unwrap();
    engine.poll();
    assert_eq!(rig.double.installs.load(Ordering::SeqCst), 0);
    assert_eq!(engine.state(), "idle");
}

#[test]
fn damaged_files_are_told_and_the_slots_decide() {
    let rig = Rig::new();
    rig.start().poll();
    rig.boot_b("0.2.0");
    fs::write(rig.directory().join("state.json"), "{\"attempt\":").unwrap();
    let mut engine = rig.start();
    assert!(engine.core.view().warnings[0].contains("state.json.bad"));
    assert_eq!(engine.state(), "trial");
    engine.core.command(Command::Bless).unwrap();
    assert_eq!(engine.state(), "blessed");
}

#[test]
fn a_host_that_is_not_known_answers_and_touches_nothing() {
    let rig = Rig::new();
    fs::remove_file(rig.host.path("proc/cmdline")).unwrap();
    let mut engine = rig.start();
    let view = engine.core.view();
    assert_eq!(view.running, None);
    assert!(view.warnings[0].contains("proc/cmdline"));
    for command in [APPLY, Command::Bless, Command::RollBack { reboot: true }] {
        assert!(engine.refuses(command).contains("proc/cmdline"));
    }
    assert_eq!(rig.host.bits(Slot::A), GOOD);
}

#[test]
fn a_state_of_a_newer_engine_is_read_as_far_as_it_goes() {
    let text = r#"{"attempt":{"state":"idle"},"next_id":7,"colour":"blue"}"#;
    let state: State = serde_json::from_str(text).unwrap();
    assert_eq!(state.next_id, 7);
}
