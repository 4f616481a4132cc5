use std::collections::BTreeSet;
use std::process::Command;
use std::thread;

use super::super::export::oci_archive;
use super::super::fetch::{fetch, import_as};
use super::super::testing::{Fixture, insecure, listing};
use super::super::trust::Checks;
use super::super::unpack::Limits;
use super::super::{FetchOptions, obtain};
use super::*;

struct Host {
    root: tempfile::TempDir,
    store: Store,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&Dirs::below(root.path())).unwrap();
        Self { root, store }
    }

    /// A layout with an image of two layers, and its source.
    fn layout(&self) -> (Fixture, Source) {
        let fixture = Fixture::new(&[
            &[("bin/app", "program"), ("etc/config", "one")],
            &[("etc/config", "two"), ("etc/.wh.gone", "")],
        ]);
        let path = self.root.path().join("layout");
        fixture.layout(&path);
        let source = Source::parse(&format!("oci:{}:1.0", path.display())).unwrap();
        (fixture, source)
    }

    fn gc(&self) -> Collected {
        let held = || held_by_pods(self.store.dirs());
        self.store.gc(held).unwrap().unwrap()
    }

    fn content(&self) -> Vec<String> {
        let all = listing(&self.root.path().join("data/store"));
        all.into_keys().filter(|name| name != "lock").collect()
    }
}

