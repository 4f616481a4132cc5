//! Data URLs (RFC 2397), read as strictly as upstream reads them: what is
//! accepted here is accepted by every other program that takes Ignition configs.

use base64::Engine as _;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};

use super::source::{UrlError, percent};

/// Padding is required; bits after the last byte are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// Types of RFC 2045; others begin with `x-`.
const TYPES: [&str; 7] = [
    "application",
    "audio",
    "image",
    "message",
    "multipart",
    "text",
    "video",
];

type Result<T> = std::result::Result<T, UrlError>;

/// Decodes what follows `data:`.
pub fn decode(rest: &str) -> Result<Vec<u8>> {
    let mut head = Head { rest };
    if !rest.starts_with([',', ';']) {
        head.media_type()?;
    }
    let mut packed = false;
    while head.take(';') {
        if packed {
            return Err(UrlError::Data("nothing comes between base64 and the comma"));
        }
        packed = head.parameter()?;
    }
    if !head.take(',') {
        return Err(UrlError::Data("there is no comma before the contents"));
    }
    match packed {
        true => BASE64
            .decode(head.rest)
            .map_err(|_| UrlError::Data("the contents are not base64 (with its padding)")),
        false => text(head.rest),
    }
}

/// What comes before the contents.
struct Head<'a> {
    rest: &'a str,
}

impl<'a> Head<'a> {
    fn take(&mut self, wanted: char) -> bool {
        let after = self.rest.strip_prefix(wanted);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn token(&mut self) -> &'a str {
        let end = self.rest.find(|c| !is_token(c));
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        token
    }

    fn media_type(&mut self) -> Result<()> {
        let kind = self.token();
        if !self.take('/') {
            return Err(UrlError::Data(
                "expected a comma, or a media type such as text/plain",
            ));
        }
        if !(TYPES.contains(&kind) || kind.starts_with("x-") || kind.starts_with("X-")) {
            return Err(UrlError::Data(
                "expected a media type such as text/plain, or none",
            ));
        }
        self.token();
        Ok(())
    }

    /// Reads one parameter; whether it is the word that says how contents are encoded.
    fn parameter(&mut self) -> Result<bool> {
        const BAD: UrlError =
            UrlError::Data("expected base64, or a parameter such as charset=utf-8");
        let name = self.token();
        if !self.take('=') {
            return if name == "base64" { Ok(true) } else { Err(BAD) };
        }
        let given = match self.take('"') {
            true => self.quoted()?,
            false => !self.token().is_empty(),
        };
        if name.is_empty() || !given {
            return Err(BAD);
        }
        Ok(false)
    }

    /// The rest of a quoted string, in which a backslash protects the next letter.
    fn quoted(&mut self) -> Result<bool> {
        let mut letters = self.rest.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(true);
                }
                '\\' => drop(letters.next()),
                _ => {}
            }
        }
        Err(UrlError::Data("a quoted parameter does not end"))
    }
}

/// RFC 2045, section 5.1.
fn is_token(c: char) -> bool {
    c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c)
}

/// Contents that are not base64. RFC 2396: what is neither reserved nor unreserved there
/// must be escaped.
fn text(contents: &str) -> Result<Vec<u8>> {
    let foreign = |c: char| !c.is_ascii_graphic() || "\"<#>[\\]^`{|}".contains(c);
    if contents.contains(foreign) {
        return Err(UrlError::Data(
            "spaces, quotes, brackets, # and letters outside ASCII must be written as % and \
             two hexadecimal digits",
        ));
    }
    percent(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_decoded() {
        for (url, text) in [
            (",", ""),
            (
                ",a~b'c(d)!*$&+;=:@/?-_.%20%C3%B6",
                "a~b'c(d)!*$&+;=:@/?-_. ö",
            ),
            ("text/plain,a,b", "a,b"),
            ("text/plain;a=\"b,c;\\\"d\",x", "x"),
            ("text/,x", "x"),
            ("X-a/b;a=b;a=c,x", "x"),
            (";charset=utf-8,x", "x"),
            (";base64,aGVsbG8=", "hello"),
            (";base64,", ""),
            (";base64=x,aA==", "aA=="),
            ("text/plain;charset=utf-8;base64,aA==", "h"),
            (";base64,aB==", "h"),
        ] {
            assert_eq!(decode(url), Ok(text.as_bytes().to_vec()), "{url}");
        }
    }

    #[test]
    fn what_upstream_refuses_is_refused() {
        for url in [
            "",
            "text",
            "/,x",
            "//,x",
            "text,x",
            "text/plain/x,x",
            "text/pl ain,x",
            "font/woff,x",
            "Text/plain,x",
            ";;,x",
            ";a,x",
            ";a=,x",
            ";=b,x",
            ";a=b/c,x",
            ";a=\"b,x",
            ";a=\"b\"c,x",
            "; charset=utf-8,x",
            ";base64",
            ";BASE64,aA==",
            ";base64;a=b,aA==",
            ";base64,aA",
            ";base64,aA=",
            ";base64,aA%3D%3D",
            ";base64,_-8=",
            ";base64,aA==aA==",
            ";base64,a A==",
            ",a b",
            ",a\"b",
            ",a#b",
            ",a[b",
            ",a\\b",
            ",a{b",
            ",ä",
            ",a\nb",
            ",%",
            ",%4",
            ",%zz",
        ] {
            let found = decode(url);
            assert!(matches!(found, Err(UrlError::Data(_))), "{url}: {found:?}");
        }
    }
}
