//! Shows and controls how this host is updated: a client of `org.ballast.Update1`.

use std::io::{IsTerminal as _, stderr, stdout};
use std::process::ExitCode;

use crate::client::{self, Args, ClientError, Output};
use ::daemon::log;
use ::daemon::policy::Roots;
use clap::Parser as _;

/// Runs it. Exit status: see the man page.
#[tokio::main(flavor = "current_thread")]
pub async fn main() -> ExitCode {
    let args = Args::parse();
    let is_terminal = stderr().is_terminal();
    let mut output = Output {
        data: &mut stdout(),
        talk: &mut stderr(),
        is_terminal,
        json: args.json,
    };
    match run(&args, &mut output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("updatectl: {}", log::chain(&error));
            ExitCode::from(error.status())
        }
    }
}

async fn run(args: &Args, output: &mut Output<'_>) -> Result<(), ClientError> {
    if let Some(result) = client::run_offline(&args.verb, &Roots::default(), output) {
        return result;
    }
    let connection = zbus::Connection::system().await?;
    client::run(&args.verb, &connection, output).await
}
