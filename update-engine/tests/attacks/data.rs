//! Attacks on data: the metadata is right, what follows is not. Nothing but signed
//! blocks gets into a slot, and the running release stays the next one started.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use bootloader::Slot;
use update_engine::install::InstallError;
use update_engine::remote::RemoteError;
use update_engine::server::{FetchError, ServerError};

use crate::host::{Host, Refusal, read, told};
use crate::hostile::{Hostile, Manner};
use crate::release::build;
use crate::repository::{Repository, sha256};

const USR: &str = "releases/0.2.0/usr.zst";
const BOOT: &str = "releases/0.2.0/boot.zst";
const TREE: &str = "releases/0.2.0/usr.verity";
const DESCRIPTOR: &str = "releases/0.2.0/release.json";
const CHANNEL: &str = "channels/stable.json";

fn repository() -> Repository {
    let mut repository = Repository::new();
    repository.add_release("stable", "0.2.0");
    repository.publish();
    repository
}

/// What an operator reads after an update from a server that serves `target` in this
/// manner. It must fail without harm.
async fn failure(target: &str, manner: Manner) -> String {
    let repository = repository();
    let server = Hostile::serving(&repository.files).await;
    server.set(&repository.file_of(target), manner);
    let host = Host::of(&repository);
    let refusal = host.update(&server.address).await.unwrap_err();
    no_harm(&host);
    refusal.told()
}

fn no_harm(host: &Host) {
    let disk = host.disk();
    disk.assert_only_holds_parts_of(&build("0.2.0"));
    assert_eq!(disk.chosen(), Slot::A);
}

