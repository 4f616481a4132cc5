//! Which family of configs a text is of, and which Ignition spec it becomes.

use std::fmt;

use crate::config::{Problem, Spec};
use crate::tools::text::{Spot, Text};
use crate::tools::yaml::Node;

/// A family of configs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Fedora CoreOS.
    Fcos,
    /// Flatcar.
    Flatcar,
    /// Ours.
    Ballast,
}

/// Families with their versions, 1.0.0 first, and the spec each becomes.
const FAMILIES: [(&str, Family, &[Spec]); 3] = [
    ("ballast", Family::Ballast, &[Spec::V3_6]),
    (
        "fcos",
        Family::Fcos,
        &[
            Spec::V3_0,
            Spec::V3_1,
            Spec::V3_2,
            Spec::V3_2,
            Spec::V3_3,
            Spec::V3_4,
            Spec::V3_5,
            Spec::V3_6,
        ],
    ),
    ("flatcar", Family::Flatcar, &[Spec::V3_3, Spec::V3_4]),
];

/// Families that Butane has and this program not.
const OTHERS: [&str; 5] = ["fiot", "openshift", "r4e", "rhcos", "rhel"];

/// The variant and version of one config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// The family.
    pub family: Family,
    /// What the config becomes.
    pub spec: Spec,
    name: &'static str,
    minor: usize,
    specs: &'static [Spec],
}

impl Variant {
    /// Reads `variant:` and `version:` of a config.
    pub fn read(text: &Text<'_>, root: &Node) -> Result<Self, Problem> {
        let (spot, name) = scalar(text, root, "variant", || {
            "the variant is missing; write \"variant: ballast\" and \"version: 1.0.0\" \
             at the top (or variant fcos, flatcar)"
                .to_owned()
        })?;
        let known = FAMILIES.iter().find(|(known, ..)| *known == name);
        let Some((name, family, specs)) = known else {
            let reason = if OTHERS.contains(&name) {
                "is one of Butane's that is about another system and not supported"
            } else {
                "is not known"
            };
            let message = format!("variant {name:?} {reason}; write ballast, fcos or flatcar");
            return Err(text.problem(spot, "variant", message));
        };
        let newest = specs.len() - 1;
        let range = match newest {
            0 => format!("variant {name} has version 1.0.0"),
            _ => format!("variant {name} has versions 1.0.0 to 1.{newest}.0"),
        };
        let (spot, version) = scalar(text, root, "version", || {
            format!("the version is missing; write \"version: 1.{newest}.0\" ({range})")
        })?;
        let minor = minor(version, newest)
            .map_err(|why| text.problem(spot, "version", format!("{why}; {range}")))?;
        Ok(Self {
            family: *family,
            spec: specs[minor],
            name,
            minor,
            specs,
        })
    }

    /// What to tell somebody who uses a key that came with `spec`.
    pub fn too_old(&self, spec: Spec) -> String {
        match self.specs.iter().position(|has| *has >= spec) {
            Some(minor) => format!(
                "needs version 1.{minor}.0 of variant {}; this config says 1.{}.0",
                self.name, self.minor
            ),
            None => format!("is not part of variant {}", self.name),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} 1.{}.0", self.name, self.minor)
    }
}

fn scalar<'n>(
    text: &Text<'_>,
    root: &'n Node,
    key: &str,
    missing: impl Fn() -> String,
) -> Result<(Spot, &'n str), Problem> {
    let Some(node) = root.get(key) else {
        return Err(text.problem(Spot::START, key, missing()));
    };
    match node.text() {
        Some(value) => Ok((node.spot, value)),
        None => Err(text.problem(node.spot, key, missing())),
    }
}

/// The minor number of `version`, at most `newest`.
fn minor(version: &str, newest: usize) -> Result<usize, String> {
    if let Some((_, suffix)) = version.split_once('-') {
        return Err(format!(
            "version {version} is {suffix}, which is not accepted"
        ));
    }
    let numbers: Option<Vec<usize>> = version.split('.').map(|n| n.parse().ok()).collect();
    match numbers.as_deref() {
        Some([1, minor, 0]) if *minor <= newest => Ok(*minor),
        Some([1, minor]) if *minor <= newest => Err(format!(
            "a version has three numbers: write \"version: 1.{minor}.0\""
        )),
        Some([_, _, _]) => Err(format!("there is no version {version}")),
        _ => Err(format!("{version:?} is not a version")),
    }
}
