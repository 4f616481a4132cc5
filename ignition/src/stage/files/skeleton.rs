//! New homes: copies of the skeleton.

use std::collections::BTreeSet;
use std::io;

use crate::account::Account;
use crate::durable::Attributes;
use crate::log;
use crate::root::{Kind, RootError, split};

use super::Context;

/// Where new homes' files come from.
const SKELETON: &str = "/etc/skel";

/// How a home is called, next to its place, until it is complete; a number follows.
const UNFINISHED: &str = ".ignition-home";

/// Homes that are being made. Each appears complete or not at all: they are flushed
/// together, and then renamed.
#[derive(Debug, Default)]
pub struct NewHomes {
    unfinished: Vec<Unfinished>,
    /// Directories without what an earlier attempt left.
    clean: BTreeSet<String>,
}

#[derive(Debug)]
struct Unfinished {
    path: String,
    home: String,
    attributes: Attributes,
}

impl NewHomes {
    /// Makes the home of `account`, unless there is one. It is there after
    /// [`NewHomes::finish`].
    pub fn add(&mut self, context: &Context<'_>, account: &Account) -> Result<(), RootError> {
        let home = account.home.trim_end_matches('/');
        let (parent, _) = split(home);
        if !self.clean.contains(parent) {
            // It may be in one of those that are unfinished, or another name of where they are.
            self.finish(context)?;
            context.root.make_directories(parent)?;
            clean_up(context, parent)?;
            self.clean.insert(parent.to_owned());
        }
        if context.root.entry(home)?.is_some() {
            return Ok(());
        }
        let path = format!("{parent}/{UNFINISHED}-{}", self.unfinished.len());
        let attributes = Attributes {
            uid: account.uid,
            gid: account.gid,
            mode: home_mode(context)?,
        };
        copy_tree(context, SKELETON, &path, account)?;
        context.root.set_attributes(&path, attributes)?;
        self.unfinished.push(Unfinished {
            path,
            home: home.to_owned(),
            attributes,
        });
        Ok(())
    }

    /// Puts all of them in place.
    pub fn finish(&mut self, context: &Context<'_>) -> Result<(), RootError> {
        if self.unfinished.is_empty() {
            return Ok(());
        }
        context.root.sync()?;
        for Unfinished {
            path,
            home,
            attributes,
        } in self.unfinished.drain(..)
        {
            // Two accounts may share one.
            if context.root.entry(&home)?.is_some() {
                context.root.remove(&path)?;
                continue;
            }
            context.root.rename(&path, &home)?;
            let Attributes { uid, gid, mode } = attributes;
            log::info(&format!(
                "made home path={home} mode={mode:04o} uid={uid} gid={gid}"
            ));
        }
        Ok(())
    }
}

/// Removes from `parent` what an attempt that was cut off left.
fn clean_up(context: &Context<'_>, parent: &str) -> Result<(), RootError> {
    for name in context.root.names(parent)? {
        if name.starts_with(UNFINISHED) {
            context.root.remove(&format!("{parent}/{name}"))?;
        }
    }
    Ok(())
}

/// Copies a directory for its new owner; modes are kept.
fn copy_tree(
    context: &Context<'_>,
    from: &str,
    to: &str,
    account: &Account,
) -> Result<(), RootError> {
    let root = context.root;
    root.make_directories(to)?;
    for name in root.names(from)? {
        let (from, to) = (format!("{from}/{name}"), format!("{to}/{name}"));
        let Some(entry) = root.entry(&from)? else {
            continue;
        };
        let attributes = Attributes {
            uid: account.uid,
            gid: account.gid,
            mode: entry.attributes.mode,
        };
        match entry.kind {
            Kind::Directory => {
                copy_tree(context, &from, &to, account)?;
                root.set_attributes(&to, attributes)?;
            }
            Kind::Link => {
                let target = root.link_target(&from)?;
                root.make_link(&to, &target, account.uid, account.gid)?;
            }
            Kind::File => copy_file(context, &from, &to, attributes)?,
            Kind::Special => {}
        }
    }
    Ok(())
}

fn copy_file(
    context: &Context<'_>,
    from: &str,
    to: &str,
    attributes: Attributes,
) -> Result<(), RootError> {
    let Some(mut original) = context.root.open_file(from)? else {
        return Ok(());
    };
    context.root.write(to, attributes, |copy| {
        io::copy(&mut original, copy)
            .map(drop)
            .map_err(|source| RootError {
                operation: "copying",
                path: from.to_owned(),
                root: context.root.path().to_owned(),
                source,
            })
    })
}

