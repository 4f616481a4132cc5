//! Byte offsets of every key and value of a JSON text, by key path.

use std::collections::BTreeMap;

/// Deeper texts are indexed down to this level only (as serde_json's limit).
const DEPTH: usize = 128;

/// Where one key and its value start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// Offset of the key; of the value, for list elements and the top.
    pub key: usize,
    /// Offset of the value.
    pub value: usize,
}

/// The spots of a text. Of a malformed text, those up to the first error.
#[derive(Debug, Default)]
pub struct Index {
    spots: BTreeMap<String, Spot>,
}

impl Index {
    /// Reads `text`; never fails, see [`Index`].
    pub fn new(text: &str) -> Self {
        let mut reader = Reader {
            text,
            at: 0,
            spots: BTreeMap::new(),
        };
        reader.space();
        let top = reader.at;
        reader.value(
            "",
            Spot {
                key: top,
                value: top,
            },
            0,
        );
        Self {
            spots: reader.spots,
        }
    }

    /// The spot of `key`, or of the longest leading part of it that exists.
    pub fn nearest(&self, key: &str) -> Option<Spot> {
        let mut key = key;
        loop {
            if let Some(spot) = self.spots.get(key) {
                return Some(*spot);
            }
            if key.is_empty() {
                return None;
            }
            key = key.rfind('.').map_or("", |dot| &key[..dot]);
        }
    }
}

/// `parent.child`, without a leading dot.
pub fn join(parent: &str, child: &str) -> String {
    if parent.is_empty() {
        child.to_owned()
    } else {
        format!("{parent}.{child}")
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    spots: BTreeMap<String, Spot>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, path: &str, spot: Spot, depth: usize) -> Option<()> {
        self.spots.insert(path.to_owned(), spot);
        if depth > DEPTH {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(path, depth),
            b'[' => self.array(path, depth),
            b'"' => self.string().map(drop),
            _ => {
                while !matches!(
                    self.peek(),
                    None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')
                ) {
                    self.at += 1;
                }
                Some(())
            }
        }
    }

    fn object(&mut self, path: &str, depth: usize) -> Option<()> {
        self.take(b'{')?;
        self.space();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            self.space();
            let key = self.at;
            let name = self.string()?;
            self.space();
            self.take(b':')?;
            self.space();
            let spot = Spot {
                key,
                value: self.at,
            };
            self.value(&join(path, &name), spot, depth + 1)?;
            self.space();
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    fn array(&mut self, path: &str, depth: usize) -> Option<()> {
        self.take(b'[')?;
        self.space();
        if self.take(b']').is_some() {
            return Some(());
        }
        for number in 0_usize.. {
            self.space();
            let at = self.at;
            let spot = Spot { key: at, value: at };
            self.value(&join(path, &number.to_string()), spot, depth + 1)?;
            self.space();
            if self.take(b',').is_none() {
                return self.take(b']');
            }
        }
        None
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        self.take(b'"')?;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        serde_json::from_str(self.text.get(start..self.at)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_keys_and_values() {
        let text = "{\n \"a\": [1, {\"b\\u0063\": true}]}";
        let index = Index::new(text);
        let spot = index.nearest("a.1.bc").unwrap();
        assert_eq!(&text[spot.value..spot.value + 4], "true");
        assert!(text[spot.key..].starts_with("\"b\\u0063\""));
        assert_eq!(index.nearest("a.0.x.y"), index.nearest("a.0"));
        assert_eq!(index.nearest("zzz"), index.nearest(""));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[\\[\\]{},:\"\\\\a-c0-9é \n]{0,60}") {
            let index = Index::new(&text);
            if let Some(spot) = index.nearest("a.b") {
                prop_assert!(spot.value <= text.len());
            }
        }
    }
}
