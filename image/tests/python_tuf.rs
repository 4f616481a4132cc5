//! Interoperability with TUF's reference implementation, both ways.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use image::keys::{self, KeyStore};
use image::publish::{PublishOptions, publish};
use image::python_tuf::{Fetched, PythonTuf};
use image::sample::Sample;
use image::serve::Server;
use semver::Version;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use update_engine::release::{Channel, Descriptor, Digest};
use update_engine::remote::Remote;
use update_engine::server::{self, ServerOptions, Source, Trust};

/// A published repository and its keys.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        keys::create(&site.keys(), &[], 365).unwrap();
        site
    }

    fn keys(&self) -> PathBuf {
        self.0.path().join("keys")
    }

    fn repo(&self) -> PathBuf {
        self.0.path().join("repo")
    }

    fn publish(&self, version: Version) {
        let from = self.0.path().join(version.to_string());
        Sample::new(version, 200, 50..90).write(&from).unwrap();
        publish(&PublishOptions {
            channel: Some("stable".to_string()),
            from: Some(from),
            level: 1,
            ..PublishOptions::new(self.repo(), self.keys())
        })
        .unwrap();
    }

    fn serve(&self) -> Server {
        Server::start(&self.repo(), ([127, 0, 0, 1], 0).into(), |_| {}).unwrap()
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// The file of the target `name` in a repository.
fn file_of(repo: &Path, name: &str) -> PathBuf {
    let path = repo.join("targets").join(name);
    let base = path.file_name().unwrap().to_str().unwrap().to_string();
    let files = fs::read_dir(path.parent().unwrap()).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let is = |file: &PathBuf| file.to_str().unwrap().ends_with(&format!(".{base}"));
    files.find(is).unwrap()
}

fn names(version: &str) -> Vec<String> {
    let files = ["release.json", "usr.verity", "usr.zst", "boot.zst"];
    let mut names: Vec<String> = files
        .iter()
        .map(|file| format!("releases/{version}/{file}"))
        .collect();
    names.push("channels/stable.json".to_string());
    names
}

fn read(tuf: &PythonTuf, site: &Site, root: &Path, version: &str) -> anyhow::Result<Vec<Fetched>> {
    let names = names(version);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let work = site.0.path().join("python");
    tuf.read(&site.serve().url(), root, &work, &names)
}

#[test]
fn pythons_tuf_reads_what_is_published_and_follows_new_roots() {
    let tuf = PythonTuf::ensure().unwrap();
    let site = Site::new();
    let first = KeyStore::open(&site.keys(), &[]).unwrap();
    site.publish(Version::new(1, 0, 0));
    let fetched = read(&tuf, &site, &first.newest().path, "1.0.0").unwrap();
    assert_eq!(fetched.len(), 5);
    let new = keys::ROLES.map(|role| keys::same_number(&first, role).unwrap());
    keys::rotate(&site.keys(), &[], &new, 365).unwrap();
    site.publish(Version::new(1, 1, 0));
    // The same client, which trusts the first root, and knows an older state.
    let fetched = read(&tuf, &site, &first.newest().path, "1.1.0").unwrap();
    for target in &fetched {
        let content = fs::read(file_of(&site.repo(), &target.name)).unwrap();
        assert_eq!(target.length, content.len() as u64, "{}", target.name);
        assert_eq!(target.sha256, sha256(&content), "{}", target.name);
    }
    assert!(site.0.path().join("python/metadata/root.json").exists());
}

#[test]
fn pythons_tuf_refuses_what_was_changed_after_it_was_signed() {
    let tuf = PythonTuf::ensure().unwrap();
    let site = Site::new();
    site.publish(Version::new(1, 0, 0));
    let path = file_of(&site.repo(), "releases/1.0.0/usr.zst");
    let mut content = fs::read(&path).unwrap();
    content[100] ^= 1;
    fs::write(&path, content).unwrap();
    let root = site.keys().join("1.root.json");
    let error = read(&tuf, &site, &root, "1.0.0").unwrap_err();
    assert!(format!("{error:#}").contains("hash"), "{error:#}");
}

/// Copies the targets of a published repository to files with their plain names.
fn plain_targets(site: &Site, version: &str) -> PathBuf {
    let plain = site.0.path().join("plain");
    for name in names(version) {
        let path = plain.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(file_of(&site.repo(), &name), path).unwrap();
    }
    plain
}

/// What a host that trusts `root` takes from the repository at `url`.
async fn host(url: &str, root: &Path, state: &Path) -> (Channel, Descriptor, Vec<u8>) {
    let options = ServerOptions::new(url.parse::<Source>().unwrap(), state);
    let trust = Trust {
        root: fs::read(root).unwrap(),
        built: jiff::Timestamp::UNIX_EPOCH,
        now: jiff::Timestamp::now(),
    };
    let server = server::Server::open(options, trust).await.unwrap();
    let channel = server.channel("stable").await.unwrap().into_inner();
    let release = server.descriptor(&channel.release).await.unwrap();
    server.tree(&release).await.unwrap();
    let last = release.usr.frames.last().unwrap().1;
    let size: u64 = release.usr.frames.iter().map(|f| u64::from(f.1)).sum();
    let name = format!("releases/{}/usr.zst", channel.release);
    let range = size - u64::from(last)..size;
    let mut stream = server.read(&name, Some(range)).await.unwrap();
    let mut frame = Vec::new();
    while let Some(bytes) = stream.next().await {
        frame.extend_from_slice(&bytes.unwrap());
    }
    (channel, release.into_inner(), frame)
}

#[test]
fn a_host_reads_what_pythons_tuf_wrote() {
    let tuf = PythonTuf::ensure().unwrap();
    let site = Site::new();
    site.publish(Version::new(1, 0, 0));
    let repository = site.0.path().join("written");
    let root = tuf
        .write(&plain_targets(&site, "1.0.0"), &repository)
        .unwrap();
    assert!(repository.join("metadata/2.root.json").exists());
    let http = Server::start(&repository, ([127, 0, 0, 1], 0).into(), |_| {}).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let sample = Sample::new(Version::new(1, 0, 0), 200, 50..90);
    for (url, state) in [
        (http.url(), "http"),
        (repository.display().to_string(), "path"),
    ] {
        let state = site.0.path().join(state);
        let (channel, release, frame) = runtime.block_on(host(&url, &root, &state));
        assert_eq!(channel.release, Version::new(1, 0, 0));
        assert_eq!(release.usr.size, sample.usr.len() as u64);
        let plain = zstd::bulk::decompress(&frame, 1 << 20).unwrap();
        assert!(sample.usr.ends_with(&plain) && !plain.is_empty());
    }
}
