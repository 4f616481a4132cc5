//! Names of entries, as paths within a tree.

use super::UnpackError;

/// Components of a name without what means nothing; refused if it goes up. A leading slash
/// means the root of the tree, as elsewhere.
pub fn normal(name: &[u8], depth: usize) -> Result<Vec<u8>, UnpackError> {
    let meant = |part: &&[u8]| !part.is_empty() && *part != b".";
    let parts: Vec<_> = name.split(|byte| *byte == b'/').filter(meant).collect();
    if parts.contains(&&b".."[..]) || name.contains(&0) {
        return Err(UnpackError::Name(shown(name)));
    }
    if parts.len() > depth {
        return Err(UnpackError::Depth {
            name: shown(name),
            most: depth,
        });
    }
    Ok(parts.join(&b'/'))
}

/// Directory and last component; none for the root.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}

/// Names come from outside: bounded, and without control characters.
pub fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let name = name.chars().map(|c| if c.is_control() { '?' } else { c });
    name.take(200).collect()
}
