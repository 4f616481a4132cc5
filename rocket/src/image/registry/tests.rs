mod secure;
mod server;
mod signed;

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::testing::{Fixture, insecure};
use super::super::trust::Verified;
use super::super::{obtain, unpack};
use super::*;
use crate::dirs::Dirs;
use crate::options::PullPolicy;
use server::{Registry, Whim};

struct Host {
    root: tempfile::TempDir,
    store: Store,
}

impl Host {
    /// One that may ask these registries without TLS.
    fn of(registries: &[&Registry]) -> Self {
        let host = Self::without_policy();
        let text: Vec<_> = registries
            .iter()
            .map(|one| {
                format!(
                    "[[registry]]\nprefix = {:?}\nplain-http = true\n",
                    one.host()
                )
            })
            .collect();
        host.write("registries.d/test.toml", &text.concat());
        host
    }

    fn without_policy() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&Dirs::below(root.path())).unwrap();
        Self { root, store }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.root.path().join("etc").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn fetch(&self, name: &str) -> Result<Image, Error> {
        obtain(&self.store, &Source::parse(name).unwrap(), &insecure())
    }

    fn fetch_trusted(&self, name: &str) -> Result<Image, Error> {
        let options = FetchOptions::default();
        obtain(&self.store, &Source::parse(name).unwrap(), &options)
    }

    fn fetch_stored(&self, name: &str) -> Option<Image> {
        let source = Source::parse(name).unwrap();
        self.store.find(&source, PullPolicy::Never).unwrap()
    }

    fn damages(&self, image: &Image) -> usize {
        let limits = unpack::Limits::default();
        self.store.verify(&image.id, false, &limits).unwrap().len()
    }
}

/// Two layers, one of them too long for one packet.
fn fixture() -> Fixture {
    let noise: String = (0u32..60_000)
        .map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 26))
        .collect();
    Fixture::new(&[&[("bin/app", &noise)], &[("etc/config", "1")]])
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn an_image_is_fetched_by_tag_and_by_digest_and_then_found() {
    let registry = Registry::start();
    let fixture = fixture();
    registry.publish("team/app", "1", &fixture);
    let host = Host::of(&[&registry]);
    let name = format!("{}/team/app:1", registry.host());
    let image = host.fetch(&name).unwrap();
    assert_eq!(image.id, fixture.id());
    assert_eq!(host.damages(&image), 0);
    let before = registry.seen("/v2/");
    host.fetch(&name).unwrap();
    assert_eq!(registry.seen("/v2/"), before);

    let pinned = format!("{}/team/app@{}", registry.host(), fixture.id());
    let image = host.fetch_trusted(&pinned).unwrap();
    assert_eq!(image.verified, Verified::Pinned);
    // The layers were there.
    assert_eq!(
        registry.seen(&Digest::of(&fixture.layers[0]).to_string()),
        1
    );
}

