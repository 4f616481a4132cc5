//! Directories, files and links, by upstream's rules: parents before
//! children, hard links last; what exists is in the way unless `overwrite`.

use std::collections::BTreeSet;
use std::fs::File as OpenFile;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use crate::account;
use crate::config::{Config, Directory, File, Link, NodeGroup, NodeUser, filled, list};
use crate::durable::Attributes;
use crate::log;
use crate::root::{Entry, Kind, RootError};

use super::journal::{Before, Journal};
use super::{Context, FilesError, order};

const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// One thing to make, and its key in the config.
pub(crate) enum Item<'a> {
    Directory(String, &'a Directory),
    File(String, &'a File),
    Link(String, &'a Link),
}

impl Item<'_> {
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Directory(_, directory) => &directory.path,
            Self::File(_, file) => &file.path,
            Self::Link(_, link) => &link.path,
        }
    }

    pub(super) fn key(&self) -> &str {
        match self {
            Self::Directory(key, _) | Self::File(key, _) | Self::Link(key, _) => key,
        }
    }

    pub(super) fn is_hard_link(&self) -> bool {
        matches!(self, Self::Link(_, link) if link.hard == Some(true))
    }

    /// Whether it is a directory that is empty once it is made.
    pub(super) fn replaces_directory(&self) -> bool {
        matches!(self, Self::Directory(_, directory) if directory.overwrite == Some(true))
    }

    fn rank(&self) -> (bool, usize) {
        (self.is_hard_link(), self.path().matches('/').count())
    }
}

/// Makes all entries of `config`.
pub fn apply(context: &Context<'_>, config: &Config) -> Result<(), FilesError> {
    let place = |key: &str| context.place(key);
    let items = order::order(context.root, items(config), &place)?;
    let paths: BTreeSet<String> = items.iter().map(|item| item.path().to_owned()).collect();
    let appended: BTreeSet<String> = items
        .iter()
        .filter_map(|item| match item {
            Item::File(_, file) if !list(file.append.as_ref()).is_empty() => {
                Some(file.path.clone())
            }
            _ => None,
        })
        .collect();
    let journal = Journal::open(context.at_once, &paths, &appended)?;
    for item in &items {
        match item {
            Item::Directory(key, directory) => make_directory(context, &journal, key, directory)?,
            Item::File(key, file) => make_file(context, &journal, key, file)?,
            Item::Link(key, link) => make_link(context, &journal, key, link)?,
        }
    }
    Ok(())
}

/// All entries of `config`, in the order in which they are made on a host without links.
pub(crate) fn items(config: &Config) -> Vec<Item<'_>> {
    let Some(storage) = &config.storage else {
        return Vec::new();
    };
    let directories = list(storage.directories.as_ref()).iter().enumerate();
    let files = list(storage.files.as_ref()).iter().enumerate();
    let links = list(storage.links.as_ref()).iter().enumerate();
    let mut items: Vec<Item<'_>> = directories
        .map(|(n, d)| Item::Directory(format!("storage.directories.{n}"), d))
        .chain(files.map(|(n, f)| Item::File(format!("storage.files.{n}"), f)))
        .chain(links.map(|(n, l)| Item::Link(format!("storage.links.{n}"), l)))
        .collect();
    items.sort_by_key(Item::rank);
    items
}

fn make_directory(
    context: &Context<'_>,
    journal: &Journal,
    key: &str,
    directory: &Directory,
) -> Result<(), FilesError> {
    let place = context.place(key);
    let path = directory.path.as_str();
    let change = |source| FilesError::Change {
        place: place.clone(),
        source,
    };
    let mut found = context.root.entry(path).map_err(change)?;
    let ours = journal.before(path) == Before::Absent;
    if let Some(entry) = found {
        let in_the_way = entry.kind != Kind::Directory;
        if directory.overwrite == Some(true) || (ours && in_the_way) {
            context.root.remove(path).map_err(change)?;
            found = None;
        } else if in_the_way {
            return Err(conflict(&place, path, "is there and is no directory"));
        }
    }
    let default = found.map_or(Attributes::own(DIRECTORY_MODE), |e: Entry| e.attributes);
    let owner = (directory.user.as_ref(), directory.group.as_ref());
    let attributes = attributes(context, &place, default, directory.mode, owner)?;
    context.root.make_directories(path).map_err(change)?;
    context
        .root
        .set_attributes(path, attributes)
        .map_err(change)?;
    log::info(&format!("made directory path={path} {}", shown(attributes)));
    Ok(())
}

