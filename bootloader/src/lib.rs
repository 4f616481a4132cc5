//! Ballast bootloader.
