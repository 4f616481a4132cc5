//! Names of images in registries, as people write them everywhere.

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, DigestError};

/// Longest name without tag and digest that registries take.
const MAX_NAME: usize = 255;

/// Longest tag.
const MAX_TAG: usize = 128;

/// The registry whose names have a history of their own.
const DOCKER: &str = "docker.io";

/// `registry[:port]/path[:tag][@digest]`. The registry is always part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("the name of the image is empty")]
    Empty,
    /// No registry. Which one was meant is not guessed: whoever owns the name in another
    /// registry would decide what runs.
    #[error(
        "{name:?} does not say which registry it is in: write for example {DOCKER}/{suggestion}, \
         or define it under [aliases] in a file of /etc/rocket/registries.d"
    )]
    Short {
        /// As written.
        name: String,
        /// What Docker would have taken it for.
        suggestion: String,
    },
    /// The part before the first slash.
    #[error("{name:?}: {registry:?} is not a registry's host and port")]
    Registry {
        /// As written.
        name: String,
        /// The part that is wrong.
        registry: String,
    },
    /// A path with a component that registries do not have.
    #[error(
        "{name:?}: {component:?} is not a path component of a repository: lowercase letters \
         and digits, separated by one of . _ __ or hyphens"
    )]
    Component {
        /// As written.
        name: String,
        /// The part that is wrong.
        component: String,
    },
    /// A tag that registries do not have.
    #[error("{name:?}: {tag:?} is not a tag: at most 128 letters, digits and _ . -")]
    Tag {
        /// As written.
        name: String,
        /// The part that is wrong.
        tag: String,
    },
    /// What is after the `@`.
    #[error("{name:?}: what follows the @ is no digest")]
    Digest {
        /// As written.
        name: String,
        /// Why.
        source: DigestError,
    },
    /// Registry and path together.
    #[error("the name of the image has more than {MAX_NAME} characters")]
    Long,
}

impl Reference {
    /// The registry's host, with its port if one was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; there is one unless there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that the manifest must have.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and path: what policies match, and what a signature is for.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What a manifest is asked for by: the digest if there is one, else the tag.
    pub fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository, another tag.
    pub fn with_tag(&self, tag: &str) -> Self {
        Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        }
    }

    /// The same repository, this manifest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let (rest, digest) = split_digest(text)?;
        let (path, tag) = split_tag(text, rest)?;
        if path.len() > MAX_NAME {
            return Err(NameError::Long);
        }
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if names_a_host(first) => (first, rest.to_owned()),
            _ => return Err(short(text, path)),
        };
        check_registry(text, registry)?;
        check_path(text, &repository)?;
        let (registry, repository) = canonical(registry, repository);
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self {
            registry,
            repository,
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        // With a digest the tag decides nothing.
        match (&self.digest, &self.tag) {
            (Some(digest), _) => write!(f, "@{digest}"),
            (None, Some(tag)) => write!(f, ":{tag}"),
            (None, None) => Ok(()),
        }
    }
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>), NameError> {
    let Some((rest, digest)) = text.split_once('@') else {
        return Ok((text, None));
    };
    let digest = digest.parse().map_err(|source| NameError::Digest {
        name: shown(text),
        source,
    })?;
    Ok((rest, Some(digest)))
}

/// A colon after the last slash begins a tag; one before it is a port's.
fn split_tag<'a>(text: &str, rest: &'a str) -> Result<(&'a str, Option<String>), NameError> {
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let Some(colon) = rest[last..].find(':').map(|colon| last + colon) else {
        return Ok((rest, None));
    };
    let tag = &rest[colon + 1..];
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let good = !tag.is_empty()
        && tag.len() <= MAX_TAG
        && tag.chars().all(allowed)
        && !tag.starts_with(['.', '-']);
    if !good {
        let (name, tag) = (shown(text), shown(tag));
        return Err(NameError::Tag { name, tag });
    }
    Ok((&rest[..colon], Some(tag.to_owned())))
}

/// Docker's rule: what has a dot or a port, or is `localhost`, is a host.
fn names_a_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':'])
}

fn short(text: &str, path: &str) -> NameError {
    let library = if path.contains('/') { "" } else { "library/" };
    NameError::Short {
        name: shown(text),
        suggestion: format!("{library}{}", shown(text)),
    }
}

