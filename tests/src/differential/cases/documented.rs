//! What other systems document, as far as it needs no disk.

use anyhow::Result;

use super::{Case, explained};
use crate::documented::{Corpus, without_disks};
use crate::http::Server;

/// The newest spec that both programs know.
const NEWEST: &str = "3.3.0";
/// Writes below /usr, which in the comparison is the tools tree's, and cannot be written.
const BELOW_USR: [&str; 2] = [
    "fedora-coreos/link-usr-local.yaml",
    "fedora-coreos/service-with-script.yaml",
];
/// Hosts of Ballast come without.
const NOT_ON_HOSTS: [&str; 1] = ["etc/hostname"];

/// A case for each config that is not refused, whose files both can fetch from a server here.
/// Both programs must carry it out, unless the table says that provisioning refuses it.
pub fn cases() -> Result<Vec<Case>> {
    let corpus = Corpus::read()?;
    let server = Server::start(corpus.served()?)?.here();
    let mut cases = Vec::new();
    for name in corpus.configs() {
        let outcome = corpus.outcome(name);
        if outcome.refused.is_some() || outcome.shown.is_some() || BELOW_USR.contains(&name) {
            continue;
        }
        let (json, _) = corpus.translated(name, &server)?;
        if let Some(json) = without_disks(json, NEWEST)? {
            let mut case = Case::text(&format!("documented/{name}"), &json.to_string());
            case.missing = &NOT_ON_HOSTS;
            case.explained = explained::of(&case.name);
            case.carried_out = outcome.at_boot.is_none();
            cases.push(case);
        }
    }
    Ok(cases)
}
