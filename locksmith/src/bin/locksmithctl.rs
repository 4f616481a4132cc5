//! Shows and controls when this host and its group reboot.

fn main() -> std::process::ExitCode {
    locksmith::programs::locksmithctl::main()
}
