use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::keys::PublicKey;
use super::*;

const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\
    \xce\x3d\x03\x01\x07\x03\x42\x00";

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn public(&self) -> PublicKey {
        let der = [P256, self.0.public_key().as_ref()].concat();
        PublicKey::from_pem(&pem::encode(&pem::Pem::new("PUBLIC KEY", der))).unwrap()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(&SystemRandom::new(), message).unwrap();
        signature.as_ref().to_vec()
    }

    fn claim(&self, name: &str, digest: Digest) -> Claim {
        self.claim_of_type("cosign container image signature", name, digest)
    }

    fn claim_of_type(&self, kind: &str, name: &str, digest: Digest) -> Claim {
        let payload = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"{name}"}},"image":
            {{"docker-manifest-digest":"{digest}"}},"type":"{kind}"}},"optional":null}}"#
        );
        Claim::Payload {
            signature: self.sign(payload.as_bytes()),
            payload: payload.into_bytes(),
        }
    }

    fn bundle(&self, predicate: &str, digest: Digest) -> Claim {
        let statement = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":
            {{"sha256":"{}"}}}}],"predicateType":"{predicate}","predicate":{{}}}}"#,
            digest.hex()
        );
        let kind = "application/vnd.in-toto+json";
        let head = format!("DSSEv1 {} {kind} {} ", kind.len(), statement.len());
        let signature = self.sign(&[head.as_bytes(), statement.as_bytes()].concat());
        let bundle = format!(
            r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial":{{"publicKey":{{"hint":"x"}}}},"dsseEnvelope":{{"payload":"{}",
            "payloadType":"{kind}","signatures":[{{"sig":"{}"}}]}}}}"#,
            STANDARD.encode(&statement),
            STANDARD.encode(signature)
        );
        Claim::Bundle(bundle.into_bytes())
    }
}

fn policy(key: PublicKey) -> Policy {
    Policy {
        prefix: "example.com/team".to_owned(),
        required: true,
        reject: false,
        keys: vec![key],
        signed_as: None,
        file: Path::new("/etc/rocket/trust.d/team.toml").to_owned(),
    }
}

fn image() -> (Source, Digest) {
    let source = Source::parse("example.com/team/app:1").unwrap();
    (source, Digest::of(b"manifest"))
}

const NAME: &str = "example.com/team/app";

#[test]
fn a_signature_for_the_image_by_the_policys_key_is_enough() {
    let signer = Signer::new();
    let (source, digest) = image();
    let policy = policy(signer.public());
    for name in [NAME, "example.com/team/app:2", &format!("{NAME}@{digest}")] {
        let claims = [Claim::Other("a chart".into()), signer.claim(name, digest)];
        let verified = judge(&policy, &source, &[digest], &claims).unwrap();
        let key = signer.public().fingerprint().to_owned();
        let prefix = policy.prefix.clone();
        assert_eq!(verified, Verified::Signature { key, prefix });
    }
    let predicate = "https://sigstore.dev/cosign/sign/v1";
    let claims = [signer.bundle(predicate, digest)];
    judge(&policy, &source, &[Digest::of(b"other"), digest], &claims).unwrap();
}

#[test]
fn everything_else_is_refused_with_key_prefix_and_digest() {
    let (signer, other) = (Signer::new(), Signer::new());
    let (source, digest) = image();
    let policy = policy(signer.public());
    let Claim::Payload {
        payload,
        mut signature,
    } = signer.claim(NAME, digest)
    else {
        panic!("no payload")
    };
    signature[10] ^= 1;
    let predicate = "https://sigstore.dev/cosign/sign/v1";
    let cases = [
        ("no signature", vec![]),
        ("another key", vec![other.claim(NAME, digest)]),
        (
            "another image",
            vec![signer.claim(NAME, Digest::of(b"other"))],
        ),
        (
            "another name",
            vec![signer.claim("example.com/team/other", digest)],
        ),
        (
            "another purpose",
            vec![signer.claim_of_type("atomic", NAME, digest)],
        ),
        ("other bytes", vec![Claim::Payload { payload, signature }]),
        (
            "signed by another key",
            vec![other.bundle(predicate, digest)],
        ),
        (
            "bundle of another image",
            vec![signer.bundle(predicate, Digest::of(b""))],
        ),
        (
            "of the kind",
            vec![signer.bundle("https://slsa.dev/provenance/v1", digest)],
        ),
        ("form of Sigstore", vec![Claim::Bundle(b"{".to_vec())]),
    ];
    for (what, claims) in cases {
        let error = judge(&policy, &source, &[digest], &claims)
            .unwrap_err()
            .to_string();
        let fingerprint = signer.public().fingerprint().to_owned();
        let digest = digest.to_string();
        for part in [
            what,
            &fingerprint,
            "\"example.com/team\"",
            &digest,
            "team.toml",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

#[test]
fn a_policy_may_say_under_which_name_images_are_signed() {
    let signer = Signer::new();
    let (source, digest) = image();
    let policy = Policy {
        signed_as: Some("upstream.example/apps".to_owned()),
        ..policy(signer.public())
    };
    let good = [signer.claim("upstream.example/apps/x:1", digest)];
    judge(&policy, &source, &[digest], &good).unwrap();
    let bad = [
        signer.claim(NAME, digest),
        signer.bundle("https://sigstore.dev/cosign/sign/v1", digest),
    ];
    let error = judge(&policy, &source, &[digest], &bad)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("another name") && error.contains("signed-as"),
        "{error}"
    );
}

#[test]
fn ed25519_keys_sign_too() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let prefix = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    let der = [&prefix[..], pair.public_key().as_ref()].concat();
    let key = PublicKey::from_pem(&pem::encode(&pem::Pem::new("PUBLIC KEY", der))).unwrap();
    let signature = pair.sign(b"message");
    assert!(key.verifies(b"message", signature.as_ref()));
    assert!(!key.verifies(b"another", signature.as_ref()));
    assert_eq!(key.kind(), "Ed25519");
}

fn policies(text: &str) -> Policies {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("etc/trust.d");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("a.toml"), text).unwrap();
    Policies::load(&crate::dirs::Dirs::below(root.path())).unwrap()
}

