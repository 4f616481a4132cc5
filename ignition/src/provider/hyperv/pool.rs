//! Pairs, and the format of the files in which Hyper-V's daemon keeps them:
//! one record per pair, key and value filled up with zeros.

/// Length of a record's key and of its value (`linux/hyperv.h`).
pub const KEY: usize = 512;
/// See [`KEY`].
pub const VALUE: usize = 2048;

/// Most pairs that are taken. A config of the largest size of all has 16384
/// parts, but hosts keep some hundreds at most.
const PAIRS: usize = 4096;

/// A key and its value, without zeros at their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Vec<u8>,
    /// The value; it may be secret.
    pub value: Vec<u8>,
}

/// Pairs with keys that differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(Vec<Pair>);

impl Pairs {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|pair| pair.key == key.as_bytes());
        found.map(|pair| pair.value.as_slice())
    }

    /// Adds `pair`, or gives its key another value.
    pub fn set(&mut self, pair: Pair) -> Result<(), String> {
        if let Some(known) = self.0.iter_mut().find(|known| known.key == pair.key) {
            known.value = pair.value;
        } else if self.0.len() < PAIRS {
            self.0.push(pair);
        } else {
            return Err(format!("more than {PAIRS} key-value pairs"));
        }
        Ok(())
    }

    /// Removes `key`. Whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let before = self.0.len();
        self.0.retain(|pair| pair.key != key);
        self.0.len() < before
    }

    /// The contents of a pool file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * (KEY + VALUE));
        for pair in &self.0 {
            for (part, length) in [(&pair.key, KEY), (&pair.value, VALUE)] {
                let end = bytes.len() + length;
                bytes.extend(part.iter().take(length));
                bytes.resize(end, 0);
            }
        }
        bytes
    }

    /// Reads the contents of a pool file.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let records = bytes.chunks_exact(KEY + VALUE);
        if !records.remainder().is_empty() {
            let length = KEY + VALUE;
            return Err(format!("not a number of whole records of {length} bytes"));
        }
        let mut pairs = Self::default();
        for record in records {
            let (key, value) = record.split_at(KEY);
            pairs.set(Pair {
                key: text(key).to_vec(),
                value: text(value).to_vec(),
            })?;
        }
        Ok(pairs)
    }
}

/// `bytes` up to the first zero.
pub fn text(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_have_the_daemons_layout() {
        let mut file = vec![0; 2 * 2560];
        file[..3].copy_from_slice(b"one");
        file[512..515].copy_from_slice(b"{}\n");
        file[2560..2563].copy_from_slice(b"two");
        let pairs = Pairs::decode(&file).unwrap();
        assert_eq!(pairs.get("one"), Some(&b"{}\n"[..]));
        assert_eq!(pairs.get("two"), Some(&b""[..]));
        assert_eq!(pairs.get("three"), None);
        assert_eq!(pairs.encode(), file);
        assert!(Pairs::decode(&file[1..]).is_err());
    }

    #[test]
    fn pairs_are_bounded() {
        let file = (0..=PAIRS).flat_map(|number| {
            let mut record = number.to_string().into_bytes();
            record.resize(KEY + VALUE, 0);
            record
        });
        let file: Vec<u8> = file.collect();
        assert!(Pairs::decode(&file).unwrap_err().contains("4096"));
        assert!(Pairs::decode(&file[KEY + VALUE..]).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_kept_is_read_again(
            pairs in prop::collection::btree_map("[a-z.0-9]{1,20}", "[^\0]{0,100}", 0..8)
        ) {
            let mut kept = Pairs::default();
            for (key, value) in &pairs {
                let (key, value) = (key.clone().into_bytes(), value.clone().into_bytes());
                kept.set(Pair { key, value }).unwrap();
            }
            prop_assert_eq!(Pairs::decode(&kept.encode()).unwrap(), kept);
        }
    }
}
