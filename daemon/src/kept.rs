//! What a daemon remembers: small files of its own, which are looked at with care.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// What `parse` makes of a file; the default if it is not there. One that cannot be used
/// is set aside, so that it is told once: then there is a message for people, too.
pub fn load<T: Default>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, serde_json::Error>,
) -> (T, Option<String>) {
    let why = match read(path) {
        Ok(None) => return (T::default(), None),
        Ok(Some(text)) => match parse(&text) {
            Ok(value) => return (value, None),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".bad");
    let aside = path.with_file_name(name);
    let what = match fs::rename(path, &aside) {
        Ok(()) => format!("set aside as {}", aside.display()),
        Err(error) => format!("cannot be set aside: {error}"),
    };
    let message = format!("{} cannot be used ({why}); {what}", path.display());
    (T::default(), Some(message))
}

/// The text of a file; `None` if it is not there.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("longer than {MAX_BYTES} bytes")));
    }
    Ok(Some(text))
}
