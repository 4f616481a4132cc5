//! Disk files, made with `qemu-img` of the tools tree.

use std::path::Path;

use crate::error::Result;
use crate::launcher::{self, Launcher};
use crate::machine::Format;

/// Size that the guest sees unless told otherwise, in GiB.
pub const DEFAULT_SIZE_GIB: u32 = 8;

/// Makes `overlay`, which shows `base` and takes what is written.
///
/// `size_gib` enlarges it; `None` keeps the size of `base`. The overlay is of
/// no use without `base`, which must not change.
pub fn overlay(
    tools: &dyn Launcher,
    base: &Path,
    format: Format,
    overlay: &Path,
    size_gib: Option<u32>,
) -> Result<()> {
    let base = absolute(base);
    let mut args = vec!["create".to_string(), "-q".to_string()];
    args.extend(["-f", "qcow2", "-b", &base, "-F", &format.to_string()].map(String::from));
    args.push(absolute(overlay));
    args.extend(size_gib.map(|gib| format!("{gib}G")));
    launcher::run(tools, "qemu-img", &args).map(drop)
}

/// Makes `copy` as a qcow2 file of its own with what `base` holds, enlarged to
/// `size_gib`. Appears whole or not at all.
pub fn copy(
    tools: &dyn Launcher,
    base: &Path,
    format: Format,
    copy: &Path,
    size_gib: Option<u32>,
) -> Result<()> {
    let mut partial = copy.as_os_str().to_os_string();
    partial.push(".partial");
    let partial = Path::new(&partial);
    convert(tools, (base, format), (partial, Format::Qcow2))?;
    if let Some(gib) = size_gib {
        let (to, size) = (absolute(partial), format!("{gib}G"));
        let args = ["resize", "-q", "-f", "qcow2", &to, &size];
        launcher::run(tools, "qemu-img", &args.map(String::from))?;
    }
    std::fs::rename(partial, copy).map_err(crate::Error::file("creating", copy))
}

/// Writes what the qcow2 file `base` shows to the raw file `copy`, which must not exist.
/// Blocks of zeros become holes.
pub fn flatten(tools: &dyn Launcher, base: &Path, copy: &Path) -> Result<()> {
    std::fs::File::create_new(copy).map_err(crate::Error::file("creating", copy))?;
    convert(tools, (base, Format::Qcow2), (copy, Format::Raw))
}

fn convert(tools: &dyn Launcher, from: (&Path, Format), to: (&Path, Format)) -> Result<()> {
    let formats = [from.1, to.1].map(|format| format.to_string());
    let paths = [from.0, to.0].map(absolute);
    let args = [
        "convert",
        "-f",
        &formats[0],
        "-O",
        &formats[1],
        &paths[0],
        &paths[1],
    ];
    launcher::run(tools, "qemu-img", &args.map(String::from)).map(drop)
}

/// Tells a qcow2 file from a raw one by its first bytes ("QFI\xfb", qcow2
/// specification, header).
pub fn format_of(path: &Path) -> Result<Format> {
    use std::io::Read;
    let mut magic = [0; 4];
    let mut file = std::fs::File::open(path).map_err(crate::Error::file("opening", path))?;
    let whole = file.read_exact(&mut magic).is_ok();
    Ok(if whole && magic == *b"QFI\xfb" {
        Format::Qcow2
    } else {
        Format::Raw
    })
}

/// QEMU's tools run in a tree of their own: names must not be relative. A
/// leading `/` also keeps a colon from being read as a protocol.
fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_magic() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(format_of(file.path()).unwrap(), Format::Raw);
        std::fs::write(file.path(), b"QFI\xfb\0\0\0\x03").unwrap();
        assert_eq!(format_of(file.path()).unwrap(), Format::Qcow2);
        let missing = format_of(Path::new("/no/such/disk")).unwrap_err();
        assert_eq!(missing.to_string(), "opening /no/such/disk");
    }
}
