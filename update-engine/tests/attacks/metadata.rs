//! Attacks on metadata: who can change what the server sends, or holds some keys,
//! cannot make a host believe in another state of the repository.

use std::time::Duration;

use tough::schema::RoleType;
use update_engine::server::{FetchError, ServerError};

use crate::host::{Host, told};
use crate::hostile::{Hostile, Manner};
use crate::repository::{Key, Repository, hours, sign};

const TIMESTAMP: &str = "metadata/timestamp.json";

fn repository() -> Repository {
    let mut repository = Repository::new();
    repository.add_release("stable", "0.2.0");
    repository.publish();
    repository
}

async fn refusal(host: &Host, server: &Hostile) -> ServerError {
    host.refusal(&server.address).await
}

/// Serves what the repository has now.
async fn serve(repository: &Repository) -> Hostile {
    Hostile::serving(&repository.files).await
}

#[tokio::test]
async fn rollback() {
    let mut repository = repository();
    let old = serve(&repository).await;
    repository.add_release("stable", "0.3.0");
    repository.publish();
    let new = serve(&repository).await;
    let host = Host::of(&repository);
    host.open(&new.address).await.unwrap();
    let error = refusal(&host, &old).await;
    assert!(matches!(error, ServerError::Rollback { .. }), "{error}");
    assert!(!error.is_transient());
    assert!(told(&error).contains("check that the mirror is up to date"));
    host.open(&new.address).await.unwrap();
}

#[tokio::test]
async fn rollback_of_one_file_under_a_newer_timestamp() {
    let mut repository = repository();
    repository.publish();
    let host = Host::of(&repository);
    let server = serve(&repository).await;
    host.open(&server.address).await.unwrap();
    // The key of the timestamp is stolen; it names the snapshot before the last.
    repository.snapshot.version -= 2;
    repository.targets.version -= 2;
    repository.publish();
    let error = refusal(&host, &serve(&repository).await).await;
    assert!(matches!(error, ServerError::Rollback { .. }), "{error}");
}

#[tokio::test]
async fn freeze() {
    for role in [RoleType::Timestamp, RoleType::Snapshot, RoleType::Targets] {
        let mut repository = repository();
        match role {
            RoleType::Timestamp => repository.timestamp.expires = hours(-1),
            RoleType::Snapshot => repository.snapshot.expires = hours(-1),
            _ => repository.targets.expires = hours(-1),
        }
        repository.publish();
        let host = Host::of(&repository);
        let error = refusal(&host, &serve(&repository).await).await;
        assert!(
            matches!(&error, ServerError::Expired { role: named, .. } if *named == role),
            "{error}"
        );
        let text = told(&error);
        for check in ["held back", "timedatectl", "mirror is stale"] {
            assert!(text.contains(check), "{text}");
        }
    }
}

