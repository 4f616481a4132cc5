//! Every verb, on one member.

use std::time::Duration;

use etcd_client::Client as Etcd;
use locksmith::etcd::{Options, PREFIX};
use locksmith::lock::{Answer, Lock as _, LockError, Operator as _, Report, Text, Wait};
use semver::Version;

use crate::member::{Member, alone, free_port, wait_for};
use crate::{claim, lock, until};

async fn started(dir: &std::path::Path) -> (Member, Options) {
    let port = free_port();
    let mut member = Member::start(dir, "m", None, &alone("http", port, &[]));
    wait_for(&mut member, port);
    let options = Options {
        endpoints: vec![format!("http://127.0.0.1:{port}")],
        ..Options::default()
    };
    until(Duration::from_secs(30), async || {
        lock(&options, "g").view().await
    })
    .await;
    (member, options)
}

#[tokio::test]
async fn operators_and_hosts_see_what_the_others_did() {
    let dir = tempfile::tempdir().unwrap();
    let (_member, options) = started(dir.path()).await;
    let [mut a, mut b, mut c] = [(); 3].map(|()| lock(&options, "g"));
    let [claim_a, claim_b, claim_c] = ["a", "b", "c"].map(claim);
    assert!(matches!(
        a.acquire(&claim_a).await.unwrap(),
        Answer::Granted(_)
    ));
    for (lock, claim, place) in [(&mut b, &claim_b, 1), (&mut c, &claim_c, 2)] {
        let answer = lock.acquire(claim).await.unwrap();
        let Answer::Waiting(Wait::Queued { position, view }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!((position, view.waiting), (place, place));
        assert_eq!(view.holders[0].claim, claim_a);
    }
    // A raised number lets the next in, which lets the one after it look.
    assert_eq!(a.set_max(3).await.unwrap(), 1);
    b.changed().await.unwrap();
    assert!(matches!(
        b.acquire(&claim_b).await.unwrap(),
        Answer::Granted(_)
    ));
    c.changed().await.unwrap();
    assert!(matches!(
        c.acquire(&claim_c).await.unwrap(),
        Answer::Granted(_)
    ));
    let view = a.view().await.unwrap().unwrap();
    assert_eq!((view.holders.len(), view.waiting), (3, 0));
    assert_eq!(a.unlock(&claim_b.id).await.unwrap().unwrap().claim, claim_b);
    a.release(&claim_a.id).await.unwrap();
    let report = Report {
        id: claim_a.id.clone(),
        host: Text::clip("a"),
        reason: Text::clip("did not come up"),
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    let bad = Version::new(1, 1, 0);
    let brake = a.report_rollback(&report, &bad).await.unwrap().unwrap();
    assert!(brake.is_on());
    assert!(matches!(
        b.acquire(&claim_b).await.unwrap(),
        Answer::Braked(_)
    ));
    assert_eq!(c.lift(&bad).await.unwrap().unwrap().reports, [report]);
    b.changed().await.unwrap();
    assert!(matches!(
        b.acquire(&claim_b).await.unwrap(),
        Answer::Granted(_)
    ));
}

#[tokio::test]
async fn a_classic_semaphore_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let (_member, options) = started(dir.path()).await;
    let mut etcd = Etcd::connect(&options.endpoints, None).await.unwrap();
    let mut lock_g = lock(&options, "g");
    let none = lock_g.migrate(None).await.unwrap_err();
    assert!(none.to_string().contains("groups/g/semaphore"), "{none}");
    let key = "/coreos.com/updateengine/rebootlock/groups/g/semaphore";
    let held = r#"{"semaphore":1,"max":2,"holders":["cb35b356f1a84d0e9a1a0bd5d5ba9e8a"]}"#;
    etcd.put(key, held, None).await.unwrap();
    let migration = lock_g.migrate(None).await.unwrap();
    assert_eq!((migration.from.as_str(), migration.max), (key, 2));
    let view = lock_g.view().await.unwrap().unwrap();
    assert_eq!(
        view.holders[0].claim.id.as_str(),
        "cb35b356f1a84d0e9a1a0bd5d5ba9e8a"
    );
    let again = lock_g.migrate(None).await.unwrap_err();
    assert!(
        again.to_string().contains("was taken over already"),
        "{again}"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (_member, options) = started(dir.path()).await;
    let mut etcd = Etcd::connect(&options.endpoints, None).await.unwrap();
    let key = format!("{PREFIX}/g/semaphore");
    for content in [r#"{"format":2,"new":true}"#, "{", ""] {
        etcd.put(key.as_str(), content, None).await.unwrap();
        let mut lock = lock(&options, "g");
        let acquired = lock.acquire(&claim("a")).await.unwrap_err();
        assert!(acquired.to_string().contains(&key), "{acquired}");
        for error in [
            lock.release(&claim("a").id).await.unwrap_err(),
            lock.set_max(5).await.unwrap_err(),
            lock.view().await.unwrap_err(),
        ] {
            assert!(matches!(error, LockError::Content { .. }), "{error:?}");
        }
        let kept = etcd.get(key.as_str(), None).await.unwrap();
        assert_eq!(kept.kvs()[0].value(), content.as_bytes());
    }
}
