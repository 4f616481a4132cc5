//! Users and groups of an image, read from its layers without mounting them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use super::User;

/// What is read of a file of accounts.
const MOST: u64 = 4 << 20;

/// A user or group that an image does not have.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// It is not in the image's file.
    #[error("the image has no {what} {name:?} in its {file}; give its number instead")]
    Unknown {
        /// User or group.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// A layer cannot be read.
    #[error("reading {file} in layer {}", .layer.display())]
    Read {
        /// The file.
        file: &'static str,
        /// The layer.
        layer: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A user as it was asked for: `USER[:GROUP]`, by name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName<'a> {
    user: &'a str,
    group: Option<&'a str>,
}

/// An account as an app has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its numbers.
    pub user: User,
    /// Its home directory.
    pub home: PathBuf,
}

/// A group's name and members, in `/etc/group`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// The layers of an image, lowest first, as overlayfs shows them.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a>(pub &'a [PathBuf]);

impl<'a> UserName<'a> {
    /// Reads `USER[:GROUP]`; nothing at all is root. A group given apart wins.
    pub fn new(text: &'a str, group: Option<&'a str>) -> Self {
        let (user, own) = match text.split_once(':') {
            Some((user, own)) => (user, Some(own).filter(|own| !own.is_empty())),
            None => (text, None),
        };
        Self {
            user: if user.is_empty() { "0" } else { user },
            group: group.or(own),
        }
    }

    /// Its numbers in an image with these layers.
    ///
    /// # Errors
    /// A name is not there, or a layer cannot be read.
    pub fn resolve(&self, layers: Layers<'_>) -> Result<Account, LookupError> {
        let is_number = |text: &str| text.parse::<u32>().is_ok();
        // Root by its number needs no file: nearly every image.
        if self.user == "0" && self.group.is_none_or(is_number) {
            let gid = self.group.and_then(|group| group.parse().ok()).unwrap_or(0);
            return Ok(account((0, gid), Vec::new(), "/root"));
        }
        let passwd = layers.read("passwd", "/etc/passwd")?;
        let groups = layers.read("group", "/etc/group")?;
        self.decide(&passwd, &groups)
    }

    /// As runc and podman have it: a number need not be in the file; further groups are those
    /// whose member the user's name is, unless a group was asked for.
    fn decide(&self, passwd: &str, group: &str) -> Result<Account, LookupError> {
        let wanted = self.user.parse::<u32>().ok();
        let found = passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, rest @ ..] = fields.as_slice() else {
                return None;
            };
            let (uid, gid): (u32, u32) = (uid.parse().ok()?, gid.parse().ok()?);
            let is_it = wanted.map_or(*name == self.user, |wanted| uid == wanted);
            is_it.then(|| (*name, uid, gid, rest.get(1).copied().unwrap_or_default()))
        });
        let (uid, own, home) = match (found, wanted) {
            (Some((_, uid, gid, home)), _) => (uid, gid, home),
            (None, Some(uid)) => (uid, 0, ""),
            (None, None) => return Err(unknown("user", self.user, "/etc/passwd")),
        };
        if let Some(name) = self.group {
            let gid = match name.parse() {
                Ok(gid) => gid,
                Err(_) => {
                    groups(group)
                        .find(|group| group.name == name)
                        .ok_or_else(|| unknown("group", name, "/etc/group"))?
                        .gid
                }
            };
            return Ok(account((uid, gid), Vec::new(), home));
        }
        let name = found.map(|(name, ..)| name);
        let is_member = |group: &Group<'_>| {
            name.is_some_and(|name| group.members.split(',').any(|member| member == name))
        };
        let mut further: Vec<u32> = groups(group)
            .filter(is_member)
            .map(|group| group.gid)
            .collect();
        further.sort_unstable();
        further.dedup();
        further.retain(|gid| *gid != own);
        Ok(account((uid, own), further, home))
    }
}

impl Layers<'_> {
    /// `etc/NAME` as the app would see it; empty if it is not there. Symbolic links are not
    /// followed: what they lead to is for the app to know, not for us.
    fn read(self, name: &'static str, file: &'static str) -> Result<String, LookupError> {
        for layer in self.0.iter().rev() {
            let failed = |source| LookupError::Read {
                file,
                layer: layer.clone(),
                source,
            };
            match look(layer, name).map_err(failed)? {
                Seen::Text(text) => return Ok(text),
                Seen::Hidden => return Ok(String::new()),
                Seen::Nothing => {}
            }
        }
        Ok(String::new())
    }
}

/// What one layer says of a file.
enum Seen {
    Text(String),
    /// The file, or the directory, of lower layers is gone.
    Hidden,
    Nothing,
}

