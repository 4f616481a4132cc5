//! Ballast ignition.
