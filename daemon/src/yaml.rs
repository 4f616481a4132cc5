//! YAML as a tree whose nodes know where they are.
//!
//! Scalars stay text: what `0644` or `yes` is depends on the key it belongs
//! to. Everything is bounded, because aliases make a few lines into any
//! amount of memory.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// A spot in a text: line and column, both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Spot {
    /// Where a text starts.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// Why a text is no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {message}", .spot.line, .spot.column)]
pub struct Flaw {
    /// Where.
    pub spot: Spot,
    /// The key it is about; empty if it is about none.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

fn flaw(spot: Spot, key: &str, message: impl Into<String>) -> Flaw {
    Flaw {
        spot,
        key: key.to_owned(),
        message: message.into(),
    }
}

/// A line of a text, from 1; empty behind the last one.
fn line(raw: &str, number: usize) -> &str {
    let number = number.checked_sub(1);
    let line = number.and_then(|number| raw.lines().nth(number));
    line.unwrap_or_default()
}

/// Deepest nesting.
const DEPTH: usize = 64;

/// Most nodes, with those that aliases repeat.
const NODES: usize = 200_000;

/// Most bytes in scalars, with those that aliases repeat.
const BYTES: usize = 64 << 20;

/// Most keys of one map. A key is looked for among all that were before it.
const KEYS: usize = 1024;

/// A node of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it starts.
    pub spot: Spot,
    /// What it is.
    pub content: Content,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: `~`, `null` or no text at all.
    Null,
    /// A text or a number or a truth value.
    Scalar {
        /// The text without quotes.
        text: String,
        /// Whether it was written without quotes.
        plain: bool,
    },
    /// `- …`
    List(Vec<Node>),
    /// `key: …`
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key starts.
    pub spot: Spot,
    /// The value.
    pub value: Node,
    /// Whether it came with `<<`, so that the map's own key wins.
    merged: bool,
}

impl Node {
    /// The value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.value),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether nothing is there: no text, no entry.
    pub fn is_empty(&self) -> bool {
        match &self.content {
            Content::Null => true,
            Content::Scalar { text, .. } => text.is_empty(),
            Content::List(nodes) => nodes.is_empty(),
            Content::Map(entries) => entries.is_empty(),
        }
    }

    /// What people call it.
    pub fn kind(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Scalar { .. } => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "keys and values",
        }
    }

    /// Nodes and bytes of the tree below this node.
    fn weight(&self) -> (usize, usize) {
        let add = |(n, b): (usize, usize), (more, bytes): (usize, usize)| (n + more, b + bytes);
        match &self.content {
            Content::Null => (1, 0),
            Content::Scalar { text, .. } => (1, text.len()),
            Content::List(nodes) => nodes.iter().map(Self::weight).fold((1, 0), add),
            Content::Map(entries) => entries
                .iter()
                .map(|entry| add((1, entry.key.len()), entry.value.weight()))
                .fold((1, 0), add),
        }
    }
}

/// The one document of a text; [`Content::Null`] if it has none.
///
/// # Errors
/// It is not YAML, has several documents, or is too large.
pub fn parse(raw: &str) -> Result<Node, Flaw> {
    let documents = read(raw, Documents::One)?;
    Ok(documents.into_iter().next().unwrap_or(Node {
        spot: Spot::START,
        content: Content::Null,
    }))
}

/// All documents of a text, without those that are empty. Bounds are for all of them together.
///
/// # Errors
/// It is not YAML, or too large.
pub fn parse_all(raw: &str) -> Result<Vec<Node>, Flaw> {
    read(raw, Documents::All)
}

/// How many documents a text may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Documents {
    One,
    All,
}

fn read(raw: &str, documents: Documents) -> Result<Vec<Node>, Flaw> {
    let mut builder = Builder {
        documents,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        nodes: 0,
        bytes: 0,
        done: Vec::new(),
    };
    for event in Parser::new_from_str(raw) {
        match event {
            Ok((event, span)) => builder.take(event, spot(span))?,
            Err(error) => return Err(syntax(raw, &error)),
        }
    }
    if documents == Documents::All {
        builder.done.retain(|node| node.content != Content::Null);
    }
    Ok(builder.done)
}

