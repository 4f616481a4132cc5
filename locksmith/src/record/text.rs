//! Strings that go to other hosts' terminals and into one bounded document: short, and
//! without control characters.

use std::fmt::{self, Display};
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a string is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// It is longer than there is room for.
    #[error("it has {length} bytes, and at most {max} are taken")]
    Long {
        /// How many bytes it has.
        length: usize,
        /// How many it may have.
        max: usize,
    },
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// A character that is not taken.
    #[error("{0:?} is in it; {1}")]
    Character(char, &'static str),
}

/// Text for people: at most `MAX` bytes and no control character, so that a host cannot
/// draw on the terminal of whoever looks at its group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Takes `text` as it is, or says why not.
    pub fn new(text: impl Into<String>) -> Result<Self, BadText> {
        let text = text.into();
        if text.len() > MAX {
            return Err(BadText::Long {
                length: text.len(),
                max: MAX,
            });
        }
        match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(BadText::Character(c, "control characters are not taken")),
            None => Ok(Self(text)),
        }
    }

    /// Takes as much of `text` as there is room for, with spaces for control characters.
    pub fn clip(text: &str) -> Self {
        let mut clipped = String::with_capacity(text.len().min(MAX));
        for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if clipped.len() + c.len_utf8() > MAX {
                break;
            }
            clipped.push(c);
        }
        Self(clipped)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const MAX: usize> From<&str> for Text<MAX> {
    /// As [`Text::clip`].
    fn from(text: &str) -> Self {
        Self::clip(text)
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = BadText;

    fn try_from(text: String) -> Result<Self, BadText> {
        Self::new(text)
    }
}

impl<const MAX: usize> From<Text<MAX>> for String {
    fn from(text: Text<MAX>) -> Self {
        text.0
    }
}

/// Most bytes of an ID and of a group's name.
const NAME: usize = 128;

/// Checks what becomes a part of a key.
fn name(text: String, more: &str, rule: &'static str) -> Result<String, BadText> {
    if text.is_empty() {
        return Err(BadText::Empty);
    }
    if text.len() > NAME {
        return Err(BadText::Long {
            length: text.len(),
            max: NAME,
        });
    }
    let taken = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    match text.chars().find(|c| !taken(*c)) {
        Some(c) => Err(BadText::Character(c, rule)),
        None => Ok(text),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $more:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Takes ", $rule, "; from 1 to 128 of them.")]
            pub fn new(text: impl Into<String>) -> Result<Self, BadText> {
                name(text.into(), $more, concat!("it takes ", $rule)).map(Self)
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadText;

            fn from_str(text: &str) -> Result<Self, BadText> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadText;

            fn try_from(text: String) -> Result<Self, BadText> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// By what a host is known to its group: its machine ID, or what its policy names.
    HolderId, "-._:@+", "letters, digits and -._:@+"
);
name!(
    /// Hosts that share one lock.
    GroupName, "-._", "letters, digits and -._"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_parts_of_keys() {
        for good in ["a", "0123456789abcdef", "rack-1.zone_2", &"x".repeat(128)] {
            assert_eq!(GroupName::new(good).unwrap().as_str(), good);
            assert_eq!(HolderId::new(good).unwrap().to_string(), good);
        }
        assert_eq!(HolderId::new(""), Err(BadText::Empty));
        for bad in ["a/b", "a b", "ä", "a\n", "\0"] {
            assert!(matches!(HolderId::new(bad), Err(BadText::Character(..))));
        }
        assert!(HolderId::new("user@host:1+2").is_ok());
        assert!(GroupName::new("user@host").is_err());
        let long = HolderId::new("x".repeat(129)).unwrap_err();
        assert_eq!(
            long,
            BadText::Long {
                length: 129,
                max: 128
            }
        );
    }

    proptest! {
        #[test]
        fn clipped_text_is_taken_as_it_is(text in "\\PC{0,40}|.{0,40}") {
            let clipped = Text::<16>::clip(&text);
            prop_assert_eq!(Text::new(clipped.as_str()), Ok(clipped.clone()));
            if let Ok(whole) = Text::<16>::new(text.as_str()) {
                prop_assert_eq!(whole, clipped);
            }
        }
    }
}
