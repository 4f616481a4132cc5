//! Signatures as cosign makes them.
//!
//! The older form is a manifest whose layers are payloads ("simple signing"), each with its
//! signature beside it; it is found by a tag made of the signed digest. The newer is a
//! bundle, see [`bundle`](super::bundle), found as what refers to the digest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::super::digest::Digest;
use super::super::manifest::{Descriptor, ImageManifest};
use super::super::name::Reference;
use super::bundle;
use super::keys::PublicKey;
use super::policy::{Policy, covers};

/// A payload, and where its signature is.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// What a payload says that it is.
const PURPOSE: &str = "cosign container image signature";

/// Most manifests with signatures that are looked at, and most signatures in each.
pub const MAX_MANIFESTS: usize = 32;
const MAX_SIGNATURES: usize = 64;

/// Longest payload and longest bundle, in bytes.
pub const MAX_PAYLOAD: u64 = 256 << 10;

/// What somebody claims to have signed; nothing of it is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// A payload and its signature.
    Payload {
        /// What was signed.
        payload: Vec<u8>,
        /// The signature.
        signature: Vec<u8>,
    },
    /// A bundle, in JSON.
    Bundle(Vec<u8>),
    /// Something that is not understood.
    Other(String),
}

/// A claim whose content has to be read first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its content.
    pub content: Descriptor,
    /// The signature, if it is not in the content.
    signature: Option<String>,
}

/// The tag under which the older form is found.
pub fn tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// The tag under which what refers to a digest is listed, where a registry has no list.
pub fn referrers_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// Whether an artifact of this kind may hold signatures.
pub fn is_kind(kind: &str) -> bool {
    kind.starts_with(bundle::BUNDLE) || kind.starts_with("application/vnd.dev.cosign")
}

/// The claims of a manifest with signatures.
pub fn claims(manifest: &ImageManifest) -> Vec<Unread> {
    let layers = manifest.layers.iter().take(MAX_SIGNATURES);
    let wanted = layers.filter(|layer| layer.media_type == PAYLOAD || bundle::is_bundle(layer));
    let unread = wanted.map(|layer| Unread {
        content: layer.clone(),
        signature: layer.annotation(SIGNATURE).map(str::to_owned),
    });
    unread.collect()
}

impl Unread {
    /// The claim, now that its content is here.
    pub fn with(self, content: Vec<u8>) -> Claim {
        if bundle::is_bundle(&self.content) {
            return Claim::Bundle(content);
        }
        let signature = self.signature.and_then(|text| STANDARD.decode(text).ok());
        match signature {
            Some(signature) => Claim::Payload {
                payload: content,
                signature,
            },
            None => Claim::Other("a signature that is not in base64".to_owned()),
        }
    }
}

/// What a policy demands of claims about an image.
#[derive(Debug, Clone, Copy)]
pub struct Demanded<'a> {
    /// Whose policy it is.
    pub policy: &'a Policy,
    /// The image's registry and path, if it comes from a registry.
    pub name: Option<&'a str>,
    /// The digests of which one must be signed: the manifest's, and that of the index by
    /// which it was found.
    pub digests: &'a [Digest],
}

/// The key that has signed one of the digests, for this name. Otherwise what there is
/// instead, for people.
pub fn judge<'a>(demanded: Demanded<'a>, claims: &[Claim]) -> Result<&'a PublicKey, String> {
    let mut complaints: Vec<String> = Vec::new();
    for claim in claims {
        let judged = match claim {
            Claim::Payload { payload, signature } => judge_payload(demanded, payload, signature),
            Claim::Bundle(bundle) => bundle::judge(demanded, bundle),
            Claim::Other(what) => Err(what.clone()),
        };
        match judged {
            Ok(key) => return Ok(key),
            Err(complaint) if complaints.contains(&complaint) => {}
            Err(complaint) => complaints.push(complaint),
        }
    }
    match complaints.is_empty() {
        true => Err("there is no signature".to_owned()),
        false => Err(format!("there is only {}", complaints.join("; and "))),
    }
}

fn judge_payload<'a>(
    demanded: Demanded<'a>,
    payload: &[u8],
    signature: &[u8],
) -> Result<&'a PublicKey, String> {
    let keys = &demanded.policy.keys;
    // Before anything in it is looked at.
    let key = keys.iter().find(|key| key.verifies(payload, signature));
    let key = key.ok_or("a signature by another key, or of other bytes")?;
    let wrong = |_| "a payload that is not in the form of simple signing".to_owned();
    let payload: Payload = serde_json::from_slice(payload).map_err(wrong)?;
    let critical = payload.critical;
    if critical.kind != PURPOSE {
        return Err(format!(
            "a signature for another purpose, {:?}",
            critical.kind
        ));
    }
    let signed = critical.image.digest;
    if !demanded.digests.contains(&signed) {
        return Err(format!("a signature of another image, {signed}"));
    }
    check_identity(demanded, &critical.identity.reference)?;
    Ok(key)
}

/// Whether a signature for this name is one for the image: a key may sign several images,
/// and one must not be passed off as another.
pub fn check_identity(demanded: Demanded<'_>, signed: &str) -> Result<(), String> {
    // Without a tag: who signs one often names it by its digest alone.
    let name = match signed.parse::<Reference>() {
        Ok(reference) => reference.name(),
        Err(_) => signed.to_owned(),
    };
    let matches = match (&demanded.policy.signed_as, demanded.name) {
        (Some(prefix), _) => covers(prefix, &name),
        (None, Some(image)) => name == image,
        (None, None) => true,
    };
    match matches {
        true => Ok(()),
        false => Err(format!("a signature for another name, {signed:?}")),
    }
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    identity: Identity,
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference", default)]
    reference: String,
}

#[derive(Deserialize)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}
