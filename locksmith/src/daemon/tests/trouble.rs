//! Locks that do not answer, policies that cannot be read, daemons that are killed.

use super::*;

#[tokio::test(start_paused = true)]
async fn there_is_never_a_reboot_without_the_lock_and_force_does_not_ask() {
    let rig = Rig::new(LOCKED);
    rig.shared.edit(|group| group.down = true);
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.shows(|view| view.lock.error.is_some()).await;
    hours(48).await;
    assert_eq!((daemon.state().as_str(), rig.reboots()), ("asking", 0));
    let asked = rig.shared.asked.load(Ordering::SeqCst);
    assert!(
        (300..2000).contains(&asked),
        "asked {asked} times in two days"
    );
    daemon.reboot(true).await.unwrap();
    assert_eq!(rig.reboots(), 1);

    rig.shared.edit(|group| group.down = false);
    daemon.reaches("rebooting").await;
    assert_eq!(daemon.view.borrow().lock.error, None);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cannot_be_seen_before_the_reboot_stops_it() {
    let rig = Rig::new(LOCKED);
    rig.machine.hangs.store(true, Ordering::SeqCst);
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.reaches("draining").await;
    rig.shared.edit(|group| group.down = true);
    rig.machine.stopped.notify_one();
    daemon.reaches("rebooting").await;
    daemon.reaches("releasing").await;
    assert_eq!(rig.reboots(), 0);
    rig.shared.edit(|group| group.down = false);
    daemon.reaches("resting").await;
    assert_eq!(rig.shared.holders(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_taken_away_stops_the_reboot_and_its_programs() {
    let rig = Rig::new(LOCKED);
    rig.machine.hangs.store(true, Ordering::SeqCst);
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.reaches("draining").await;
    rig.shared.edit(|group| group.holders.clear());
    daemon.shows(|view| view.pause.is_some()).await;
    daemon.reaches("resting").await;
    assert_eq!(rig.reboots(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_brake_during_the_grace_stops_the_reboot() {
    let rig = Rig::new(LOCKED);
    rig.login();
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.reaches("grace").await;
    rig.shared.edit(|group| {
        group.braked.insert(Version::new(0, 2, 0));
    });
    daemon.reaches("resting").await;
    assert_eq!((rig.reboots(), rig.shared.holders().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_is_killed_goes_on_where_it_was() {
    let rig = Rig::new(LOCKED);
    rig.machine.hangs.store(true, Ordering::SeqCst);
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.reaches("draining").await;
    daemon.task.abort();
    let mut daemon = rig.start();
    daemon.shows(|view| view.plan.state == "draining").await;
    rig.machine.hangs.store(false, Ordering::SeqCst);
    rig.machine.stopped.notify_waiters();
    rig.machine.stopped.notify_one();
    daemon.reaches("rebooting").await;
    assert_eq!(rig.shared.holders(), [ME]);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_damaged_may_hide_a_lock_that_is_held() {
    let rig = Rig::new(LOCKED);
    rig.shared.taken_by(ME);
    let store = rig.store();
    store.save(&Saved::default()).unwrap();
    fs::write(rig.root.path().join("state/state.json"), "{").unwrap();
    let mut daemon = rig.start();
    daemon.reaches("settling").await;
    daemon.engine.send_replace(says("0.1.0", "idle", true, &[]));
    daemon.reaches("resting").await;
    assert_eq!(rig.shared.holders(), Vec::<String>::new());
    assert_eq!(daemon.view.borrow().warnings.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_read_whole_is_no_leave_to_reboot() {
    let rig = Rig::new("[reboot]\nwindows = []\nlogin_grace = 5\n");
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.shows(|view| view.need.is_some()).await;
    hours(48).await;
    assert_eq!((daemon.state().as_str(), rig.reboots()), ("resting", 0));
    assert_eq!(daemon.view.borrow().problems.len(), 2);
    let refused = daemon.reboot(false).await;
    assert!(matches!(refused, Err(CommandError::Refused(_))));
    rig.policy("[reboot]\nwindows = []\n");
    daemon.reaches("rebooting").await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_without_its_server_is_no_leave_to_reboot() {
    let rig = Rig::new("[reboot]\nstrategy = \"etcd-lock\"\nwindows = []\n");
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.shows(|view| view.need.is_some()).await;
    hours(48).await;
    assert_eq!((daemon.state().as_str(), rig.reboots()), ("resting", 0));
    let reason = String::new();
    let refused = daemon.ask(Command::Lock { reason }).await.unwrap_err();
    assert!(
        refused.to_string().contains("does not say where"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn another_group_in_the_policy_gives_the_lock_of_the_old_one_back() {
    let rig = Rig::new(LOCKED);
    rig.login();
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.reaches("grace").await;
    rig.policy("[reboot]\nstrategy = \"off\"\n");
    daemon.reaches("resting").await;
    assert_eq!((rig.reboots(), rig.shared.holders().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_go_down_gives_the_lock_back() {
    let rig = Rig::new(LOCKED);
    let mut daemon = rig.start();
    daemon.engine.send_replace(armed());
    daemon.reaches("rebooting").await;
    daemon.shows(|view| view.pause.is_some()).await;
    daemon.reaches("resting").await;
    assert_eq!(rig.shared.holders(), Vec::<String>::new());
    assert_eq!(rig.reboots(), 1);
    assert_eq!(rig.saved().plan, Plan::Resting);
}
