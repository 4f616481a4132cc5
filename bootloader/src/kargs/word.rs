//! Words of a kernel command line.
//!
//! As the kernel has it, blanks end a word unless they are between double quotes; a
//! backslash is nothing special; `-` and `_` are the same in a name.

use alloc::{string::String, vec::Vec};

use super::Problem;

/// Names that decide which system runs, and why. A star stands for any end.
const PROTECTED: [(&str, &str); 17] = [
    ("usrhash*", VERIFIED),
    ("roothash*", VERIFIED),
    ("systemd.verity*", VERIFIED),
    ("systemd.image_*", VERIFIED),
    ("mount.usr*", SYSTEM),
    ("root", SYSTEM),
    ("rootfstype", SYSTEM),
    ("rootflags", SYSTEM),
    ("systemd.gpt_auto", SYSTEM),
    ("systemd.mount_extra", SYSTEM),
    ("systemd.volatile", SYSTEM),
    ("resume", SYSTEM),
    ("init", FIRST),
    ("rdinit", FIRST),
    ("initrd", FIRST),
    ("rd.*", "what the initrd does belongs to the release"),
    (
        "ignition.*",
        "where the config comes from is decided before it is read",
    ),
];

const VERIFIED: &str = "it says how the system is verified";
const SYSTEM: &str = "it says which file systems are the system's";
const FIRST: &str = "it says which program starts first";

/// The words of a command line. A quote that is not closed goes to the end.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.split(move |c: char| {
        quoted ^= c == '"';
        !quoted && (c.is_ascii_whitespace() || c == '\u{b}')
    })
    .filter(|word| !word.is_empty())
}

/// Whether two words say the same to the kernel: quotes group, and mean nothing else.
pub fn same(a: &str, b: &str) -> bool {
    bare(a).eq(bare(b))
}

/// Why `word` is not for a host to add or to remove, if it is not.
pub fn protects(word: &str) -> Option<&'static str> {
    if bare(word).eq(*b"--") {
        return Some("what follows it is no longer the kernel's");
    }
    let matches = |pattern: &str| {
        let dash = |b| if b == b'-' { b'_' } else { b };
        let name = bare(word).take_while(|b| *b != b'=').map(dash);
        match pattern.strip_suffix('*') {
            Some(start) => name.take(start.len()).eq(start.bytes()),
            None => name.eq(pattern.bytes()),
        }
    };
    let found = PROTECTED.iter().find(|(pattern, _)| matches(pattern));
    found.map(|(_, why)| *why)
}

/// The words of `text`, if all of them are allowed.
pub(super) fn check(text: &str) -> Result<Vec<&str>, Problem> {
    let word = || String::from(text);
    if !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Err(Problem::Character { word: word() });
    }
    if text.contains('\'') {
        return Err(Problem::SingleQuote { word: word() });
    }
    if text.bytes().filter(|b| *b == b'"').count() % 2 == 1 {
        return Err(Problem::Quote { word: word() });
    }
    let words: Vec<&str> = words(text).collect();
    let protected = words.iter().find_map(|word| Some((*word, protects(word)?)));
    match protected {
        Some((word, why)) => Err(Problem::Protected {
            word: String::from(word),
            why,
        }),
        None => Ok(words),
    }
}

fn bare(word: &str) -> impl Iterator<Item = u8> {
    word.bytes().filter(|b| *b != b'"')
}
