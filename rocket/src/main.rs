//! Containers without a daemon; see the library for how it works.

use std::process::ExitCode;

use clap::Parser as _;
use rocket::cli::Args;

/// Exit status: that of the app, or 254; see `rocket --help`.
fn main() -> ExitCode {
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.get(1).is_some_and(|verb| verb == "oci") {
        words.remove(1);
        return rocket::oci::main(words);
    }
    if words.first().is_some_and(rocket::oci::is_called_so) || rocket::oci::is_meant(&words) {
        return rocket::oci::main(words);
    }
    if words
        .first()
        .is_some_and(rocket::declared::generator::is_called_so)
    {
        return rocket::declared::generator::main(&words);
    }
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => return rocket::cli::wrong(&error),
    };
    args.run().unwrap_or_else(|error| {
        eprintln!("rocket: {error:#}");
        ExitCode::from(rocket::FAILED)
    })
}
