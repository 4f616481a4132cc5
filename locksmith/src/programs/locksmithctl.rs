//! Shows and controls when this host and its group reboot: a client of
//! `org.ballast.Locksmith1`.

use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin, stdout};
use std::process::ExitCode;

use crate::client::{self, Args, ClientError, Output};
use ::daemon::log;
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
            eprintln!("locksmithctl: {}", log::chain(&error));
            ExitCode::from(error.status())
        }
    }
}

async fn run(args: &Args, output: &mut Output<'_>) -> Result<(), ClientError> {
    if let Some(result) = client::run_offline(&args.verb) {
        return result;
    }
    let connection = zbus::Connection::system().await?;
    client::run(&args.verb, &connection, output, &mut confirm).await
}

/// Asks at the terminal, if there is one.
fn confirm(question: &str) -> Option<bool> {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return None;
    }
    eprint!("{question}");
    stderr().flush().ok()?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes"))
}
