//! The daemon that keeps a host's release up to date, and the programs around a trial.

fn main() -> std::process::ExitCode {
    update_engine::programs::update_engine::main()
}
