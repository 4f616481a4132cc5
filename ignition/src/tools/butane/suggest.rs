//! What somebody may have meant who wrote something else.

/// The candidate that is nearest to `word`, if one is near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Keys are short; of a longer word none is meant.
    if word.len() > 64 {
        return None;
    }
    let plain = plain(word);
    let allowed = 1 + word.len() / 5;
    candidates
        .into_iter()
        .map(|candidate| (distance(&plain, &self::plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Without what tells `sshAuthorizedKeys` and `ssh-authorized-keys` from
/// `ssh_authorized_keys`.
fn plain(word: &str) -> Vec<char> {
    let letters = word.chars().filter(|c| !matches!(c, '_' | '-'));
    letters.flat_map(char::to_lowercase).collect()
}

/// How many letters have to be added, removed, replaced or swapped with the
/// next one (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_other_spellings_are_recognised() {
        let keys = ["path", "mode", "contents", "ssh_authorized_keys", "user"];
        for (word, meant) in [
            ("pth", "path"),
            ("mdoe", "mode"),
            ("content", "contents"),
            ("sshAuthorizedKeys", "ssh_authorized_keys"),
            ("ssh-authorized-key", "ssh_authorized_keys"),
        ] {
            assert_eq!(nearest(word, keys), Some(meant), "{word}");
        }
        for word in ["permissions", "x", &"path".repeat(99)] {
            assert_eq!(nearest(word, keys), None, "{word}");
        }
    }
}
