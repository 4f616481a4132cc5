//! Following update-engine on the bus: also one that comes later, or starts again.

use std::time::Duration;

use daemon::{log, pause};
use futures_util::StreamExt as _;
use tokio::sync::watch;
use zbus::fdo::{DBusProxy, PropertiesProxy};
use zbus::names::InterfaceName;
use zbus::proxy::CacheProperties;
use zbus::{Connection, proxy};

use super::Engine;

const NAME: &str = "org.ballast.Update1";
const PATH: &str = "/org/ballast/Update1";

/// Its state and the ends of its boot are told by changes of these properties.
const TELLING: [&str; 6] = ["State", "Target", "Version", "Slot", "Blessed", "Denied"];

/// How long it is left alone after it did not answer.
const FIRST: Duration = Duration::from_secs(2);
const MOST: Duration = Duration::from_secs(60);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The unit that is reached at the end of a good boot.
const BOOTED: &str = "boot-complete.target";

#[proxy(
    interface = "org.ballast.Update1",
    default_service = "org.ballast.Update1",
    default_path = "/org/ballast/Update1"
)]
trait Update1 {
    fn describe(&self) -> zbus::Result<String>;
}

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn load_unit(&self, name: &str) -> zbus::Result<zbus::OwnedObjectPath>;
}

#[proxy(
    interface = "org.freedesktop.systemd1.Unit",
    default_service = "org.freedesktop.systemd1"
)]
trait Unit {
    #[zbus(property)]
    fn active_state(&self) -> zbus::Result<String>;
}

/// Tells `engine` what update-engine says, from now on. Returns when nobody listens any
/// more, or with what is wrong with the bus.
pub async fn follow(bus: Connection, engine: watch::Sender<Engine>) -> zbus::Result<()> {
    let names = DBusProxy::new(&bus).await?;
    let mut owners = names
        .receive_name_owner_changed_with_args(&[(0, NAME)])
        .await?;
    let properties = PropertiesProxy::builder(&bus)
        .destination(NAME)
        .path(PATH)
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let mut changes = properties.receive_properties_changed().await?;
    let mut failures = 0;
    loop {
        let pause = tell(&bus, &engine, &mut failures).await;
        loop {
            let event = tokio::select! {
                () = engine.closed() => return Ok(()),
                owner = owners.next() => owner.map(|_| true),
                change = changes.next() => change.map(|change| is_telling(&change)),
                () = sleep(pause) => Some(true),
            };
            match event {
                Some(true) => break,
                Some(false) => {}
                None => return Err(zbus::Error::Failure("the bus is gone".into())),
            }
        }
    }
}

/// Tells `engine` what update-engine says now. Returns when to ask again in any case.
async fn tell(
    bus: &Connection,
    engine: &watch::Sender<Engine>,
    failures: &mut u32,
) -> Option<Duration> {
    match ask(bus).await {
        Ok(says) => {
            *failures = 0;
            let lasts = !matches!(says, Engine::Absent { booted: false });
            engine.send_replace(says);
            (!lasts).then_some(FIRST)
        }
        Err(why) => {
            log::debug(format!("update-engine does not answer: {why}"));
            engine.send_replace(Engine::Unknown);
            *failures = failures.saturating_add(1);
            Some(pause::backoff(FIRST, MOST, *failures))
        }
    }
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

fn is_telling(change: &zbus::fdo::PropertiesChanged) -> bool {
    let Ok(args) = change.args() else {
        return false;
    };
    let of_it = args.interface_name() == &InterfaceName::from_static_str_unchecked(NAME);
    of_it
        && args
            .changed_properties()
            .keys()
            .any(|name| TELLING.contains(name))
}

/// Asks update-engine, which is started for it.
async fn ask(bus: &Connection) -> Result<Engine, String> {
    let daemon = Update1Proxy::builder(bus)
        .cache_properties(CacheProperties::No)
        .build()
        .await
        .map_err(|error| log::chain(&error))?;
    let answer = tokio::time::timeout(PATIENCE, daemon.describe()).await;
    match answer.map_err(|_| "it takes too long".to_string())? {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(says) => Ok(Engine::Says(Box::new(says))),
            Err(error) => Err(format!("its answer: {error}")),
        },
        Err(error) if is_absent(&error) => Ok(Engine::Absent {
            booted: booted(bus).await.map_err(|error| log::chain(&error))?,
        }),
        Err(error) => Err(log::chain(&error)),
    }
}

/// The bus knows that nobody of this name can be started.
fn is_absent(error: &zbus::Error) -> bool {
    let zbus::Error::MethodError(name, _, _) = error else {
        return false;
    };
    [
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.systemd1.UnitMasked",
        "org.freedesktop.systemd1.NoSuchUnit",
    ]
    .contains(&name.as_str())
}

async fn booted(bus: &Connection) -> zbus::Result<bool> {
    let manager = ManagerProxy::new(bus).await?;
    let path = manager.load_unit(BOOTED).await?;
    let unit = UnitProxy::builder(bus)
        .path(path)
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    Ok(unit.active_state().await? == "active")
}
