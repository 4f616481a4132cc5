//! Shows and controls when this host reboots: a client of `org.ballast.Locksmith1`.

fn main() {}
