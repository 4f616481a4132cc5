//! What a program made of a root directory, and how two of them differ.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Bytes of a file that are shown.
const SHOWN: usize = 300;

/// All that is below a root directory, by path.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
}

/// One thing in a tree. Times are not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is and holds.
    pub what: What,
    mode: u32,
    owner: (u32, u32),
    /// The first path of the same inode, if it has several.
    shared_with: Option<PathBuf>,
}

/// Kind and contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A file's bytes.
    File(Vec<u8>),
    /// Its entries are nodes of their own.
    Directory,
    /// Where it leads.
    Link(Vec<u8>),
    /// A device with its number, a pipe or a socket.
    Special(u64),
}

impl Tree {
    /// Reads all of `root` but what is mounted there for the programs.
    pub fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let mut inodes = HashMap::new();
        let mut open = vec![PathBuf::from("/")];
        while let Some(directory) = open.pop() {
            let held = root.join(directory.strip_prefix("/")?);
            let entries =
                fs::read_dir(&held).with_context(|| format!("listing {}", held.display()))?;
            let mut names = entries
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<std::io::Result<Vec<_>>>()?;
            names.sort();
            for name in names {
                let path = directory.join(&name);
                let node = Node::read(&held.join(&name), &path, &mut inodes)?;
                if node.what == What::Directory {
                    open.push(path.clone());
                }
                tree.nodes.insert(path, node);
            }
        }
        Ok(tree)
    }

    /// Leaves out `path`.
    pub fn leave_out(&mut self, path: &str) {
        self.nodes.remove(Path::new(path));
    }

    /// The bytes of the file at `path`, to change.
    pub fn bytes_of(&mut self, path: &str) -> Option<&mut Vec<u8>> {
        match &mut self.nodes.get_mut(Path::new(path))?.what {
            What::File(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// How `ours` differs from this tree, one line a node; nothing if it does not.
    pub fn differences(&self, ours: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, node) in &self.nodes {
            match ours.nodes.get(path) {
                None => lines.push(format!("{}: only theirs: {node}", path.display())),
                Some(other) if other != node => lines.push(format!(
                    "{}:\n  theirs: {node}\n  ours:   {other}",
                    path.display()
                )),
                Some(_) => {}
            }
        }
        for (path, node) in &ours.nodes {
            if !self.nodes.contains_key(path) {
                lines.push(format!("{}: only ours: {node}", path.display()));
            }
        }
        lines
    }
}

impl Node {
    fn read(held: &Path, path: &Path, inodes: &mut HashMap<(u64, u64), PathBuf>) -> Result<Self> {
        let read = || format!("reading {}", held.display());
        let meta = fs::symlink_metadata(held).with_context(read)?;
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            What::Directory
        } else if kind.is_symlink() {
            let target = fs::read_link(held).with_context(read)?;
            What::Link(target.as_os_str().as_bytes().to_vec())
        } else if kind.is_char_device() || kind.is_block_device() {
            What::Special(meta.rdev())
        } else if kind.is_file() {
            What::File(fs::read(held).with_context(read)?)
        } else {
            What::Special(0)
        };
        let shared = !kind.is_dir() && meta.nlink() > 1;
        let shared_with = shared.then(|| {
            let inode = (meta.dev(), meta.ino());
            inodes.entry(inode).or_insert_with(|| path.into()).clone()
        });
        Ok(Self {
            what,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            shared_with,
        })
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (uid, gid) = self.owner;
        write!(f, "{:04o} {uid}:{gid} ", self.mode)?;
        match &self.what {
            What::File(bytes) => {
                let start = &bytes[..bytes.len().min(SHOWN)];
                let text = String::from_utf8_lossy(start);
                write!(f, "file of {} bytes {text:?}", bytes.len())?;
            }
            What::Directory => write!(f, "directory")?,
            What::Link(target) => write!(f, "link to {:?}", String::from_utf8_lossy(target))?,
            What::Special(number) => write!(f, "special file {number:#x}")?,
        }
        match &self.shared_with {
            Some(path) => write!(f, " (the same file as {})", path.display()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn tree(fill: impl FnOnce(&Path)) -> Tree {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        fs::write(directory.path().join("d/f"), "text").unwrap();
        fill(directory.path());
        Tree::read(directory.path()).unwrap()
    }

    /// A change of a tree.
    type Change = fn(&Path);

    #[test]
    fn every_kind_of_difference_is_seen() {
        let changes: [(&str, Change); 7] = [
            ("/d/f", |d| fs::write(d.join("d/f"), "texT").unwrap()),
            ("/d/f", |d| fs::remove_file(d.join("d/f")).unwrap()),
            ("/d/f", |d| {
                fs::set_permissions(d.join("d/f"), fs::Permissions::from_mode(0o4644)).unwrap();
            }),
            ("/d", |d| {
                fs::set_permissions(d.join("d"), fs::Permissions::from_mode(0o711)).unwrap();
            }),
            ("/new", |d| symlink("d/f", d.join("new")).unwrap()),
            ("/d/g", |d| fs::create_dir(d.join("d/g")).unwrap()),
            ("/d/f", |d| {
                fs::hard_link(d.join("d/f"), d.join("g")).unwrap()
            }),
        ];
        for (path, change) in changes {
            let lines = tree(|_| {}).differences(&tree(change));
            assert!(lines.iter().any(|line| line.starts_with(path)), "{lines:?}");
        }
        assert!(tree(|_| {}).differences(&tree(|_| {})).is_empty());
    }

    #[test]
    fn which_names_share_a_file_counts_also_where_contents_are_equal() {
        let two = |link: bool| {
            tree(move |d| {
                for name in ["a", "b", "c"] {
                    let _ = fs::remove_file(d.join(name));
                }
                fs::write(d.join("a"), "").unwrap();
                let [shared, alone] = if link { ["b", "c"] } else { ["c", "b"] };
                fs::hard_link(d.join("a"), d.join(shared)).unwrap();
                fs::write(d.join(alone), "").unwrap();
            })
        };
        assert_eq!(two(true).differences(&two(false)).len(), 2);
    }
}