fn spot(span: Span) -> Spot {
    Spot {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

/// The parser's error in words that say what to do, where that is known.
fn syntax(raw: &str, error: &saphyr_parser::ScanError) -> Flaw {
    let mark = error.marker();
    let spot = Spot {
        line: mark.line().max(1),
        column: mark.col() + 1,
    };
    let above = (1..=spot.line).rev().find_map(|line| tab(raw, line));
    if let Some(at) = above.filter(|at| spot.line - at.line <= 1) {
        let message = "this line is indented with a tab; YAML allows only spaces, \
                       replace every tab by two of them";
        return flaw(at, "", message);
    }
    let line = line(raw, spot.line).trim_start();
    let info = error.info();
    if info.contains("recursion limit") {
        return flaw(spot, "", too_deep());
    }
    let hint = if line.starts_with('@') || line.starts_with('`') || line.contains(": @") {
        "; put quotes around text that starts with @ or `"
    } else if line.contains(": %") {
        "; put quotes around text that starts with %"
    } else if line.matches(": ").count() > 1 && !line.contains(['{', '"', '\'']) {
        "; put quotes around text that has a colon and a space in it"
    } else if info.contains("quoted scalar") || info.contains("end of stream") {
        "; is a closing quote or bracket missing?"
    } else if info.contains("block ") || info.contains("simple key") {
        "; is the colon after a key missing, or is this line indented unlike its neighbours?"
    } else {
        ""
    };
    flaw(spot, "", format!("not valid YAML: {info}{hint}"))
}

fn too_deep() -> String {
    format!("nested more than {DEPTH} levels deep")
}

/// Where `line` has a tab among the spaces that it starts with.
fn tab(raw: &str, number: usize) -> Option<Spot> {
    let content = line(raw, number);
    let indent = content.len() - content.trim_start_matches([' ', '\t']).len();
    let column = content[..indent].find('\t')? + 1;
    Some(Spot {
        line: number,
        column,
    })
}

/// A list or a map that is not closed yet.
struct Open {
    node: Node,
    anchor: usize,
    /// A map's key that waits for its value.
    key: Option<(String, Spot)>,
}

/// What a tag makes of a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tagged {
    Text,
    Other,
}

struct Builder {
    documents: Documents,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    bytes: usize,
    done: Vec<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, spot: Spot) -> Result<(), Flaw> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(|tag| tagged(tag, spot)).transpose()?;
                let plain = style == ScalarStyle::Plain && tag != Some(Tagged::Text);
                let content = if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Content::Null
                } else {
                    let text = text.into_owned();
                    Content::Scalar { text, plain }
                };
                self.close(Node { spot, content }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(Content::List(Vec::new()), anchor, spot),
            Event::MappingStart(anchor, _) => self.begin(Content::Map(Vec::new()), anchor, spot),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.put(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    let message = "this alias stands inside of what it refers to";
                    return Err(flaw(spot, "", message));
                };
                let mut node = node.clone();
                node.spot = spot;
                self.close(node, 0)
            }
            Event::DocumentStart(_)
                if self.documents == Documents::One && !self.done.is_empty() =>
            {
                let message = "a second document starts here; a config is one document, \
                               write another file";
                Err(flaw(spot, "", message))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, content: Content, anchor: usize, spot: Spot) -> Result<(), Flaw> {
        if self.open.len() >= DEPTH {
            return Err(flaw(spot, "", too_deep()));
        }
        self.count((1, 0), spot)?;
        self.open.push(Open {
            node: Node { spot, content },
            anchor,
            key: None,
        });
        Ok(())
    }

    /// Takes a whole node in that was not counted yet.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Flaw> {
        self.count(node.weight(), node.spot)?;
        self.put(node, anchor)
    }

    fn count(&mut self, (nodes, bytes): (usize, usize), spot: Spot) -> Result<(), Flaw> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > NODES || self.bytes > BYTES {
            let message = format!(
                "more than {NODES} values or {} MiB, counting what aliases repeat",
                BYTES >> 20
            );
            return Err(flaw(spot, "", message));
        }
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Flaw> {
        if anchor != 0 {
            self.count(node.weight(), node.spot)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.done.push(node);
            return Ok(());
        };
        match &mut open.node.content {
            Content::List(nodes) => nodes.push(node),
            Content::Map(entries) => match open.key.take() {
                None => open.key = Some(key(&node)?),
                Some((key, spot)) if key == "<<" => merge(entries, node, spot)?,
                Some((key, spot)) => {
                    let value = node;
                    add(
                        entries,
                        Entry {
                            key,
                            spot,
                            value,
                            merged: false,
                        },
                    )?;
                }
            },
            Content::Null | Content::Scalar { .. } => {}
        }
        Ok(())
    }
}

/// What a tag of a scalar says.
fn tagged(tag: &Tag, spot: Spot) -> Result<Tagged, Flaw> {
    match (tag.is_yaml_core_schema(), tag.suffix.as_str()) {
        (true, "str") => Ok(Tagged::Text),
        (true, "int" | "bool" | "float" | "null") => Ok(Tagged::Other),
        _ => {
            let message = format!("the tag {tag} is not known here; leave it out");
            Err(flaw(spot, "", message))
        }
    }
}

fn key(node: &Node) -> Result<(String, Spot), Flaw> {
    match node.text() {
        Some(key) => Ok((key.to_owned(), node.spot)),
        None => {
            let message = format!("expected a key, found {}", node.kind());
            Err(flaw(node.spot, "", message))
        }
    }
}

fn add(entries: &mut Vec<Entry>, entry: Entry) -> Result<(), Flaw> {
    if entries.len() >= KEYS {
        let message = format!("more than {KEYS} keys side by side");
        return Err(flaw(entry.spot, &entry.key, message));
    }
    match entries.iter_mut().find(|known| known.key == entry.key) {
        Some(known) if known.merged => *known = entry,
        Some(known) => {
            let message = format!(
                "{:?} is there already, in line {}; put both together",
                entry.key, known.spot.line
            );
            return Err(flaw(entry.spot, &entry.key, message));
        }
        None => entries.push(entry),
    }
    Ok(())
}

