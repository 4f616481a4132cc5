//! Shows and controls how this host is updated.

fn main() -> std::process::ExitCode {
    update_engine::programs::updatectl::main()
}