#[tokio::test]
async fn mix_and_match() {
    let mut repository = repository();
    repository.add_release("stable", "0.3.0");
    repository.publish();
    for (old, new) in [
        ("metadata/2.snapshot.json", "metadata/3.snapshot.json"),
        ("metadata/2.targets.json", "metadata/3.targets.json"),
    ] {
        let server = serve(&repository).await;
        server.replace(new, repository.files[old].clone());
        let host = Host::of(&repository);
        let error = refusal(&host, &server).await;
        // A mirror that is just being copied looks the same and is asked again.
        assert!(matches!(error, ServerError::Mixed { .. }), "{error}");
        assert!(error.is_transient());
        let text = told(&error);
        assert!(
            text.contains("timestamp.json last") && text.contains("cache"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn wrong_threshold() {
    let mut repository = repository();
    repository.targets.signers = 1;
    repository.publish();
    let host = Host::of(&repository);
    let error = refusal(&host, &serve(&repository).await).await;
    let targets = |role| matches!(role, RoleType::Targets);
    assert!(
        matches!(&error, ServerError::Signature { role, .. } if targets(*role)),
        "{error}"
    );
    let text = told(&error);
    assert!(
        text.contains("root version 1") && text.contains("rotated"),
        "{text}"
    );
}

#[tokio::test]
async fn wrong_threshold_of_a_new_root() {
    let mut repository = repository();
    repository.root.signers = 1;
    repository.next_root();
    let host = Host::of(&repository);
    let error = refusal(&host, &serve(&repository).await).await;
    let root = |role| matches!(role, RoleType::Root);
    assert!(
        matches!(&error, ServerError::Signature { role, .. } if root(*role)),
        "{error}"
    );
    assert!(told(&error).contains("check `[update] server`"));
}

/// One key of a role whose threshold is two counts once, however often it signs.
#[tokio::test]
async fn one_stolen_key_that_signs_twice() {
    let mut repository = repository();
    repository.targets.signers = 1;
    repository.targets.repeat = 2;
    repository.publish();
    let host = Host::of(&repository);
    let error = refusal(&host, &serve(&repository).await).await;
    assert!(matches!(error, ServerError::Signature { .. }), "{error}");
}

/// A key of the timestamp, which lies on a server, says what is newest; what releases
/// there are is not in its power.
#[tokio::test]
async fn one_stolen_key() {
    let mut owner = repository();
    let host = Host::of(&owner);
    let mut thief = Repository::new();
    thief.files = owner.files.clone();
    thief.add_release("stable", "9.9.9");
    thief.timestamp.keys = std::mem::take(&mut owner.timestamp.keys);
    (thief.timestamp.version, thief.snapshot.version) = (7, 7);
    thief.publish();
    let error = refusal(&host, &serve(&thief).await).await;
    let snapshot = |role| matches!(role, RoleType::Snapshot);
    assert!(
        matches!(&error, ServerError::Signature { role, .. } if snapshot(*role)),
        "{error}"
    );
    assert!(told(&error).contains("check `[update] server`"));
}

#[tokio::test]
async fn stolen_online_keys_do_not_make_a_release() {
    let mut owner = repository();
    let host = Host::of(&owner);
    let mut thief = Repository::new();
    thief.files = owner.files.clone();
    thief.add_release("stable", "9.9.9");
    thief.timestamp.keys = std::mem::take(&mut owner.timestamp.keys);
    thief.snapshot.keys = std::mem::take(&mut owner.snapshot.keys);
    // And one of the three keys of targets, where two are needed.
    thief.targets.keys[0] = owner.targets.keys.remove(0);
    thief.publish();
    let error = refusal(&host, &serve(&thief).await).await;
    assert!(
        matches!(
            &error,
            ServerError::Signature {
                role: RoleType::Targets,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn expired_root_chain() {
    let mut repository = repository();
    repository.root.expires = hours(-1);
    repository.rotate();
    repository.publish();
    let host = Host::of(&repository);
    let error = refusal(&host, &serve(&repository).await).await;
    assert!(
        matches!(
            &error,
            ServerError::Expired {
                role: RoleType::Root,
                ..
            }
        ),
        "{error}"
    );
    let text = told(&error);
    assert!(
        text.contains("timedatectl") && text.contains("publisher"),
        "{text}"
    );
}

#[tokio::test]
async fn a_root_that_was_rotated_away_is_not_followed() {
    let mut repository = repository();
    let stolen = repository.rotate();
    repository.publish();
    let host = Host::of(&repository);
    host.open(&serve(&repository).await.address).await.unwrap();
    // All keys of the first root are stolen, after the host has left it behind.
    let mut thief = Repository::new();
    thief.root.version = 2;
    thief.write_root(&stolen);
    thief.add_release("stable", "9.9.9");
    thief.timestamp.version = 100;
    thief.publish();
    let error = refusal(&host, &serve(&thief).await).await;
    assert!(
        matches!(error, ServerError::Signature { root: 2, .. }),
        "{error}"
    );
    assert!(told(&error).contains("remove "), "{error}");
}

#[tokio::test]
async fn a_host_that_missed_a_rotation_is_told_what_to_do() {
    let mut repository = repository();
    repository.rotate();
    repository.rotate();
    repository.publish();
    repository.files.remove("metadata/2.root.json");
    let host = Host::of(&repository);
    let error = refusal(&host, &serve(&repository).await).await;
    let text = told(&error);
    assert!(
        text.contains("must keep every metadata/N.root.json after 1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_fails_does_not_hide_a_newer_root() {
    let mut repository = repository();
    repository.next_root();
    let server = serve(&repository).await;
    server.set("metadata/2.root.json", Manner::Status(503));
    let error = refusal(&Host::of(&repository), &server).await;
    assert!(error.is_transient(), "{error}");
    assert!(told(&error).contains("503"), "{}", told(&error));
}

#[tokio::test]
async fn endless_data() {
    let repository = repository();
    for file in [
        "metadata/2.root.json",
        TIMESTAMP,
        "metadata/2.snapshot.json",
        "metadata/2.targets.json",
    ] {
        let server = serve(&repository).await;
        server.replace(file, Vec::new());
        server.set(file, Manner::Endless);
        let error = refusal(&Host::of(&repository), &server).await;
        let text = told(&error);
        assert!(
            text.contains(file) && text.contains("longer than"),
            "{text}"
        );
        assert!(
            text.contains("check that the server is the right one"),
            "{text}"
        );
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn endless_data_announced_by_a_stolen_key() {
    let mut repository = repository();
    // The key of the snapshot is stolen: it may name any length of the next file.
    repository.targets_length = Some(u64::MAX);
    repository.publish();
    let server = serve(&repository).await;
    server.set("metadata/3.targets.json", Manner::Endless);
    let text = told(&refusal(&Host::of(&repository), &server).await);
    assert!(text.contains("longer than the 2097152 bytes"), "{text}");
}

#[tokio::test]
async fn an_endless_chain_of_roots() {
    let mut repository = repository();
    for _ in 0..100 {
        repository.next_root();
    }
    let host = Host::of(&repository);
    let server = serve(&repository).await;
    let error = refusal(&host, &server).await;
    assert!(
        matches!(
            error,
            ServerError::EndlessRoots {
                root: 1,
                limit: 64,
                ..
            }
        ),
        "{error}"
    );
    assert!(told(&error).contains("goes on from where it is"));
    // What was verified is kept, so a host that was off for years gets there.
    host.open(&server.address).await.unwrap();
}

/// The clock of this test only moves while everybody waits.
#[tokio::test(start_paused = true)]
async fn slow_server() {
    let repository = repository();
    let begun = tokio::time::Instant::now();
    for manner in [Manner::Trickle(Duration::from_secs(1)), Manner::Silent] {
        let server = serve(&repository).await;
        server.set(TIMESTAMP, manner);
        let error = refusal(&Host::of(&repository), &server).await;
        assert!(error.is_transient());
        let text = told(&error);
        assert!(
            text.contains("too slow to wait for; check its load"),
            "{text}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(120));
}

#[tokio::test]
async fn names_of_targets_that_lead_elsewhere() {
    for name in ["../../etc/passwd", "releases/./x", "/etc/passwd", "a//b"] {
        let mut repository = repository();
        repository.add(name, "trick");
        repository.publish();
        let error = refusal(&Host::of(&repository), &serve(&repository).await).await;
        assert!(matches!(error, ServerError::TargetName { .. }), "{error}");
        let text = told(&error);
        assert!(
            text.contains(name) && text.contains("check who publishes"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_no_repository() {
    let mut repository = repository();
    let host = Host::of(&repository);
    repository
        .files
        .retain(|name, _| !name.starts_with("metadata/"));
    let error = refusal(&host, &serve(&repository).await).await;
    assert!(matches!(error, ServerError::NoRepository { .. }), "{error}");
    assert!(told(&error).contains("check `[update] server`"));
}

#[tokio::test]
async fn a_signature_over_something_else() {
    let repository = repository();
    let server = serve(&repository).await;
    let noise = serde_json::json!({"_type": "timestamp", "version": 9});
    server.replace(TIMESTAMP, sign(&noise, [Key::new()].iter()));
    let error = refusal(&Host::of(&repository), &server).await;
    assert!(matches!(error, ServerError::Metadata { .. }), "{error}");
    assert!(told(&error).contains("check that the server is the right one"));
}

#[tokio::test]
async fn a_torn_state_directory_is_no_hindrance() {
    let mut repository = repository();
    repository.rotate();
    repository.publish();
    let server = serve(&repository).await;
    let host = Host::of(&repository);
    host.open(&server.address).await.unwrap();
    for file in ["root.json", "timestamp.json", "snapshot.json", "time.json"] {
        std::fs::write(host.dir.path().join("tuf").join(file), b"{\"signed").unwrap();
        host.open(&server.address).await.unwrap();
    }
    let leftover = host.dir.path().join("tuf.work");
    std::fs::create_dir(&leftover).unwrap();
    std::fs::write(leftover.join("timestamp.json"), b"x").unwrap();
    host.open(&server.address).await.unwrap();
    assert!(!leftover.exists());
}

#[tokio::test]
async fn redirections_end_and_do_not_leave_http() {
    let repository = repository();
    for (to, reason) in [
        ("https://127.0.0.1/", "another scheme"),
        ("file:///etc/passwd", "another scheme"),
        (&format!("/{TIMESTAMP}"), "more than"),
    ] {
        let server = serve(&repository).await;
        server.set(TIMESTAMP, Manner::Redirect(to.to_string()));
        let error = refusal(&Host::of(&repository), &server).await;
        let refused = |e: &FetchError| matches!(e, FetchError::Refused { .. });
        assert!(
            matches!(&error, ServerError::Fetch { source, .. } if refused(source)),
            "{}",
            told(&error)
        );
        assert!(told(&error).contains(reason), "{}", told(&error));
    }
}
