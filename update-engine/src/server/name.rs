//! Names of targets, and where a repository keeps them.

use crate::release::Digest;

/// Longest name of a target, in bytes.
const LONGEST: usize = 512;

/// A name that could lead out of the repository or mean several things.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is not taken as the name of a file: parts are separated by one /, are not . \
     or .., and hold only letters, digits and . _ + - ~"
)]
pub struct BadName {
    /// The name, cut off where it is too long.
    pub name: String,
}

/// Whether a name is a plain relative path, the same on every kind of server.
pub(crate) fn check(name: &str) -> Result<(), BadName> {
    let good = name.len() <= LONGEST && name.split('/').all(is_plain);
    good.then_some(()).ok_or_else(|| BadName {
        name: name.chars().take(LONGEST).collect(),
    })
}

fn is_plain(part: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._+-~".contains(&b);
    !matches!(part, "" | "." | "..") && part.bytes().all(allowed)
}

/// The file of a target, from the root of the repository. With consistent snapshots
/// the target's hash is part of the file's name, in the target's directory (TUF,
/// section 6.2).
pub(crate) fn file_of(target: &str, sha256: &Digest, consistent: bool) -> String {
    match (consistent, target.rsplit_once('/')) {
        (false, _) => format!("targets/{target}"),
        (true, None) => format!("targets/{sha256}.{target}"),
        (true, Some((dir, file))) => format!("targets/{dir}/{sha256}.{file}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_our_targets_are_taken() {
        for name in [
            "channels/stable.json",
            "releases/1.0.0-rc.1+build~7/usr.zst",
            "metadata/1.root.json",
            "...",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn tricks_with_paths_are_refused_by_name() {
        for name in [
            "",
            "/",
            "/etc/shadow",
            "..",
            "../secret",
            "releases/../../secret",
            "releases/./x",
            "releases//x",
            "releases/x/",
            "releases\\..\\x",
            "releases/%2e%2e/x",
            "releases/x\0",
            "releases/x y",
            "releases/x?y",
            "releases/x#y",
            "https://elsewhere/x",
            "releases/\u{2215}x",
        ] {
            let error = check(name).unwrap_err();
            assert!(error.to_string().contains("is not taken"), "{name}");
        }
        assert!(check(&"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn the_hash_is_part_of_the_last_part_of_a_name() {
        let sha256 = Digest([0xab; 32]);
        let hash = "ab".repeat(32);
        assert_eq!(
            file_of("releases/1.0.0/usr.zst", &sha256, true),
            format!("targets/releases/1.0.0/{hash}.usr.zst")
        );
        assert_eq!(file_of("x", &sha256, true), format!("targets/{hash}.x"));
        assert_eq!(file_of("a/x", &sha256, false), "targets/a/x");
    }
}
