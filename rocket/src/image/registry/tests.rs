mod secure;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::testing::{Fixture, insecure};
use super::super::trust::Verified;
use super::super::{obtain, unpack};
use super::*;
use crate::dirs::Dirs;
use crate::options::PullPolicy;

/// What a registry does that a good one does not, once each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whim {
    /// Ends a connection in the middle of a blob.
    Breaks,
    /// Says that it is busy.
    Busy,
    /// Begins at another byte than it was asked for.
    Shifts,
    /// Sends more than there is.
    Overruns,
}

/// A registry of files in memory, on this machine's loopback interface.
struct Registry {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// What is answered, by path.
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    /// What is sent somewhere else.
    moved: Mutex<BTreeMap<String, String>>,
    whims: Mutex<Vec<Whim>>,
    /// Lines of the requests, with their ranges.
    seen: Mutex<Vec<String>>,
    wants_token: AtomicBool,
    /// What the `Authorization` header has to be, in small letters.
    wants_password: Mutex<Option<String>>,
    no_ranges: AtomicBool,
    port: AtomicUsize,
}

impl Registry {
    fn start() -> Self {
        Self::behind(|server, stream| server.answer(stream))
    }

    /// One whose connections are taken by `take`.
    fn behind(
        take: impl Fn(&Shared, std::net::TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let take = Arc::new(take);
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        shared.port.store(port.into(), Ordering::SeqCst);
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (server, take) = (Arc::clone(&server), Arc::clone(&take));
                // Whoever breaks off does not want the answer.
                thread::spawn(move || take(server.as_ref(), stream));
            }
        });
        Self { port, shared }
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn put(&self, path: &str, content: &[u8]) {
        let mut files = self.shared.files.lock().unwrap();
        files.insert(path.to_owned(), content.to_vec());
    }

    /// Puts an image where it belongs.
    fn publish(&self, repository: &str, tag: &str, fixture: &Fixture) {
        for (digest, bytes) in fixture.blobs() {
            self.put(&format!("/v2/{repository}/blobs/{digest}"), &bytes);
        }
        self.publish_manifest(repository, tag, &fixture.manifest);
    }

    fn publish_manifest(&self, repository: &str, tag: &str, manifest: &[u8]) {
        for selector in [tag.to_owned(), Digest::of(manifest).to_string()] {
            self.put(&format!("/v2/{repository}/manifests/{selector}"), manifest);
        }
    }

    fn whim(&self, whim: Whim) {
        self.shared.whims.lock().unwrap().push(whim);
    }

    fn seen(&self, part: &str) -> usize {
        let seen = self.shared.seen.lock().unwrap();
        seen.iter().filter(|line| line.contains(part)).count()
    }
}

impl Shared {
    fn answer(&self, stream: impl Read + Write) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let (mut range, mut shown) = (None, String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(from) = line.strip_prefix("range: bytes=") {
                range = from.trim_end_matches('-').parse::<usize>().ok();
            }
            if let Some(value) = line.strip_prefix("authorization: ") {
                shown = value.to_owned();
            }
        }
        let asked = request.split(' ').nth(1).unwrap_or_default();
        let line = format!("{asked} {range:?} {shown}");
        self.seen.lock().unwrap().push(line);
        // A proxy is asked for whole addresses.
        let path = asked.strip_prefix("http://").unwrap_or(asked);
        let path = path.find('/').map_or(path, |at| &path[at..]);
        self.reply(reader.get_mut(), path, range, &shown)
    }

    /// Only long blobs are worth it.
    fn take_whim(&self, path: &str, length: usize) -> Option<Whim> {
        let blob = path.contains("/blobs/") && length > 10_000;
        blob.then(|| self.whims.lock().unwrap().pop()).flatten()
    }

    fn reply(
        &self,
        stream: &mut (impl Read + Write),
        path: &str,
        range: Option<usize>,
        shown: &str,
    ) -> std::io::Result<()> {
        let port = self.port.load(Ordering::SeqCst);
        if path.starts_with("/token") {
            return send(stream, "200 OK", "", br#"{"token":"secret"}"#);
        }
        if let Some(wanted) = &*self.wants_password.lock().unwrap()
            && shown != wanted
        {
            let wants = "WWW-Authenticate: Basic realm=\"r\"\r\n";
            return send(stream, "401 Unauthorized", wants, b"");
        }
        if self.wants_token.load(Ordering::SeqCst) && shown != "bearer secret" {
            let wants = format!(
                "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"s\"\r\n"
            );
            return send(stream, "401 Unauthorized", &wants, b"");
        }
        if let Some(to) = self.moved.lock().unwrap().get(path) {
            return send(stream, "307 Moved", &format!("Location: {to}\r\n"), b"");
        }
        let Some(content) = self.files.lock().unwrap().get(path).cloned() else {
            let why = br#"{"errors":[{"code":"X","message":"there is no such thing"}]}"#;
            return send(stream, "404 Not Found", "", why);
        };
        let whim = self.take_whim(path, content.len());
        if whim == Some(Whim::Busy) {
            return send(stream, "503 Busy", "Retry-After: 0\r\n", b"");
        }
        let ranges = !self.no_ranges.load(Ordering::SeqCst);
        let from = range.filter(|_| ranges).unwrap_or(0).min(content.len());
        let (first, last) = (from, content.len().saturating_sub(1));
        let (status, header) = match from {
            0 => ("200 OK", String::new()),
            _ => {
                let range = format!("Content-Range: bytes {first}-{last}/{}\r\n", content.len());
                ("206 Partial Content", range)
            }
        };
        let rest = &content[from..];
        if whim == Some(Whim::Shifts) {
            let range = format!("Content-Range: bytes {}-{last}/*\r\n", from + 1);
            return send(stream, "206 Partial Content", &range, &rest[1..]);
        }
        if whim == Some(Whim::Overruns) {
            return send(stream, status, &header, &[rest, rest].concat());
        }
        if whim == Some(Whim::Breaks) {
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{header}\r\n",
                rest.len()
            );
            stream.write_all(head.as_bytes())?;
            return stream.write_all(&rest[..rest.len() / 2]);
        }
        send(stream, status, &header, rest)
    }
}

