//! What was checked, told apart from what was not by its type.

use std::ops::Deref;

/// A value that TUF's metadata vouches for: its length and hash were compared, and the
/// signatures, versions and expiry of the metadata were checked.
///
/// Only [`crate`]'s code that checks makes one, so whatever takes a `Verified` need not
/// check again, and cannot be handed anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Says that `value` was checked. For the code that did so, and for tests.
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// Takes `value` as if it had been checked, for tests of what comes after: the
    /// feature `testing` is turned on by `dev-dependencies` only.
    #[cfg(feature = "testing")]
    pub fn assume(value: T) -> Self {
        Self(value)
    }

    /// The value, no longer vouched for.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
