//! Files that people have written.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, bail};

/// Has `write` fill a file, which is there whole or not at all: what is half written has
/// another name.
///
/// # Errors
/// The file is there and is not to be replaced, or it cannot be written.
pub fn whole(
    path: &Path,
    overwrite: bool,
    write: impl FnOnce(File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if path.exists() && !overwrite {
        bail!(
            "{} is there already; --overwrite replaces it",
            path.display()
        );
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let half = directory.join(format!(".rocket-{}", uuid::Uuid::new_v4()));
    let failed = || format!("writing {}", path.display());
    let written = File::create_new(&half)
        .with_context(failed)
        .and_then(|file| write(file).with_context(failed))
        .and_then(|()| fs::rename(&half, path).with_context(failed));
    if written.is_err() {
        // The error of the writing is the one to tell.
        let _ = fs::remove_file(&half);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_file_is_whole_or_not_there_and_is_replaced_only_if_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let text = |text: &'static str| move |mut file: File| Ok(file.write_all(text.as_bytes())?);
        let error = whole(&path, false, |_| bail!("no more paper")).unwrap_err();
        assert!(
            format!("{error:#}").ends_with("out: no more paper"),
            "{error:#}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        whole(&path, false, text("one")).unwrap();
        let error = whole(&path, false, text("two")).unwrap_err();
        assert!(error.to_string().contains("--overwrite"), "{error}");
        whole(&path, true, text("two")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    }
}
