//! YAML as a tree whose nodes know where they are.

use crate::config::Problem;

use super::text::Text;

pub use daemon::yaml::{Content, Entry, Node};

/// The one document of a text; [`Content::Null`] if it has none.
pub fn parse(text: &Text<'_>, raw: &str) -> Result<Node, Problem> {
    daemon::yaml::parse(raw).map_err(|flaw| text.problem(flaw.spot, &flaw.key, flaw.message))
}
