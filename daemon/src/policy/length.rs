//! Lengths of time as people write them: `10min`, `1h 30min`, `2 days`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time that is longer than zero. A day has 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Length(Duration);

/// Text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a length of time like \"10min\" or \"1h 30min\"")]
pub struct NotALength(String);

impl Length {
    /// A length of `seconds`; at least one second.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(if seconds == 0 { 1 } else { seconds }))
    }

    /// The same for the standard library.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(length) => write!(f, "{length:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

impl FromStr for Length {
    type Err = NotALength;

    fn from_str(text: &str) -> Result<Self, NotALength> {
        match read(text) {
            Some(length) if !length.is_zero() => Ok(Self(length)),
            _ => Err(NotALength(text.to_string())),
        }
    }
}

fn read(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(length).ok()
}

/// A length of time that may be none at all: `0s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(Option<Length>);

impl Grace {
    /// That long, if it is not zero.
    pub fn length(self) -> Option<Length> {
        self.0
    }
}

impl From<Length> for Grace {
    fn from(length: Length) -> Self {
        Self(Some(length))
    }
}

impl fmt::Display for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(length) => length.fmt(f),
            None => f.write_str("0s"),
        }
    }
}

impl FromStr for Grace {
    type Err = NotALength;

    fn from_str(text: &str) -> Result<Self, NotALength> {
        match read(text) {
            Some(length) if length.is_zero() => Ok(Self(None)),
            _ => text.parse().map(|length| Self(Some(length))),
        }
    }
}

impl Serialize for Grace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Length {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_write_lengths_in_many_ways() {
        for (text, seconds) in [
            ("10min", 600),
            ("1h 30min", 5400),
            ("1h30m", 5400),
            ("2 days", 172_800),
            ("90s", 90),
            ("1 week", 604_800),
        ] {
            assert_eq!(text.parse(), Ok(Length::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_is_refused_and_repeated() {
        for text in ["", "10", "0s", "-5min", "soon", "1 month"] {
            let error = text.parse::<Length>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn only_grace_may_be_none() {
        for text in ["0s", "0 min"] {
            let grace: Grace = text.parse().unwrap();
            assert_eq!((grace.length(), grace.to_string().as_str()), (None, "0s"));
        }
        let grace: Grace = "5min".parse().unwrap();
        assert_eq!(grace.length(), Some(Length::from_secs(300)));
        assert!("-1s".parse::<Grace>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same(seconds in 1..10_000_000u64) {
            let length = Length::from_secs(seconds);
            prop_assert_eq!(length.to_string().parse(), Ok(length));
        }
    }
}
