//! Trust: whose images may run.
//!
//! A policy is for all names below a prefix; the longest prefix decides. It names keys of
//! which one must have signed the image, or lets unsigned images pass, or lets none pass.
//! Where there is no policy there are no keys, and an image is refused; unless it was
//! pinned by digest, or somebody insists.

mod bundle;
pub mod cosign;
pub mod keys;
pub mod policy;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::Error;
use super::digest::Digest;
use super::local::LocalImage;
use super::manifest::{MAX_MANIFEST, Manifest, parse};
use super::source::Source;
use cosign::{Claim, Demanded};
use policy::{Policies, Policy};

/// Why an image was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Verified {
    /// A key has signed it.
    Signature {
        /// Fingerprint of the key.
        key: String,
        /// The prefix whose policy names it.
        prefix: String,
    },
    /// It was asked for by its digest.
    Pinned,
    /// The policy for its prefix wants no signature.
    NotRequired {
        /// That prefix.
        prefix: String,
    },
    /// Somebody said that it must not be looked at.
    Insecure,
}

impl Verified {
    /// In a word or two, for a table.
    pub fn short(&self) -> &'static str {
        match self {
            Self::Signature { .. } => "signed",
            Self::Pinned => "pinned",
            Self::NotRequired { .. } => "not required",
            Self::Insecure => "insecure",
        }
    }
}

/// What has to be done before an image may be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand<'a> {
    /// Nothing, for this reason.
    Satisfied(Verified),
    /// One of this policy's keys must have signed it.
    Signature(&'a Policy),
}

/// Whether somebody insists on taking an image that cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checks {
    /// No.
    #[default]
    All,
    /// `--insecure-options=image`.
    SkipImage,
}

/// Why an image was refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The policy lets nothing pass.
    #[error("{scope} is refused: the policy for {prefix:?} in {file} rejects all images below it")]
    Rejected {
        /// Name of the image.
        scope: String,
        /// The policy's prefix.
        prefix: String,
        /// The policy's file.
        file: String,
    },
    /// There is no policy at all.
    #[error(
        "{scope} is not trusted: no policy covers it. Say whose images to trust with `rocket \
         trust --prefix {prefix} KEY`, or name the image by its digest (@sha256:…), or pass \
         --insecure-options=image"
    )]
    NoPolicy {
        /// Name of the image.
        scope: String,
        /// A prefix that would cover it.
        prefix: String,
    },
    /// Nobody whom the policy names has signed it.
    #[error(transparent)]
    Unsigned(Box<Unsigned>),
    /// What is in the store was let pass by another rule than the one of today.
    #[error(
        "{scope} ({digest}) is in the store, but was let in as {how:?}, which the policy of \
         today does not allow. Fetch it again with `rocket fetch --pull-policy=update {scope}`, \
         or pass --insecure-options=image"
    )]
    Stale {
        /// Name of the image.
        scope: String,
        /// Its digest.
        digest: Digest,
        /// As what it was let in.
        how: &'static str,
    },
    /// A policy that cannot be read decides nothing, so nothing is trusted.
    #[error(transparent)]
    Policy(#[from] policy::PolicyError),
}

/// What was demanded, and what there is.
#[derive(Debug, thiserror::Error)]
#[error(
    "{scope} ({digest}) is not trusted: the policy for {prefix:?} in {file} wants a signature \
     by {keys}, and {found}. Sign it with the key, or name the image by its digest \
     (@{digest}), or pass --insecure-options=image"
)]
pub struct Unsigned {
    /// Name of the image.
    pub scope: String,
    /// Its digest.
    pub digest: Digest,
    /// The policy's prefix.
    pub prefix: String,
    /// The policy's file.
    pub file: String,
    /// Fingerprints of its keys.
    pub keys: String,
    /// What there was instead.
    pub found: String,
}

