//! What a registry wants to see before it answers: a token, or a name and a password.

use serde::Deserialize;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// A name and a password with each request.
    Basic,
    /// A token from elsewhere.
    Bearer {
        /// Where from.
        realm: String,
        /// For whom, as the registry calls itself.
        service: Option<String>,
        /// For what, if the registry says so.
        scope: Option<String>,
    },
}

/// A token service's answer.
#[derive(Deserialize)]
pub struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl Answer {
    /// The token, under either of its names.
    pub fn token(self) -> Option<String> {
        let token = self.token.filter(|token| !token.is_empty());
        token.or(self.access_token).filter(|token| {
            // It becomes a header.
            !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
        })
    }
}

impl Challenge {
    /// Reads a `WWW-Authenticate` header; a token is preferred to a password.
    pub fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut found = None;
        for header in headers {
            let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                return bearer(rest);
            }
            if scheme.eq_ignore_ascii_case("basic") {
                found = Some(Self::Basic);
            }
        }
        found
    }
}

fn bearer(rest: &str) -> Option<Challenge> {
    let mut realm = None;
    let mut service = None;
    let mut scope = None;
    for (key, value) in Parameters(rest) {
        match key.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            "scope" => scope = Some(value),
            _ => {}
        }
    }
    Some(Challenge::Bearer {
        realm: realm?,
        service,
        scope,
    })
}

/// `key="value",key=value`: commas may be within quotes, quotes after a backslash.
struct Parameters<'a>(&'a str);

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a str, String);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start_matches([' ', ',', '\t']);
        let (key, rest) = rest.split_once('=')?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let quoted = rest.starts_with('"');
        if quoted {
            chars.next();
        }
        let mut end = rest.len();
        while let Some((place, c)) = chars.next() {
            match c {
                '"' if quoted => {
                    end = place + 1;
                    break;
                }
                ',' if !quoted => {
                    end = place;
                    break;
                }
                '\\' if quoted => value.extend(chars.next().map(|(_, c)| c)),
                c => value.push(c),
            }
        }
        self.0 = &rest[end..];
        Some((key.trim(), value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(header: &str) -> Option<Challenge> {
        Challenge::parse([header].into_iter())
    }

    #[test]
    fn what_registries_ask_for_is_understood() {
        let header = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: Some("registry.example".into()),
            scope: Some("repository:a/b:pull,push".into()),
        };
        assert_eq!(parse(header), Some(expected));
        assert_eq!(parse("basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(parse("Negotiate"), None);
        assert_eq!(parse("Bearer service=x"), None);
        let both = ["Basic realm=\"x\"", "Bearer realm=http://a"].into_iter();
        assert!(matches!(
            Challenge::parse(both),
            Some(Challenge::Bearer { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_header_is_too_odd(text in "\\PC{0,60}") {
            let _ = parse(&format!("Bearer {text}"));
        }
    }
}