fn look(layer: &Path, name: &str) -> io::Result<Seen> {
    let Some(root) = open(None, layer, OFlag::O_PATH | OFlag::O_DIRECTORY)? else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let Some(etc) = open(Some(&root), Path::new("etc"), OFlag::O_PATH)? else {
        return Ok(Seen::Nothing);
    };
    let etc = File::from(etc);
    if !etc.metadata()?.is_dir() {
        return Ok(Seen::Hidden);
    }
    let etc = OwnedFd::from(etc);
    if let Some(file) = open(Some(&etc), Path::new(name), OFlag::O_PATH)? {
        let kind = File::from(file).metadata()?.file_type();
        if kind.is_char_device() || !kind.is_file() {
            return Ok(Seen::Hidden);
        }
        let Some(file) = open(Some(&etc), Path::new(name), OFlag::O_RDONLY)? else {
            return Ok(Seen::Hidden);
        };
        let mut bytes = Vec::new();
        File::from(file).take(MOST).read_to_end(&mut bytes)?;
        return Ok(Seen::Text(String::from_utf8_lossy(&bytes).into_owned()));
    }
    let opaque = xattr::get(layer.join("etc"), "trusted.overlay.opaque")?;
    Ok(match opaque {
        Some(value) if value == b"y" => Seen::Hidden,
        _ => Seen::Nothing,
    })
}

/// Opens without following links, also in the middle; nothing if it is not there.
fn open(dir: Option<&OwnedFd>, path: &Path, flags: OFlag) -> io::Result<Option<OwnedFd>> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .mode(Mode::empty());
    let result = match dir {
        Some(dir) => openat2(
            dir,
            path,
            how.resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS),
        ),
        None => openat2(nix::fcntl::AT_FDCWD, path, how),
    };
    match result {
        Ok(fd) => Ok(Some(fd)),
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR | nix::Error::ELOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Without a home directory of its own, an account is at home at the root.
fn account((uid, gid): (u32, u32), groups: Vec<u32>, home: &str) -> Account {
    Account {
        user: User { uid, gid, groups },
        home: if home.starts_with('/') {
            home.into()
        } else {
            "/".into()
        },
    }
}

fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Group {
            name,
            gid: gid.parse().ok()?,
            members: fields.next().unwrap_or_default(),
        })
    })
}

fn unknown(what: &'static str, name: &str, file: &'static str) -> LookupError {
    LookupError::Unknown {
        what,
        name: name.to_owned(),
        file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const PASSWD: &str = "root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\nbroken:x:a:b\n";
    const GROUP: &str = "root:x:0:\nweb:x:44:\nlog:x:50:a,web\nssl:x:45:web\n";

    fn user(text: &str, group: Option<&str>) -> Result<(u32, u32, Vec<u32>), String> {
        UserName::new(text, group)
            .decide(PASSWD, GROUP)
            .map(|found| (found.user.uid, found.user.gid, found.user.groups))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn users_are_names_or_numbers() {
        assert_eq!(user("web", None), Ok((33, 44, vec![45, 50])));
        assert_eq!(user("33", None), Ok((33, 44, vec![45, 50])));
        assert_eq!(user("web:log", None), Ok((33, 50, vec![])));
        assert_eq!(user("web:log", Some("7")), Ok((33, 7, vec![])));
        assert_eq!(user("1000", None), Ok((1000, 0, vec![])));
        assert_eq!(user("", None), Ok((0, 0, vec![])));
        assert!(
            user("nobody", None)
                .unwrap_err()
                .contains("no user \"nobody\"")
        );
        assert!(user("web:x", None).unwrap_err().contains("no group \"x\""));
    }

    #[test]
    fn a_higher_layer_hides_what_is_below() {
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> = ["low", "high"].map(|name| dir.path().join(name)).into();
        fs::create_dir_all(layers[0].join("etc")).unwrap();
        fs::create_dir_all(layers[1].join("etc")).unwrap();
        fs::write(layers[0].join("etc/passwd"), PASSWD).unwrap();
        let read = || Layers(&layers).read("passwd", "/etc/passwd").unwrap();
        assert_eq!(read(), PASSWD);
        fs::write(layers[1].join("etc/passwd"), "app:x:7:7::/:\n").unwrap();
        assert_eq!(read(), "app:x:7:7::/:\n");
        fs::remove_file(layers[1].join("etc/passwd")).unwrap();
        // A link is the app's own matter, and never leads out of the layer.
        std::os::unix::fs::symlink("/etc/passwd", layers[1].join("etc/passwd")).unwrap();
        assert_eq!(read(), "");
    }
}
