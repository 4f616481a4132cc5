//! Where an image comes from, as it is written on the command line.

use std::fmt;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::name::{NameError, Reference};

/// Fewest digits of an image's id that are taken for it.
const MIN_ID: usize = 12;

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// `example.com/team/app:1.2`: from a registry.
    Registry(Reference),
    /// `oci:PATH[:TAG]`: a directory in OCI's layout.
    Layout(Local),
    /// `oci-archive:PATH[:TAG]`: such a directory as a tar archive.
    OciArchive(Local),
    /// `docker-archive:PATH[:REFERENCE]`: what `docker save` writes.
    DockerArchive(Local),
    /// `sha256:DIGITS`: what is in the store already; digits from the front, at least 12.
    Stored(String),
}

/// A file or directory, and which of its images.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Local {
    /// Absolute.
    pub path: PathBuf,
    /// Needed only where there are several.
    pub image: Option<String>,
}

/// Why a text names no source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not a name in a registry either.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `oci:` and the like without a path.
    #[error("{0:?} names no file: write {0}PATH, or {0}PATH:NAME where several images are in it")]
    NoPath(String),
    /// The working directory is gone.
    #[error("finding where {path:?} is")]
    Absolute {
        /// As written.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Too few digits, or others.
    #[error("{0:?} is no image's id: sha256: and at least {MIN_ID} hexadecimal digits")]
    Id(String),
}

impl Source {
    /// Reads what was written on the command line. Short names are refused; see
    /// [`Aliases`](super::registries::Registries::resolve) for those that policy defines.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        type Make = fn(Local) -> Source;
        let local: [(&str, Make); 3] = [
            ("oci:", Self::Layout),
            ("oci-archive:", Self::OciArchive),
            ("docker-archive:", Self::DockerArchive),
        ];
        for (prefix, make) in local {
            if let Some(rest) = text.strip_prefix(prefix) {
                return Local::parse(prefix, rest).map(make);
            }
        }
        match text.strip_prefix("sha256:") {
            Some(digits) => stored(text, digits),
            None => Ok(Self::Registry(text.parse()?)),
        }
    }

    /// What policies of trust are found by: registry and path, or kind and file.
    pub fn scope(&self) -> String {
        match self {
            Self::Registry(reference) => reference.name(),
            Self::Layout(local) => format!("oci:{}", local.path.display()),
            Self::OciArchive(local) => format!("oci-archive:{}", local.path.display()),
            Self::DockerArchive(local) => format!("docker-archive:{}", local.path.display()),
            Self::Stored(digits) => format!("sha256:{digits}"),
        }
    }

    /// The digest that it was pinned to by whoever wrote it.
    pub fn pin(&self) -> Option<&Digest> {
        match self {
            Self::Registry(reference) => reference.digest(),
            _ => None,
        }
    }

    /// The file or directory, if it is on this host.
    pub fn local(&self) -> Option<&Local> {
        match self {
            Self::Layout(local) | Self::OciArchive(local) | Self::DockerArchive(local) => {
                Some(local)
            }
            Self::Registry(_) | Self::Stored(_) => None,
        }
    }
}

impl Local {
    /// `PATH[:IMAGE]`: as everywhere, the first colon ends the path.
    fn parse(prefix: &str, rest: &str) -> Result<Self, SourceError> {
        let (path, image) = match rest.split_once(':') {
            Some((path, image)) => (path, Some(image)),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(SourceError::NoPath(prefix.to_owned()));
        }
        let path = Path::new(path);
        let absolute = std::path::absolute(path).map_err(|source| SourceError::Absolute {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: absolute,
            image: image.filter(|image| !image.is_empty()).map(str::to_owned),
        })
    }
}

fn stored(text: &str, digits: &str) -> Result<Source, SourceError> {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if (MIN_ID..=64).contains(&digits.len()) && digits.chars().all(hex) {
        Ok(Source::Stored(digits.to_owned()))
    } else {
        Err(SourceError::Id(text.chars().take(100).collect()))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            _ => {
                f.write_str(&self.scope())?;
                match self.local().and_then(|local| local.image.as_deref()) {
                    Some(image) => write!(f, ":{image}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_prefix() {
        let source = Source::parse("oci:/srv/app:1.0").unwrap();
        let Source::Layout(local) = &source else {
            panic!("{source:?}")
        };
        assert_eq!(local.path, Path::new("/srv/app"));
        assert_eq!(local.image.as_deref(), Some("1.0"));
        assert_eq!(source.to_string(), "oci:/srv/app:1.0");
        assert_eq!(source.scope(), "oci:/srv/app");

        let source = Source::parse("docker-archive:/a.tar:example.com:80/b:1").unwrap();
        let image = source.local().unwrap().image.clone();
        assert_eq!(image.as_deref(), Some("example.com:80/b:1"));

        let source = Source::parse("example.com/b").unwrap();
        assert!(matches!(source, Source::Registry(_)));
        assert_eq!(source.scope(), "example.com/b");
    }

    #[test]
    fn paths_are_made_absolute() {
        let source = Source::parse("oci-archive:app.tar").unwrap();
        assert!(source.local().unwrap().path.is_absolute());
    }

    #[test]
    fn ids_are_taken_from_twelve_digits_on() {
        assert!(Source::parse("sha256:0123456789ab").is_ok());
        assert!(Source::parse("sha256:0123456789a").is_err());
        assert!(Source::parse("sha256:../../../../etc").is_err());
        assert!(Source::parse("oci:").is_err());
    }
}
