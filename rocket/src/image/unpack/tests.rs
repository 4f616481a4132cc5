mod bytes;
mod hostile;
mod random;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// An archive that is being made.
struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// The name goes into the header as it is, however hostile.
    fn add(mut self, kind: tar::EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn header(mut self, change: impl FnOnce(&mut tar::Header)) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_mtime(0);
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, &b""[..]).unwrap();
        self
    }

    fn records(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.add(tar::EntryType::Regular, name, "", content)
    }

    fn directory(self, name: &str) -> Self {
        self.add(tar::EntryType::Directory, name, "", b"")
    }

    fn symlink(self, name: &str, to: &str) -> Self {
        self.add(tar::EntryType::Symlink, name, to, b"")
    }

    fn hardlink(self, name: &str, to: &str) -> Self {
        self.add(tar::EntryType::Link, name, to, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn unpack(self) -> (TempDir, Result<Made, UnpackError>) {
        let bytes = self.bytes();
        unpack_bytes(&bytes, &bytes)
    }
}

/// Unpacks `fetched`, in which `archive` should be, into a directory of a directory.
fn unpack_bytes(fetched: &[u8], archive: &[u8]) -> (TempDir, Result<Made, UnpackError>) {
    let expected = Expected {
        digest: Digest::of(fetched),
        size: fetched.len() as u64,
        diff_id: Digest::of(archive),
    };
    unpack_as(fetched, &expected, &Limits::default())
}

fn unpack_as(
    fetched: &[u8],
    expected: &Expected,
    limits: &Limits,
) -> (TempDir, Result<Made, UnpackError>) {
    let outer = tempfile::tempdir().unwrap();
    let tree = outer.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let root = OwnedFd::from(File::open(&tree).unwrap());
    let made = unpack(fetched, expected, root, limits);
    (outer, made)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn is_opaque(path: &Path) -> bool {
    xattr::get(path, "trusted.overlay.opaque")
        .unwrap()
        .as_deref()
        == Some(b"y")
}

fn is_whiteout(path: &Path) -> bool {
    let metadata = fs::symlink_metadata(path).unwrap();
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_tree_comes_out_as_it_went_in() {
    let (outer, made) = Archive::new()
        .directory("./")
        .directory("bin/")
        .file("bin/app", b"content")
        .symlink("bin/link", "../../../etc/passwd")
        .hardlink("bin/other", "bin/app")
        .unpack();
    assert_eq!(made.unwrap().entries, 5);
    let bin = outer.path().join("tree/bin");
    assert_eq!(fs::read(bin.join("app")).unwrap(), b"content");
    let link = fs::read_link(bin.join("link")).unwrap();
    assert_eq!(link, Path::new("../../../etc/passwd"));
    let inode = |name| fs::metadata(bin.join(name)).unwrap().ino();
    assert_eq!(inode("app"), inode("other"));
    for name in ["", "app", "link"] {
        let metadata = fs::symlink_metadata(bin.join(name)).unwrap();
        assert_eq!(metadata.mtime(), 1_000_000_000, "{name}");
    }
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn owner_permissions_and_attributes_are_kept() {
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\n";
    let (outer, made) = Archive::new()
        .records(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.name", b"a\nb"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("uid", b"3000000"),
            ("mtime", b"-5.5"),
        ])
        .header(|header| {
            header.set_path("tool").unwrap();
            header.set_mode(0o6755);
            header.set_gid(7);
        })
        .unpack();
    made.unwrap();
    let path = outer.path().join("tree/tool");
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o6755);
    assert_eq!((metadata.uid(), metadata.gid()), (3_000_000, 7));
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-6, 500_000_000));
    let get = |name| xattr::get(&path, name).unwrap();
    assert_eq!(get("security.capability").as_deref(), Some(&capability[..]));
    for name in ["user.overlay.opaque", "trusted.overlay.redirect"] {
        assert_eq!(get(name), None, "{name}");
    }
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn whiteouts_hide_what_is_below_and_not_what_is_here() {
    let (outer, made) = Archive::new()
        .file(".wh.gone", b"")
        .directory("etc/")
        .file("etc/new", b"")
        .file("etc/.wh..wh..opq", b"")
        .file(".wh..wh.plnk", b"")
        // Before and after what is in this layer.
        .file(".wh.dir", b"")
        .file("dir/file", b"")
        .directory("later/")
        .file(".wh.later", b"")
        .file("kept", b"")
        .file(".wh.kept", b"")
        .unpack();
    let made = made.unwrap();
    let tree = outer.path().join("tree");
    assert!(is_whiteout(&tree.join("gone")));
    assert!(is_opaque(&tree.join("etc")) && tree.join("etc/new").is_file());
    assert!(is_opaque(&tree.join("dir")) && tree.join("dir/file").is_file());
    assert!(is_opaque(&tree.join("later")));
    assert!(tree.join("kept").is_file());
    assert_eq!(made.implied, [b"".to_vec(), b"dir".to_vec()]);
    assert_eq!(fs::read_dir(&tree).unwrap().count(), 5);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn the_last_entry_of_a_name_counts() {
    let (outer, made) = Archive::new()
        .file("a", b"1")
        .file("a", b"2")
        .directory("b/")
        .file("b/c", b"")
        .file("b", b"3")
        .symlink("d", "/")
        .directory("d/")
        .file("d/e", b"4")
        .unpack();
    made.unwrap();
    let tree = outer.path().join("tree");
    assert_eq!(fs::read(tree.join("a")).unwrap(), b"2");
    assert_eq!(fs::read(tree.join("b")).unwrap(), b"3");
    assert_eq!(fs::read(tree.join("d/e")).unwrap(), b"4");
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn names_longer_than_a_header_are_read_in_both_ways() {
    let long = format!("{}/file", "d".repeat(200));
    let mut gnu = Archive::new();
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    gnu.0.append_data(&mut header, &long, &b"gnu"[..]).unwrap();
    let pax = Archive::new()
        .records(&[("path", long.as_bytes())])
        .file("short", b"pax");
    for (archive, content) in [(gnu, "gnu"), (pax, "pax")] {
        let (outer, made) = archive.unpack();
        made.unwrap();
        let path = outer.path().join("tree").join(&long);
        assert_eq!(fs::read(path).unwrap(), content.as_bytes());
    }
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn zeros_become_holes() {
    let mut content = vec![0; 1 << 20];
    content[500_000] = 1;
    let mut pieces = Archive::new().records(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", b"1048576"),
    ]);
    let mut map = b"1\n500000\n1\n".to_vec();
    map.resize(512, 0);
    map.push(1);
    pieces = pieces.file("GNUSparseFile.0/sparse", &map);
    for archive in [Archive::new().file("sparse", &content), pieces] {
        let (outer, made) = archive.unpack();
        made.unwrap();
        let path = outer.path().join("tree/sparse");
        assert!(fs::read(&path).unwrap() == content);
        assert!(fs::metadata(&path).unwrap().blocks() < 64);
    }
}