#[test]
fn a_registry_without_tls_is_asked_only_if_policy_says_so() {
    let registry = Registry::start();
    registry.publish("app", "1", &fixture());
    let host = Host::without_policy();
    let failed = host.fetch(&format!("{}/app:1", registry.host()));
    assert!(matches!(failed, Err(Error::Registry(_))), "{failed:?}");
    assert_eq!(registry.seen("/v2/"), 0);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_token_is_fetched_once_and_used_for_everything() {
    let registry = Registry::start();
    registry.publish("app", "1", &fixture());
    registry.shared.wants_token.store(true, Ordering::SeqCst);
    let host = Host::of(&[&registry]);
    host.fetch(&format!("{}/app:1", registry.host())).unwrap();
    assert_eq!(registry.seen("/token"), 1);
    assert_eq!(registry.seen("scope=repository%3Aapp%3Apull"), 1);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_broken_download_goes_on_where_it_broke() {
    for no_ranges in [false, true] {
        let registry = Registry::start();
        let fixture = fixture();
        registry.publish("app", "1", &fixture);
        registry.shared.no_ranges.store(no_ranges, Ordering::SeqCst);
        let host = Host::of(&[&registry]);
        for whim in [Whim::Breaks, Whim::Busy, Whim::Breaks] {
            registry.whim(whim);
        }
        let image = host.fetch(&format!("{}/app:1", registry.host())).unwrap();
        assert_eq!(host.damages(&image), 0);
        assert_eq!(registry.shared.whims.lock().unwrap().len(), 0);
        assert!(registry.seen("Some(") >= 2, "nothing was asked for in part");
    }
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn what_an_earlier_fetch_left_is_not_asked_for_again() {
    let registry = Registry::start();
    let fixture = fixture();
    registry.publish("app", "1", &fixture);
    let host = Host::of(&[&registry]);
    let digest = Digest::of(&fixture.layers[0]);
    let partial = host
        .root
        .path()
        .join("data/store/partial")
        .join(digest.hex());
    fs::write(&partial, &fixture.layers[0][..9000]).unwrap();
    let name = format!("{}/app:1", registry.host());
    let image = host.fetch(&name).unwrap();
    assert_eq!(host.damages(&image), 0);
    assert_eq!(registry.seen(&format!("{digest} Some(9000)")), 1);
    assert!(!partial.exists());

    // Unless it is not what it should be.
    let other = Host::of(&[&registry]);
    let partial = other
        .root
        .path()
        .join("data/store/partial")
        .join(digest.hex());
    fs::write(&partial, vec![b'?'; 9000]).unwrap();
    let image = other.fetch(&name).unwrap();
    assert_eq!(other.damages(&image), 0);
    assert_eq!(registry.seen(&format!("{digest} None")), 1);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_layer_that_lies_is_refused_and_forgotten() {
    let registry = Registry::start();
    let fixture = fixture();
    registry.publish("app", "1", &fixture);
    let host = Host::of(&[&registry]);
    let digest = Digest::of(&fixture.layers[0]);
    let path = format!("/v2/app/blobs/{digest}");
    registry.put(&path, &vec![b'x'; fixture.layers[0].len()]);
    let name = format!("{}/app:1", registry.host());
    let error = host.fetch(&name).unwrap_err();
    assert!(chain(&error).contains(&digest.to_string()), "{error}");
    let source = Source::parse(&name).unwrap();
    assert_eq!(host.store.find(&source, PullPolicy::New).unwrap(), None);
    registry.put(&path, &fixture.layers[0]);
    host.fetch(&name).unwrap();
}

#[test]
fn a_configuration_that_lies_is_refused() {
    let registry = Registry::start();
    let fixture = fixture();
    registry.publish("app", "1", &fixture);
    let path = format!("/v2/app/blobs/{}", Digest::of(&fixture.config));
    registry.put(&path, &fixture.config.to_ascii_uppercase());
    let host = Host::of(&[&registry]);
    let error = host
        .fetch(&format!("{}/app:1", registry.host()))
        .unwrap_err();
    let digest = matches!(error, Error::Registry(RegistryError::Digest { .. }));
    assert!(digest, "{error:?}");
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn blobs_may_be_somewhere_else() {
    let (registry, elsewhere) = (Registry::start(), Registry::start());
    let fixture = fixture();
    registry.publish("app", "1", &fixture);
    let digest = Digest::of(&fixture.layers[0]);
    elsewhere.put("/bucket/x?signed", &fixture.layers[0]);
    let to = format!("http://{}/bucket/x?signed", elsewhere.host());
    let from = format!("/v2/app/blobs/{digest}");
    registry.shared.moved.lock().unwrap().insert(from, to);
    let host = Host::of(&[&registry]);
    let image = host.fetch(&format!("{}/app:1", registry.host())).unwrap();
    assert_eq!(host.damages(&image), 0);
    assert_eq!(elsewhere.seen("/bucket/x"), 1);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_mirror_is_asked_first_and_the_registry_if_it_has_nothing() {
    let (mirror, registry) = (Registry::start(), Registry::start());
    registry.publish("team/app", "1", &fixture());
    let host = Host::without_policy();
    let (here, there) = (registry.host(), mirror.host());
    host.write(
        "registries.d/a.toml",
        &format!(
            "[[registry]]\nprefix = \"{here}\"\nplain-http = true\n\
             [[registry.mirror]]\nlocation = \"{there}/cache\"\nplain-http = true\n"
        ),
    );
    let name = format!("{here}/team/app:1");
    host.fetch(&name).unwrap();
    assert_eq!(mirror.seen("/v2/cache/team/app/manifests/1"), 1);

    let other = Fixture::new(&[&[("mirrored", "")]]);
    mirror.publish("cache/team/app", "2", &other);
    let image = host.fetch(&format!("{here}/team/app:2")).unwrap();
    assert_eq!(image.id, other.id());
    assert_eq!(registry.seen("manifests/2"), 0);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn of_an_index_the_image_for_this_machine_is_taken() {
    let registry = Registry::start();
    let (ours, other) = (fixture(), Fixture::new(&[&[("other", "")]]));
    registry.publish("app", "ours", &ours);
    registry.publish("app", "other", &other);
    let machine = super::super::platform::Machine::this();
    let entry = |fixture: &Fixture, architecture: &str| {
        json!({
            "mediaType": super::super::manifest::IMAGE, "digest": fixture.id(),
            "size": fixture.manifest.len(),
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let manifests = [entry(&other, "s390x"), entry(&ours, machine.architecture)];
    let index = json!({ "schemaVersion": 2, "manifests": manifests }).to_string();
    registry.publish_manifest("app", "1", index.as_bytes());
    let host = Host::of(&[&registry]);
    let image = host.fetch(&format!("{}/app:1", registry.host())).unwrap();
    assert_eq!(image.id, ours.id());
    let index = json!({ "schemaVersion": 2, "manifests": [entry(&other, "s390x")] });
    registry.publish_manifest("app", "2", index.to_string().as_bytes());
    let error = host
        .fetch(&format!("{}/app:2", registry.host()))
        .unwrap_err();
    assert!(error.to_string().contains("s390x"), "{error}");
}

#[test]
fn what_is_not_there_is_told_with_what_the_registry_says() {
    let registry = Registry::start();
    let host = Host::of(&[&registry]);
    let error = host
        .fetch(&format!("{}/app:1", registry.host()))
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("404") && text.contains("there is no such thing"),
        "{text}"
    );
    assert_eq!(registry.seen("/v2/"), 1);
}

#[test]
fn a_manifest_of_any_length_is_not_read_into_memory() {
    let registry = Registry::start();
    registry.publish_manifest("app", "1", &vec![b' '; 5 << 20]);
    let host = Host::of(&[&registry]);
    let error = host
        .fetch(&format!("{}/app:1", registry.host()))
        .unwrap_err();
    assert!(
        matches!(error, Error::Registry(RegistryError::Long { .. })),
        "{error:?}"
    );
}
