//! Which capabilities an app has.

use oci_spec::runtime::Capability;

use crate::runtime::caps::{BY_NUMBER, DEFAULT};

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
    let mut set: Vec<Capability> = match (is_all(add), is_all(drop)) {
        (true, _) => BY_NUMBER.to_vec(),
        (false, true) => Vec::new(),
        (false, false) => DEFAULT.to_vec(),
    };
    set.extend(added);
    // In the order of their numbers, each once.
    let is_kept =
        |capability: &&Capability| set.contains(capability) && !dropped.contains(capability);
    Ok(BY_NUMBER.iter().filter(is_kept).map(name).collect())
}

/// Whether there is such a capability, or it is `ALL`.
///
/// # Errors
/// There is none.
pub fn check(name: &str) -> Result<(), CapabilityError> {
    parse(&[name.to_owned()]).map(drop)
}

/// `CAP_…`, as runtime specs write it.
fn name(capability: &Capability) -> String {
    match serde_json::to_value(capability) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{capability:?}"),
    }
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
            let parsed = serde_json::from_value(full.into());
            parsed.map_err(|_| CapabilityError(name.clone()))
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
