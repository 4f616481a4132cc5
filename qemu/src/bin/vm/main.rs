//! `cargo vm`: boots a Ballast host in a virtual machine.

mod attach;
mod cli;
mod exit;
mod progress;
mod session;

use std::time::Duration;

use clap::Parser as _;

fn main() {
    let options = cli::Options::parse();
    exit::on_signals();
    if let Some(seconds) = options.timeout {
        exit::after(Duration::from_secs(seconds));
    }
    let code = match session::run(&options) {
        Ok(code) => code,
        Err(error) => {
            exit::clean_up();
            eprintln!("vm: {error:#}");
            exit::FAILED
        }
    };
    exit::now(code);
}
