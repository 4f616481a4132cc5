//! Containers without a daemon; see the library for how it works.

use std::process::ExitCode;

use clap::Parser as _;
use rocket::cli::Args;

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
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => {
            // Nothing more can be done if it cannot be printed.
            let _ = error.print();
            let failed = error.use_stderr();
            return ExitCode::from(if failed { FAILED } else { 0 });
        }
    };
    args.run().unwrap_or_else(|error| {
        eprintln!("rocket: {error:#}");
        ExitCode::from(FAILED)
    })
}
