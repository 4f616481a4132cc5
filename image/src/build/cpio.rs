//! Writes an initramfs archive: the `newc` cpio format
//! (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Entries are sorted, have no owner but root and no time, so equal trees give
//! equal bytes; and the data of larger files starts on 4096-byte boundaries, so
//! a file that did not change is the same blocks in the next release.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Size of the fixed header, in bytes.
const HEADER: usize = 110;
/// The kernel skips entries whose name, padding included, is longer.
const PATH_MAX: usize = 4096;
/// Alignment of larger files' data, in bytes.
const BLOCK: usize = 4096;

/// An archive under construction.
struct Archive<W> {
    out: W,
    written: usize,
    inode: u32,
}

/// Archives the directory `root` into `out`.
pub fn write(root: &Path, out: impl Write) -> Result<()> {
    let mut archive = Archive {
        out,
        written: 0,
        inode: 1,
    };
    archive.directory(root, "")?;
    archive.entry("TRAILER!!!", 0, 1, &[])?;
    archive.pad(512)?;
    archive.out.flush().context("writing the initrd")
}

impl<W: Write> Archive<W> {
    fn directory(&mut self, root: &Path, below: &str) -> Result<()> {
        let dir = root.join(below);
        let mut names = fs::read_dir(&dir)
            .with_context(|| format!("reading {}", dir.display()))?
            .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            let name = if below.is_empty() {
                name
            } else {
                format!("{below}/{name}")
            };
            let path = root.join(&name);
            let meta = fs::symlink_metadata(&path)
                .with_context(|| format!("reading {}", path.display()))?;
            if meta.is_dir() {
                self.entry(&name, meta.mode() & !0o022, 2, &[])?;
                self.directory(root, &name)?;
            } else if meta.is_symlink() {
                let target = fs::read_link(&path)?;
                self.entry(
                    &name,
                    meta.mode() & !0o022,
                    1,
                    target.as_os_str().as_encoded_bytes(),
                )?;
            } else {
                let data =
                    fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                self.entry(&name, meta.mode() & !0o022, 1, &data)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: u32, links: u32, data: &[u8]) -> Result<()> {
        let name_size = self.name_size(name.len(), data.len());
        let fields = [
            self.inode,
            mode,
            0, // uid
            0, // gid
            links,
            0, // mtime
            u32::try_from(data.len()).with_context(|| format!("{name} is over 4 GiB"))?,
            0,
            0,
            0,
            0, // devices
            u32::try_from(name_size)?,
            0, // check
        ];
        self.inode += 1;
        let mut header = String::from("070701");
        for field in fields {
            header += &format!("{field:08x}");
        }
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&vec![0; name_size - name.len()])?;
        self.pad(4)?;
        self.put(data)?;
        self.pad(4)
    }

    /// Bytes of the name with its terminator, and with more NULs where they
    /// bring the data onto a block boundary.
    fn name_size(&self, name: usize, data: usize) -> usize {
        let start = self.written + HEADER + name + 1;
        let more = start.next_multiple_of(BLOCK) - start;
        if data >= BLOCK && name + 1 + more <= PATH_MAX {
            name + 1 + more
        } else {
            name + 1
        }
    }

    fn pad(&mut self, to: usize) -> Result<()> {
        self.put(&vec![0; self.written.next_multiple_of(to) - self.written])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len();
        self.out.write_all(bytes).context("writing the initrd")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_lists_sorted_entries_and_aligns_large_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        fs::write(dir.path().join("b/large"), vec![7; 5000]).unwrap();
        fs::write(dir.path().join("a"), "small").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("c")).unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        write(dir.path(), &mut first).unwrap();
        write(dir.path(), &mut second).unwrap();
        assert_eq!(first, second);
        let data = first
            .windows(5000)
            .position(|w| w == vec![7; 5000])
            .unwrap();
        assert_eq!(data % BLOCK, 0);
        assert_eq!(names(&first), ["a", "b", "b/large", "c", "TRAILER!!!"]);
    }

    /// Reads an archive back the way the kernel does.
    fn names(mut rest: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        let whole = rest.len();
        loop {
            assert_eq!(&rest[..6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&rest[6 + 8 * n..14 + 8 * n]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (size, name_size) = (field(6), field(11));
            let name = &rest[HEADER..HEADER + name_size];
            let end = name.iter().position(|b| *b == 0).unwrap();
            names.push(String::from_utf8(name[..end].to_vec()).unwrap());
            let at = whole - rest.len();
            let next = ((at + HEADER + name_size).next_multiple_of(4) + size).next_multiple_of(4);
            if names.last().unwrap() == "TRAILER!!!" {
                return names;
            }
            rest = &rest[next - at..];
        }
    }
}
