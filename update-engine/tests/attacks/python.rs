//! Interoperability: repositories that Python's `tuf` wrote are taken.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootloader::Slot;

use crate::host::Host;
use crate::release::build;
use crate::repository::Repository;

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/attacks/python/write_repository.py"
);
const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/attacks/python/repository"
);
const PACKAGES: [&str; 2] = ["tuf==6.0.0", "securesystemslib[crypto]==1.3.1"];

/// Directory of Python's `tuf`, filled when it is first needed; none if this machine
/// has no Python with pip.
fn python_tuf() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map_or_else(|| env::home_dir().unwrap().join(".cache"), PathBuf::from);
    let dir = cache.join("ballast/python-tuf-6.0.0");
    if !dir.exists() {
        let parent = dir.parent().unwrap();
        fs::create_dir_all(parent).unwrap();
        let new = tempfile::tempdir_in(parent).unwrap();
        let installed = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(new.path())
            .args(PACKAGES)
            .status();
        if !installed.is_ok_and(|status| status.success()) {
            return None;
        }
        // Where another test was faster, its copy is as good.
        if fs::rename(new.path(), &dir).is_ok() {
            let _moved = new.keep();
        }
    }
    Some(dir)
}

fn write_targets(dir: &Path, repository: &Repository) {
    for (name, content) in &repository.content {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[tokio::test]
async fn a_host_updates_from_a_repository_of_pythons_tuf() {
    let Some(library) = python_tuf() else {
        println!("skipped: no python3 with pip that can fetch {PACKAGES:?}");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("repository"));
    let mut repository = Repository::new();
    repository.add_release("stable", "0.2.0");
    write_targets(&source, &repository);
    let written = Command::new("python3")
        .env("PYTHONPATH", library)
        .args([Path::new(SCRIPT), &source, &out])
        .status()
        .unwrap();
    assert!(written.success());

    let mut host = Host::of(&repository);
    host.trust.root = fs::read(out.join("metadata/1.root.json")).unwrap();
    let report = host.update(out.to_str().unwrap()).await.unwrap();
    assert_eq!(report.slot, Slot::B);
    host.disk().assert_holds(&build("0.2.0"));
}

/// What `write_repository.py` wrote once, of a channel only: this needs no Python.
#[tokio::test]
async fn a_stored_repository_of_pythons_tuf_is_read() {
    let mut host = Host::of(&Repository::new());
    let root = Path::new(FIXTURE).join("metadata/1.root.json");
    host.trust.root = fs::read(root).unwrap();
    let server = host.open(FIXTURE).await.unwrap();
    let channel = server.channel("stable").await.unwrap();
    assert_eq!(channel.release.to_string(), "0.2.0");
}
