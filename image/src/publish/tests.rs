use std::fs;

use update_engine::server::{Server, ServerOptions, Source as Address, Trust};

use super::*;
use crate::keys::{self, RootFile};
use crate::sample::Sample;

/// Keys, a repository and builds in a directory of their own.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        keys::create(&site.keys(), &[], 365).unwrap();
        site
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn root(&self) -> RootFile {
        KeyStore::open(&self.keys(), &[]).unwrap().newest().clone()
    }

    fn options(&self) -> PublishOptions {
        PublishOptions {
            channel: Some("stable".to_string()),
            level: 1,
            ..PublishOptions::new(self.repo(), self.keys())
        }
    }

    /// A build of `version` that differs from others in `changed` of its 300 blocks.
    fn build(&self, version: &str, changed: std::ops::Range<usize>) -> PathBuf {
        let dir = self.dir.path().join(version);
        let version = version.parse().unwrap();
        Sample::new(version, 300, changed).write(&dir).unwrap();
        dir
    }

    fn publish(&self, version: &str, changed: std::ops::Range<usize>) -> Result<Published> {
        publish(&PublishOptions {
            from: Some(self.build(version, changed)),
            ..self.options()
        })
    }

    /// What a host that trusts `root` reads: the channel, and its release.
    fn read(&self, root: &RootFile, name: &str) -> Result<(Channel, Descriptor)> {
        let options = ServerOptions::new(Address::Path(self.repo()), self.dir.path().join(name));
        let trust = Trust {
            root: root.bytes.clone(),
            built: Timestamp::UNIX_EPOCH,
            now: Timestamp::now(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let server = Server::open(options, trust).await?;
            let channel = server.channel("stable").await?.into_inner();
            let release = server.descriptor(&channel.release).await?;
            let tree = server.tree(&release).await?;
            assert_eq!(tree.len() as u64, release.usr.tree_size);
            Ok((channel, release.into_inner()))
        })
    }

    /// Every file below the repository with its content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut paths = Vec::new();
        crate::cache::walk(&self.repo(), &mut paths).unwrap();
        let mut files: Vec<_> = paths
            .into_iter()
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn target(&self, name: &str) -> Vec<u8> {
        let store = KeyStore::open(&self.keys(), &[]).unwrap();
        let repository = Repository::open(&self.repo(), &store).unwrap();
        repository.read(name).unwrap().unwrap()
    }
}

#[test]
fn a_published_release_is_read_by_a_host() {
    let site = Site::new();
    assert_eq!(site.publish("1.0.0", 0..0).unwrap(), Published::Changed);
    let (channel, release) = site.read(&site.root(), "host").unwrap();
    assert_eq!(channel.release, Version::new(1, 0, 0));
    assert_eq!(release.architecture, "x86_64");
    let sample = Sample::new(Version::new(1, 0, 0), 300, 0..0);
    let usr = frames::unpack(&site.target("releases/1.0.0/usr.zst"), release.usr.size);
    assert_eq!(usr.unwrap(), sample.usr);
    let boot = frames::unpack(&site.target("releases/1.0.0/boot.zst"), release.boot.size);
    assert_eq!(boot.unwrap(), sample.boot());
}

#[test]
fn frames_follow_what_the_release_before_has() {
    let site = Site::new();
    site.publish("1.0.0", 0..0).unwrap();
    site.publish("1.1.0", 100..160).unwrap();
    let (_, release) = site.read(&site.root(), "host").unwrap();
    let mut at = 0;
    let mut touched = 0;
    for frame in &release.usr.frames {
        let blocks = at..at + frame.0;
        if blocks.start < 160 && blocks.end > 100 {
            touched += frame.0;
        }
        at = blocks.end;
    }
    assert_eq!(touched, 60, "{:?}", release.usr.frames);
}

#[test]
fn publishing_the_same_again_writes_nothing() {
    let site = Site::new();
    site.publish("1.0.0", 0..0).unwrap();
    let before = site.files();
    assert_eq!(site.publish("1.0.0", 0..0).unwrap(), Published::Nothing);
    assert_eq!(site.files(), before);
}

