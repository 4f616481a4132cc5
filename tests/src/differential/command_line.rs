//! What command lines do: who starts Go Ignition must be able to start ours.

use anyhow::Result;

use super::programs::{Programs, Side};

/// Words that all of these begin with where the rest is to be judged alone.
const ENOUGH: [&str; 2] = ["-platform", "file"];

/// Command lines without the program's name; `!` before one stands for [`ENOUGH`].
const LINES: [&str; 36] = [
    "-version",
    "--version",
    "-version=true",
    "-version=1",
    "-version=T",
    "-version=yes",
    "-version=",
    "-version word",
    "word -version",
    "-version -bogus",
    "-bogus",
    "--bogus=x",
    "-h",
    "-help",
    "--help",
    "-",
    "--",
    "---version",
    "-=x",
    "! -stage",
    "! -stage nope",
    "! -stage=",
    "! -stage nope -version",
    "-platform plan9 -stage files",
    "-platform plan9 -version",
    "-root -x -version",
    "-root=x -root=y -version",
    "-root -version",
    "-version=false -version",
    "-log-to-stdout=false -version",
    "-log-to-stdout=maybe -version",
    "-fetch-timeout 1h2m3.5s -version",
    "-fetch-timeout 5 -version",
    "-fetch-timeout 3us -version",
    "! -stage files -config-cache /nowhere/config -state-file /nowhere/state -root /nowhere",
    "! -stage umount -config-cache=/nowhere/config -state-file=/nowhere/state -log-to-stdout",
];

/// The lines that the programs end with different exit statuses.
pub fn differences(programs: &Programs) -> Result<Vec<String>> {
    let mut differ = Vec::new();
    for line in LINES {
        let words: Vec<&str> = match line.strip_prefix('!') {
            Some(rest) => ENOUGH.into_iter().chain(rest.split_whitespace()).collect(),
            None => line.split_whitespace().collect(),
        };
        let [theirs, ours] = [
            programs.status(Side::Theirs, &words)?,
            programs.status(Side::Ours, &words)?,
        ];
        if theirs != ours {
            differ.push(format!("ignition {line}: theirs {theirs:?}, ours {ours:?}"));
        }
    }
    Ok(differ)
}
