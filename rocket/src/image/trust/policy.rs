//! Policies of trust: TOML files in `trust.d`.
//!
//! ```toml
//! [[policy]]
//! prefix = "example.com/team"     # "" is for everything that no other prefix covers
//! required = true                 # the default; with false, unsigned images pass
//! reject = false                  # with true, no image passes
//! keys = ["team.pub"]             # beside this file, or absolute; or PEM itself
//! signed-as = "example.com/team"  # names in signatures are below this; default: the image's
//! ```
//!
//! A file in `/etc/rocket/trust.d` replaces the one of the same name in
//! `/usr/lib/rocket/trust.d`; a link to `/dev/null` removes it. Anything wrong in any file
//! stops everything: a policy that is not understood must not be as if it was not there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::keys::{KeyError, PublicKey};
use crate::dirs::Dirs;

/// Longest policy and longest key, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// Most files, and most policies in one.
const MAX_COUNT: usize = 1024;

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Names below it are covered, and it itself.
    pub prefix: String,
    /// Whether a signature is needed.
    pub required: bool,
    /// Whether nothing passes.
    pub reject: bool,
    /// Keys of which one must have signed.
    pub keys: Vec<PublicKey>,
    /// What the names in signatures must be below, if not the image's own.
    pub signed_as: Option<String>,
    /// Where it is written.
    pub file: PathBuf,
}

/// All policies of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies(Vec<Policy>);

/// What is wrong with a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read.
    #[error("reading the trust policy {}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not as a policy has to be.
    #[error("the trust policy {}", .path.display())]
    Toml {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// One of its keys.
    #[error("the key {key:?} of the trust policy {}", .path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// As it is written.
        key: String,
        /// What is wrong.
        source: KeyError,
    },
    /// It can never be satisfied, or contradicts itself or another one.
    #[error("the trust policy {} for {prefix:?}: {what}", .path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Which of its policies.
        prefix: String,
        /// What is wrong.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    policy: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    prefix: String,
    #[serde(default = "yes")]
    required: bool,
    #[serde(default)]
    reject: bool,
    #[serde(default)]
    keys: Vec<String>,
    signed_as: Option<String>,
}

fn yes() -> bool {
    true
}

impl Policies {
    /// Reads all policies of a host.
    pub fn load(dirs: &Dirs) -> Result<Self, PolicyError> {
        let mut policies: Vec<Policy> = Vec::new();
        for path in fragments(dirs, "trust.d")? {
            for policy in read(&path)? {
                if let Some(other) = policies.iter().find(|p| p.prefix == policy.prefix) {
                    let what = format!("{} has one for this prefix too", other.file.display());
                    return Err(wrong(&path, &policy.prefix, what));
                }
                policies.push(policy);
            }
        }
        Ok(Self(policies))
    }

    /// The one that decides about a name: the one with the longest prefix.
    pub fn find(&self, name: &str) -> Option<&Policy> {
        let covering = self.0.iter().filter(|policy| covers(&policy.prefix, name));
        covering.max_by_key(|policy| policy.prefix.len())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.0.iter()
    }
}

/// Whether a name is below a prefix. A component is covered whole: `a/b` is not below `a/bc`
/// and not the other way round.
pub fn covers(prefix: &str, name: &str) -> bool {
    match name.strip_prefix(prefix) {
        None => false,
        Some(rest) => {
            rest.is_empty() || prefix.is_empty() || prefix.ends_with('/') || rest.starts_with('/')
        }
    }
}

/// The TOML files that count in a directory of each of the host's directories of policy, in
/// the order of their names.
pub fn fragments(dirs: &Dirs, directory: &str) -> Result<Vec<PathBuf>, PolicyError> {
    let mut files = BTreeMap::new();
    // The first one wins, so it is put in last.
    for config in dirs.config().iter().rev() {
        let directory = config.join(directory);
        let read = |source| PolicyError::Read {
            path: directory.clone(),
            source,
        };
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.map_err(read)?,
        };
        for entry in entries {
            let path = entry.map_err(read)?.path();
            let hidden = path
                .file_name()
                .is_none_or(|n| n.as_encoded_bytes()[0] == b'.');
            if path.extension().is_some_and(|end| end == "toml") && !hidden {
                files.insert(path.file_name().map(ToOwned::to_owned), path);
            }
        }
        if files.len() > MAX_COUNT {
            return Err(read(ErrorKind::FileTooLarge.into()));
        }
    }
    let removed = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to == Path::new("/dev/null"));
    Ok(files.into_values().filter(|path| !removed(path)).collect())
}

