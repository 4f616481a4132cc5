//! One layer's files, made below a directory that nothing in the layer can lead out of.
//!
//! Every path is resolved by the kernel within the tree (`openat2`, `RESOLVE_IN_ROOT`), so
//! neither links nor `..` in links leave it; what is made is made in an open directory, by
//! a name of one component.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, futimens, makedev, mknodat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use super::content;
use super::describe::{describe, failed, failed_io, opaque, open_directory, own, set_opaque, spec};
use super::entries::{Entry, Kind};
use super::look::{is_directory, is_whiteout, look, make_plain_directory, make_whiteout};
use super::path::{normal, shown, split};
use super::{Limits, UnpackError};

/// Names that begin so say what of lower layers is gone.
const WHITEOUT: &[u8] = b".wh.";

/// The one for everything in its directory.
const WHITEOUT_ALL: &[u8] = b".wh..wh..opq";

/// Longest target of a link that the kernel takes.
const MAX_LINK: usize = 4095;

/// How often the kernel is asked again if it could not be sure that a path with `..` in a
/// link stayed inside.
const ATTEMPTS: usize = 64;

/// A tree that is being made.
pub struct Tree<'a> {
    root: OwnedFd,
    limits: &'a Limits,
    /// The directory that was used last, by its path.
    recent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// What directories get when nothing is put into them any more.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    /// Directories that the layer has only as parts of paths; the root has no name.
    implied: BTreeSet<Vec<u8>>,
    entries: u64,
    bytes: u64,
}

/// What a finished tree is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of its files, with their holes.
    pub bytes: u64,
    /// Directories whose owner and permissions the layer does not say.
    pub implied: Vec<Vec<u8>>,
}

impl<'a> Tree<'a> {
    /// Fills the directory, which must be empty and out of everybody else's reach.
    pub fn new(root: OwnedFd, limits: &'a Limits) -> Self {
        Self {
            root,
            limits,
            recent: None,
            times: BTreeMap::new(),
            // Until there is an entry for the root itself.
            implied: BTreeSet::from([Vec::new()]),
            entries: 0,
            bytes: 0,
        }
    }

    /// Makes what one entry says, or replaces what an earlier one of its name has made.
    pub fn add(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), UnpackError> {
        self.count(entry)?;
        let path = normal(&entry.name, self.limits.depth)?;
        let Some((parent, name)) = split(&path) else {
            return self.root_entry(entry);
        };
        if name.starts_with(WHITEOUT) {
            return self.whiteout(parent, name);
        }
        let directory = self.directory(parent)?;
        match entry.kind {
            Kind::Directory => self.make_directory(&directory, &path, name, entry),
            Kind::File => self.make_file(&directory, name, entry, content),
            Kind::Symlink => self.make_symlink(&directory, name, entry),
            Kind::Hardlink => self.make_hardlink(&directory, name, entry),
            Kind::Character | Kind::Block | Kind::Fifo => self.make_node(&directory, name, entry),
        }
    }

    /// Gives the directories their times.
    pub fn finish(mut self) -> Result<Made, UnpackError> {
        for path in &self.implied {
            self.times.insert(path.clone(), (0, 0));
        }
        // A directory that was replaced by something else is not there any more.
        for (path, time) in &self.times {
            match self.open(path) {
                Ok(directory) => {
                    futimens(&directory, &spec(*time), &spec(*time))
                        .map_err(failed("setting the time of", path))?;
                }
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(error) => return Err(failed("opening", path)(error)),
            }
        }
        Ok(Made {
            entries: self.entries,
            bytes: self.bytes,
            implied: self.implied.into_iter().collect(),
        })
    }

    fn count(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.entries > self.limits.entries {
            return Err(UnpackError::Entries(self.limits.entries));
        }
        if self.bytes > self.limits.bytes {
            return Err(UnpackError::Bytes(self.limits.bytes));
        }
        Ok(())
    }