/// `HOME_MODE`, else what `UMASK` leaves, of login.defs(5).
fn home_mode(context: &Context<'_>) -> Result<u32, RootError> {
    let text = context.root.read("/etc/login.defs")?.unwrap_or_default();
    Ok(mode_of(&String::from_utf8_lossy(&text)))
}

fn mode_of(login_defs: &str) -> u32 {
    let value = |wanted: &str| {
        login_defs.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let _name = words.next().filter(|name| *name == wanted)?;
            u32::from_str_radix(words.next()?, 8).ok()
        })
    };
    let mode = value("HOME_MODE").unwrap_or_else(|| 0o777 & !value("UMASK").unwrap_or(0o022));
    mode & 0o7777
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::{Fetcher, Network};
    use crate::root::Root;
    use crate::stage::files::KeysFile;
    use crate::state::State;
    use std::time::Duration;

    /// Adds homes to a root with a skeleton of one file, and what `left` names; what is in
    /// it before they are finished, and after.
    fn made(left: &[&str], homes: &[&str]) -> [Vec<String>; 2] {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open_deferring(directory.path()).unwrap();
        let own = Attributes::own(0o644);
        root.write_bytes("/etc/skel/f", b"text", own).unwrap();
        for path in left {
            root.write_bytes(path, b"", own).unwrap();
        }
        let fetcher = Fetcher::new(Network::Absent, Duration::ZERO);
        let context = Context {
            root: &root,
            at_once: &root,
            fetcher: &fetcher,
            state: &State::default(),
            keys_file: KeysFile::Fragment,
        };
        let mut new = NewHomes::default();
        for home in homes {
            let account = Account {
                name: "n".to_owned(),
                uid: own.uid,
                gid: own.gid,
                home: (*home).to_owned(),
            };
            new.add(&context, &account).unwrap();
        }
        let mut lists = [Vec::new(), Vec::new()];
        list(&root, "/home", &mut lists[0]);
        new.finish(&context).unwrap();
        list(&root, "/home", &mut lists[1]);
        lists
    }

    fn list(root: &Root, path: &str, out: &mut Vec<String>) {
        for name in root.names(path).unwrap() {
            let path = format!("{path}/{name}");
            list(root, &path, out);
            out.push(path);
        }
    }

    #[test]
    fn homes_appear_when_all_of_them_are_complete() {
        let [before, after] = made(&["/home/there/x"], &["/home/b/", "/home/there", "/home/a"]);
        let unfinished = [
            "/home/.ignition-home-0/f",
            "/home/.ignition-home-0",
            "/home/.ignition-home-1/f",
            "/home/.ignition-home-1",
        ];
        assert_eq!(before[..4], unfinished);
        assert_eq!(before[4..], ["/home/there/x", "/home/there"]);
        let homes = ["/home/a/f", "/home/a", "/home/b/f", "/home/b"];
        assert_eq!(after[..4], homes);
        assert_eq!(after[4..], ["/home/there/x", "/home/there"]);
    }

    #[test]
    fn a_home_in_another_is_made_after_it() {
        let [_, after] = made(&[], &["/home/a", "/home/a/in/b"]);
        let expected = [
            "/home/a/f",
            "/home/a/in/b/f",
            "/home/a/in/b",
            "/home/a/in",
            "/home/a",
        ];
        assert_eq!(after, expected);
    }

    #[test]
    fn a_home_of_two_accounts_is_made_once() {
        let [_, after] = made(&[], &["/home/a", "/home/a"]);
        assert_eq!(after, ["/home/a/f", "/home/a"]);
    }

    #[test]
    fn what_an_attempt_that_was_cut_off_left_is_removed() {
        let left = ["/home/.ignition-home-0/half", "/home/.ignition-home-7/f"];
        let [_, after] = made(&left, &["/home/a"]);
        assert_eq!(after, ["/home/a/f", "/home/a"]);
    }

    #[test]
    fn home_modes() {
        assert_eq!(
            mode_of("# HOME_MODE 0755\nHOME_MODE\t0700\nUMASK 022\n"),
            0o700
        );
        assert_eq!(mode_of("UMASK 027"), 0o750);
        assert_eq!(mode_of(""), 0o755);
    }
}