/// A file's text, within bounds.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_BYTES {
        true => Err(ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

fn read(path: &Path) -> Result<Vec<Policy>, PolicyError> {
    let text = read_text(path).map_err(|source| PolicyError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(path, &text)
}

/// Reads a policy's text; keys that it names are files beside `path`.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Policy>, PolicyError> {
    let file: File = toml::from_str(text).map_err(|source| PolicyError::Toml {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    if file.policy.len() > MAX_COUNT {
        return Err(wrong(path, "", format!("more than {MAX_COUNT} policies")));
    }
    file.policy
        .into_iter()
        .map(|written| check(path, written))
        .collect()
}

fn check(path: &Path, written: Written) -> Result<Policy, PolicyError> {
    let keys = written.keys.iter().map(|key| read_key(path, key));
    let policy = Policy {
        keys: keys.collect::<Result<_, _>>()?,
        prefix: written.prefix,
        required: written.required,
        reject: written.reject,
        signed_as: written.signed_as,
        file: path.to_owned(),
    };
    let what = if policy.required && !policy.reject && policy.keys.is_empty() {
        "it wants a signature, but names no keys"
    } else if policy.reject && !policy.keys.is_empty() {
        "it rejects everything, but names keys"
    } else if policy.prefix.contains(['@', ' ']) {
        "the prefix is no part of a name: no digest and no spaces"
    } else {
        return Ok(policy);
    };
    Err(wrong(path, &policy.prefix, what.to_owned()))
}

fn read_key(path: &Path, key: &str) -> Result<PublicKey, PolicyError> {
    let failed = |source| PolicyError::Key {
        path: path.to_owned(),
        key: key.chars().take(200).collect(),
        source,
    };
    if key.contains("-----BEGIN") {
        return PublicKey::from_pem(key).map_err(failed);
    }
    let file = path.parent().unwrap_or(Path::new("/")).join(key);
    let text = read_text(&file).map_err(|source| failed(KeyError::Read(source)))?;
    PublicKey::from_pem(&text).map_err(failed)
}

fn wrong(path: &Path, prefix: &str, what: String) -> PolicyError {
    PolicyError::Wrong {
        path: path.to_owned(),
        prefix: prefix.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_one(text: &str) -> Result<Policy, PolicyError> {
        let path = Path::new("/etc/rocket/trust.d/a.toml");
        parse(path, text).map(|mut all| all.remove(0))
    }

    #[test]
    fn a_prefix_covers_whole_components() {
        for (prefix, name) in [
            ("", "example.com/a"),
            ("example.com", "example.com/a"),
            ("example.com/a", "example.com/a"),
            ("example.com/a", "example.com/a/b"),
            ("example.com/a/", "example.com/a/b"),
            ("oci:/srv", "oci:/srv/app"),
        ] {
            assert!(covers(prefix, name), "{prefix} {name}");
        }
        for (prefix, name) in [
            ("example.com/a", "example.com/ab"),
            ("example.com", "example.com.evil/a"),
            ("example.com", "example.com:5000/a"),
            ("a/b/c", "a/b"),
        ] {
            assert!(!covers(prefix, name), "{prefix} {name}");
        }
    }

    #[test]
    fn the_longest_prefix_decides() {
        let text = r#"
            policy = [
                { prefix = "", reject = true },
                { prefix = "example.com", required = false },
                { prefix = "example.com/team/secret", reject = true },
            ]"#;
        let policies = Policies(parse(Path::new("/a.toml"), text).unwrap());
        let decides = |name| policies.find(name).unwrap().prefix.as_str();
        assert_eq!(decides("example.com/team/app"), "example.com");
        assert_eq!(
            decides("example.com/team/secret"),
            "example.com/team/secret"
        );
        assert_eq!(decides("example.org/app"), "");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "[[policy]]\nprefix = \"a\"",
            "[[policy]]\nprefix = \"a\"\nrequierd = false",
            "[[policies]]\nprefix = \"a\"",
            "[[policy]]\nrequired = false",
            "[[policy]]\nprefix = \"a@b\"\nrequired = false",
            "[[policy]]\nprefix = \"a\"\nkeys = [\"/nowhere/key.pub\"]",
            "[[policy]]\nprefix = \"a\"\nkeys = [\"-----BEGIN PUBLIC KEY-----\"]",
        ] {
            assert!(parse_one(text).is_err(), "{text}");
        }
        assert!(parse_one("[[policy]]\nprefix = \"a\"\nrequired = false").is_ok());
    }

    #[test]
    fn etc_replaces_and_removes_what_the_release_brings() {
        let root = tempfile::tempdir().unwrap();
        let (etc, lib) = (root.path().join("etc"), root.path().join("lib"));
        for directory in [&etc, &lib] {
            fs::create_dir_all(directory.join("trust.d")).unwrap();
        }
        for name in ["a.toml", "b.toml", "c.toml", ".d.toml", "e.txt"] {
            fs::write(lib.join("trust.d").join(name), "").unwrap();
        }
        fs::write(etc.join("trust.d/a.toml"), "").unwrap();
        std::os::unix::fs::symlink("/dev/null", etc.join("trust.d/b.toml")).unwrap();
        let dirs = Dirs::with_config(root.path(), vec![etc.clone(), lib.clone()]);
        let files = fragments(&dirs, "trust.d").unwrap();
        let expected = [etc.join("trust.d/a.toml"), lib.join("trust.d/c.toml")];
        assert_eq!(files, expected);
    }

    #[test]
    fn two_policies_for_one_prefix_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(root.path());
        let directory = root.path().join("etc/trust.d");
        fs::create_dir_all(&directory).unwrap();
        let text = "[[policy]]\nprefix = \"a\"\nrequired = false";
        fs::write(directory.join("1.toml"), text).unwrap();
        fs::write(directory.join("2.toml"), text).unwrap();
        let error = Policies::load(&dirs).unwrap_err().to_string();
        assert!(
            error.contains("1.toml") && error.contains("2.toml"),
            "{error}"
        );
    }
}