/// What the policies demand of an image from this source.
pub fn demand<'a>(
    policies: &'a Policies,
    source: &Source,
    checks: Checks,
) -> Result<Demand<'a>, TrustError> {
    let scope = source.scope();
    let policy = policies.find(&scope);
    // Who insists is the operator who could change the policy; a rejection is for the
    // case that somebody insists without having thought of it.
    if let Some(policy) = policy.filter(|policy| policy.reject) {
        return Err(TrustError::Rejected {
            scope,
            prefix: policy.prefix.clone(),
            file: policy.file.display().to_string(),
        });
    }
    if checks == Checks::SkipImage {
        return Ok(Demand::Satisfied(Verified::Insecure));
    }
    if source.pin().is_some() {
        return Ok(Demand::Satisfied(Verified::Pinned));
    }
    match policy {
        None => Err(TrustError::NoPolicy {
            prefix: suggested_prefix(&scope),
            scope,
        }),
        Some(policy) if !policy.required => Ok(Demand::Satisfied(Verified::NotRequired {
            prefix: policy.prefix.clone(),
        })),
        Some(policy) => Ok(Demand::Signature(policy)),
    }
}

/// Whether an image of the store, which was taken for this reason, may be used today.
pub fn allows(
    policies: &Policies,
    source: &Source,
    checks: Checks,
    id: &Digest,
    verified: &Verified,
) -> Result<(), TrustError> {
    // What is named by its id is what it is.
    if matches!(source, Source::Stored(_)) {
        return Ok(());
    }
    let policy = match demand(policies, source, checks)? {
        Demand::Satisfied(_) => return Ok(()),
        Demand::Signature(policy) => policy,
    };
    let good = match verified {
        Verified::Signature { key, .. } => policy.keys.iter().any(|k| k.fingerprint() == key),
        _ => false,
    };
    if good {
        return Ok(());
    }
    Err(TrustError::Stale {
        scope: source.to_string(),
        digest: *id,
        how: verified.short(),
    })
}

/// All but the last component: whoever publishes one image of a team publishes the others.
fn suggested_prefix(scope: &str) -> String {
    match scope.rsplit_once('/') {
        Some((prefix, _)) if !prefix.is_empty() => prefix.to_owned(),
        _ => scope.to_owned(),
    }
}

/// Whether one of the policy's keys has signed an image: its manifest, or the index by
/// which it was found.
pub fn judge(
    policy: &Policy,
    source: &Source,
    digests: &[Digest],
    claims: &[Claim],
) -> Result<Verified, TrustError> {
    let scope = source.scope();
    let demanded = Demanded {
        policy,
        name: matches!(source, Source::Registry(_)).then_some(scope.as_str()),
        digests,
    };
    match cosign::judge(demanded, claims) {
        Ok(key) => Ok(Verified::Signature {
            key: key.fingerprint().to_owned(),
            prefix: policy.prefix.clone(),
        }),
        Err(found) => {
            let keys = policy.keys.iter().map(|key| key.fingerprint());
            Err(TrustError::Unsigned(Box::new(Unsigned {
                digest: digests.first().copied().unwrap_or_else(|| Digest::of(b"")),
                scope,
                prefix: policy.prefix.clone(),
                file: policy.file.display().to_string(),
                keys: keys.collect::<Vec<_>>().join(" or "),
                found,
            })))
        }
    }
}

/// The same for an image in a file, whose signatures are beside it.
pub fn local(policy: &Policy, source: &Source, image: &LocalImage) -> Result<Verified, Error> {
    let index = image.found.index.as_deref().map(Digest::of);
    let digests: Vec<Digest> = [image.found.id()].into_iter().chain(index).collect();
    let signatures = image.signatures();
    let mut claims = Vec::new();
    for digest in &digests {
        let candidates = signatures.candidates(digest)?;
        for candidate in candidates.iter().take(cosign::MAX_MANIFESTS) {
            let bytes = signatures.read(candidate, MAX_MANIFEST)?;
            let Ok(Manifest::Image(manifest)) = parse(&bytes) else {
                continue;
            };
            for unread in cosign::claims(&manifest) {
                let content = signatures.read(&unread.content, cosign::MAX_PAYLOAD)?;
                claims.push(unread.with(content));
            }
        }
    }
    Ok(judge(policy, source, &digests, &claims)?)
}
