//! The table as people read it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Corpus, Outcome};

/// One example of a documentation.
pub struct Example<'a> {
    documentation: &'a str,
    page: &'a str,
    shows: &'a str,
    configs: &'a [String],
}

/// All of them, in order.
pub fn examples(corpus: &Corpus) -> Vec<Example<'_>> {
    let mut examples = Vec::new();
    for (documentation, pages) in &corpus.documentation {
        for (page, shown) in pages {
            examples.extend(shown.iter().map(|(shows, configs)| Example {
                documentation,
                page,
                shows,
                configs: configs.configs(),
            }));
        }
    }
    examples
}

/// The table of all examples for `docs/compatibility.md`, each documentation below a
/// heading of its own.
pub fn render(corpus: &Corpus) -> String {
    let mut page = String::new();
    let mut documentation = "";
    for example in examples(corpus) {
        if documentation != example.documentation {
            documentation = example.documentation;
            let _ = write!(
                page,
                "\n### {documentation}\n\n| page | shows | on Ballast |\n|---|---|---|\n"
            );
        }
        let outcomes = example
            .configs
            .iter()
            .map(|config| of(config, &corpus.outcome(config)));
        let cell: Vec<_> = outcomes.collect();
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            example.page,
            example.shows,
            cell.join("; ")
        );
    }
    page
}

/// How many examples end in which way, and what is missing.
pub fn summary(corpus: &Corpus) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut missing: BTreeMap<String, usize> = BTreeMap::new();
    for example in examples(corpus) {
        let outcomes: Vec<_> = example.configs.iter().map(|c| corpus.outcome(c)).collect();
        let end = match &outcomes {
            all if all.iter().all(Outcome::provisions) => "provisions",
            all if all.iter().any(|o| !o.needs.is_empty()) => "needs",
            _ => "refused",
        };
        *counts.entry(end).or_default() += 1;
        let mut names: Vec<_> = outcomes.into_iter().flat_map(|o| o.needs).collect();
        names.sort();
        names.dedup();
        for name in names {
            *missing.entry(name).or_default() += 1;
        }
    }
    let count = |end: &str| counts.get(end).copied().unwrap_or_default();
    let missing: String = missing
        .iter()
        .map(|(name, examples)| format!("- {name} ({examples})\n"))
        .collect();
    format!(
        "Of {} examples {} provision a host of Ballast. {} are refused, since they are about the\n\
         system disk or the boot loader. {} name software that Ballast does not ship, which is,\n\
         with the number of examples:\n\n{missing}",
        examples(corpus).len(),
        count("provisions"),
        count("refused"),
        count("needs"),
    )
}

/// A config and its outcome.
fn of(config: &str, outcome: &Outcome) -> String {
    let mut words = match outcome {
        Outcome {
            refused: Some(key), ..
        } => format!("refused, `{key}`"),
        o if !o.needs.is_empty() => format!("needs {}", o.needs.join(", ")),
        Outcome {
            at_boot: Some(_), ..
        } => "valid, refused by the host".to_owned(),
        _ => "provisions".to_owned(),
    };
    let reasons = [&outcome.why, &outcome.at_boot, &outcome.note];
    for reason in reasons.into_iter().flatten() {
        let _ = write!(words, ": {reason}");
    }
    format!("[{words}](../tests/documented/{config})")
}