#[test]
fn a_version_never_changes_its_content() {
    let site = Site::new();
    site.publish("1.0.0", 0..0).unwrap();
    let before = site.files();
    let error = site.publish("1.0.0", 5..6).unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    let error = publish(&PublishOptions {
        from: Some(site.build("1.0.0", 0..0)),
        minimum_version: Version::new(0, 9, 0),
        ..site.options()
    })
    .unwrap_err();
    assert!(error.to_string().contains("minimum version"), "{error}");
    assert_eq!(site.files(), before);
}

#[test]
fn a_channel_can_go_to_a_release_that_is_there() {
    let site = Site::new();
    site.publish("1.0.0", 0..0).unwrap();
    site.publish("1.1.0", 3..9).unwrap();
    let to = |version: &str| {
        let mut options = site.options();
        options.wishes.release = Some(version.parse().unwrap());
        publish(&options)
    };
    assert_eq!(to("1.0.0").unwrap(), Published::Changed);
    let (channel, _) = site.read(&site.root(), "host").unwrap();
    assert_eq!(channel.release, Version::new(1, 0, 0));
    let error = to("1.2.0").unwrap_err();
    assert!(
        error.to_string().contains("not in the repository"),
        "{error}"
    );
}

#[test]
fn renewing_needs_no_targets_key() {
    let site = Site::new();
    site.publish("1.0.0", 0..0).unwrap();
    for entry in fs::read_dir(site.keys()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("targets-") || name.starts_with("root-") {
            fs::remove_file(path).unwrap();
        }
    }
    let renew = PublishOptions::new(site.repo(), site.keys());
    assert_eq!(publish(&renew).unwrap(), Published::Renewed);
    assert!(site.repo().join("metadata/2.snapshot.json").exists());
    assert!(!site.repo().join("metadata/2.targets.json").exists());
    site.read(&site.root(), "host").unwrap();
    let error = site.publish("1.1.0", 0..9).unwrap_err();
    assert!(format!("{error:#}").contains("targets keys"), "{error:#}");
}

#[test]
fn an_old_host_follows_the_chain_of_roots() {
    let site = Site::new();
    site.publish("1.0.0", 0..0).unwrap();
    let old = site.root();
    site.read(&old, "host").unwrap();
    let store = KeyStore::open(&site.keys(), &[]).unwrap();
    for _ in 0..2 {
        let specs = keys::ROLES.map(|role| keys::same_number(&store, role).unwrap());
        keys::rotate(&site.keys(), &[], &specs, 365).unwrap();
    }
    let renew = PublishOptions::new(site.repo(), site.keys());
    assert_eq!(publish(&renew).unwrap(), Published::Changed);
    assert!(site.repo().join("metadata/3.root.json").exists());
    site.read(&old, "host").unwrap();
    site.read(&old, "fresh").unwrap();
    site.read(&site.root(), "new").unwrap();
}

#[test]
fn keys_of_another_repository_sign_nothing() {
    let (site, other) = (Site::new(), Site::new());
    site.publish("1.0.0", 0..0).unwrap();
    let before = site.files();
    let error = publish(&PublishOptions::new(site.repo(), other.keys())).unwrap_err();
    assert!(error.to_string().contains("another repository"), "{error}");
    assert_eq!(site.files(), before);
}

#[test]
fn an_older_copy_of_the_keys_is_refused() {
    let site = Site::new();
    let copy = site.dir.path().join("copy");
    keys::rotate(&site.keys(), &[], &[], 365).unwrap();
    site.publish("1.0.0", 0..0).unwrap();
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(site.keys()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "2.root.json" {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let error = publish(&PublishOptions::new(site.repo(), copy)).unwrap_err();
    assert!(error.to_string().contains("newest copy"), "{error}");
}

#[test]
fn keys_are_never_published() {
    let site = Site::new();
    let inside = site.repo().join("keys");
    fs::create_dir_all(site.repo()).unwrap();
    keys::create(&inside, &[], 365).unwrap();
    let error = publish(&PublishOptions::new(site.repo(), inside)).unwrap_err();
    assert!(
        error.to_string().contains("inside the repository"),
        "{error}"
    );
}

#[test]
fn a_build_that_is_not_whole_is_not_published() {
    let site = Site::new();
    let refused = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let dir = site.build("1.0.0", 0..0);
        let mut bytes = fs::read(dir.join(name)).unwrap();
        change(&mut bytes);
        fs::write(dir.join(name), bytes).unwrap();
        let error = publish(&PublishOptions {
            from: Some(dir),
            ..site.options()
        })
        .unwrap_err();
        assert!(!site.repo().join("metadata/timestamp.json").exists());
        format!("{error:#}")
    };
    for name in ["usr.img", "usr.verity", "boot.efi"] {
        let text = refused(name, &|bytes| bytes[9000] ^= 1);
        assert!(text.contains("not the file that was built"), "{text}");
    }
    let text = refused("release.json", &|bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("1.0.0", "1.0.1").into_bytes();
    });
    assert!(text.contains("names version 1.0.0"), "{text}");
}

