//! Ballast qemu.