fn read(image: &Image, layer: usize, name: &str) -> String {
    fs::read_to_string(image.layers[layer].join(name)).unwrap()
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn an_image_of_a_layout_is_taken_in_once_and_found_again() {
    let host = Host::new();
    let (fixture, source) = host.layout();
    assert_eq!(host.store.find(&source, PullPolicy::New).unwrap(), None);
    let image = obtain(&host.store, &source, &insecure()).unwrap();
    assert_eq!(image.id, fixture.id());
    assert_eq!(read(&image, 0, "bin/app"), "program");
    assert_eq!(read(&image, 1, "etc/config"), "two");
    let cmd = image.config.config().as_ref().unwrap().cmd().clone();
    assert_eq!(cmd, Some(vec!["/app".to_owned()]));
    assert_eq!(
        host.store.find(&source, PullPolicy::New).unwrap(),
        Some(image.clone())
    );
    let by_id = Source::parse(&image.id.to_string()[..19]).unwrap();
    let found = host.store.find(&by_id, PullPolicy::New).unwrap().unwrap();
    assert_eq!(found.layers, image.layers);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_layout_that_changed_is_taken_in_again() {
    let host = Host::new();
    let (_, source) = host.layout();
    let first = obtain(&host.store, &source, &insecure()).unwrap();
    let other = Fixture::new(&[&[("other", "")]]);
    other.layout(&host.root.path().join("layout"));
    let second = obtain(&host.store, &source, &insecure()).unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(second.id, other.id());
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn what_docker_saves_is_taken_in_also_compressed() {
    let host = Host::new();
    let fixture = Fixture::new(&[&[("a", "1")], &[("b", "2")]]);
    let bytes = fixture.docker_archive("example.com/app:1");
    let mut ids = BTreeSet::new();
    for (name, bytes) in [
        ("plain", bytes.clone()),
        ("gz", super::super::testing::gzip(&bytes)),
    ] {
        let path = host.root.path().join(name);
        fs::write(&path, bytes).unwrap();
        let text = format!("docker-archive:{}:example.com/app:1", path.display());
        let image = obtain(&host.store, &Source::parse(&text).unwrap(), &insecure()).unwrap();
        assert_eq!(read(&image, 1, "b"), "2");
        ids.insert(image.id);
        let wrong = format!("docker-archive:{}:example.com/app:2", path.display());
        let wrong = obtain(&host.store, &Source::parse(&wrong).unwrap(), &insecure());
        let error = wrong.unwrap_err().to_string();
        assert!(error.contains("example.com/app:1"), "{error}");
    }
    // The same content is the same image, whatever it came in.
    assert_eq!(ids.len(), 1);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn without_trust_nothing_is_taken_in_and_nothing_of_the_store_is_used() {
    let host = Host::new();
    let (_, source) = host.layout();
    let error = obtain(&host.store, &source, &FetchOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Trust(_)), "{error}");
    assert_eq!(host.content(), Vec::<String>::new());
    obtain(&host.store, &source, &insecure()).unwrap();
    let error = obtain(&host.store, &source, &FetchOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Trust(_)), "{error}");
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_pods_image_stays_until_the_pod_is_gone() {
    let host = Host::new();
    let (_, source) = host.layout();
    let image = obtain(&host.store, &source, &insecure()).unwrap();
    let pod = host.store.dirs().pods().join("running/one");
    fs::create_dir_all(&pod).unwrap();
    host.store.hold(&image, &pod).unwrap();
    host.store.hold(&image, &pod).unwrap();
    assert_eq!(Store::held(&pod).unwrap(), [image.id]);

    host.store.forget_name(&image.name).unwrap();
    assert_eq!(host.gc(), Collected::default());
    assert_eq!(read(&image, 0, "bin/app"), "program");

    fs::remove_dir_all(&pod).unwrap();
    let collected = host.gc();
    assert_eq!(
        (collected.images, collected.layers, collected.blobs),
        (1, 2, 4)
    );
    assert_eq!(host.content(), Vec::<String>::new());
    fs::create_dir_all(&pod).unwrap();
    let late = host.store.hold(&image, &pod);
    assert!(matches!(late, Err(Error::Absent(_))), "{late:?}");
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn layers_are_shared_and_stay_as_long_as_one_image_needs_them() {
    let host = Host::new();
    let base: &[(&str, &str)] = &[("base", "")];
    let mut images = Vec::new();
    for (name, own) in [("one", "1"), ("two", "2")] {
        let path = host.root.path().join(name);
        Fixture::new(&[base, &[("own", own)]]).layout(&path);
        let source = Source::parse(&format!("oci:{}", path.display())).unwrap();
        images.push(obtain(&host.store, &source, &insecure()).unwrap());
    }
    assert_eq!(images[0].layers[0], images[1].layers[0]);
    host.store.forget_name(&images[0].name).unwrap();
    assert_eq!(host.gc().layers, 1);
    assert!(images[1].layers.iter().all(|tree| tree.is_dir()));
}

#[test]
fn nothing_is_collected_while_somebody_fetches() {
    let host = Host::new();
    let fetching = host.store.in_use().unwrap();
    fs::write(host.root.path().join("data/store/partial/half"), b"half").unwrap();
    let none = || Ok(BTreeSet::new());
    assert_eq!(host.store.gc(none).unwrap(), None);
    drop(fetching);
    assert_eq!(host.gc().leftovers, 1);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn many_at_once_take_an_image_in_once() {
    let host = Host::new();
    let (fixture, source) = host.layout();
    thread::scope(|scope| {
        let fetch = || obtain(&host.store, &source, &insecure()).unwrap().id;
        let all: Vec<_> = (0..8).map(|_| scope.spawn(fetch)).collect();
        for one in all {
            assert_eq!(one.join().unwrap(), fixture.id());
        }
    });
    assert_eq!(host.gc().leftovers, 0);
    let damages = host
        .store
        .verify(&fixture.id(), false, &Limits::default())
        .unwrap();
    assert_eq!(damages, []);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn damage_is_found_and_repaired() {
    let host = Host::new();
    let (fixture, source) = host.layout();
    let image = obtain(&host.store, &source, &insecure()).unwrap();
    let verify = |repair| {
        let limits = Limits::default();
        host.store.verify(&fixture.id(), repair, &limits).unwrap()
    };
    assert_eq!(verify(false), []);
    fs::write(image.layers[0].join("bin/app"), "changed").unwrap();
    fs::write(image.layers[1].join("new"), "").unwrap();
    let damages = verify(false);
    assert!(
        damages.len() >= 2 && damages.iter().all(|damage| !damage.repaired),
        "{damages:?}"
    );
    assert!(verify(true).iter().all(|damage| damage.repaired));
    assert_eq!(verify(false), []);
    assert_eq!(read(&image, 0, "bin/app"), "program");
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn damaged_bytes_are_found_and_fetched_again() {
    let host = Host::new();
    let (fixture, source) = host.layout();
    let image = obtain(&host.store, &source, &insecure()).unwrap();
    let blob = host.store.blob_path(&Digest::of(&fixture.layers[0]));
    fs::write(&blob, b"rotten").unwrap();
    let damages = host
        .store
        .verify(&image.id, true, &Limits::default())
        .unwrap();
    assert_eq!(damages.len(), 1);
    assert!(!blob.exists());
    fetch(&host.store, &source, &insecure()).unwrap();
    assert_eq!(fs::read(&blob).unwrap(), fixture.layers[0]);
}

#[test]
fn a_layer_that_lies_leaves_nothing() {
    let host = Host::new();
    let (fixture, source) = host.layout();
    let name = Digest::of(&fixture.layers[1]).hex();
    let other = super::super::testing::gzip(b"something else");
    fs::write(
        host.root.path().join("layout/blobs/sha256").join(name),
        other,
    )
    .unwrap();
    let error = obtain(&host.store, &source, &insecure()).unwrap_err();
    assert!(matches!(error, Error::Layer { .. }), "{error:?}");
    assert_eq!(host.store.find(&source, PullPolicy::New).unwrap(), None);
    host.gc();
    assert_eq!(host.content(), Vec::<String>::new());
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn what_is_exported_comes_in_again_as_the_same_image() {
    let host = Host::new();
    let (fixture, source) = host.layout();
    obtain(&host.store, &source, &insecure()).unwrap();
    let mut bytes = Vec::new();
    oci_archive(&host.store, &fixture.id(), "example.com/app:1", &mut bytes).unwrap();
    let mut again = Vec::new();
    oci_archive(&host.store, &fixture.id(), "example.com/app:1", &mut again).unwrap();
    assert!(bytes == again);

    let other = Host::new();
    let path = other.root.path().join("archive.tar");
    fs::write(&path, bytes).unwrap();
    let file = super::super::local_source(&path, None).unwrap();
    let name = "example.com/app:1".parse().unwrap();
    let image = import_as(&other.store, &file, Some(name), &insecure()).unwrap();
    assert_eq!(image.id, fixture.id());
    let source = Source::parse("example.com/app:1").unwrap();
    let found = obtain(&other.store, &source, &insecure()).unwrap();
    assert_eq!(found.id, fixture.id());
    let pinned = format!("example.com/app@{}", Digest::of(b""))
        .parse()
        .unwrap();
    let refused = import_as(&other.store, &file, Some(pinned), &insecure());
    assert!(matches!(refused, Err(Error::Digest { .. })));
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn what_a_damaged_record_may_mean_stays_and_the_rest_is_listed() {
    let host = Host::new();
    let make = |name: &str, files| {
        let path = host.root.path().join(name);
        Fixture::new(&[files]).layout(&path);
        let source = Source::parse(&format!("oci:{}:1.0", path.display())).unwrap();
        let options = FetchOptions {
            policy: PullPolicy::Update,
            ..insecure()
        };
        obtain(&host.store, &source, &options).unwrap()
    };
    let (bad, good) = (make("bad", &[("a", "1")]), make("good", &[("b", "2")]));
    let whole = host.content();
    for path in [
        host.store.image_path(&bad.id),
        host.store.name_path(&bad.name),
    ] {
        let before = fs::read(&path).unwrap();
        fs::write(&path, "{").unwrap();
        host.store.forget_name(&good.name).unwrap();
        let list = host.store.list().unwrap();
        let named = path.display().to_string();
        assert!(list.images.iter().any(|image| image.id == good.id));
        assert!(list.damaged[0].to_string().contains(&named), "{list:?}");
        let collected = host.gc();
        assert!(collected.damaged[0].contains(&named), "{collected:?}");
        assert_eq!((collected.layers, collected.blobs), (0, 0));
        fs::write(&path, before).unwrap();
        make("good", &[("b", "2")]);
        assert_eq!(host.content(), whole);
    }
    // What was damaged is put right by fetching it again.
    fs::write(host.store.image_path(&bad.id), "{").unwrap();
    make("bad", &[("a", "1")]);
    assert_eq!(host.gc(), Collected::default());
}

/// On a file system of its own, which only the calling thread and its children see.
fn on_a_small_disk(size: &str, test: impl FnOnce(&Path) + Send) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
            let none: Option<&str> = None;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(none, "/", none, private, none).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let (kind, options) = (Some("tmpfs"), Some(size));
            mount(kind, directory.path(), kind, MsFlags::empty(), options).unwrap();
            test(directory.path());
            nix::mount::umount2(directory.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
        };
        scope.spawn(run).join().unwrap();
    });
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_full_disk_is_told_and_leaves_what_was_there() {
    on_a_small_disk("size=8m", |disk| {
        let store = Store::open(&Dirs::below(disk)).unwrap();
        let outside = tempfile::tempdir().unwrap();
        let make = |name: &str, archive: Vec<u8>| {
            let path = outside.path().join(name);
            Fixture::of(vec![archive]).layout(&path);
            Source::parse(&format!("oci:{}", path.display())).unwrap()
        };
        let small = make("small", super::super::testing::archive(&[("a", "1")]));
        let kept = obtain(&store, &small, &insecure()).unwrap();
        let large = "x".repeat(20 << 20);
        let large = make("large", super::super::testing::archive(&[("b", &large)]));
        let error = obtain(&store, &large, &insecure()).unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
        assert!(error.to_string().contains("rocket image gc"), "{error}");
        let damages = store.verify(&kept.id, false, &Limits::default()).unwrap();
        assert_eq!(damages, []);
        assert_eq!(
            fs::read_dir(disk.join("data/store/tmp")).unwrap().count(),
            0
        );
    });
}

/// What the process does that is killed: the environment says where and what.
#[test]
#[ignore = "it is the child of two other tests"]
fn killed_child() {
    let root = PathBuf::from(std::env::var_os("ROCKET_TEST_ROOT").unwrap());
    let store = Store::open(&Dirs::below(&root)).unwrap();
    let layout = root.join("layout");
    let source = Source::parse(&format!("oci:{}:1.0", layout.display())).unwrap();
    if std::env::var_os("ROCKET_TEST_REMOVE").is_some() {
        store.forget_name(&source.to_string()).unwrap();
        store.gc(|| Ok(BTreeSet::new())).unwrap().unwrap();
    } else {
        obtain(&store, &source, &insecure()).unwrap();
    }
}

/// Whether the child came to its end.
fn run_child(root: &Path, kill_at: usize, remove: bool) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([
            "--exact",
            "image::store::tests::killed_child",
            "--ignored",
            "--test-threads=1",
        ])
        .env("ROCKET_TEST_ROOT", root)
        .env(durable::steps::KILL_AT, kill_at.to_string())
        .env_remove("ROCKET_TEST_REMOVE");
    if remove {
        child.env("ROCKET_TEST_REMOVE", "1");
    }
    child.output().unwrap().status.success()
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_fetch_that_is_killed_at_any_step_can_be_done_again_or_collected() {
    for step in 1.. {
        let host = Host::new();
        let (fixture, source) = host.layout();
        let done = run_child(host.root.path(), step, false);
        // What is found is whole.
        if let Some(image) = host.store.find(&source, PullPolicy::New).unwrap() {
            let damages = host
                .store
                .verify(&image.id, false, &Limits::default())
                .unwrap();
            assert_eq!(damages, [], "step {step}");
        }
        let image = obtain(&host.store, &source, &insecure()).unwrap();
        assert_eq!(image.id, fixture.id());
        let damages = host
            .store
            .verify(&image.id, false, &Limits::default())
            .unwrap();
        assert_eq!(damages, [], "step {step}");
        host.store.forget_name(&image.name).unwrap();
        host.gc();
        assert_eq!(host.content(), Vec::<String>::new(), "step {step}");
        if done {
            assert!(step > 8, "only {step} steps");
            return;
        }
    }
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_removal_that_is_killed_at_any_step_can_be_done_again() {
    for step in 1.. {
        let host = Host::new();
        let (_, source) = host.layout();
        obtain(&host.store, &source, &insecure()).unwrap();
        let done = run_child(host.root.path(), step, true);
        if let Some(image) = host.store.find(&source, PullPolicy::New).unwrap() {
            let damages = host
                .store
                .verify(&image.id, false, &Limits::default())
                .unwrap();
            assert_eq!(damages, [], "step {step}");
        }
        host.store.forget_name(&source.to_string()).unwrap();
        host.gc();
        assert_eq!(host.content(), Vec::<String>::new(), "step {step}");
        obtain(&host.store, &source, &insecure()).unwrap();
        if done {
            assert!(step > 4, "only {step} steps");
            return;
        }
    }
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn checks_that_are_left_out_are_written_down() {
    let host = Host::new();
    let (_, source) = host.layout();
    let image = obtain(&host.store, &source, &insecure()).unwrap();
    assert_eq!(image.verified, Verified::Insecure);
    assert_eq!(insecure().checks, Checks::SkipImage);
    let list = host.store.list().unwrap().images;
    assert_eq!(list[0].names[0].verified, Verified::Insecure);
    assert_eq!(list[0].layers, 2);
}