fn check_registry(text: &str, registry: &str) -> Result<(), NameError> {
    let wrong = || NameError::Registry {
        name: shown(text),
        registry: shown(registry),
    };
    let (host, port) = match registry.strip_prefix('[') {
        Some(address) => {
            let (address, rest) = address.split_once(']').ok_or_else(wrong)?;
            let address: std::net::Ipv6Addr = address.parse().map_err(|_| wrong())?;
            (
                address.to_string(),
                rest.strip_prefix(':').or((!rest.is_empty()).then_some("x")),
            )
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (registry.to_owned(), None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let good_host = registry.starts_with('[') || host.split('.').all(label);
    let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if good_host && good_port {
        Ok(())
    } else {
        Err(wrong())
    }
}

fn check_path(text: &str, path: &str) -> Result<(), NameError> {
    match path.split('/').find(|component| !is_component(component)) {
        None => Ok(()),
        Some(component) => Err(NameError::Component {
            name: shown(text),
            component: shown(component),
        }),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separator = String::new();
    let mut before = false;
    for c in text.chars() {
        if plain(c) {
            let good = match separator.as_str() {
                "" | "." | "_" | "__" => true,
                other => other.chars().all(|c| c == '-'),
            };
            if !good || (!before && !separator.is_empty()) {
                return false;
            }
            separator.clear();
            before = true;
        } else if matches!(c, '.' | '_' | '-') {
            separator.push(c);
        } else {
            return false;
        }
    }
    before && separator.is_empty()
}

/// Hosts are not case sensitive, and Docker's registry has names for its own images.
fn canonical(registry: &str, repository: String) -> (String, String) {
    let registry = registry.to_ascii_lowercase();
    let registry = match registry.as_str() {
        "index.docker.io" => DOCKER.to_owned(),
        _ => registry,
    };
    if registry == DOCKER && !repository.contains('/') {
        return (registry, format!("library/{repository}"));
    }
    (registry, repository)
}

/// What came from outside may be long, and goes into messages.
fn shown(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_without_tag_and_digest_means_latest() {
        let name = parse("registry.example:5000/team/app");
        assert_eq!(name.registry(), "registry.example:5000");
        assert_eq!(name.repository(), "team/app");
        assert_eq!(name.selector(), "latest");
        assert_eq!(name.to_string(), "registry.example:5000/team/app:latest");
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let digest = Digest::of(b"");
        let name = parse(&format!("example.com/app:1.2@{digest}"));
        assert_eq!(name.selector(), digest.to_string());
        assert_eq!(name.to_string(), format!("example.com/app@{digest}"));
    }

    #[test]
    fn dockers_own_images_are_in_its_library() {
        let expected = "docker.io/library/debian:12";
        for text in [
            "docker.io/debian:12",
            "docker://index.docker.io/library/debian:12",
        ] {
            assert_eq!(parse(text).to_string(), expected);
        }
    }

    #[test]
    fn short_names_are_refused_with_the_long_one() {
        let error = "debian:12".parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains("docker.io/library/debian:12"), "{error}");
        let error = "team/app".parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains("docker.io/team/app"), "{error}");
    }

    #[test]
    fn what_registries_do_not_take_is_refused() {
        for text in [
            "",
            "example.com/",
            "example.com/App",
            "example.com/a..b",
            "example.com/a___b",
            "example.com/-a",
            "example.com/a/",
            "example.com//a",
            "example.com/../a",
            "example.com/a:",
            "example.com/a:.x",
            "example.com/a b",
            "example.com:0/a",
            "example.com:99999/a",
            "exa_mple.com/a",
            "-example.com/a",
            "[::1/a",
            "[::1]x/a",
            "example.com/a@sha256:12",
            "example.com/a@md5:12",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        let long = format!("example.com/{}", "a".repeat(250));
        assert_eq!(long.parse::<Reference>(), Err(NameError::Long));
    }

    #[test]
    fn ports_addresses_and_separators_are_understood() {
        for text in [
            "localhost/a:1",
            "[::1]:5000/a:1",
            "127.0.0.1:5000/a-b/c_d/e__f/g.h:V1.2_3-x",
            "EXAMPLE.com/a---b:1",
        ] {
            parse(text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_an_error(text in "\\PC{0,80}") {
            let _ = text.parse::<Reference>();
        }

        #[test]
        fn a_name_is_read_as_it_is_written(
            host in "[a-z]{1,8}\\.[a-z]{2,5}(:[1-9][0-9]{0,3})?",
            path in "[a-z0-9]{1,5}([._-][a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,5}){1,3}",
            tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}",
        ) {
            let text = format!("{host}/{path}:{tag}");
            let name = parse(&text);
            prop_assert_eq!(name.to_string(), text);
            prop_assert_eq!(name.tag(), Some(tag.as_str()));
        }
    }
}
