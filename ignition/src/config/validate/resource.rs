//! Things that are fetched: `source` and what goes with it.

use crate::config::{Resource, Spec, filled, list};
use crate::fetch::{Digest, Source, UrlError};

use super::Check;

/// Checks a list of resources that must each name a source.
pub fn required(key: &str, resources: &[Resource], check: &mut Check<'_>) {
    for (number, item) in resources.iter().enumerate() {
        let key = format!("{key}.{number}");
        if filled(item.source.as_ref()).is_none() {
            check.error(&format!("{key}.source"), "a source is required");
        }
        resource(&key, item, check);
    }
}

/// Checks one resource.
pub fn resource(key: &str, resource: &Resource, check: &mut Check<'_>) {
    source(&format!("{key}.source"), resource, check);
    if !matches!(resource.compression.as_deref(), None | Some("" | "gzip")) {
        check.error(
            &format!("{key}.compression"),
            "expected \"gzip\" or nothing",
        );
    }
    let text = resource.verification.as_ref().and_then(|v| v.hash.as_ref());
    if let Some(text) = text {
        let key = format!("{key}.verification.hash");
        if resource.source.is_none() {
            check.error(&key, "a hash without a source");
        } else {
            hash(&key, text, check);
        }
    }
    headers(&format!("{key}.httpHeaders"), resource, check);
}

fn source(key: &str, resource: &Resource, check: &mut Check<'_>) {
    let Some(text) = filled(resource.source.as_ref()) else {
        return;
    };
    match Source::parse(text) {
        Ok(_) => {}
        Err(UrlError::Scheme(scheme)) => check.error(
            key,
            format!(
                "unknown URL scheme {scheme:?}; expected http, https, data, tftp, s3, arn or gs"
            ),
        ),
        Err(error) => check.error(key, error.to_string()),
    }
}

/// A SHA-256 in a config of the first spec is refused, as upstream does: other programs
/// that carry the config out would refuse it too.
fn hash(key: &str, text: &str, check: &mut Check<'_>) {
    match text.parse::<Digest>() {
        Ok(digest) if digest.is_sha256() && check.spec < Spec::V3_1 => {
            let message = format!(
                "sha256 needs spec {} or newer; write sha512-<hex>, or that version",
                Spec::V3_1
            );
            check.error(key, message);
        }
        Ok(_) => {}
        Err(message) => check.error(key, message),
    }
}

fn headers(key: &str, resource: &Resource, check: &mut Check<'_>) {
    let headers = list(resource.http_headers.as_ref());
    if headers.is_empty() {
        return;
    }
    let source = resource.source.as_deref().unwrap_or_default();
    if !matches!(Source::parse(source), Ok(Source::Http(_))) {
        check.error(key, "headers are for http and https sources only");
    }
    for (number, header) in headers.iter().enumerate() {
        if !is_token(&header.name) {
            let key = format!("{key}.{number}.name");
            check.error(
                &key,
                format!("{:?} is not an HTTP header name", header.name),
            );
        }
        let value = header.value.as_deref().unwrap_or_default();
        if value.chars().any(|c| c.is_control() && c != '\t') {
            let key = format!("{key}.{number}.value");
            check.error(&key, "not an HTTP header value: it has control characters");
        }
    }
    let names = headers.iter().enumerate();
    check.unique(names.map(|(n, h)| (format!("{key}.{n}.name"), h.name.as_str())));
}

/// RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(allowed)
}
