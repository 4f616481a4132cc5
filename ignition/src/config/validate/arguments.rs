//! Kernel arguments.

use bootloader::Kargs;
use bootloader::kargs::Problem;

use crate::config::{KernelArguments, list};

use super::Check;

/// Checks all arguments, each and together.
pub fn arguments(arguments: &KernelArguments, check: &mut Check<'_>) {
    let exist = list(arguments.should_exist.as_ref());
    let not_exist = list(arguments.should_not_exist.as_ref());
    let all = || keyed("shouldExist", exist).chain(keyed("shouldNotExist", not_exist));
    check.unique(all());
    let mut sound = true;
    for (key, text) in all() {
        if let Err(problem) = Kargs::new([text], []) {
            check.error(&key, advice(&problem));
            sound = false;
        }
    }
    let together = Kargs::new(
        exist.iter().map(String::as_str),
        not_exist.iter().map(String::as_str),
    );
    if let (true, Err(problem)) = (sound, together) {
        check.error("kernelArguments", advice(&problem));
    }
}

/// The entries of one list with their keys.
fn keyed<'a>(name: &str, texts: &'a [String]) -> impl Iterator<Item = (String, &'a str)> {
    let key = move |number| format!("kernelArguments.{name}.{number}");
    let texts = texts.iter().enumerate();
    texts.map(move |(number, text)| (key(number), text.as_str()))
}

/// What is wrong, and what to do.
fn advice(problem: &Problem) -> String {
    let advice = match problem {
        Problem::Quote { .. } => "close it",
        Problem::SingleQuote { .. } => "use double quotes",
        Problem::Both { .. } => "remove one of them",
        Problem::Long { .. } => "give fewer or shorter ones",
        _ => "remove it",
    };
    format!("{problem}; {advice}")
}
