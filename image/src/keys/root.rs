//! What a root says: made from keys, without touching a file.

use std::collections::HashMap;
use std::num::NonZeroU64;

use anyhow::{Context, Result};
use aws_lc_rs::rand::SystemRandom;
use jiff::{SignedDuration, Timestamp};
use tough::editor::signed::SignedRole;
use tough::key_source::KeySource;
use tough::schema::{KeyHolder, RoleKeys, Root};

use super::pem::NewKey;
use super::{ROLES, RoleSpec, block_on};

/// The version of the TUF specification that metadata follows.
pub const SPEC_VERSION: &str = "1.0.0";

/// The first root.
pub fn first(keys: &[(RoleSpec, NewKey)], days: u32) -> Result<Root> {
    let mut root = Root {
        spec_version: SPEC_VERSION.to_string(),
        consistent_snapshot: true,
        version: NonZeroU64::MIN,
        expires: in_days(days)?,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    };
    set_keys(&mut root, keys)?;
    Ok(root)
}

/// The root after `old`.
pub fn next(old: &Root, keys: &[(RoleSpec, NewKey)], days: u32) -> Result<Root> {
    let mut root = old.clone();
    root.version = old.version.checked_add(1).context("counting roots")?;
    root.expires = in_days(days)?;
    set_keys(&mut root, keys)?;
    Ok(root)
}

/// Gives the roles of `keys` these keys and no others.
fn set_keys(root: &mut Root, keys: &[(RoleSpec, NewKey)]) -> Result<()> {
    for role in ROLES {
        let of_role = || keys.iter().filter(|(spec, _)| spec.role == role);
        let Some((spec, _)) = of_role().next() else {
            continue;
        };
        let threshold = NonZeroU64::new(spec.threshold.into());
        let role_keys = RoleKeys {
            keyids: of_role().map(|(_, key)| key.id.clone()).collect(),
            threshold: threshold.context("a threshold of 0 trusts everybody")?,
            _extra: HashMap::new(),
        };
        root.roles.insert(role, role_keys);
        for (_, key) in of_role() {
            root.keys.insert(key.id.clone(), key.public.clone());
        }
    }
    let roles = &root.roles;
    root.keys
        .retain(|id, _| roles.values().any(|role| role.keyids.contains(id)));
    Ok(())
}

/// Signs `root` with those of `sources` that are root keys of it or of `old`.
pub fn sign(
    root: Root,
    old: Option<&Root>,
    sources: &[Box<dyn KeySource>],
) -> Result<SignedRole<Root>> {
    let random = SystemRandom::new();
    let holder = |root: &Root| KeyHolder::Root(root.clone());
    block_on(async {
        let new = holder(&root);
        let mut signed = SignedRole::new(root.clone(), &new, sources, &random)
            .await
            .context("signing the root with its own keys")?;
        if let Some(old) = old {
            let by_old = SignedRole::new(root, &holder(old), sources, &random)
                .await
                .context("signing the root with the keys of the one before")?;
            let signatures = by_old.signed().signatures.clone();
            signed = signed
                .add_old_signatures(signatures)
                .context("putting signatures together")?;
        }
        Ok(signed)
    })?
}

/// The moment `days` from now, to the second.
pub fn in_days(days: u32) -> Result<Timestamp> {
    let then = Timestamp::now()
        .checked_add(SignedDuration::from_hours(24 * i64::from(days)))
        .context("the expiry is too far away")?;
    Timestamp::from_second(then.as_second()).context("the expiry is too far away")
}