#[tokio::test]
async fn truncated_range() {
    for target in [USR, BOOT] {
        let text = failure(target, Manner::CutOff(1000)).await;
        assert!(text.contains(target), "{text}");
        assert!(
            text.contains("check the server and the way to it"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn range_that_answers_other_bytes() {
    for target in [USR, BOOT] {
        let text = failure(target, Manner::Other).await;
        assert!(
            text.contains(target) && text.contains("not what was signed"),
            "{text}"
        );
        assert!(text.contains("look for a proxy that changes it"), "{text}");
    }
}

#[tokio::test]
async fn range_that_answers_another_part() {
    let text = failure(USR, Manner::WrongPart).await;
    assert!(text.contains("the server answered"), "{text}");
    assert!(text.contains("check the server"), "{text}");
}

#[tokio::test]
async fn other_bytes_without_ranges() {
    let text = failure(USR, Manner::OtherWithoutRanges).await;
    assert!(text.contains("not what was signed"), "{text}");
}

#[tokio::test]
async fn endless_data() {
    // Whole files and parts alike: what goes on after its end is refused there.
    for target in [CHANNEL, DESCRIPTOR, TREE] {
        let text = failure(target, Manner::Endless).await;
        assert!(text.contains("longer than"), "{text}");
        assert!(
            text.contains("check that the server is the right one"),
            "{text}"
        );
    }
    let text = failure(USR, Manner::EndlessRange).await;
    assert!(text.contains("not what was signed"), "{text}");
    let repository = repository();
    let server = Hostile::serving(&repository.files).await;
    server.set(&repository.file_of(USR), Manner::EndlessRange);
    let opened = Host::of(&repository).open(&server.address).await.unwrap();
    let error = read(&opened, USR, Some(0..1000)).await.unwrap_err();
    assert!(!error.is_transient());
    assert!(
        told(&error).contains("longer than the 1000 bytes"),
        "{}",
        told(&error)
    );
}

/// The clock of this test only moves while everybody waits.
#[tokio::test(start_paused = true)]
async fn slow_server() {
    for manner in [Manner::Trickle(Duration::from_secs(1)), Manner::Silent] {
        for target in [CHANNEL, DESCRIPTOR, TREE] {
            let text = failure(target, manner.clone()).await;
            assert!(
                text.contains("too slow to wait for; check its load"),
                "{text}"
            );
        }
    }
    let begun = tokio::time::Instant::now();
    let text = failure(USR, Manner::SlowRange(Duration::from_secs(1))).await;
    assert!(
        text.contains("too slow to wait for; check its load"),
        "{text}"
    );
    assert!(begun.elapsed() < Duration::from_secs(300));
}

#[tokio::test]
async fn changed_file_between_metadata_and_data() {
    for target in [CHANNEL, DESCRIPTOR, TREE] {
        let repository = repository();
        let server = Hostile::serving(&repository.files).await;
        let host = Host::of(&repository);
        let opened = host.open(&server.address).await.unwrap();
        server.set(&repository.file_of(target), Manner::Other);
        let version = "0.2.0".parse().unwrap();
        let error = match target {
            CHANNEL => opened.channel("stable").await.unwrap_err(),
            DESCRIPTOR => opened.descriptor(&version).await.unwrap_err(),
            _ => {
                let release = opened.descriptor(&version).await.unwrap();
                opened.tree(&release).await.unwrap_err()
            }
        };
        assert!(matches!(error, ServerError::Changed { .. }), "{error}");
        let text = told(&error);
        assert!(
            text.contains(target) && text.contains("check the server's copy"),
            "{text}"
        );
        let again = host.refusal(&server.address).await;
        assert!(matches!(again, ServerError::Changed { .. }), "{again}");
    }
}

#[tokio::test]
async fn a_file_that_grew_or_shrank_between_metadata_and_data() {
    let repository = repository();
    let server = Hostile::serving(&repository.files).await;
    let host = Host::of(&repository);
    let file = repository.file_of(DESCRIPTOR);
    for (content, reason) in [
        (vec![b' '; 10], "ended after 10"),
        (vec![b' '; 9999], "longer"),
    ] {
        server.replace(&file, content);
        let error = host.refusal(&server.address).await;
        let text = told(&error);
        assert!(
            text.contains(reason) && text.contains("check that"),
            "{text}"
        );
    }
    server.replace(&repository.file_of(USR), vec![b'x'; 10]);
    server.replace(&file, repository.content[DESCRIPTOR].clone());
    let refusal = host.update(&server.address).await.unwrap_err();
    assert!(
        matches!(refusal, Refusal::Install(InstallError::Fetch(_))),
        "{refusal:?}"
    );
    no_harm(&host);
}

#[tokio::test]
async fn symlink_and_path_tricks_in_a_directory() {
    let repository = repository();
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), &repository.content[DESCRIPTOR]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    repository.store(dir.path());
    let file = dir.path().join(repository.file_of(DESCRIPTOR));
    fs::remove_file(&file).unwrap();
    symlink(secret.path(), &file).unwrap();
    let host = Host::of(&repository);
    let error = host.refusal(dir.path().to_str().unwrap()).await;
    let text = told(&error);
    assert!(text.contains("leads out of the repository"), "{text}");
    assert!(text.contains("check who made this copy"), "{text}");
}

#[tokio::test]
async fn path_tricks_in_a_tar() {
    let mut repository = repository();
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("repo.tar");
    let mut archive = repository.archive();
    // The name of the first entry becomes one that leads up, with the right checksum.
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&archive[..512]);
    header.as_old_mut().name[..9].copy_from_slice(b"../secret");
    header.set_cksum();
    archive[..512].copy_from_slice(header.as_bytes());
    fs::write(&tar, archive).unwrap();
    let host = Host::of(&repository);
    let text = told(&host.refusal(tar.to_str().unwrap()).await);
    assert!(
        text.contains("../secret") && text.contains("check who made it"),
        "{text}"
    );
    // A tar without what its own metadata names is as refused.
    let file = repository.file_of(DESCRIPTOR);
    repository.files.remove(&file);
    fs::write(&tar, repository.archive()).unwrap();
    let error = host.refusal(tar.to_str().unwrap()).await;
    assert!(matches!(error, ServerError::Incomplete { .. }), "{error}");
}

#[tokio::test]
async fn a_signed_file_in_the_place_of_another() {
    let mut repository = repository();
    let other = build("0.3.0").descriptor;
    repository.add(DESCRIPTOR, serde_json::to_vec(&other).unwrap());
    repository.publish();
    let server = Hostile::serving(&repository.files).await;
    let text = told(&Host::of(&repository).refusal(&server.address).await);
    assert!(text.contains("it holds the release 0.3.0"), "{text}");
    assert!(text.contains("check what was published"), "{text}");

    let mut foreign = build("0.2.0").descriptor;
    foreign.architecture = "riscv64".into();
    repository.add(DESCRIPTOR, serde_json::to_vec(&foreign).unwrap());
    repository.publish();
    let server = Hostile::serving(&repository.files).await;
    let text = told(&Host::of(&repository).refusal(&server.address).await);
    assert!(
        text.contains("it is for riscv64, and this host is x86_64"),
        "{text}"
    );

    let beta = String::from_utf8(repository.content[CHANNEL].clone()).unwrap();
    repository.add(CHANNEL, beta.replace("stable", "beta"));
    repository.publish();
    let server = Hostile::serving(&repository.files).await;
    let text = told(&Host::of(&repository).refusal(&server.address).await);
    assert!(text.contains("it holds the channel \"beta\""), "{text}");
}

#[tokio::test]
async fn what_is_not_published_is_named_with_what_is() {
    let mut repository = repository();
    repository.add_release("beta", "0.2.0");
    repository.content.remove(CHANNEL);
    repository.publish();
    let server = Hostile::serving(&repository.files).await;
    let host = Host::of(&repository);
    let text = told(&host.refusal(&server.address).await);
    assert!(
        text.contains("check `[update] channel`; there are: beta"),
        "{text}"
    );
    let opened = host.open(&server.address).await.unwrap();
    let error = opened
        .descriptor(&"9.9.9".parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        told(&error).contains("has no release 9.9.9; check the version"),
        "{error}"
    );
    let error = read(&opened, "releases/9.9.9/usr.zst", None)
        .await
        .unwrap_err();
    assert!(matches!(error, RemoteError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_descriptor_that_would_fill_the_memory() {
    let mut repository = repository();
    let mut long = repository.content[DESCRIPTOR].clone();
    long.resize(5 << 20, b' ');
    repository.add(DESCRIPTOR, long.clone());
    repository.publish();
    let server = Hostile::serving(&repository.files).await;
    let error = Host::of(&repository).refusal(&server.address).await;
    assert!(matches!(error, ServerError::TooLarge { .. }), "{error}");
    let asked = server.requests();
    assert!(asked.iter().all(|(path, _)| !path.contains(&sha256(&long))));
}

#[tokio::test]
async fn an_encoding_that_nobody_asked_for() {
    let repository = repository();
    let server = Hostile::serving(&repository.files).await;
    server.set(&repository.file_of(CHANNEL), Manner::Encoded);
    let error = Host::of(&repository).refusal(&server.address).await;
    let refused = |e: &FetchError| matches!(e, FetchError::Refused { .. });
    assert!(
        matches!(&error, ServerError::Fetch { source, .. } if refused(source)),
        "{error}"
    );
    assert!(told(&error).contains("encoded as gzip"), "{}", told(&error));
}
