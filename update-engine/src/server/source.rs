//! Where a repository is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use super::ServerOptions;
use super::directory::Directory;
use super::error::ServerError;
use super::fetch::Fetcher;
use super::http::Http;
use super::tar::Tar;

/// Where a repository is: above its `metadata` and `targets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// On a web server; `http` or `https`.
    Http(Url),
    /// In a directory or a tar file; which one is seen when it is opened.
    Path(PathBuf),
}

impl FromStr for Source {
    type Err = ServerError;

    /// Takes an address of `http`, `https` or `file`, or an absolute path.
    fn from_str(address: &str) -> Result<Self, ServerError> {
        let bad = |reason: &str| ServerError::Address {
            address: address.to_string(),
            reason: reason.to_string(),
        };
        if address.starts_with('/') {
            return Ok(Self::Path(address.into()));
        }
        let url = Url::parse(address).map_err(|error| bad(&error.to_string()))?;
        match url.scheme() {
            "http" | "https" if url.query().is_some() || url.fragment().is_some() => {
                Err(bad("it has a part behind ? or #"))
            }
            "http" | "https" => Ok(Self::Http(url)),
            "file" => match url.to_file_path() {
                Ok(path) => Ok(Self::Path(path)),
                Err(()) => Err(bad("its path is not one of this host")),
            },
            _ => Err(bad("its scheme is not known")),
        }
    }
}

impl fmt::Display for Source {
    /// Without a password: this goes into messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Http(url) => {
                let mut url = url.clone();
                if url.password().is_some() {
                    // Only addresses without a host refuse this, and they parse as none.
                    let _ = url.set_password(Some("..."));
                }
                url.fmt(f)
            }
        }
    }
}

pub(crate) fn connect(options: &ServerOptions) -> Result<Fetcher, ServerError> {
    match &options.source {
        Source::Http(url) => Ok(Fetcher::Http(Http::new(url, options)?)),
        Source::Path(path) => open(path),
    }
}

fn open(path: &Path) -> Result<Fetcher, ServerError> {
    let failed = |source| ServerError::Directory {
        path: path.to_path_buf(),
        source,
    };
    if path.metadata().map_err(failed)?.is_dir() {
        return Ok(Fetcher::Directory(Directory::new(path).map_err(failed)?));
    }
    match Tar::new(path) {
        Ok(tar) => Ok(Fetcher::Tar(tar)),
        Err(source) => Err(ServerError::Archive {
            path: path.to_path_buf(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_absolute_paths_are_taken() {
        let http = |s: &str| Source::Http(s.parse().unwrap());
        let path = |s: &str| Source::Path(s.into());
        for (address, source) in [
            (
                "https://updates.example/x/",
                http("https://updates.example/x/"),
            ),
            ("http://[::1]:8080", http("http://[::1]:8080/")),
            ("/srv/repo.tar", path("/srv/repo.tar")),
            ("file:///srv/repo", path("/srv/repo")),
        ] {
            assert_eq!(address.parse::<Source>().unwrap(), source, "{address}");
        }
    }

    #[test]
    fn other_addresses_are_refused_with_what_to_check() {
        for address in [
            "",
            "srv/repo",
            "updates.example",
            "ftp://updates.example/",
            "https://updates.example/?x",
            "file://elsewhere/srv",
        ] {
            let error = address.parse::<Source>().unwrap_err().to_string();
            assert!(error.contains("check `[update] server`"), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_told() {
        let source: Source = "https://host:secret@updates.example/".parse().unwrap();
        assert!(!source.to_string().contains("secret"));
    }
}
