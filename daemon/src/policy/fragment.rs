//! Which files count, and reading them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::problem::{Origin, Problem, Severity};

/// Directories of fragments on a host, lowest first.
pub const DIRECTORIES: [&str; 3] = [
    "/usr/lib/ballast/config.d",
    "/run/ballast/config.d",
    "/etc/ballast/config.d",
];

/// Longest fragment that is read, in bytes.
pub const MAX_BYTES: u64 = 64 * 1024;

/// Most fragments in one directory.
pub const MAX_FILES: usize = 256;

/// `O_NONBLOCK`: opening a pipe that somebody put here must not hang.
const NONBLOCK: i32 = 0o4000;

/// Directories of fragments, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots(Vec<PathBuf>);

impl Default for Roots {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Roots {
    /// The directories of a host whose root is at `root`.
    pub fn below(root: &Path) -> Self {
        let relative = |dir: &&str| root.join(dir.trim_start_matches('/'));
        Self(DIRECTORIES.iter().map(relative).collect())
    }

    /// Other directories, lowest first.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self(directories)
    }

    /// The directories, lowest first.
    pub fn directories(&self) -> &[PathBuf] {
        &self.0
    }
}

/// One file, parsed as TOML; its keys are not checked yet.
#[derive(Debug)]
pub struct Fragment {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub(crate) items: Items,
}

/// The keys of a table.
pub(crate) type Items = BTreeMap<String, Item>;

/// What a key has in one fragment.
#[derive(Debug)]
pub(crate) struct Item {
    /// Line of the key, from 1.
    pub line: usize,
    /// Its value.
    pub content: Content,
}

/// A value, or a table, which may be a section.
#[derive(Debug)]
pub(crate) enum Content {
    Value(Value),
    Table(Items),
}

impl Content {
    /// The value; a table with all that is in it.
    pub fn into_value(self) -> Value {
        match self {
            Self::Value(value) => value,
            Self::Table(items) => Value::Table(
                items
                    .into_iter()
                    .map(|(key, item)| (key, item.content.into_value()))
                    .collect(),
            ),
        }
    }
}

impl Fragment {
    /// The place of a line of it.
    pub(crate) fn origin(&self, line: usize) -> Origin {
        Origin {
            file: self.path.clone(),
            line,
        }
    }
}

/// Reads all fragments below `roots` in the order in which they are merged. What cannot
/// be read or is no TOML is in the problems instead.
pub fn read_all(roots: &Roots) -> (Vec<Fragment>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut files = BTreeMap::new();
    for directory in roots.directories() {
        match list(directory) {
            Ok(names) => files.extend(names.into_iter().map(|name| {
                let path = directory.join(&name);
                (name, path)
            })),
            Err(message) => {
                problems.push(Problem::file(Severity::Error, directory, message));
            }
        }
    }
    let mut fragments = Vec::new();
    for path in files.into_values().filter(|path| !is_removed(path)) {
        match read(&path) {
            Ok(fragment) => fragments.push(fragment),
            Err(problem) => problems.push(problem),
        }
    }
    (fragments, problems)
}

/// Names of the fragments in `directory`; none if it is not there.
fn list(directory: &Path) -> Result<Vec<String>, String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot be listed: {error}")),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("cannot be listed: {error}"))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.ends_with(".toml") && !name.starts_with('.') {
            names.push(name);
        }
        if names.len() > MAX_FILES {
            return Err(format!("holds more than {MAX_FILES} fragments"));
        }
    }
    Ok(names)
}

/// A link to `/dev/null` stands for "not there".
fn is_removed(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

fn read(path: &Path) -> Result<Fragment, Problem> {
    let bad = |message: String| Problem::file(Severity::Error, path, message);
    let text = read_text(path).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let parsed = DeTable::parse(&text).and_then(|table| items(&text, table.into_inner()));
    match parsed {
        Ok(items) => Ok(Fragment {
            path: path.to_path_buf(),
            items,
        }),
        Err(error) => Err(Problem {
            line: error.span().map(|span| line_of(&text, span.start)),
            ..bad(format!("is not TOML: {}", error.message()))
        }),
    }
}

/// The keys of `table` with their lines in `text`. TOML's parser bounds the depth.
fn items(text: &str, table: DeTable<'_>) -> Result<Items, toml::de::Error> {
    let item = |(key, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
        let line = line_of(text, key.span().start);
        let span = value.span();
        let content = match value.into_inner() {
            DeValue::Table(table) => Content::Table(items(text, table)?),
            value => Content::Value(Value::deserialize(ValueDeserializer::from(Spanned::new(
                span, value,
            )))?),
        };
        let key: std::borrow::Cow<'_, str> = key.into_inner();
        Ok((key.into_owned(), Item { line, content }))
    };
    table.into_iter().map(item).collect()
}

fn read_text(path: &Path) -> io::Result<String> {
    let file = File::options()
        .read(true)
        .custom_flags(NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it is longer than {MAX_BYTES} bytes"
        )));
    }
    Ok(text)
}

/// The number of the line, from 1, in which the byte at `offset` is.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}