#[test]
fn without_a_policy_only_a_digest_or_insisting_helps() {
    let none = Policies::default();
    let demand = |text: &str, checks| {
        let source = Source::parse(text).unwrap();
        let demand = super::demand(&none, &source, checks);
        demand
            .map(|demand| format!("{demand:?}"))
            .map_err(|error| error.to_string())
    };
    let error = demand("example.com/team/app:1", Checks::All).unwrap_err();
    let hint = "rocket trust --prefix example.com/team KEY";
    assert!(
        error.contains(hint) && error.contains("--insecure-options=image"),
        "{error}"
    );
    assert!(demand("docker-archive:/srv/a.tar", Checks::All).is_err());
    let pinned = format!("example.com/team/app@{}", Digest::of(b""));
    assert!(demand(&pinned, Checks::All).unwrap().contains("Pinned"));
    assert!(
        demand("oci:/srv/a", Checks::SkipImage)
            .unwrap()
            .contains("Insecure")
    );
}

#[test]
fn what_is_rejected_stays_so_whatever_is_asked_for() {
    let policies = policies("[[policy]]\nprefix = \"example.com\"\nreject = true");
    let pinned = format!("example.com/app@{}", Digest::of(b""));
    for checks in [Checks::All, Checks::SkipImage] {
        let source = Source::parse(&pinned).unwrap();
        let refused = demand(&policies, &source, checks);
        assert!(matches!(refused, Err(TrustError::Rejected { .. })));
    }
}

#[test]
fn what_was_let_in_is_judged_by_the_policy_of_today() {
    let policies = policies("[[policy]]\nprefix = \"example.com\"\nrequired = false");
    let digest = Digest::of(b"");
    let judge = |text: &str, checks, verified: &Verified| {
        let source = Source::parse(text).unwrap();
        allows(&policies, &source, checks, &digest, verified)
    };
    judge("example.com/app", Checks::All, &Verified::Insecure).unwrap();
    let other = "example.org/app";
    assert!(judge(other, Checks::All, &Verified::Insecure).is_err());
    judge(other, Checks::SkipImage, &Verified::Insecure).unwrap();
    judge(&digest.to_string(), Checks::All, &Verified::Pinned).unwrap();
}

#[test]
fn a_key_that_the_policy_does_not_name_any_more_is_not_enough() {
    let signer = Signer::new();
    let key = signer.public();
    let der = [P256, signer.0.public_key().as_ref()].concat();
    let text = pem::encode(&pem::Pem::new("PUBLIC KEY", der));
    let policies = policies(&format!(
        "[[policy]]\nprefix = \"example.com\"\nkeys = [\"\"\"{text}\"\"\"]"
    ));
    let (source, digest) = image();
    let signed = |key: &str| Verified::Signature {
        key: key.to_owned(),
        prefix: "example.com".to_owned(),
    };
    let judge = |verified| allows(&policies, &source, Checks::All, &digest, &verified);
    judge(signed(key.fingerprint())).unwrap();
    let refused = judge(signed("sha256:00"));
    assert!(matches!(refused, Err(TrustError::Stale { .. })));
}

/// Made by cosign 2.5: `cosign sign --key cosign.key 127.0.0.1:5055/team/app@sha256:…`.
#[test]
fn what_cosign_signs_is_taken() {
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEA4mJ/nrpkskfBUplmQH9MHj6/nhG\n\
        RYg/3PcX95yr1g+dJLBxxO2tKE8DKvRxwfbknUL2g8YBRYmCg69sE/t2Sg==\n\
        -----END PUBLIC KEY-----\n";
    const PAYLOAD: &str = r#"{"critical":{"identity":{"docker-reference":"127.0.0.1:5055/team/app"},"image":{"docker-manifest-digest":"sha256:7adbe41747e1c8b2b5f75b9d2daa3e9c861e14b6321f4aa9e4d3c420c69437e6"},"type":"cosign container image signature"},"optional":null}"#;
    const SIGNATURE: &str = "MEUCIQDrKZkfqJIj6EqxDOY6+exPLqQypM2qT8Rt883KvXfEugIgDSoa2su23f50ONw/SWiGhlWLNvafsVdZ2l1qFJNtBLg=";
    let digest = "sha256:7adbe41747e1c8b2b5f75b9d2daa3e9c861e14b6321f4aa9e4d3c420c69437e6";
    let digest: Digest = digest.parse().unwrap();
    let policy = policy(PublicKey::from_pem(KEY).unwrap());
    let source = Source::parse("127.0.0.1:5055/team/app:1").unwrap();
    let claim = Claim::Payload {
        payload: PAYLOAD.as_bytes().to_vec(),
        signature: STANDARD.decode(SIGNATURE).unwrap(),
    };
    judge(&policy, &source, &[digest], &[claim]).unwrap();
}
