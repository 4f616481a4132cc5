//! Values that are checked when they are read.

/// A value of the policy that is not what its key wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {wanted}")]
pub struct BadValue {
    /// The value.
    pub value: String,
    /// What it should be.
    pub wanted: &'static str,
}

impl BadValue {
    /// `value` is not `wanted`.
    pub fn new(value: impl Into<String>, wanted: &'static str) -> Self {
        let value = value.into();
        Self { value, wanted }
    }
}

/// Declares a type of text that is checked when it is read: its name, what it is for
/// whoever wrote something else, and the check.
#[macro_export]
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $wanted:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::policy::BadValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_string()))
                } else {
                    Err($crate::policy::BadValue::new(text, $wanted))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::policy::BadValue;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
