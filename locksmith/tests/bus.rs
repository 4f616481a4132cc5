//! What locksmith says to systemd, logind and update-engine, on a bus of its own with
//! stand-ins for these. Needs `dbus-daemon`; without it the test says so and ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use locksmith::daemon::Machine;
use locksmith::engine::{self, Engine};
use locksmith::machine::ThisMachine;
use locksmith::plan::Known;
use locksmith::sessions::Session;
use serde_json::json;
use tokio::sync::watch;
use zbus::connection::Builder;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, OwnedObjectPath, interface};

/// A bus that ends with the test.
struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    fn start() -> Option<Self> {
        let daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut daemon) = daemon else {
            eprintln!("skipped: there is no dbus-daemon on this machine");
            return None;
        };
        let mut address = String::new();
        let output = daemon.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut address).unwrap();
        let address = address.trim().to_string();
        Some(Self { daemon, address })
    }

    fn connection(&self) -> Builder<'_> {
        Builder::address(self.address.as_str())
    }

    async fn connect(&self) -> Connection {
        self.connection().build().await.unwrap()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// update-engine, as far as it matters.
struct Updates {
    state: String,
}

#[interface(name = "org.ballast.Update1")]
impl Updates {
    fn describe(&self) -> String {
        let running = json!({ "version": "0.1.0", "slot": "a", "blessed": true });
        let update = json!({ "state": self.state, "version": "0.2.0", "slot": "b" });
        json!({ "schema": 1, "running": running, "update": update }).to_string()
    }

    #[zbus(property)]
    fn state(&self) -> String {
        self.state.clone()
    }

    #[zbus(property)]
    fn progress(&self) -> u32 {
        0
    }
}

async fn updates(bus: &Bus, state: &str) -> Connection {
    let object = Updates {
        state: state.into(),
    };
    let connection = bus.connection();
    let connection = connection.serve_at("/org/ballast/Update1", object);
    let connection = connection.name("org.ballast.Update1");
    connection.build().await.unwrap()
}

/// Waits until update-engine is heard of as `what` wants. A word that never comes makes
/// the test hang, and the runner ends it.
async fn hears(engine: &mut watch::Receiver<Engine>, what: impl FnMut(&Engine) -> bool) {
    engine.wait_for(what).await.unwrap();
}

fn is_armed(engine: &Engine) -> bool {
    matches!(engine.need(), Known::Yes(_))
}

#[tokio::test]
async fn update_engine_may_come_late_change_its_mind_go_and_come_back() {
    let Some(bus) = Bus::start() else {
        return;
    };
    let (send, mut engine) = watch::channel(Engine::Unknown);
    let following = tokio::spawn(engine::follow(bus.connect().await, send));
    // Nobody is there, and nobody knows whether the boot is complete.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(*engine.borrow(), Engine::Unknown);

    let first = updates(&bus, "idle").await;
    hears(&mut engine, Engine::is_settled).await;
    assert_eq!(engine.borrow().need(), Known::No);
    let object = first.object_server();
    let object = object.interface::<_, Updates>("/org/ballast/Update1");
    let object = object.await.unwrap();
    object.get_mut().await.state = "armed".into();
    let emitter = object.signal_emitter();
    object.get().await.progress_changed(emitter).await.unwrap();
    object.get().await.state_changed(emitter).await.unwrap();
    hears(&mut engine, is_armed).await;

    first.close().await.unwrap();
    hears(&mut engine, |engine| *engine == Engine::Unknown).await;
    let _second = updates(&bus, "armed").await;
    hears(&mut engine, is_armed).await;
    following.abort();
}

/// systemd's manager: starts a unit that ends as `result` says.
struct Systemd {
    result: &'static str,
    asked: Arc<Mutex<Vec<String>>>,
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn subscribe(&self) {}

    async fn start_unit(
        &self,
        name: &str,
        _mode: &str,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> OwnedObjectPath {
        self.asked.lock().unwrap().push(format!("start {name}"));
        let path = |number: u32| {
            let path = format!("/org/freedesktop/systemd1/job/{number}");
            OwnedObjectPath::from(ObjectPath::try_from(path).unwrap())
        };
        // Another job ends first.
        for (number, result) in [(6, "canceled"), (7, self.result)] {
            let sent = Self::job_removed(&emitter, number, path(number), name, result);
            sent.await.unwrap();
        }
        path(7)
    }

    fn stop_unit(&self, name: &str, _mode: &str) -> OwnedObjectPath {
        self.asked.lock().unwrap().push(format!("stop {name}"));
        let path = ObjectPath::from_static_str_unchecked("/org/freedesktop/systemd1/job/8");
        OwnedObjectPath::from(path)
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

#[tokio::test]
async fn programs_before_a_reboot_run_in_their_unit() {
    let Some(bus) = Bus::start() else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let object = Systemd {
        result: "failed",
        asked: asked.clone(),
    };
    let path = "/org/freedesktop/systemd1";
    let systemd = bus.connection().serve_at(path, object);
    let systemd = systemd.name("org.freedesktop.systemd1");
    let systemd = systemd.build().await.unwrap();
    let machine = ThisMachine::new(bus.connect().await, root.path().to_path_buf());
    let why = machine.drain().await.unwrap_err();
    assert!(why.contains("ballast-drain.service: failed"), "{why}");
    std::fs::create_dir_all(root.path().join("run/ballast")).unwrap();
    std::fs::write(root.path().join("run/ballast/drain-failed"), "10-a failed").unwrap();
    assert_eq!(machine.drain().await.unwrap_err(), "10-a failed");
    let object = systemd.object_server().interface::<_, Systemd>(path).await;
    object.unwrap().get_mut().await.result = "done";
    machine.drain().await.unwrap();
    machine.stop_drain().await;
    let asked = asked.lock().unwrap().clone();
    assert_eq!(
        asked[2..],
        ["start ballast-drain.service", "stop ballast-drain.service"]
    );
}

/// logind's manager.
struct Logins;

#[interface(name = "org.freedesktop.login1.Manager")]
impl Logins {
    fn list_sessions(&self) -> Vec<(String, u32, String, String, OwnedObjectPath)> {
        let session = |number: &str, user: &str| {
            let path = format!("/org/freedesktop/login1/session/_3{number}");
            let path = OwnedObjectPath::from(ObjectPath::try_from(path).unwrap());
            (number.into(), 1000, user.into(), String::new(), path)
        };
        vec![
            session("1", "core"),
            session("2", "greeter"),
            session("9", "gone"),
        ]
    }
}

struct Login {
    class: &'static str,
}

#[interface(name = "org.freedesktop.login1.Session")]
impl Login {
    #[zbus(property)]
    fn class(&self) -> &str {
        self.class
    }

    #[zbus(property)]
    fn state(&self) -> &str {
        "active"
    }

    #[zbus(property, name = "TTY")]
    fn tty(&self) -> &str {
        "pts/0"
    }
}

#[tokio::test]
async fn whoever_is_logged_in_is_known() {
    let Some(bus) = Bus::start() else {
        return;
    };
    let machine = ThisMachine::new(bus.connect().await, "/nowhere".into());
    assert!(machine.sessions().await.is_err());
    let sessions = "/org/freedesktop/login1/session";
    let _logind = bus
        .connection()
        .serve_at("/org/freedesktop/login1", Logins)
        .serve_at(format!("{sessions}/_31"), Login { class: "user" })
        .serve_at(format!("{sessions}/_32"), Login { class: "greeter" })
        .name("org.freedesktop.login1")
        .build()
        .await
        .unwrap();
    let core = Session {
        user: "core".into(),
        terminal: "pts/0".into(),
    };
    assert_eq!(machine.sessions().await.unwrap(), [core]);
}
