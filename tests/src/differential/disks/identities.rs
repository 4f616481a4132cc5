//! Which identities are compared: those that somebody gave. What a program makes up is a
//! fresh one, the first, the second and so on; so equal ones stay equal.

use std::collections::BTreeSet;

/// Identities that are known, and the fresh ones that were met.
#[derive(Debug, Default)]
pub struct Identities {
    known: BTreeSet<String>,
    fresh: Vec<String>,
}

impl Identities {
    /// Every GUID, and every volume ID of FAT, in `texts`.
    pub fn known_from(texts: &[&str]) -> Self {
        let words = texts
            .iter()
            .flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-'));
        let known = words.map(str::to_ascii_lowercase).filter_map(identity);
        Self {
            known: known.collect(),
            fresh: Vec::new(),
        }
    }

    /// What stands for `identity`.
    pub fn name(&mut self, identity: &str) -> String {
        let identity = identity.to_ascii_lowercase();
        if self.known.contains(&identity) || identity.chars().all(|c| matches!(c, '0' | '-')) {
            return identity;
        }
        let number = self.fresh.iter().position(|fresh| *fresh == identity);
        let number = number.unwrap_or_else(|| {
            self.fresh.push(identity);
            self.fresh.len() - 1
        });
        format!("fresh {}", number + 1)
    }
}

/// An identity as blkid shows it: volume IDs have a dash in the middle.
fn identity(word: String) -> Option<String> {
    let digits = word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    match word.len() {
        _ if !digits => None,
        36 | 9 => Some(word),
        8 => Some(format!("{}-{}", &word[..4], &word[4..])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_identities_stay_and_made_up_ones_are_counted() {
        let given = "D15C0000-0000-4000-8000-000000000000";
        let mut all = Identities::known_from(&[&format!("--guid=1:{given} \"uuid\":\"ABCD0123\"")]);
        assert_eq!(all.name(given), given.to_lowercase());
        assert_eq!(all.name("ABCD-0123"), "abcd-0123");
        let others = ["1-2", "3-4", "1-2"].map(|other| all.name(other));
        assert_eq!(others, ["fresh 1", "fresh 2", "fresh 1"]);
        assert_eq!(all.name("00000000-0000"), "00000000-0000");
    }
}
