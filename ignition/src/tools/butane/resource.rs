//! Things with contents: `source`, `inline`, `local`.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::{Compression, write::GzEncoder};

use crate::config;
use crate::fetch::{Digest, Hasher};
use crate::tools::yaml::Node;

use super::Translator;
use super::value::{Object, Path};

/// Puts the contents that `node` names into `object`, if they are not at a URL.
pub fn embed(translator: &mut Translator<'_>, node: &Node, object: &mut Object, path: &Path) {
    translator.contents(node, object, path);
}

/// The same for a config; it must be one.
pub fn child(translator: &mut Translator<'_>, node: &Node, object: &mut Object, path: &Path) {
    let Some((key, bytes)) = translator.contents(node, object, path) else {
        return;
    };
    let name = match (key, node.get("local").and_then(Node::text)) {
        ("local", Some(file)) => file.to_owned(),
        _ => format!("{}, {}.inline", translator.text.name, path.yaml),
    };
    let compressed = object.get("compression").and_then(|c| c.as_str()) == Some("gzip");
    if compressed && !translator.compressed_here(path) {
        return;
    }
    match config::parse(&name, &bytes) {
        Ok(None) => {
            let message = "the config is empty; write an Ignition config or remove this entry";
            translator.error(node.get(key).unwrap_or(node), &path.key(key), message);
        }
        Ok(Some(parsed)) => translator.found.warnings.extend(parsed.warnings),
        Err(invalid) => translator.found.errors.extend(invalid.0),
    }
}

impl Translator<'_> {
    /// Embeds the contents of `node` in `object`. Returns the key that they
    /// came from, with them.
    fn contents(
        &mut self,
        node: &Node,
        object: &mut Object,
        path: &Path,
    ) -> Option<(&'static str, Vec<u8>)> {
        let given: Vec<&'static str> = ["source", "inline", "local"]
            .into_iter()
            .filter(|key| node.get(key).is_some_and(|node| node.text().is_some()))
            .collect();
        let key = match given.as_slice() {
            [] | ["source"] => return None,
            [key] => *key,
            [first, second, ..] => {
                let message = format!("{first} and {second} are both given; keep one of them");
                self.error(node.get(second)?, &path.key(second), message);
                return None;
            }
        };
        let value = node.get(key)?;
        let below = path.key(key);
        let bytes = match key {
            "inline" => value.text()?.as_bytes().to_vec(),
            _ => self.local(value, &below)?,
        };
        let compression = object.get("compression").and_then(|c| c.as_str());
        let compression = compression
            .filter(|text| !text.is_empty())
            .map(str::to_owned);
        if compression.is_none() {
            self.check_hash(node, &bytes, path);
        }
        let url = match compression {
            Some(_) => plain_url(&bytes),
            None => {
                let (url, compression) = data_url(&bytes);
                object.insert("compression".to_owned(), compression.into());
                self.embedded.insert(path.json.clone());
                url
            }
        };
        object.insert("source".to_owned(), url.into());
        let place = (value.spot, below.yaml);
        self.places.insert(format!("{}.source", path.json), place);
        Some((key, bytes))
    }

    /// Whether the contents at `path` were compressed by this program.
    fn compressed_here(&self, path: &Path) -> bool {
        self.embedded.contains(&path.json)
    }

    /// Reads the local file that `node` names.
    pub fn local(&mut self, node: &Node, path: &Path) -> Option<Vec<u8>> {
        match self.files.read(node.text()?) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.error(node, path, error.to_string());
                None
            }
        }
    }

    /// Compares contents that are known with the hash that they are to have.
    fn check_hash(&mut self, node: &Node, bytes: &[u8], path: &Path) {
        let verification = node.get("verification");
        let Some(hash) = verification.and_then(|v| v.get("hash")) else {
            return;
        };
        // One that cannot be read is found when the whole config is checked.
        let Some(Ok(expected)) = hash.text().map(str::parse::<Digest>) else {
            return;
        };
        let mut hasher = Hasher::new(&expected);
        hasher.update(bytes);
        let found = hasher.finish();
        if found != expected {
            let path = path.key("verification").key("hash");
            let message = format!(
                "the contents have another hash, {found}; correct it, or leave it out: \
                 embedded contents cannot change on the way"
            );
            self.error(hash, &path, message);
        }
    }
}

/// The shortest data URL of `bytes`, and the compression that it needs.
pub fn data_url(bytes: &[u8]) -> (String, &'static str) {
    let plain = plain_url(bytes);
    let packed = gzip(bytes).map(|packed| format!("data:;base64,{}", BASE64.encode(packed)));
    match packed.filter(|packed| packed.len() + "gzip".len() < plain.len()) {
        Some(packed) => (packed, "gzip"),
        None => (plain, ""),
    }
}

fn plain_url(bytes: &[u8]) -> String {
    let escaped = format!("data:,{}", escape(bytes));
    let encoded = format!("data:;base64,{}", BASE64.encode(bytes));
    if encoded.len() < escaped.len() {
        encoded
    } else {
        escaped
    }
}

/// Equal bytes in, equal bytes out: the header carries no time and no name.
fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// Percent-encodes everything that has a meaning in URLs or is no ASCII.
fn escape(bytes: &[u8]) -> String {
    const PLAIN: &[u8] = b"-._~!$&'()*+,;=:@/?";
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || PLAIN.contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The JSON of contents that this program writes itself.
pub fn written(bytes: &[u8]) -> Object {
    let (source, compression) = data_url(bytes);
    Object::from_iter([
        ("source".to_owned(), source.into()),
        ("compression".to_owned(), compression.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Source;
    use proptest::prelude::*;
    use std::io::Read as _;

    fn decoded(bytes: &[u8]) -> Vec<u8> {
        let (url, compression) = data_url(bytes);
        let Ok(Source::Data(data)) = Source::parse(&url) else {
            panic!("no data URL: {url}");
        };
        if compression.is_empty() {
            return data;
        }
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(data.as_slice())
            .read_to_end(&mut out)
            .unwrap();
        out
    }

    #[test]
    fn the_shortest_form_is_taken() {
        assert_eq!(data_url(b"a b\n"), ("data:,a%20b%0A".to_owned(), ""));
        assert_eq!(data_url(&[0xff; 9]).0, "data:;base64,////////////");
        assert_eq!(data_url(&[b'a'; 999]).1, "gzip");
        assert_eq!(data_url(&[b'a'; 999]), data_url(&[b'a'; 999]));
    }

    proptest! {
        #[test]
        fn what_is_embedded_comes_out_again(bytes: Vec<u8>) {
            prop_assert_eq!(decoded(&bytes), bytes);
        }

        #[test]
        fn long_contents_come_out_again(text in "[a-c\n]{0,300}", times in 1_usize..20) {
            let bytes = text.repeat(times).into_bytes();
            prop_assert_eq!(decoded(&bytes), bytes);
        }
    }
}
