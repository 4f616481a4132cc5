//! Which registries are asked how: TOML files in `registries.d`, and `auth.json`.
//!
//! ```toml
//! [[registry]]
//! prefix = "example.com/team"        # a host, or a host and a part of the path
//! plain-http = false                 # with true, without TLS
//! ca = ["/etc/rocket/team.pem"]      # authorities beside the host's own
//! blocked = false                    # with true, nothing is fetched from there
//!
//! [[registry.mirror]]                # asked before the registry itself, in this order
//! location = "mirror.example.net:5000/team"   # takes the place of the prefix
//! plain-http = true
//!
//! [aliases]                          # short names
//! debian = "docker.io/library/debian"
//! ```
//!
//! Files are found as those of `trust.d` are. `auth.json` has docker's format, and is looked
//! for in `/etc/rocket` first.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Error;
use super::name::{NameError, Reference};
use super::source::Source;
use super::trust::policy::{covers, fragments, read_text};
use crate::dirs::Dirs;

/// The host that speaks for `docker.io`, and its key in `auth.json`.
const DOCKER_API: &str = "registry-1.docker.io";
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// Most mirrors of one registry.
const MAX_MIRRORS: usize = 16;

/// What is known about registries.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    registries: Vec<Registry>,
    aliases: BTreeMap<String, String>,
    auth: AuthFile,
}

/// How a registry is asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Registry {
    prefix: String,
    #[serde(default)]
    plain_http: bool,
    #[serde(default)]
    ca: Vec<PathBuf>,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    plain_http: bool,
    #[serde(default)]
    ca: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    registry: Vec<Registry>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

/// Docker's file of credentials.
#[derive(Debug, Clone, Default, Deserialize)]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
}

#[derive(Clone, Default, Deserialize)]
struct AuthEntry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
}

// Nothing of it may get into a message.
impl std::fmt::Debug for AuthEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Who we are to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody.
    Anonymous,
    /// A name and a password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// What a token service gives tokens for.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            _ => f.write_str("…"),
        }
    }
}

