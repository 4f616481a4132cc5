//! Containers without a daemon; see the library for how it works.

use std::process::ExitCode;

/// Rocket's own failures end with this status; any other is the app's.
const FAILED: u8 = 254;

fn main() -> ExitCode {
    eprintln!("rocket: no verb given");
    ExitCode::from(FAILED)
}