#[test]
fn an_interrupted_run_is_finished_by_the_next() {
    let site = Site::new();
    site.publish("1.0.0", 0..0).unwrap();
    let timestamp = fs::read(site.repo().join("metadata/timestamp.json")).unwrap();
    site.publish("1.1.0", 0..9).unwrap();
    // Everything but the last step was done, and a file was half written.
    fs::write(site.repo().join("metadata/timestamp.json"), timestamp).unwrap();
    let partial = site.repo().join("targets/releases/1.1.0/.partial-x");
    fs::write(&partial, "half").unwrap();
    let (channel, _) = site.read(&site.root(), "before").unwrap();
    assert_eq!(channel.release, Version::new(1, 0, 0));
    assert_eq!(site.publish("1.1.0", 0..9).unwrap(), Published::Changed);
    let (channel, _) = site.read(&site.root(), "after").unwrap();
    assert_eq!(channel.release, Version::new(1, 1, 0));
    assert!(!partial.exists());
}

/// Two releases of which the second one's `/usr` is shifted by a few bytes.
fn shifted(site: &Site, version: &str, by: usize) -> PathBuf {
    let mut sample = Sample::new(version.parse().unwrap(), 300, 0..0);
    let length = sample.usr.len();
    sample.usr = [vec![7; by], sample.usr].concat();
    sample.usr.truncate(length);
    let dir = site.dir.path().join(version);
    sample.write(&dir).unwrap();
    dir
}

fn add(site: &Site, version: &str, by: usize, channel: &str, patches: usize) {
    publish(&PublishOptions {
        from: Some(shifted(site, version, by)),
        channel: Some(channel.to_string()),
        patches,
        ..site.options()
    })
    .unwrap();
}

fn patched_from(site: &Site, version: &str) -> Vec<String> {
    let name = target_name(&version.parse().unwrap(), DESCRIPTOR);
    let descriptor = Descriptor::parse(&site.target(&name)).unwrap();
    for patch in &descriptor.patches {
        assert_eq!(site.target(&patch.target).len() as u64, patch.size());
    }
    let from = descriptor.patches.iter();
    from.map(|patch| patch.from_version.to_string()).collect()
}

#[test]
fn a_release_has_patches_from_the_channels_release_and_the_newest_others() {
    let site = Site::new();
    add(&site, "1.0.0", 0, "stable", 3);
    add(&site, "1.1.0", 10, "beta", 3);
    add(&site, "1.2.0", 20, "beta", 3);
    add(&site, "1.3.0", 30, "stable", 2);
    assert_eq!(patched_from(&site, "1.0.0"), [] as [String; 0]);
    assert_eq!(patched_from(&site, "1.2.0"), ["1.1.0", "1.0.0"]);
    assert_eq!(patched_from(&site, "1.3.0"), ["1.0.0", "1.2.0"]);
    add(&site, "1.4.0", 40, "stable", 0);
    assert_eq!(patched_from(&site, "1.4.0"), [] as [String; 0]);
}

#[test]
fn a_patch_that_spares_nothing_is_not_published() {
    let site = Site::new();
    site.publish("1.0.0", 0..0).unwrap();
    // The same /usr under another version has nothing to be made.
    site.publish("1.1.0", 0..0).unwrap();
    assert_eq!(patched_from(&site, "1.1.0"), [] as [String; 0]);
}