/// One place where a repository can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port.
    pub host: String,
    /// The repository's path there.
    pub repository: String,
    /// Whether without TLS.
    pub plain_http: bool,
    /// Authorities beside the host's own.
    pub ca: Vec<PathBuf>,
    /// Who we are there.
    pub credentials: Credentials,
}

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// They cannot be found.
    #[error(transparent)]
    Fragments(#[from] super::trust::policy::PolicyError),
    /// One cannot be read.
    #[error("reading {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One is not as it has to be.
    #[error("{}", .path.display())]
    Toml {
        /// Which.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// The credentials are not as they have to be.
    #[error("{}", .path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
    /// Too many mirrors.
    #[error("{}: {prefix:?} has more than {MAX_MIRRORS} mirrors", .path.display())]
    Mirrors {
        /// Which file.
        path: PathBuf,
        /// Which registry.
        prefix: String,
    },
    /// Policy forbids it.
    #[error("{name} is not fetched: registries.d blocks {prefix:?}")]
    Blocked {
        /// The image's name.
        name: String,
        /// What is blocked.
        prefix: String,
    },
    /// Credentials in a form that is not known.
    #[error("the credentials for {0:?} in auth.json are not base64 of user:password")]
    Credentials(String),
}

impl Registries {
    /// Reads the files of a host.
    pub fn load(dirs: &Dirs) -> Result<Self, RegistriesError> {
        let mut all = Self::default();
        for path in fragments(dirs, "registries.d")? {
            let text = read(&path)?.unwrap_or_default();
            all.add(&path, &text)?;
        }
        for config in dirs.config() {
            let path = config.join("auth.json");
            if let Some(text) = read(&path)? {
                let parsed = serde_json::from_str(&text);
                all.auth = parsed.map_err(|source| RegistriesError::Json { path, source })?;
                break;
            }
        }
        Ok(all)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), RegistriesError> {
        let file: File = toml::from_str(text).map_err(|source| RegistriesError::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        if let Some(many) = file.registry.iter().find(|r| r.mirror.len() > MAX_MIRRORS) {
            return Err(RegistriesError::Mirrors {
                path: path.to_owned(),
                prefix: many.prefix.clone(),
            });
        }
        self.registries.extend(file.registry);
        self.aliases.extend(file.aliases);
        Ok(())
    }

    /// Reads what was written on the command line, short names included.
    pub fn resolve(dirs: &Dirs, text: &str) -> Result<Source, Error> {
        match Source::parse(text) {
            Err(super::source::SourceError::Name(NameError::Short { name, suggestion })) => {
                let known = Self::load(dirs)?;
                let (short, rest) = split(text);
                match known.aliases.get(short) {
                    Some(long) => Ok(Source::parse(&format!("{long}{rest}"))?),
                    None => {
                        let error = NameError::Short { name, suggestion };
                        Err(super::source::SourceError::Name(error).into())
                    }
                }
            }
            result => Ok(result?),
        }
    }

    /// Where a repository can be had, in the order in which it is asked for there.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, RegistriesError> {
        let name = reference.name();
        let covering = self.registries.iter().filter(|r| covers(&r.prefix, &name));
        let registry = covering.max_by_key(|registry| registry.prefix.len());
        if let Some(blocked) = registry.filter(|registry| registry.blocked) {
            return Err(RegistriesError::Blocked {
                name,
                prefix: blocked.prefix.clone(),
            });
        }
        let mut endpoints = Vec::new();
        if let Some(registry) = registry {
            let rest = name.strip_prefix(&registry.prefix).unwrap_or_default();
            for mirror in &registry.mirror {
                let location = format!("{}{rest}", mirror.location.trim_end_matches('/'));
                let (host, repository) = location.split_once('/').unwrap_or((&location, ""));
                endpoints.push(Endpoint {
                    host: host.to_owned(),
                    repository: repository.to_owned(),
                    plain_http: mirror.plain_http,
                    ca: mirror.ca.clone(),
                    credentials: self.credentials(&location)?,
                });
            }
        }
        let host = match reference.registry() {
            "docker.io" => DOCKER_API,
            host => host,
        };
        endpoints.push(Endpoint {
            host: host.to_owned(),
            repository: reference.repository().to_owned(),
            plain_http: registry.is_some_and(|registry| registry.plain_http),
            ca: registry
                .map(|registry| registry.ca.clone())
                .unwrap_or_default(),
            credentials: self.credentials(&name)?,
        });
        Ok(endpoints)
    }

    /// Those for the longest part of the name that has some.
    fn credentials(&self, name: &str) -> Result<Credentials, RegistriesError> {
        let mut part = name;
        loop {
            let keys = [
                part.to_owned(),
                format!("https://{part}"),
                format!("http://{part}"),
            ];
            let docker = (part == "docker.io").then(|| DOCKER_KEY.to_owned());
            let mut keys = keys.into_iter().chain(docker);
            if let Some((key, entry)) =
                keys.find_map(|key| self.auth.auths.get(&key).map(|entry| (key, entry)))
            {
                return entry.credentials().ok_or(RegistriesError::Credentials(key));
            }
            match part.rsplit_once('/') {
                Some((shorter, _)) => part = shorter,
                None => return Ok(Credentials::Anonymous),
            }
        }
    }
}

impl AuthEntry {
    fn credentials(&self) -> Option<Credentials> {
        if let Some(token) = self
            .identitytoken
            .as_ref()
            .filter(|token| !token.is_empty())
        {
            return Some(Credentials::Identity(token.clone()));
        }
        let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) else {
            return Some(Credentials::Anonymous);
        };
        let decoded = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Credentials::Basic {
            user: user.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

/// A short name without its tag and digest, and these.
fn split(text: &str) -> (&str, &str) {
    let end = text.find([':', '@']).unwrap_or(text.len());
    text.split_at(end)
}

fn read(path: &Path) -> Result<Option<String>, RegistriesError> {
    match read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RegistriesError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(toml: &str, auth: &str) -> Registries {
        let mut all = Registries::default();
        all.add(Path::new("/a.toml"), toml).unwrap();
        all.auth = serde_json::from_str(auth).unwrap();
        all
    }

    fn endpoints(all: &Registries, name: &str) -> Vec<Endpoint> {
        all.endpoints(&name.parse().unwrap()).unwrap()
    }

    #[test]
    fn mirrors_take_the_place_of_the_prefix_and_come_first() {
        let all = with(
            r#"
            [[registry]]
            prefix = "example.com/team"
            [[registry.mirror]]
            location = "mirror.example:5000/cache/team/"
            plain-http = true
            "#,
            "{}",
        );
        let found = endpoints(&all, "example.com/team/app:1");
        assert_eq!(found[0].host, "mirror.example:5000");
        assert_eq!(found[0].repository, "cache/team/app");
        assert!(found[0].plain_http);
        assert_eq!(found[1].host, "example.com");
        assert_eq!(found[1].repository, "team/app");
        assert!(!found[1].plain_http);
        assert_eq!(endpoints(&all, "example.com/other:1").len(), 1);
    }

    #[test]
    fn docker_has_another_host_and_another_key() {
        let all = with(
            "",
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},
                "example.com/a":{"identitytoken":"t"},"example.com":{}}}"#,
        );
        let found = endpoints(&all, "docker.io/debian");
        assert_eq!(found[0].host, "registry-1.docker.io");
        let (user, password) = ("u".to_owned(), "p".to_owned());
        let expected = Credentials::Basic { user, password };
        assert_eq!(found[0].credentials, expected);
        let of = |name| endpoints(&all, name)[0].credentials.clone();
        assert_eq!(of("example.com/a/b"), Credentials::Identity("t".into()));
        assert_eq!(of("example.com/b"), Credentials::Anonymous);
    }

    #[test]
    fn what_is_blocked_has_no_endpoint() {
        let all = with(
            "[[registry]]\nprefix = \"example.com\"\nblocked = true",
            "{}",
        );
        let refused = all.endpoints(&"example.com/a".parse().unwrap());
        assert!(matches!(refused, Err(RegistriesError::Blocked { .. })));
    }

    #[test]
    fn short_names_are_known_only_by_policy() {
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(root.path());
        assert!(Registries::resolve(&dirs, "debian:12").is_err());
        let directory = root.path().join("etc/registries.d");
        std::fs::create_dir_all(&directory).unwrap();
        let text = "[aliases]\ndebian = \"docker.io/library/debian\"";
        std::fs::write(directory.join("a.toml"), text).unwrap();
        let source = Registries::resolve(&dirs, "debian:12").unwrap();
        assert_eq!(source.to_string(), "docker.io/library/debian:12");
    }
}
