//! The daemon that decides when this host reboots.

fn main() -> std::process::ExitCode {
    locksmith::programs::locksmithd::main()
}
