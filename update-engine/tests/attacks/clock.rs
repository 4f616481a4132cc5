//! A host whose clock is wrong is not lied to about time, and gets its updates.

use jiff::Timestamp;
use update_engine::server::ServerError;

use crate::host::{Host, told};
use crate::hostile::Hostile;
use crate::repository::{Repository, hours};

fn repository() -> Repository {
    let mut repository = Repository::new();
    repository.add_release("stable", "0.2.0");
    repository.publish();
    repository
}

async fn serve(repository: &Repository) -> Hostile {
    Hostile::serving(&repository.files).await
}

/// The clock of the machine that runs this stands for one that is a month behind.
#[tokio::test]
async fn clock_in_the_past() {
    let mut repository = repository();
    let mut host = Host::of(&repository);
    host.trust.built = hours(24 * 30);
    let error = host.refusal(&serve(&repository).await.address).await;
    assert!(
        matches!(error, ServerError::ClockInThePast { .. }),
        "{error}"
    );
    let text = told(&error);
    assert!(text.contains("the clock is in the past; set it"), "{text}");
    // It is no reason not to update: what is good at the real time is taken.
    for role in [&mut repository.timestamp, &mut repository.snapshot] {
        role.expires = hours(24 * 60);
    }
    repository.publish();
    host.open(&serve(&repository).await.address).await.unwrap();
}

#[tokio::test]
async fn clock_set_back_after_an_update() {
    let mut repository = repository();
    for role in [&mut repository.timestamp, &mut repository.snapshot] {
        role.expires = hours(24 * 60);
    }
    repository.publish();
    let mut host = Host::of(&repository);
    host.trust.now = hours(24 * 20);
    host.open(&serve(&repository).await.address).await.unwrap();
    host.trust.now = Timestamp::now();
    repository.timestamp.expires = hours(24 * 10);
    repository.publish();
    let error = host.refusal(&serve(&repository).await.address).await;
    assert!(
        matches!(error, ServerError::ClockInThePast { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_clock_in_the_future_is_not_remembered() {
    let repository = repository();
    let server = serve(&repository).await;
    let mut host = Host::of(&repository);
    host.trust.now = hours(24 * 365 * 10);
    let error = host.refusal(&server.address).await;
    assert!(matches!(error, ServerError::Expired { .. }), "{error}");
    assert!(told(&error).contains("check the clock with `timedatectl`"));
    host.trust.now = Timestamp::now();
    host.open(&server.address).await.unwrap();
}