fn make_file(
    context: &Context<'_>,
    journal: &Journal,
    key: &str,
    file: &File,
) -> Result<(), FilesError> {
    let place = context.place(key);
    let path = file.path.as_str();
    let change = |source| FilesError::Change {
        place: place.clone(),
        source,
    };
    let found = context.root.entry(path).map_err(change)?;
    let before = match journal.before(path) {
        Before::Absent => None,
        _ => found,
    };
    let has_contents = file.contents.as_ref().is_some_and(|c| c.source.is_some());
    let overwrite = file.overwrite == Some(true);
    match before {
        Some(entry) if !overwrite && entry.kind != Kind::File => {
            return Err(conflict(&place, path, "is there and is no file"));
        }
        Some(_) if !overwrite && has_contents => {
            return Err(conflict(&place, path, "is there"));
        }
        _ => {}
    }
    if found.is_some_and(|entry| entry.kind == Kind::Directory) {
        context.root.remove(path).map_err(change)?;
    }
    let kept = before.filter(|_| !overwrite);
    let default = kept.map_or(Attributes::own(FILE_MODE), |entry| entry.attributes);
    let owner = (file.user.as_ref(), file.group.as_ref());
    let attributes = attributes(context, &place, default, file.mode, owner)?;
    if kept.is_some() && list(file.append.as_ref()).is_empty() {
        context
            .root
            .set_attributes(path, attributes)
            .map_err(change)?;
        log::info(&format!("kept file path={path} {}", shown(attributes)));
        return Ok(());
    }
    let base = match (journal.before(path), kept) {
        (Before::Saved(number), Some(_)) => Some(Journal::saved(number)),
        (_, Some(_)) => Some(path.to_owned()),
        _ => None,
    };
    write_file(context, &place, file, base.as_deref(), attributes)
}

/// Writes base, contents and fragments as one new file.
fn write_file(
    context: &Context<'_>,
    place: &str,
    file: &File,
    base: Option<&str>,
    attributes: Attributes,
) -> Result<(), FilesError> {
    let mut facts = (0, String::new());
    let result = context.root.write(&file.path, attributes, |out| {
        if let Some(base) = base {
            copy_base(context, base, out)?;
        }
        let resources = file.contents.iter().chain(list(file.append.as_ref()));
        for resource in resources.filter(|resource| resource.source.is_some()) {
            context
                .fetcher
                .append(resource, out)
                .map_err(|source| FilesError::Fetch {
                    place: place.to_owned(),
                    source,
                })?;
        }
        facts = summary(out).map_err(|source| own(context, &file.path, source))?;
        Ok(())
    });
    result.map_err(|error| match error {
        FilesError::Own(source) => FilesError::Change {
            place: place.to_owned(),
            source,
        },
        other => other,
    })?;
    let (bytes, sha256) = facts;
    log::info(&format!(
        "wrote path={} {} bytes={bytes} sha256={sha256}",
        file.path,
        shown(attributes)
    ));
    Ok(())
}

fn copy_base(context: &Context<'_>, base: &str, out: &mut OpenFile) -> Result<(), FilesError> {
    if let Some(mut original) = context.root.open_file(base)? {
        io::copy(&mut original, out).map_err(|source| own(context, base, source))?;
    }
    Ok(())
}

fn own(context: &Context<'_>, path: &str, source: io::Error) -> FilesError {
    FilesError::Own(RootError {
        operation: "copying",
        path: path.to_owned(),
        root: context.root.path().to_owned(),
        source,
    })
}

