//! Which spec a config is written for.

use std::fmt;
use std::str::FromStr;

/// The newest accepted spec; every config is translated to it.
pub const NEWEST: &str = "3.6.0";

/// The experimental spec, accepted by a flag.
pub const EXPERIMENTAL: &str = "3.7.0-experimental";

/// A spec version that may be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spec {
    /// 3.0.0
    V3_0,
    /// 3.1.0
    V3_1,
    /// 3.2.0
    V3_2,
    /// 3.3.0
    V3_3,
    /// 3.4.0
    V3_4,
    /// 3.5.0
    V3_5,
    /// 3.6.0
    V3_6,
    /// 3.7.0-experimental, which has the keys of 3.6.0 so far
    V3_7Experimental,
}

/// Which specs are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accepts {
    /// Those that do not change any more.
    #[default]
    Stable,
    /// The one that changes without warning, too.
    Experimental,
}

/// What accepts the experimental spec, for messages.
const FLAG: &str = "--experimental or the kernel argument ignition.experimental=1";

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3_0 => "3.0.0",
            Self::V3_1 => "3.1.0",
            Self::V3_2 => "3.2.0",
            Self::V3_3 => "3.3.0",
            Self::V3_4 => "3.4.0",
            Self::V3_5 => "3.5.0",
            Self::V3_6 => "3.6.0",
            Self::V3_7Experimental => EXPERIMENTAL,
        })
    }
}

impl FromStr for Spec {
    type Err = String;

    /// Says what is wrong with `text` and what to write instead.
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "3.0.0" => Self::V3_0,
            "3.1.0" => Self::V3_1,
            "3.2.0" => Self::V3_2,
            "3.3.0" => Self::V3_3,
            "3.4.0" => Self::V3_4,
            "3.5.0" => Self::V3_5,
            "3.6.0" => Self::V3_6,
            EXPERIMENTAL => Self::V3_7Experimental,
            other => return Err(refusal(other)),
        })
    }
}

impl Spec {
    /// The spec [`NEWEST`], which merged configs have.
    pub const NEWEST: Self = Self::V3_6;

    /// The spec version `text`, if `accepts` has it; else what is wrong with it
    /// and what to write instead.
    pub fn accepted(text: &str, accepts: Accepts) -> Result<Self, String> {
        match text.parse()? {
            Self::V3_7Experimental if accepts == Accepts::Stable => Err(format!(
                "spec version {text} is experimental and accepted only with {FLAG}; \
                 else write {NEWEST} or older"
            )),
            spec => Ok(spec),
        }
    }
}

fn refusal(text: &str) -> String {
    let range = format!("accepted are 3.0.0 to {NEWEST}");
    let (release, suffix) = match text.split_once(['-', '+']) {
        Some((release, suffix)) => (release, Some(suffix)),
        None => (text, None),
    };
    let numbers: Option<Vec<u64>> = release.split('.').map(|n| n.parse().ok()).collect();
    let (major, minor) = match numbers.as_deref() {
        Some([major, minor, _]) => (*major, *minor),
        _ => return format!("{text:?} is not a spec version of the form X.Y.Z; {range}"),
    };
    match (major, suffix) {
        (0..=2, _) => format!(
            "spec version {text} is of the incompatible series {major}; {range}; \
             translate the config to spec 3 first"
        ),
        (3, Some(_)) => {
            format!("spec version {text} is experimental, which is not accepted; {range}")
        }
        (3, None) if minor <= 6 => format!("there is no spec version {text}; {range}"),
        _ => format!("spec version {text} is newer than this program; {range}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_versions_say_why() {
        for (version, words) in [
            ("2.3.0", "incompatible series 2"),
            ("1.0.0", "incompatible series 1"),
            ("3.6.0-experimental", "experimental"),
            ("3.8.0-experimental", "experimental"),
            ("3.7.0", "newer than this program"),
            ("4.0.0", "newer than this program"),
            ("3.0.1", "no spec version 3.0.1"),
            ("3.1", "not a spec version"),
            ("", "not a spec version"),
            ("three", "not a spec version"),
        ] {
            let message = version.parse::<Spec>().unwrap_err();
            assert!(message.contains(words), "{version}: {message}");
            assert!(message.contains("3.0.0 to 3.6.0"), "{message}");
        }
    }

    #[test]
    fn the_experimental_spec_needs_its_flag() {
        let accepted = |accepts| Spec::accepted(EXPERIMENTAL, accepts);
        assert_eq!(accepted(Accepts::Experimental), Ok(Spec::V3_7Experimental));
        let message = accepted(Accepts::Stable).unwrap_err();
        assert!(message.contains("ignition.experimental=1"), "{message}");
        assert!(message.contains("--experimental"), "{message}");
        let old = Spec::accepted("3.5.0-experimental", Accepts::Experimental);
        assert!(old.unwrap_err().contains("3.5.0-experimental"));
    }

    #[test]
    fn newest_is_accepted() {
        assert_eq!(NEWEST.parse::<Spec>(), Ok(Spec::NEWEST));
    }
}
