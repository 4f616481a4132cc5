//! In which order entries are made, and that no two of them are the same thing.
//!
//! Both are about where an entry is on this host: links of the host lead there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nix::errno::Errno;

use crate::root::{Kind, Root, RootError, split};

use super::FilesError;
use super::entries::Item;

/// How many links are followed in one path, as the kernel does.
const LINKS: u32 = 40;

/// Puts `items` in the order in which they are to be made: parents before children, so
/// that a directory that replaces what is there does not take away what was just made
/// below it; hard links last. `place` says where a key was written.
///
/// Fails if two of them are the same thing: the second would replace the first.
pub fn order<'a>(
    root: &Root,
    items: Vec<Item<'a>>,
    place: &dyn Fn(&str) -> String,
) -> Result<Vec<Item<'a>>, FilesError> {
    let mut places = Places {
        root,
        replaced: BTreeSet::new(),
    };
    let mut known: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut found = Vec::new();
    for item in items {
        let path = item.path().to_owned();
        let real = places.of(&path).map_err(|source| FilesError::Change {
            place: place(item.key()),
            source,
        })?;
        if let Some((other, key)) = known.get(&real) {
            return Err(FilesError::Conflict {
                place: place(item.key()),
                message: format!(
                    "{path} is the same as {other} of {key}: links of this host lead both \
                     to {real}; keep one of them"
                ),
            });
        }
        known.insert(real.clone(), (path, item.key().to_owned()));
        if item.replaces_directory() {
            places.replaced.insert(real.clone());
        }
        found.push((real.matches('/').count(), item));
    }
    found.sort_by_key(|(depth, item)| (item.is_hard_link(), *depth));
    Ok(found.into_iter().map(|(_, item)| item).collect())
}

/// Where paths lead on a host.
struct Places<'r> {
    root: &'r Root,
    /// Directories that will be empty when what is below them is made.
    replaced: BTreeSet<String>,
}

impl Places<'_> {
    /// The path of `path` without links, but for the last part, which is not followed.
    fn of(&self, path: &str) -> Result<String, RootError> {
        let (parent, name) = split(path);
        let mut left: VecDeque<String> = parts(parent).collect();
        let mut real = String::new();
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == ".." {
                real.truncate(split(&real).0.len());
                continue;
            }
            let next = format!("{real}/{part}");
            let Some(target) = self.link_at(&next)? else {
                real = next;
                continue;
            };
            links += 1;
            if links > LINKS {
                return Err(self
                    .root
                    .error("following the links of", path, Errno::ELOOP));
            }
            if target.starts_with('/') {
                real.clear();
            }
            for part in parts(&target).rev() {
                left.push_front(part);
            }
        }
        Ok(format!("{real}/{name}"))
    }

    /// Where the link at `path` leads, if one is there and stays.
    fn link_at(&self, path: &str) -> Result<Option<String>, RootError> {
        let mut above = path;
        while !above.is_empty() {
            if self.replaced.contains(above) {
                return Ok(None);
            }
            above = split(above).0;
        }
        match self.root.entry(path)?.map(|entry| entry.kind) {
            Some(Kind::Link) => self.root.link_target(path).map(Some),
            _ => Ok(None),
        }
    }
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    let parts = path.split('/');
    parts
        .filter(|part| !matches!(*part, "" | "."))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Directory, File, Link};

    /// A host with a directory `/d/e`, and links to it and to nowhere.
    fn host() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        root.make_directories("/d/e").unwrap();
        for (path, target) in [
            ("/to-e", "/d/e"),
            ("/d/up", "../d/./e/"),
            ("/d/nowhere", "missing/deep"),
            ("/loop", "loop"),
        ] {
            root.make_link(path, target, 0, 0).unwrap();
        }
        (directory, root)
    }

    fn file(path: &str) -> File {
        File::new(path.to_owned())
    }

    fn replacing(path: &str) -> Directory {
        let mut directory = Directory::new(path.to_owned());
        directory.overwrite = Some(true);
        directory
    }

    /// Paths in the order in which they are made, or why they cannot be.
    fn ordered(directories: &[Directory], files: &[File]) -> Result<Vec<String>, String> {
        let (_directory, root) = host();
        let directories = directories.iter().enumerate();
        let files = files.iter().enumerate();
        let items = directories
            .map(|(n, d)| Item::Directory(format!("directories.{n}"), d))
            .chain(files.map(|(n, f)| Item::File(format!("files.{n}"), f)))
            .collect();
        let ordered = order(&root, items, &|key: &str| format!("key {key}"));
        let paths = |items: Vec<Item<'_>>| items.iter().map(|i| i.path().to_owned()).collect();
        ordered.map(paths).map_err(|error| error.to_string())
    }

    #[test]
    fn two_paths_to_one_place_are_refused() {
        for (one, two, real) in [
            ("/d/e/f", "/to-e/f", "/d/e/f"),
            ("/to-e/f", "/d/up/f", "/d/e/f"),
            ("/d/nowhere/f", "/d/missing/deep/f", "/d/missing/deep/f"),
        ] {
            let error = ordered(&[], &[file(one), file(two)]).unwrap_err();
            assert_eq!(
                error,
                format!(
                    "key files.1: {two} is the same as {one} of files.0: \
                     links of this host lead both to {real}; keep one of them"
                )
            );
        }
        // The last part is replaced, not followed.
        assert!(ordered(&[], &[file("/to-e"), file("/d/e")]).is_ok());
        assert!(ordered(&[], &[file("/to-e/f"), file("/d/f")]).is_ok());
    }

    #[test]
    fn a_link_that_a_directory_replaces_leads_nowhere() {
        let directories = [replacing("/d/nowhere")];
        let files = [file("/d/nowhere/f"), file("/d/missing/deep/f")];
        let paths = ["/d/nowhere", "/d/nowhere/f", "/d/missing/deep/f"];
        assert_eq!(ordered(&directories, &files).unwrap(), paths);
        // What was in it is gone when the file is made.
        let directories = [replacing("/d")];
        let files = [file("/d/up/f"), file("/d/e/f")];
        assert!(ordered(&directories, &files).is_ok());
    }

    #[test]
    fn a_directory_is_replaced_before_what_links_lead_into_it() {
        let directories = [replacing("/d/e")];
        let files = [file("/to-e/f"), file("/a")];
        let paths = ["/a", "/d/e", "/to-e/f"];
        assert_eq!(ordered(&directories, &files).unwrap(), paths);
    }

    #[test]
    fn links_in_a_loop_are_an_error() {
        let error = ordered(&[], &[file("/loop/f")]).unwrap_err();
        assert_eq!(error, "key files.0");
    }

    #[test]
    fn hard_links_come_last() {
        let (_directory, root) = host();
        let mut link = Link::new("/a".to_owned());
        link.hard = Some(true);
        let deep = file("/x/y/z");
        let items = vec![
            Item::Link("links.0".to_owned(), &link),
            Item::File("files.0".to_owned(), &deep),
        ];
        let ordered = order(&root, items, &|key: &str| key.to_owned()).unwrap();
        assert_eq!(ordered[1].path(), "/a");
    }
}
