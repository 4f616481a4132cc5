//! Ballast image.
