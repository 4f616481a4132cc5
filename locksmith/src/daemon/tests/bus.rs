//! The daemon over a private connection, as `locksmithctl` sees it.

use std::os::unix::net::UnixStream;

use clap::Parser as _;
use zbus::Connection;
use zbus::connection::Builder;

use super::*;
use crate::bus::{self, Access, Locksmith1};
use crate::client::{self, Args, ClientError, Output};

/// A daemon and a connection to it. Both end with the test.
struct Served {
    running: Running,
    client: Connection,
    server: Connection,
}

fn me() -> u32 {
    nix::unistd::getuid().as_raw()
}

async fn serve(rig: &Rig, uid: u32) -> Served {
    let mut running = rig.start();
    running.shows(|view| !view.host.id.is_empty()).await;
    running
        .engine
        .send_replace(says("0.1.0", "idle", true, &[]));
    running.shows(|view| view.host.settled).await;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let object = Locksmith1::new(
        running.requests.clone(),
        running.view.clone(),
        Access { uid },
    );
    let server = Builder::unix_stream(ours)
        .server(zbus::Guid::generate())
        .p2p()
        .serve_at(bus::PATH, object)
        .build();
    let client = Builder::unix_stream(theirs).p2p().build();
    let (server, client) = tokio::join!(server, client);
    let (server, client) = (server.unwrap(), client.unwrap());
    let object = server.object_server().interface(bus::PATH).await.unwrap();
    tokio::spawn(bus::signals(object, running.view.clone()));
    Served {
        running,
        client,
        server,
    }
}

/// What `locksmithctl LINE` prints, and how it ends; `answer` is what is typed.
async fn locksmithctl(
    served: &Served,
    line: &str,
    answer: Option<bool>,
) -> (String, Result<(), ClientError>) {
    let args = Args::parse_from(line.split(' '));
    let (mut data, mut talk) = (Vec::new(), Vec::new());
    let mut output = Output {
        data: &mut data,
        talk: &mut talk,
        is_terminal: false,
        json: args.json,
    };
    let mut confirm = |_: &str| answer;
    let result = client::run(&args.verb, &served.client, &mut output, &mut confirm).await;
    (String::from_utf8(data).unwrap(), result)
}

#[tokio::test]
async fn an_operator_sees_the_group_and_frees_it() {
    let rig = Rig::new(LOCKED);
    rig.shared.taken_by("gone");
    let mut served = serve(&rig, me()).await;
    served.running.engine.send_replace(armed());
    served
        .running
        .shows(|view| view.lock.position == Some(1))
        .await;
    let (text, result) = locksmithctl(&served, "locksmithctl status", None).await;
    result.unwrap();
    assert!(
        text.contains("if it is gone for good: locksmithctl unlock gone"),
        "{text}"
    );
    let (text, _) = locksmithctl(&served, "locksmithctl status --json", None).await;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["host"]["plan"]["state"], "asking");
    assert_eq!(value["group"]["holders"][0]["id"], "gone");
    let (text, _) = locksmithctl(&served, "locksmithctl who-blocks --json", None).await;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["by"][0]["id"], "gone");

    for answer in [None, Some(false)] {
        let (_, result) = locksmithctl(&served, "locksmithctl unlock gone", answer).await;
        assert_eq!(result.unwrap_err().status(), 4);
        assert_eq!(rig.shared.holders(), ["gone"]);
    }
    let (text, result) = locksmithctl(&served, "locksmithctl unlock gone --yes", None).await;
    result.unwrap();
    assert_eq!(text, "gone (gone) does not hold the lock any more\n");
    rig.shared.edit(|_| ());
    served.running.reaches("rebooting").await;
}

