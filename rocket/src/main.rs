//! Containers without a daemon; see the library for how it works.

use std::process::ExitCode;

/// Rocket's own failures end with this status; any other is the app's.
const FAILED: u8 = 254;

fn main() -> ExitCode {
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.first().is_some_and(rocket::oci::is_called_so) {
        return rocket::oci::main(words);
    }
    if words.get(1).is_some_and(|verb| verb == "oci") {
        words.remove(1);
        return rocket::oci::main(words);
    }
    eprintln!("rocket: no verb given");
    ExitCode::from(FAILED)
}