/// Length and SHA-256 of a file.
fn summary(file: &mut OpenFile) -> io::Result<(u64, String)> {
    use sha2::Digest as _;
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok((total, crate::fetch::hex(&hasher.finalize())));
        }
        hasher.update(&buffer[..length]);
        total += length as u64;
    }
}

fn make_link(
    context: &Context<'_>,
    journal: &Journal,
    key: &str,
    link: &Link,
) -> Result<(), FilesError> {
    let place = context.place(key);
    let path = link.path.as_str();
    let target = link.target.as_deref().unwrap_or_default();
    let hard = link.hard == Some(true);
    let change = |source| FilesError::Change {
        place: place.clone(),
        source,
    };
    let owner = (link.user.as_ref(), link.group.as_ref());
    let attributes = attributes(context, &place, Attributes::own(0), None, owner)?;
    let (uid, gid) = (attributes.uid, attributes.gid);
    let (found, same) = compare(context, link).map_err(change)?;
    if same && !hard {
        context.root.own(path, uid, gid).map_err(change)?;
    } else if !same {
        let ours = journal.before(path) == Before::Absent;
        if found && !ours && link.overwrite != Some(true) {
            return Err(conflict(&place, path, "is there and is another thing"));
        }
        context.root.remove(path).map_err(change)?;
        if hard {
            context.root.make_hard_link(path, target).map_err(change)?;
        } else {
            context
                .root
                .make_link(path, target, uid, gid)
                .map_err(change)?;
        }
    }
    if hard {
        log::info(&format!("linked path={path} target={target} hard=true"));
    } else {
        log::info(&format!(
            "linked path={path} target={target} uid={uid} gid={gid}"
        ));
    }
    Ok(())
}

/// Whether something is at the link's path, and whether it is that link.
fn compare(context: &Context<'_>, link: &Link) -> Result<(bool, bool), RootError> {
    let target = link.target.as_deref().unwrap_or_default();
    let Some(entry) = context.root.entry(&link.path)? else {
        return Ok((false, false));
    };
    let same = if link.hard == Some(true) {
        let other = context.root.entry(target)?;
        other.is_some_and(|other| other.inode == entry.inode)
    } else {
        entry.kind == Kind::Link && context.root.link_target(&link.path)? == target
    };
    Ok((true, same))
}

fn conflict(place: &str, path: &str, what: &str) -> FilesError {
    FilesError::Conflict {
        place: place.to_owned(),
        message: format!("{path} {what}; set overwrite to replace it"),
    }
}

/// The attributes an entry is to have: the config's, else `default`'s.
fn attributes(
    context: &Context<'_>,
    place: &str,
    default: Attributes,
    mode: Option<i64>,
    (user, group): (Option<&NodeUser>, Option<&NodeGroup>),
) -> Result<Attributes, FilesError> {
    let number = |id: i64| u32::try_from(id).unwrap_or_default();
    let uid = match user.map(|user| (user.id, filled(user.name.as_ref()))) {
        Some((Some(id), _)) => Some(number(id)),
        Some((None, Some(name))) => {
            let account = account::user(context.root, name)?;
            let uid = account.map(|account| account.uid);
            Some(uid.ok_or_else(|| unknown(place, "user", name))?)
        }
        _ => None,
    };
    let gid = match group.map(|group| (group.id, filled(group.name.as_ref()))) {
        Some((Some(id), _)) => Some(number(id)),
        Some((None, Some(name))) => {
            let gid = account::group(context.root, name)?;
            Some(gid.ok_or_else(|| unknown(place, "group", name))?)
        }
        _ => None,
    };
    Ok(Attributes {
        uid: uid.unwrap_or(default.uid),
        gid: gid.unwrap_or(default.gid),
        mode: mode.map_or(default.mode, number),
    })
}

fn unknown(place: &str, what: &str, name: &str) -> FilesError {
    FilesError::Conflict {
        place: place.to_owned(),
        message: format!("there is no {what} {name:?} on this host; add it under passwd"),
    }
}

fn shown(attributes: Attributes) -> String {
    let Attributes { uid, gid, mode } = attributes;
    format!("mode={mode:04o} uid={uid} gid={gid}")
}
