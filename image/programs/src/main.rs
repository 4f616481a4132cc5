//! Ballast's daemons and the programs that talk to them as one program, known by several
//! names. They are made of the same libraries, which a host so has once.

use std::path::Path;
use std::process::ExitCode;

/// A program's name, and what it does.
type Program = (&'static str, fn() -> ExitCode);

const PROGRAMS: [Program; 4] = [
    ("locksmithctl", locksmith::programs::locksmithctl::main),
    ("locksmithd", locksmith::programs::locksmithd::main),
    (
        "update-engine",
        update_engine::programs::update_engine::main,
    ),
    ("updatectl", update_engine::programs::updatectl::main),
];

/// Exit status: that of the program; 2 if the name is none of theirs.
fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    if let Some((_, main)) = PROGRAMS.iter().find(|(known, _)| name == *known) {
        return main();
    }
    let known = PROGRAMS.map(|(known, _)| known).join(", ");
    eprintln!(
        "{}: this is one program with these names: {known}",
        name.display()
    );
    ExitCode::from(2)
}