    /// The root of the tree: only a directory can be there.
    fn root_entry(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(UnpackError::Name(shown(&entry.name)));
        }
        let root = self.directory(b"")?;
        self.implied.remove(&Vec::new());
        self.times.insert(Vec::new(), entry.mtime);
        describe(&root, entry)
    }

    /// Opens a directory of the tree, following links within it.
    fn open(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        self.open_as(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
    }

    fn open_as(&self, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(
            ResolveFlag::RESOLVE_IN_ROOT
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
        let mut result = Err(Errno::EAGAIN);
        for _ in 0..ATTEMPTS {
            result = openat2(&self.root, path, how);
            if !matches!(result, Err(Errno::EAGAIN | Errno::EINTR)) {
                break;
            }
        }
        result
    }

    /// A directory that something is put into; made if the layer did not say it.
    fn directory(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, UnpackError> {
        if let Some((recent, directory)) = &self.recent
            && recent == path
        {
            return Ok(Rc::clone(directory));
        }
        let directory = match self.open(path) {
            Ok(directory) => directory,
            Err(Errno::ENOENT | Errno::ENOTDIR) => self.imply(path)?,
            Err(error) => return Err(failed("opening", path)(error)),
        };
        let directory = Rc::new(directory);
        self.recent = Some((path.to_owned(), Rc::clone(&directory)));
        Ok(directory)
    }

    /// Makes a directory of which the layer says nothing but what is in it.
    fn imply(&mut self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let Some((parent, name)) = split(path) else {
            return Err(failed("opening", path)(Errno::ENOTDIR));
        };
        let inside = self.directory(parent)?;
        match look(&inside, name)? {
            Some(existing) if is_whiteout(&existing) => {
                self.replace_whiteout(&inside, name)?;
            }
            Some(_) => return Err(UnpackError::NoDirectory(shown(path))),
            None => make_plain_directory(&inside, name)?,
        }
        self.implied.insert(path.to_owned());
        self.open(path).map_err(failed("opening", path))
    }

    /// What comes after a whiteout of the same name replaces what lower layers have.
    fn replace_whiteout(&mut self, inside: &OwnedFd, name: &[u8]) -> Result<(), UnpackError> {
        unlinkat(inside, name, UnlinkatFlags::NoRemoveDir).map_err(failed("replacing", name))?;
        make_plain_directory(inside, name)?;
        set_opaque(inside, name)
    }

    fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> Result<(), UnpackError> {
        if name == WHITEOUT_ALL {
            let directory = self.directory(parent)?;
            return opaque(&directory, parent);
        }
        let hidden = &name[WHITEOUT.len()..];
        // The rest of `.wh..wh.` is bookkeeping of a file system that nobody uses any more.
        if hidden.starts_with(WHITEOUT) {
            return Ok(());
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(UnpackError::Name(shown(name)));
        }
        let directory = self.directory(parent)?;
        match look(&directory, hidden)? {
            None => make_whiteout(&directory, hidden),
            // It hides what is below this layer, not what is in it.
            Some(existing) if is_directory(&existing) => set_opaque(&directory, hidden),
            Some(_) => Ok(()),
        }
    }

    fn make_directory(
        &mut self,
        inside: &OwnedFd,
        path: &[u8],
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        match look(inside, name)? {
            Some(existing) if is_directory(&existing) => {}
            Some(existing) if is_whiteout(&existing) => self.replace_whiteout(inside, name)?,
            Some(_) => {
                self.remove(inside, name)?;
                make_plain_directory(inside, name)?;
            }
            None => make_plain_directory(inside, name)?,
        }
        self.implied.remove(path);
        self.times.insert(path.to_owned(), entry.mtime);
        describe(&open_directory(inside, name)?, entry)
    }

    fn make_file(
        &mut self,
        inside: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        content: &mut impl Read,
    ) -> Result<(), UnpackError> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let private = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = self.in_place(inside, name, || openat(inside, name, flags, private))?;
        let file = File::from(file);
        content::write(&file, entry, content).map_err(failed_io("writing", name))?;
        let file = OwnedFd::from(file);
        describe(&file, entry)?;
        let time = spec(entry.mtime);
        futimens(&file, &time, &time).map_err(failed("setting the time of", name))
    }

    fn make_symlink(
        &mut self,
        inside: &OwnedFd,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        if entry.link.is_empty() || entry.link.len() > MAX_LINK {
            return Err(UnpackError::Link(shown(&entry.name)));
        }
        self.in_place(inside, name, || {
            symlinkat(entry.link.as_slice(), inside, name)
        })?;
        own(inside, name, entry)
    }

    fn make_hardlink(
        &mut self,
        inside: &OwnedFd,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        let absent = || UnpackError::OtherLayer {
            name: shown(&entry.name),
            target: shown(&entry.link),
        };
        let target = normal(&entry.link, self.limits.depth)?;
        let (parent, last) = split(&target).ok_or_else(absent)?;
        let directory = match self.open(parent) {
            Ok(directory) => directory,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(absent()),
            Err(error) => return Err(failed("opening", parent)(error)),
        };
        let existing = look(&directory, last)?.ok_or_else(absent)?;
        if is_directory(&existing) || is_whiteout(&existing) {
            return Err(UnpackError::Link(shown(&entry.name)));
        }
        // Some archives link a file to itself.
        let here = look(inside, name)?;
        if here.is_some_and(|here| (here.st_dev, here.st_ino) == (existing.st_dev, existing.st_ino))
        {
            return Ok(());
        }
        self.in_place(inside, name, || {
            linkat(&directory, last, inside, name, AtFlags::empty())
        })
    }

    fn make_node(
        &mut self,
        inside: &OwnedFd,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        let kind = match entry.kind {
            Kind::Character => SFlag::S_IFCHR,
            Kind::Block => SFlag::S_IFBLK,
            _ => SFlag::S_IFIFO,
        };
        let (major, minor) = entry.device;
        // The kernel would take it for a whiteout.
        let is_whiteout = entry.kind == Kind::Character && entry.device == (0, 0);
        if is_whiteout || (entry.kind != Kind::Fifo && !self.limits.devices) {
            return Err(UnpackError::Device {
                name: shown(&entry.name),
                major,
                minor,
            });
        }
        let device = makedev(u64::from(major), u64::from(minor));
        self.in_place(inside, name, || {
            mknodat(inside, name, kind, Mode::empty(), device)
        })?;
        let mode = Mode::from_bits_truncate(entry.mode);
        own(inside, name, entry)?;
        fchmodat(inside, name, mode, FchmodatFlags::FollowSymlink)
            .map_err(failed("setting the permissions of", name))
    }

    /// Makes something where an earlier entry may have made something else.
    fn in_place<T>(
        &mut self,
        inside: &OwnedFd,
        name: &[u8],
        make: impl Fn() -> nix::Result<T>,
    ) -> Result<T, UnpackError> {
        match make() {
            Err(Errno::EEXIST) => {
                self.remove(inside, name)?;
                make().map_err(failed("making", name))
            }
            result => result.map_err(failed("making", name)),
        }
    }

    /// Removes what an earlier entry of this layer has made.
    fn remove(&mut self, inside: &OwnedFd, name: &[u8]) -> Result<(), UnpackError> {
        self.recent = None;
        match unlinkat(inside, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => {
                // The standard library's way down a directory cannot be led astray either.
                let inside = format!("/proc/self/fd/{}/", inside.as_raw_fd());
                let path = std::path::Path::new(&inside).join(OsStr::from_bytes(name));
                std::fs::remove_dir_all(path).map_err(failed_io("replacing", name))
            }
            result => result.map_err(failed("replacing", name)),
        }
    }
}