/// `<<: *alias`: keys of another map that this one does not have before.
fn merge(entries: &mut Vec<Entry>, node: Node, spot: Spot) -> Result<(), Flaw> {
    let maps = match node.content {
        Content::List(nodes) => nodes,
        _ => vec![node],
    };
    for map in maps {
        let Content::Map(others) = map.content else {
            let message = "<< takes an alias of a map, or a list of them";
            return Err(flaw(spot, "<<", message));
        };
        for other in others {
            if !entries.iter().any(|entry| entry.key == other.key) {
                let merged = true;
                add(entries, Entry { merged, ..other })?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(raw: &str) -> Result<Node, String> {
        parse(raw).map_err(|flaw| flaw.to_string())
    }

    #[test]
    fn nodes_know_where_they_are() {
        let tree = read("a: 1\nb:\n  - é: x\n    c: |\n      text\n").unwrap();
        assert_eq!(tree.get("a").unwrap().spot, Spot { line: 1, column: 4 });
        let Content::List(items) = &tree.get("b").unwrap().content else {
            panic!("no list");
        };
        let Content::Map(entries) = &items[0].content else {
            panic!("no map");
        };
        assert_eq!(entries[0].spot, Spot { line: 3, column: 5 });
        assert_eq!(entries[0].value.spot, Spot { line: 3, column: 8 });
        assert_eq!(entries[1].value.text(), Some("text\n"));
    }

    #[test]
    fn quotes_and_tags_make_texts() {
        let tree = read("a: 'no'\nb: no\nc: !!str 5\nd: ''\ne:\nf: ~\n").unwrap();
        let plain = |key| match &tree.get(key).unwrap().content {
            Content::Scalar { plain, .. } => Some(*plain),
            _ => None,
        };
        assert_eq!(
            ["a", "b", "c", "d"].map(plain),
            [false, true, false, false].map(Some)
        );
        assert_eq!(tree.get("e").unwrap().content, Content::Null);
        assert_eq!(tree.get("f").unwrap().content, Content::Null);
        assert!(read("a: !!binary aGk=").unwrap_err().contains("binary"));
    }

    #[test]
    fn aliases_and_merge_keys_are_followed() {
        let tree = read("a: &x {m: 1, n: 2}\nb:\n  <<: *x\n  n: 3\nc: *x\n").unwrap();
        let b = tree.get("b").unwrap();
        assert_eq!(b.get("m").unwrap().text(), Some("1"));
        assert_eq!(b.get("n").unwrap().text(), Some("3"));
        assert_eq!(tree.get("c").unwrap().spot.line, 5);
        assert!(read("a: &x [*x]").unwrap_err().contains("inside of what"));
        assert!(read("a: *nope").is_err());
        assert!(read("a: {<<: 1}").unwrap_err().contains("takes an alias"));
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, other) in "bcdefgh".chars().zip("abcdefg".chars()) {
            bomb += &format!(
                "{name}: &{name} [{}]\n",
                vec![format!("*{other}"); 10].join(", ")
            );
        }
        assert!(read(&bomb).unwrap_err().contains("aliases repeat"));
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), "*a, ".repeat(70));
        assert!(read(&long).unwrap_err().contains("aliases repeat"));
    }

    #[test]
    fn depth_and_keys_are_bounded() {
        assert!(
            read(&"[".repeat(100_000))
                .unwrap_err()
                .contains("levels deep")
        );
        assert!(
            read(&"- ".repeat(100_000))
                .unwrap_err()
                .contains("levels deep")
        );
        let keys: String = (0..2000).map(|n| format!("k{n}: 1\n")).collect();
        assert!(read(&keys).unwrap_err().contains("side by side"));
    }

    #[test]
    fn duplicates_and_second_documents_are_refused() {
        let message = read("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert!(
            message.contains("line 3, column 1") && message.contains("in line 1"),
            "{message}"
        );
        assert!(
            read("a: 1\n---\nb: 1\n")
                .unwrap_err()
                .contains("second document")
        );
    }

    #[test]
    fn a_text_may_have_several_documents() {
        let all = parse_all("---\na: 1\n---\n---\nb: 2\n...\n").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].get("b").unwrap().spot, Spot { line: 5, column: 4 });
        assert!(parse_all("# nothing\n").unwrap().is_empty());
    }

    #[test]
    fn tabs_are_named() {
        let message = read("a:\n\tb: 1\n").unwrap_err();
        assert!(
            message.contains("line 2, column 1") && message.contains("tab"),
            "{message}"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(raw in "[-:#&*!|>?@\\[\\]{},\"'~<a-b0-1é\t\n ]{0,80}") {
            let _ = read(&raw);
            let _ = parse_all(&raw);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = read(&String::from_utf8_lossy(&bytes));
        }
    }
}
