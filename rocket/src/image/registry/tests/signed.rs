//! Images that are signed, and images that are not.

use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::super::super::manifest::{CONFIG, IMAGE, INDEX};
use super::super::super::trust::keys::PublicKey;
use super::*;

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
        "schemaVersion": 2, "mediaType": IMAGE,
        "config": {
            "mediaType": CONFIG, "digest": Digest::of(b"{}"), "size": 2,
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
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [{
            "mediaType": IMAGE, "digest": Digest::of(&manifest),
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
        let key = PublicKey::from_pem(&key).unwrap();
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
