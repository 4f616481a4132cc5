//! Sigstore's bundles, as far as a plain public key goes: a DSSE envelope around an in-toto
//! statement whose subject is the image. Certificates and transparency logs are not looked
//! at; a bundle that has no signature by one of the policy's keys is none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::super::digest::Digest;
use super::super::manifest::Descriptor;
use super::cosign::{Demanded, check_identity};
use super::keys::PublicKey;

/// What a bundle's kind begins with.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// Kind of the statement in the envelope.
const STATEMENT: &str = "application/vnd.in-toto+json";

/// What a statement says if it is a signature, and not for example where an image came from.
const PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Most signatures of one envelope, and most subjects of one statement.
const MAX_COUNT: usize = 64;

/// Whether content is a bundle.
pub fn is_bundle(content: &Descriptor) -> bool {
    content.media_type.starts_with(BUNDLE)
}

/// The key that has signed, if the bundle is for the image that is demanded.
pub fn judge<'a>(demanded: Demanded<'a>, bundle: &[u8]) -> Result<&'a PublicKey, String> {
    let wrong = |_| "a bundle that is not in the form of Sigstore".to_owned();
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(wrong)?;
    let envelope = bundle.envelope.ok_or("a bundle without an envelope")?;
    if envelope.payload_type != STATEMENT {
        return Err(format!("an envelope around {:?}", envelope.payload_type));
    }
    let payload = STANDARD.decode(&envelope.payload);
    let payload = payload.map_err(|_| "an envelope that is not in base64".to_owned())?;
    let message = encode(&envelope.payload_type, &payload);
    let signatures = envelope.signatures.iter().take(MAX_COUNT);
    let signatures: Vec<Vec<u8>> = signatures
        .filter_map(|signature| STANDARD.decode(&signature.sig).ok())
        .collect();
    let keys = &demanded.policy.keys;
    let signed = |key: &&PublicKey| signatures.iter().any(|s| key.verifies(&message, s));
    let key = keys.iter().find(signed);
    let key = key.ok_or("a bundle signed by another key")?;
    let wrong = |_| "a bundle without a statement".to_owned();
    let statement: Statement = serde_json::from_slice(&payload).map_err(wrong)?;
    check(demanded, &statement)?;
    Ok(key)
}

fn check(demanded: Demanded<'_>, statement: &Statement) -> Result<(), String> {
    if statement.predicate_type != PREDICATE {
        return Err(format!(
            "a statement of the kind {:?}",
            statement.predicate_type
        ));
    }
    let mut complaint = "a bundle of another image".to_owned();
    for subject in statement.subject.iter().take(MAX_COUNT) {
        let digest = Digest::from_hex(&subject.digest.sha256);
        if !digest.is_ok_and(|digest| demanded.digests.contains(&digest)) {
            continue;
        }
        match &subject.name {
            Some(name) if !name.is_empty() => match check_identity(demanded, name) {
                Ok(()) => return Ok(()),
                Err(other) => complaint = other,
            },
            // cosign signs the digest only. Who wants a name cannot have it here.
            _ if demanded.policy.signed_as.is_none() => return Ok(()),
            _ => complaint = "a bundle that names no image, but the policy has signed-as".into(),
        }
    }
    Err(complaint)
}

/// DSSE's encoding of what is signed.
fn encode(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(rename = "dsseEnvelope")]
    envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    name: Option<String>,
    digest: SubjectDigest,
}

#[derive(Deserialize)]
struct SubjectDigest {
    #[serde(default)]
    sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_encoded_as_dsse_says() {
        let encoded = encode("http://example.com/HelloWorld", b"hello world");
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(encoded, expected);
    }
}
