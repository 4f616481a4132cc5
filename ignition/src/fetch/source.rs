//! The URLs of `source` keys.

use ureq::http::Uri;

use super::{data, gs, s3, tftp};

/// What a `source` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The bytes themselves (RFC 2397), decoded. No source at all is no bytes.
    Data(Vec<u8>),
    /// An http or https URL.
    Http(String),
    /// A file on a TFTP server.
    Tftp(tftp::Address),
    /// An object in S3, by URL or by Amazon's resource name.
    S3(s3::Address),
    /// An object in Google Cloud Storage.
    Gs(gs::Address),
}

/// A source that is no acceptable URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme than those of [`Source`].
    #[error("unsupported URL scheme {0:?}")]
    Scheme(String),
    /// An http URL that cannot be parsed.
    #[error("not a URL: {0}")]
    Malformed(String),
    /// An http URL without a host.
    #[error("the URL names no host (expected http://host/path)")]
    NoHost,
    /// A data URL that cannot be decoded. The text is not repeated: it may be
    /// long and secret.
    #[error("not a data URL: {0}")]
    Data(&'static str),
}

impl Source {
    /// Reads a `source`.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.is_empty() {
            return Ok(Self::Data(Vec::new()));
        }
        let scheme = text.split(':').next().unwrap_or_default();
        let scheme = if scheme.len() == text.len() {
            ""
        } else {
            scheme
        };
        match scheme.to_ascii_lowercase().as_str() {
            // As upstream: nobody writes this one in capitals.
            "data" if scheme != "data" => Err(UrlError::Data("data: is written in small letters")),
            "data" => data::decode(&text[scheme.len() + 1..]).map(Self::Data),
            "http" | "https" => {
                let after = &text[scheme.len() + 1..];
                if after
                    .strip_prefix("//")
                    .is_none_or(|rest| rest.is_empty() || rest.starts_with('/'))
                {
                    return Err(UrlError::NoHost);
                }
                let uri: Uri = text.parse().map_err(|error: ureq::http::uri::InvalidUri| {
                    UrlError::Malformed(error.to_string())
                })?;
                match uri.host() {
                    None | Some("") => Err(UrlError::NoHost),
                    // Later code tells http from https by these letters.
                    Some(_) => Ok(Self::Http(format!(
                        "{}:{after}",
                        scheme.to_ascii_lowercase()
                    ))),
                }
            }
            "s3" => s3::Address::parse_s3(&text[scheme.len() + 1..]).map(Self::S3),
            "arn" => s3::Address::parse_arn(&text[scheme.len() + 1..]).map(Self::S3),
            "gs" => gs::Address::parse(&text[scheme.len() + 1..]).map(Self::Gs),
            "tftp" => tftp::Address::parse(&text[scheme.len() + 1..]).map(Self::Tftp),
            other => Err(UrlError::Scheme(other.to_owned())),
        }
    }
}

/// A part of a URL without its percent-encoding.
pub(super) fn decoded(part: &str) -> Result<Vec<u8>, UrlError> {
    percent(part)
        .map_err(|_| UrlError::Malformed("% is not followed by two hexadecimal digits".to_owned()))
}

pub(super) fn percent(text: &str) -> Result<Vec<u8>, UrlError> {
    const BAD: UrlError = UrlError::Data("% is not followed by two hexadecimal digits");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit().ok_or(BAD)?, digit().ok_or(BAD)?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| BAD)?);
    }
    Ok(bytes)
}

/// How a source is called in messages: without what may be secret.
pub fn public_name(source: &str) -> String {
    if source.is_empty() {
        return "an empty source".to_owned();
    }
    if matches!(source.get(..4), Some(scheme) if scheme.eq_ignore_ascii_case("arn:")) {
        return source.split('?').next().unwrap_or_default().to_owned();
    }
    // Only these have parts that are known not to be contents.
    let Ok(uri) = source.parse::<Uri>() else {
        return "a data URL".to_owned();
    };
    let scheme = uri.scheme_str().map(str::to_ascii_lowercase);
    match (scheme.as_deref(), uri.authority()) {
        (Some(scheme @ ("http" | "https" | "tftp" | "s3" | "gs")), Some(authority)) => {
            let host = authority.as_str().rsplit('@').next().unwrap_or_default();
            let query = if uri.query().is_some() { "?…" } else { "" };
            format!("{scheme}://{host}{}{query}", uri.path())
        }
        _ => "a data URL".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn data_urls() {
        let decoded = |text: &str| match Source::parse(text) {
            Ok(Source::Data(bytes)) => String::from_utf8(bytes).unwrap(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(decoded("data:,hello%20w%C3%B6rld%0A"), "hello wörld\n");
        assert_eq!(decoded("data:;base64,aGVsbG8="), "hello");
        assert_eq!(
            decoded("data:text/plain;charset=utf-8;base64,aGVsbG8="),
            "hello"
        );
        assert_eq!(decoded("data:text/plain,a,b"), "a,b");
        assert_eq!(decoded("data:,"), "");
        assert_eq!(decoded(""), "");
        for bad in [
            "data:",
            "data:hello",
            "data:,%4",
            "data:,%zz",
            "data:;base64,a*",
        ] {
            assert!(
                matches!(Source::parse(bad), Err(UrlError::Data(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn tftp_urls_have_a_host_and_a_path() {
        for good in ["tftp://h/a", "TFTP://h:6969/a%20b", "tftp://[::1]/a/b"] {
            assert!(matches!(Source::parse(good), Ok(Source::Tftp(_))), "{good}");
            assert_ne!(public_name(good), "a data URL");
        }
        for bad in [
            "tftp:h/a",
            "tftp:///a",
            "tftp://h",
            "tftp://h/",
            "tftp://h/%00",
            "tftp://h/%z",
        ] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
        let long = format!("tftp://h/{}", "a".repeat(400));
        assert!(Source::parse(&long).is_err());
    }

    #[test]
    fn names_hide_secrets() {
        assert_eq!(public_name("http://u:p@h:1/x?t=1"), "http://h:1/x?…");
        assert_eq!(
            public_name("arn:aws:s3:::b/k?versionId=v"),
            "arn:aws:s3:::b/k"
        );
        assert_eq!(public_name("s3://b/k"), "s3://b/k");
        assert_eq!(public_name("data:,secret"), "a data URL");
        assert_eq!(public_name("data:;base64,%00"), "a data URL");
        assert_eq!(public_name("data://secret:at"), "a data URL");
    }

    #[test]
    fn schemes_may_be_written_in_capitals() {
        let source = Source::parse("HTTPS://h/X").unwrap();
        assert_eq!(source, Source::Http("https://h/X".to_owned()));
        assert!(matches!(Source::parse("DATA:,x"), Err(UrlError::Data(_))));
    }

    proptest! {
        #[test]
        fn encoding_all_bytes_round_trips(bytes: Vec<u8>) {
            let url: String = bytes.iter().map(|b| format!("%{b:02x}")).collect();
            let source = Source::parse(&format!("data:,{url}"));
            prop_assert_eq!(source, Ok(Source::Data(bytes)));
        }

        #[test]
        fn any_text_is_judged_without_panic(text in "(data:|http://|tftp://|gs://|s3://|arn:|x:)?[ -~é]{0,40}") {
            let _ = Source::parse(&text);
            let _ = public_name(&text);
        }
    }
}
