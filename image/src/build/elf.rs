//! Which shared libraries a program needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

/// Directories of the image's libraries; the second holds systemd's own.
const LIBRARIES: [&str; 2] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/systemd",
];

/// Paths, relative to `root`, of all libraries that the files in `programs`
/// (relative to `root`; those that are not ELF are passed over) load at start.
///
/// Fails naming a library that is not in `root`.
pub fn closure(root: &Path, programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<PathBuf> = programs.to_vec();
    while let Some(program) = open.pop() {
        for name in needed(&root.join(&program))? {
            let library = LIBRARIES
                .iter()
                .map(|dir| Path::new(dir).join(&name))
                .find(|path| root.join(path).exists());
            let Some(library) = library else {
                bail!(
                    "{} needs {name}, which the system tree lacks",
                    program.display()
                );
            };
            if found.insert(library.clone()) {
                open.push(library);
            }
        }
    }
    Ok(found)
}

/// Fails if `program` needs a shared library, or a loader.
pub fn without_libraries(program: &Path) -> Result<()> {
    let needed = needed(program)?;
    let data = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    let header = elf::FileHeader64::<object::Endianness>::parse(data.as_slice())?;
    let endian = header.endian()?;
    let mut segments = header.program_headers(endian, data.as_slice())?.iter();
    let has_loader = segments.any(|segment| segment.p_type(endian) == elf::PT_INTERP);
    if has_loader || !needed.is_empty() {
        bail!(
            "{} is not linked statically: it has a loader, or needs one of {needed:?}",
            program.display()
        );
    }
    Ok(())
}

/// The `DT_NEEDED` names of one file; none if it is not ELF.
fn needed(path: &Path) -> Result<Vec<String>> {
    let data = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    if !data.starts_with(&elf::ELFMAG) {
        return Ok(Vec::new());
    }
    parse(&data).with_context(|| format!("reading the dynamic section of {}", path.display()))
}

fn parse(data: &[u8]) -> Result<Vec<String>, object::read::Error> {
    let header = elf::FileHeader64::<object::Endianness>::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let mut names = Vec::new();
    for segment in header.program_headers(endian, data)? {
        let Some(dynamic) = segment.dynamic(endian, data)? else {
            continue;
        };
        let Some((_, link)) = sections.dynamic(endian, data)? else {
            continue;
        };
        let strings = sections.strings(endian, data, link)?;
        for entry in dynamic {
            if entry.tag32(endian) == Some(elf::DT_NEEDED) {
                let name = entry.string(endian, strings)?;
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_libraries_is_told_from_what_does_not() {
        // This test needs the C library itself.
        let own = std::env::current_exe().unwrap();
        let error = without_libraries(&own).unwrap_err().to_string();
        assert!(error.contains("libc.so.6"), "{error}");
    }
}