#[tokio::test]
async fn verbs_about_the_group_go_through_the_daemon() {
    let rig = Rig::new(LOCKED);
    rig.shared.edit(|group| {
        group.braked.insert(Version::new(0, 3, 0));
    });
    let served = serve(&rig, me()).await;
    let file = rig.root.path().join("semaphore.json");
    fs::write(&file, "{}").unwrap();
    let migrate = format!("locksmithctl migrate {}", file.display());
    for (line, expected) in [
        (
            "locksmithctl set-max 2",
            "2 hosts may hold the lock at once; it was 1",
        ),
        (
            "locksmithctl brake lift 0.3.0",
            "hosts may reboot into 0.3.0 again",
        ),
        ("locksmithctl brake lift 0.3.0", "nobody had to leave 0.3.0"),
        (
            "locksmithctl unlock nobody --yes",
            "nobody did not hold the lock",
        ),
        (
            "locksmithctl lock",
            "the lock is held here until locksmithctl unlock",
        ),
        ("locksmithctl unlock", "the lock is given back"),
        (
            "locksmithctl migrate",
            "taken over from its key: max is 3, held by nobody",
        ),
        (&migrate, "taken over from "),
    ] {
        let (text, result) = locksmithctl(&served, line, None).await;
        assert!(
            result.is_ok() && text.contains(expected),
            "{line}: {text} {result:?}"
        );
    }
    assert_eq!(rig.shared.group.lock().unwrap().max, 3);
}

#[tokio::test]
async fn exit_statuses_are_those_of_the_man_page() {
    let rig = Rig::new("[reboot]\nwindows = []\n");
    let served = serve(&rig, me()).await;
    for (line, status) in [
        ("locksmithctl status", None),
        ("locksmithctl who-blocks", None),
        ("locksmithctl unlock", None),
        ("locksmithctl set-max 2", Some(4)),
        ("locksmithctl lock --no-wait", Some(4)),
        ("locksmithctl brake", Some(4)),
        ("locksmithctl migrate /nowhere/at/all", Some(1)),
        ("locksmithctl reboot --force new firmware", None),
    ] {
        let (_, result) = locksmithctl(&served, line, None).await;
        let found = result.as_ref().err().map(ClientError::status);
        assert_eq!(found, status, "{line}: {result:?}");
    }
    assert_eq!(rig.reboots(), 1);
    served.server.clone().close().await.unwrap();
    let (_, result) = locksmithctl(&served, "locksmithctl status", None).await;
    assert_eq!(result.unwrap_err().status(), 3);
}

#[tokio::test]
async fn anyone_may_look_and_only_root_may_change() {
    let rig = Rig::new(LOCKED);
    let served = serve(&rig, me() + 1).await;
    for line in ["status", "who-blocks", "brake"] {
        let (_, result) = locksmithctl(&served, &format!("locksmithctl {line}"), None).await;
        result.unwrap();
    }
    for line in [
        "reboot",
        "reboot --force",
        "lock --no-wait",
        "unlock",
        "unlock x --yes",
        "set-max 5",
        "brake lift 0.3.0",
        "migrate",
    ] {
        let (_, result) = locksmithctl(&served, &format!("locksmithctl {line}"), None).await;
        let error = result.unwrap_err();
        assert_eq!(error.status(), 4, "{line}");
        assert!(
            error.to_string().contains("only root may change"),
            "{error}"
        );
    }
    assert_eq!(rig.reboots(), 0);
}

#[tokio::test]
async fn changes_are_signalled() {
    use futures_util::StreamExt as _;
    let rig = Rig::new(LOCKED);
    rig.shared.taken_by("other");
    let mut served = serve(&rig, me()).await;
    let proxy = client::Locksmith1Proxy::new(&served.client).await.unwrap();
    assert_eq!(proxy.state().await.unwrap(), "resting");
    let mut changes = proxy.receive_state_changed().await;
    served.running.engine.send_replace(armed());
    served.running.reaches("asking").await;
    while let Some(change) = changes.next().await {
        if change.get().await.unwrap() == "asking" {
            break;
        }
    }
}

#[tokio::test]
async fn a_lock_that_is_down_is_told_in_the_status() {
    let rig = Rig::new(LOCKED);
    rig.shared.edit(|group| group.down = true);
    let served = serve(&rig, me()).await;
    let (text, result) = locksmithctl(&served, "locksmithctl status", None).await;
    result.unwrap();
    assert!(
        text.contains("Group       nothing is known: reaching https://10.0.0.1"),
        "{text}"
    );
    let (_, result) = locksmithctl(&served, "locksmithctl set-max 2", None).await;
    assert_eq!(result.unwrap_err().status(), 1);
}