fn send(stream: &mut impl Write, status: &str, header: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{header}\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

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

/// Where cosign puts signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Tag,
    Referrers,
    ReferrersTag,
}

/// Signs as cosign does, and publishes the signature.
fn sign(registry: &Registry, pair: &EcdsaKeyPair, digest: Digest, place: Place) {
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": format!("{}/team/app", registry.host()) },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = payload.to_string().into_bytes();
    let signature = pair.sign(&SystemRandom::new(), &payload).unwrap();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": super::super::manifest::IMAGE,
        "config": {
            "mediaType": super::super::manifest::CONFIG, "digest": Digest::of(b"{}"), "size": 2,
        },
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": Digest::of(&payload), "size": payload.len(),
            "annotations": { "dev.cosignproject.cosign/signature": STANDARD.encode(signature) },
        }],
    });
    let manifest = manifest.to_string().into_bytes();
    registry.put(
        &format!("/v2/team/app/blobs/{}", Digest::of(&payload)),
        &payload,
    );
    let tag = match place {
        Place::Tag => cosign::tag(&digest),
        _ => "unused".to_owned(),
    };
    registry.publish_manifest("team/app", &tag, &manifest);
    let index = json!({
        "schemaVersion": 2, "mediaType": super::super::manifest::INDEX,
        "manifests": [{
            "mediaType": super::super::manifest::IMAGE, "digest": Digest::of(&manifest),
            "size": manifest.len(),
            "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
        }],
    });
    let index = index.to_string().into_bytes();
    match place {
        Place::Tag => {}
        Place::Referrers => registry.put(&format!("/v2/team/app/referrers/{digest}"), &index),
        Place::ReferrersTag => {
            registry.publish_manifest("team/app", &cosign::referrers_tag(&digest), &index);
        }
    }
}

fn trusting(registry: &Registry, pair: &EcdsaKeyPair) -> Host {
    let prefix = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\
        \x3d\x03\x01\x07\x03\x42\x00";
    let der = [&prefix[..], pair.public_key().as_ref()].concat();
    let key = pem::encode(&pem::Pem::new("PUBLIC KEY", der));
    let host = Host::of(&[registry]);
    host.write("trust.d/team.pub", &key);
    let policy = format!(
        "[[policy]]\nprefix = \"{}/team\"\nkeys = [\"team.pub\"]\n",
        registry.host()
    );
    host.write("trust.d/team.toml", &policy);
    host
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_signed_image_is_taken_wherever_its_signature_is() {
    for place in [Place::Tag, Place::Referrers, Place::ReferrersTag] {
        let registry = Registry::start();
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let host = trusting(&registry, &pair);
        let fixture = fixture();
        registry.publish("team/app", "1", &fixture);
        sign(&registry, &pair, fixture.id(), place);
        let name = format!("{}/team/app:1", registry.host());
        let image = host.fetch_trusted(&name).unwrap();
        let signed = matches!(image.verified, Verified::Signature { .. });
        assert!(signed, "{place:?}: {:?}", image.verified);
        // And from the store, without anybody being asked.
        let before = registry.seen("/v2/");
        host.fetch_trusted(&name).unwrap();
        assert_eq!(registry.seen("/v2/"), before);
    }
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn an_image_that_is_not_signed_is_refused_before_any_layer_is_asked_for() {
    let registry = Registry::start();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let host = trusting(&registry, &pair);
    let fixture = fixture();
    registry.publish("team/app", "1", &fixture);
    let name = format!("{}/team/app:1", registry.host());
    let policy = host.root.path().join("etc/trust.d/team.pub");
    for signed_by_other in [false, true] {
        if signed_by_other {
            sign(&registry, &other, fixture.id(), Place::Tag);
        }
        let error = chain(&host.fetch_trusted(&name).unwrap_err());
        let prefix = format!("{}/team", registry.host());
        let key = fs::read_to_string(Path::new(&policy)).unwrap();
        let key = super::super::trust::keys::PublicKey::from_pem(&key).unwrap();
        let id = fixture.id().to_string();
        for part in [&prefix, key.fingerprint(), &id, "--insecure-options=image"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        for layer in &fixture.layers {
            assert_eq!(registry.seen(&Digest::of(layer).to_string()), 0);
        }
    }
    sign(&registry, &pair, fixture.id(), Place::Tag);
    host.fetch_trusted(&name).unwrap();

    // Another image under the name of the signed one.
    let tampered = Fixture::new(&[&[("bin/app", "evil")]]);
    registry.publish("team/app", "1", &tampered);
    let options = FetchOptions {
        policy: PullPolicy::Update,
        ..FetchOptions::default()
    };
    let source = Source::parse(&name).unwrap();
    let refused = obtain(&host.store, &source, &options);
    assert!(matches!(refused, Err(Error::Trust(_))), "{refused:?}");
    // What was there stays.
    assert_eq!(host.fetch_trusted(&name).unwrap().id, fixture.id());
}
