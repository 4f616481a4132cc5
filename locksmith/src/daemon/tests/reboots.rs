//! Reboots that come about, and those that do not.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_armed_release_takes_the_lock_reboots_and_gives_it_back_once_it_is_kept() {
    let rig = Rig::new(LOCKED);
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.reaches("rebooting").await;
    hours(0).await;
    while rig.reboots() == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(rig.shared.holders(), [ME]);
    assert_eq!(rig.machine.drains.load(Ordering::SeqCst), 1);

    // Booted, and on trial: nobody else may follow yet.
    let mut daemon = rig.boot(daemon);
    daemon
        .engine
        .send_replace(says("0.2.0", "trial", false, &[]));
    daemon.reaches("settling").await;
    hours(1).await;
    assert_eq!(daemon.state(), "settling");
    assert_eq!(rig.shared.holders(), [ME]);

    daemon
        .engine
        .send_replace(says("0.2.0", "blessed", true, &[]));
    daemon.reaches("resting").await;
    assert_eq!(rig.shared.holders(), Vec::<String>::new());
    hours(1).await;
    assert_eq!(rig.reboots(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_was_left_is_told_before_the_lock_is_free() {
    let rig = Rig::new(LOCKED);
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.reaches("rebooting").await;
    let mut daemon = rig.boot(daemon);
    rig.shared.edit(|group| group.down = true);
    daemon
        .engine
        .send_replace(says("0.1.0", "rolled-back", true, &["0.2.0"]));
    daemon.shows(|view| view.lock.error.is_some()).await;
    hours(1).await;
    assert_eq!(rig.shared.holders(), [ME]);
    rig.shared.edit(|group| group.down = false);
    daemon.reaches("resting").await;
    let group = rig.shared.group.lock().unwrap();
    assert_eq!(group.holders, []);
    assert_eq!(group.reports.len(), 1);
    let (report, version) = &group.reports[0];
    assert_eq!(version, &Version::new(0, 2, 0));
    assert_eq!(
        (&*report.host, &*report.reason),
        ("web-1", "10-sshd failed")
    );
    assert_eq!(rig.saved().reported.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_others_left_is_not_booted_until_it_is_lifted() {
    let rig = Rig::new(LOCKED);
    rig.shared.edit(|group| {
        group.braked.insert(Version::new(0, 2, 0));
    });
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.shows(|view| view.last.is_some()).await;
    hours(10).await;
    assert_eq!(rig.reboots(), 0);
    assert_eq!(rig.shared.holders(), Vec::<String>::new());
    let last = daemon.view.borrow().last.clone().unwrap();
    assert_eq!(last.braked.as_deref(), Some("0.2.0"));
    rig.shared.edit(|group| group.braked.clear());
    daemon.reaches("rebooting").await;
}

#[tokio::test(start_paused = true)]
async fn a_host_waits_for_its_turn_and_for_a_window() {
    let rig = Rig::new(&LOCKED.replace("windows = []\n", &closed()));
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.shows(|view| view.need.is_some()).await;
    // Real clocks do not move on in this test: the window stays closed.
    hours(3).await;
    assert_eq!(daemon.state(), "resting");
    assert_eq!(rig.shared.asked.load(Ordering::SeqCst), 0);

    rig.shared.taken_by("other");
    rig.policy(LOCKED);
    daemon.shows(|view| view.lock.position == Some(1)).await;
    hours(3).await;
    assert_eq!(rig.reboots(), 0);
    // The window closes while it waits: it leaves the queue.
    rig.policy(&LOCKED.replace("windows = []\n", &closed()));
    daemon.reaches("resting").await;
    rig.policy(LOCKED);
    daemon.shows(|view| view.lock.position == Some(1)).await;
    rig.shared.edit(|group| group.holders.clear());
    daemon.reaches("rebooting").await;
}

#[tokio::test(start_paused = true)]
async fn people_have_their_time_and_are_told() {
    let rig = Rig::new(&LOCKED.replace("[reboot]\n", "[reboot]\nlogin_grace = \"10min\"\n"));
    rig.login();
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.shows(|view| view.plan.grace_until.is_some()).await;
    tokio::time::sleep(Duration::from_secs(500)).await;
    assert_eq!(daemon.state(), "grace");
    daemon.reaches("rebooting").await;
    let told = rig.machine.told.lock().unwrap().clone();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("web-1 reboots in 10m: 0.2.0 is armed"),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_grace_people_are_told_and_that_is_all() {
    let rig = Rig::new(&LOCKED.replace("[reboot]\n", "[reboot]\nlogin_grace = \"0s\"\n"));
    rig.login();
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.reaches("rebooting").await;
    let told = rig.machine.told.lock().unwrap().clone();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("web-1 reboots now: 0.2.0"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_logs_out_ends_the_grace() {
    let rig = Rig::new(&LOCKED.replace("[reboot]\n", "[reboot]\nlogin_grace = \"10h\"\n"));
    rig.login();
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.shows(|view| view.plan.grace_until.is_some()).await;
    let began = tokio::time::Instant::now();
    rig.machine.sessions.lock().unwrap().clear();
    daemon.reaches("rebooting").await;
    assert!(began.elapsed() < Duration::from_secs(120));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_fails_frees_the_lock_and_it_is_tried_again_later() {
    let rig = Rig::new(LOCKED);
    *rig.machine.drained.lock().unwrap() = Some("10-move failed".into());
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.shows(|view| view.pause.is_some()).await;
    daemon.reaches("resting").await;
    assert_eq!(rig.shared.holders(), Vec::<String>::new());
    let last = daemon.view.borrow().last.clone().unwrap();
    assert!(last.reason.contains("10-move failed"), "{last:?}");
    *rig.machine.drained.lock().unwrap() = None;
    daemon.reaches("rebooting").await;
    assert_eq!(rig.machine.drains.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_lock_a_host_asks_nobody() {
    let rig = Rig::new("[reboot]\nwindows = []\n");
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.reaches("rebooting").await;
    let mut daemon = rig.boot(daemon);
    daemon.reaches("settling").await;
    daemon
        .engine
        .send_replace(says("0.2.0", "blessed", true, &[]));
    daemon.reaches("resting").await;
    assert_eq!(rig.shared.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_program_can_say_that_it_needs_a_reboot() {
    let rig = Rig::new("[reboot]\nwindows = []\n");
    let mut daemon = rig.start();
    daemon.engine.send_replace(says("0.1.0", "idle", true, &[]));
    hours(1).await;
    assert_eq!(daemon.state(), "resting");
    fs::create_dir_all(rig.root.path().join("run")).unwrap();
    fs::write(rig.root.path().join("run/reboot-required"), "microcode").unwrap();
    daemon.reaches("rebooting").await;
    assert_eq!(daemon.view.borrow().need.as_ref().unwrap().to, None);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_off_reboots_for_operators_only() {
    let rig = Rig::new("[reboot]\nstrategy = \"off\"\n");
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    hours(48).await;
    assert_eq!(daemon.state(), "resting");
    daemon.reboot(false).await.unwrap();
    daemon.reaches("rebooting").await;
    assert_eq!(rig.saved().wish.as_deref(), Some("new firmware"));
    // A wish is fulfilled by any boot.
    let mut daemon = rig.boot(daemon);
    daemon.reaches("settling").await;
    assert_eq!(rig.saved().wish, None);
}

#[tokio::test(start_paused = true)]
async fn an_operator_keeps_the_lock_and_gives_it_back() {
    let rig = Rig::new(LOCKED);
    let mut daemon = rig.start();
    daemon.engine.send_replace(says("0.1.0", "idle", true, &[]));
    let reason = "new disks".to_string();
    daemon.ask(Command::Lock { reason }).await.unwrap();
    daemon.reaches("kept").await;
    assert_eq!(rig.shared.holders(), [ME]);
    // A release that is armed now waits, and a boot changes nothing.
    daemon.engine.send_replace(armed());
    hours(5).await;
    let mut daemon = rig.boot(daemon);
    daemon.reaches("kept").await;
    assert!(matches!(
        daemon.reboot(false).await,
        Err(CommandError::Refused(_))
    ));
    assert_eq!(rig.reboots(), 0);
    daemon.ask(Command::Unlock).await.unwrap();
    daemon.reaches("resting").await;
    assert_eq!(rig.shared.holders(), Vec::<String>::new());
    assert_eq!(rig.saved().keep, None);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_that_is_not_needed_any_more_is_called_off() {
    let rig = Rig::new(LOCKED);
    rig.login();
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.reaches("grace").await;
    daemon.engine.send_replace(says("0.1.0", "idle", true, &[]));
    daemon.reaches("resting").await;
    assert_eq!(rig.shared.holders(), Vec::<String>::new());
    assert_eq!(rig.reboots(), 0);
}
