//! Ballast end-to-end tests.
