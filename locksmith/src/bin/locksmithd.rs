//! The daemon that decides when this host reboots.

fn main() {}
