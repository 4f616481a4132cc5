//! Which capabilities an app has.

use std::str::FromStr as _;

use caps::{Capability, CapsHashSet};

/// What an app has unless it is told otherwise: what podman gives.
const DEFAULT: [Capability; 11] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// A capability that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no capability {0:?}; they are listed in capabilities(7), or ALL")]
pub struct CapabilityError(String);

/// The default with some more and some less; what is dropped is dropped last, except that
/// `--cap-drop=ALL` leaves what is added.
///
/// # Errors
/// A name is not that of a capability.
pub fn decide(add: &[String], drop: &[String]) -> Result<Vec<String>, CapabilityError> {
    let is_all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("all"));
    let added = parse(add)?;
    let dropped = parse(drop)?;
    let mut set: CapsHashSet = match (is_all(add), is_all(drop)) {
        (true, _) => caps::all(),
        (false, true) => CapsHashSet::new(),
        (false, false) => DEFAULT.into_iter().collect(),
    };
    set.extend(added);
    for capability in dropped {
        set.remove(&capability);
    }
    let mut sorted: Vec<Capability> = set.into_iter().collect();
    sorted.sort_by_key(Capability::index);
    Ok(sorted.iter().map(ToString::to_string).collect())
}

/// Names with or without `CAP_`, in any case.
fn parse(names: &[String]) -> Result<Vec<Capability>, CapabilityError> {
    names
        .iter()
        .filter(|name| !name.eq_ignore_ascii_case("all"))
        .map(|name| {
            let upper = name.to_ascii_uppercase();
            let full = if upper.starts_with("CAP_") {
                upper
            } else {
                format!("CAP_{upper}")
            };
            Capability::from_str(&full).map_err(|_| CapabilityError(name.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(add: &[&str], drop: &[&str]) -> Vec<String> {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        decide(&owned(add), &owned(drop)).unwrap()
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        assert_eq!(decided(&[], &[]).len(), DEFAULT.len());
        assert!(decided(&["net_admin"], &[]).contains(&"CAP_NET_ADMIN".to_owned()));
        assert!(!decided(&[], &["CAP_KILL"]).contains(&"CAP_KILL".to_owned()));
        assert_eq!(decided(&["CAP_KILL"], &["ALL"]), ["CAP_KILL"]);
        assert!(!decided(&["ALL"], &["SYS_ADMIN"]).contains(&"CAP_SYS_ADMIN".to_owned()));
        assert!(decided(&["ALL"], &[]).len() > 30);
        assert!(decide(&["CAP_X".into()], &[]).is_err());
    }
}
