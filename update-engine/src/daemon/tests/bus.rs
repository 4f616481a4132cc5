//! The daemon over a private connection, as `updatectl` sees it.

use std::os::unix::net::UnixStream;

use clap::Parser as _;
use futures_util::StreamExt as _;
use zbus::Connection;
use zbus::connection::Builder;

use super::*;
use crate::bus::{self, Access, Update1};
use crate::client::{self, Args, ClientError, Output, Update1Proxy};

/// A daemon and a connection to it. Both end with the test.
struct Served {
    client: Connection,
    _server: Connection,
}

async fn serve(rig: &Rig, uid: u32) -> Served {
    let (send, requests) = mpsc::channel(16);
    let (view, shown) = watch::channel(View::default());
    let (jobs, finished) = mpsc::unbounded_channel();
    let ends = Ends {
        requests,
        view,
        finished: jobs,
    };
    let mut ready = shown.clone();
    tokio::task::spawn_local(super::super::run(rig.setup(), ends, std::future::pending()));
    ready.changed().await.unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let object = Update1::new(send, shown.clone(), Access { uid });
    let server = Builder::unix_stream(ours)
        .server(zbus::Guid::generate())
        .p2p()
        .serve_at(bus::PATH, object)
        .build();
    let client = Builder::unix_stream(theirs).p2p().build();
    let (server, client) = tokio::join!(server, client);
    let (server, client) = (server.unwrap(), client.unwrap());
    let object = server.object_server().interface(bus::PATH).await.unwrap();
    tokio::task::spawn_local(bus::signals(object, shown, finished));
    Served {
        client,
        _server: server,
    }
}

/// What `updatectl LINE` prints, and how it ends.
async fn updatectl(served: &Served, line: &str) -> (String, Result<(), ClientError>) {
    let args = Args::parse_from(line.split(' '));
    let (mut data, mut talk) = (Vec::new(), Vec::new());
    let mut output = Output {
        data: &mut data,
        talk: &mut talk,
        is_terminal: false,
        json: args.json,
    };
    let result = client::run(&args.verb, &served.client, &mut output).await;
    (String::from_utf8(data).unwrap(), result)
}

fn me() -> u32 {
    nix::unistd::getuid().as_raw()
}

fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn updatectl_applies_a_release_and_tells_the_end() {
    local(async {
        let rig = Rig::new();
        rig.host
            .policy("[update]\nenabled = false\nserver = \"/srv/x\"\n");
        let served = serve(&rig, me()).await;
        let (text, result) = updatectl(&served, "updatectl check").await;
        result.unwrap();
        assert_eq!(text, "0.2.0 is available\n");
        let (text, result) = updatectl(&served, "updatectl apply").await;
        result.unwrap();
        assert_eq!(text, "0.2.0 is armed in slot b; reboot to try it\n");
        let (text, result) = updatectl(&served, "updatectl status").await;
        result.unwrap();
        assert!(text.contains("Update      0.2.0  slot b, armed"), "{text}");
        let (text, _) = updatectl(&served, "updatectl status --json").await;
        let view: View = serde_json::from_str(&text).unwrap();
        assert_eq!(view.update.state, "armed");
        let (text, _) = updatectl(&served, "updatectl history").await;
        assert!(text.contains("0.1.0 -> 0.2.0  slot b  armed"), "{text}");
        assert!(text.contains("123 B fetched in 4 requests, 60 % reused"));
        let (text, _) = updatectl(&served, "updatectl history --json").await;
        let records: Vec<Record> = serde_json::from_str(&text).unwrap();
        assert_eq!(records[0].outcome, Outcome::Armed);
        let (text, _) = updatectl(&served, "updatectl apply --json").await;
        let finished: Finished = serde_json::from_str(&text).unwrap();
        assert_eq!(finished.result, "nothing");
    });
}

#[test]
fn exit_statuses_are_those_of_the_man_page() {
    local(async {
        let rig = Rig::new();
        rig.host
            .policy("[update]\nenabled = false\nserver = \"/srv/x\"\n");
        let served = serve(&rig, me()).await;
        for (line, status) in [
            ("updatectl hold some reason", None),
            ("updatectl unhold", None),
            ("updatectl channel beta", None),
            ("updatectl bless", None),
            ("updatectl allow 9.9.9", Some(4)),
            ("updatectl cancel", Some(4)),
            ("updatectl rollback", Some(4)),
            ("updatectl apply 0.0.5", Some(4)),
        ] {
            let (_, result) = updatectl(&served, line).await;
            let found = result.as_ref().err().map(ClientError::status);
            assert_eq!(found, status, "{line}: {result:?}");
        }
        *rig.double.release.lock().unwrap() = Err("expired".into());
        let (_, result) = updatectl(&served, "updatectl check").await;
        let error = result.unwrap_err();
        assert_eq!((error.status(), error.to_string()), (1, "expired".into()));

        let alone = Served {
            client: served.client.clone(),
            _server: served._server.clone(),
        };
        served._server.close().await.unwrap();
        let (_, result) = updatectl(&alone, "updatectl status").await;
        assert_eq!(result.unwrap_err().status(), 3);
    });
}

#[test]
fn anyone_may_look_and_only_root_may_change() {
    local(async {
        let rig = Rig::new();
        let served = serve(&rig, me() + 1).await;
        for line in ["updatectl status", "updatectl history", "updatectl channel"] {
            updatectl(&served, line).await.1.unwrap();
        }
        for line in [
            "updatectl check",
            "updatectl apply",
            "updatectl rollback",
            "updatectl bless",
            "updatectl hold",
            "updatectl unhold",
            "updatectl allow 1.0.0",
            "updatectl channel beta",
            "updatectl cancel",
        ] {
            let error = updatectl(&served, line).await.1.unwrap_err();
            assert_eq!(error.status(), 4, "{line}");
            assert!(error.to_string().contains("only root"), "{line}: {error}");
        }
        assert_eq!(rig.double.installs.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn properties_announce_their_changes() {
    local(async {
        let rig = Rig::new();
        rig.host
            .policy("[update]\nenabled = false\nserver = \"/srv/x\"\n");
        let served = serve(&rig, me()).await;
        let proxy = Update1Proxy::new(&served.client).await.unwrap();
        assert_eq!(proxy.state().await.unwrap(), "idle");
        let mut changes = proxy.receive_state_changed().await;
        proxy.apply("", Default::default()).await.unwrap();
        while changes.next().await.unwrap().get().await.unwrap() != "armed" {}
    });
}

#[test]
fn options_that_are_not_known_are_refused() {
    local(async {
        let rig = Rig::new();
        let served = serve(&rig, me()).await;
        let proxy = Update1Proxy::new(&served.client).await.unwrap();
        let options = [("force", zbus::Variant::from(true))].into();
        let error = proxy.apply("", options).await.unwrap_err();
        assert_eq!(ClientError::from(error).status(), 4);
        let error = proxy.apply("latest", Default::default()).await;
        assert_eq!(ClientError::from(error.unwrap_err()).status(), 4);
    });
}
