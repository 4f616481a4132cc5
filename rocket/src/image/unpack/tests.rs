use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use proptest::prelude::*;
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
fn links_are_followed_within_the_tree_only() {
    let (outer, made) = Archive::new()
        .directory("usr/")
        .symlink("lib", "/usr")
        .symlink("up", "../../../..")
        .file("lib/a", b"1")
        .file("up/b", b"2")
        .unpack();
    made.unwrap();
    let tree = outer.path().join("tree");
    assert_eq!(fs::read(tree.join("usr/a")).unwrap(), b"1");
    assert_eq!(fs::read(tree.join("b")).unwrap(), b"2");
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1);
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn what_leads_out_or_means_nothing_is_refused() {
    type Check = fn(&UnpackError) -> bool;
    let name: Check = |error| matches!(error, UnpackError::Name(_));
    let other: Check = |error| matches!(error, UnpackError::OtherLayer { .. });
    let device: Check = |error| matches!(error, UnpackError::Device { .. });
    let link: Check = |error| matches!(error, UnpackError::Link(_));
    let no_directory: Check = |error| matches!(error, UnpackError::NoDirectory(_));
    let char_device = tar::EntryType::Char;
    let cases: [(&str, Archive, Check); 10] = [
        ("up", Archive::new().file("../x", b""), name),
        ("up inside", Archive::new().file("a/../../x", b""), name),
        ("whiteout of ..", Archive::new().file("a/.wh...", b""), name),
        (
            "whiteout of nothing",
            Archive::new().file(".wh.", b""),
            name,
        ),
        (
            "root as a file",
            Archive::new().file("./", b"").symlink(".", "/"),
            name,
        ),
        (
            "link up",
            Archive::new().hardlink("x", "../../etc/passwd"),
            name,
        ),
        (
            "link to another layer",
            Archive::new().hardlink("x", "/etc/passwd"),
            other,
        ),
        (
            "whiteout as a device",
            Archive::new().add(char_device, "x", "", b""),
            device,
        ),
        (
            "link to a directory",
            Archive::new().directory("d").hardlink("x", "d"),
            link,
        ),
        (
            "below a file",
            Archive::new().file("f", b"").file("f/x", b""),
            no_directory,
        ),
    ];
    for (what, archive, check) in cases {
        let (outer, made) = archive.unpack();
        let error = made.expect_err(what);
        assert!(check(&error), "{what}: {error:?}");
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1, "{what}");
    }
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
fn records_and_names_of_any_length_are_not_read_into_memory() {
    let huge = |kind| {
        Archive::new().header(|header| {
            header.set_entry_type(kind);
            header.set_size(1 << 40);
        })
    };
    for kind in [
        tar::EntryType::XHeader,
        tar::EntryType::XGlobalHeader,
        tar::EntryType::GNULongName,
        tar::EntryType::GNULongLink,
    ] {
        let (_, made) = huge(kind).unpack();
        let error = made.unwrap_err();
        assert!(
            matches!(error, UnpackError::Tar(TarError::Long { .. })),
            "{error:?}"
        );
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

#[test]
fn a_map_of_holes_that_does_not_fit_is_refused() {
    for map in [
        "0,5",
        "0,5,3,1",
        "9,1,0,1",
        "0,18446744073709551615,5,5",
        "x",
    ] {
        let records: [(&str, &[u8]); 2] = [
            ("GNU.sparse.map", map.as_bytes()),
            ("GNU.sparse.size", b"10"),
        ];
        let (_, made) = Archive::new().records(&records).file("a", b"12").unpack();
        let error = made.unwrap_err();
        assert!(
            matches!(error, UnpackError::Tar(TarError::Sparse)),
            "{map}: {error:?}"
        );
    }
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn every_compression_is_found_by_its_bytes() {
    let archive = Archive::new().file("a", b"content").bytes();
    let gzipped = gzip(&archive);
    let (first, second) = archive.split_at(700);
    let members = [gzip(first), gzip(second)].concat();
    let zstd = zstd::encode_all(&archive[..], 3).unwrap();
    for bytes in [&archive, &gzipped, &members, &zstd] {
        let (outer, made) = unpack_bytes(bytes, &archive);
        made.unwrap();
        assert_eq!(fs::read(outer.path().join("tree/a")).unwrap(), b"content");
    }
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn bytes_that_are_not_what_was_promised_are_told_apart() {
    let archive = Archive::new().file("a", b"content").bytes();
    let fetched = gzip(&archive);
    let good = Expected {
        digest: Digest::of(&fetched),
        size: fetched.len() as u64,
        diff_id: Digest::of(&archive),
    };
    let other = Digest::of(b"other");
    let limits = Limits::default();
    let fails =
        |bytes: &[u8], expected: &Expected| unpack_as(bytes, expected, &limits).1.unwrap_err();

    let wrong = Expected {
        digest: other,
        ..good.clone()
    };
    assert!(matches!(
        fails(&fetched, &wrong),
        UnpackError::Digest { .. }
    ));
    let wrong = Expected {
        diff_id: other,
        ..good.clone()
    };
    assert!(matches!(
        fails(&fetched, &wrong),
        UnpackError::DiffId { .. }
    ));
    let half = &fetched[..fetched.len() / 2];
    assert!(matches!(fails(half, &good), UnpackError::Size { .. }));
    let more = [&fetched[..], b"more"].concat();
    assert!(matches!(fails(&more, &good), UnpackError::Size { .. }));
    let mut flipped = fetched.clone();
    flipped[20] ^= 0x40;
    assert!(matches!(fails(&flipped, &good), UnpackError::Digest { .. }));
    let (_, cut) = unpack_bytes(half, &archive);
    assert!(matches!(cut.unwrap_err(), UnpackError::Decompress(..)));
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn what_is_behind_the_end_is_hashed_too() {
    let mut archive = Archive::new().file("a", b"content").bytes();
    archive.extend(b"behind the end");
    let (_, made) = unpack_bytes(&archive, &archive);
    made.unwrap();
    let (_, made) = unpack_bytes(&archive, &archive[..archive.len() - 1]);
    assert!(matches!(made.unwrap_err(), UnpackError::DiffId { .. }));
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn bombs_end_at_the_limits() {
    let archive = Archive::new()
        .file("a/b/c", &[0; 5000])
        .file("d", b"")
        .bytes();
    let expected = Expected {
        digest: Digest::of(&archive),
        size: archive.len() as u64,
        diff_id: Digest::of(&archive),
    };
    let fails = |limits: Limits| unpack_as(&archive, &expected, &limits).1.unwrap_err();
    let limits = Limits::default();
    let bytes = Limits {
        bytes: 4000,
        ..limits.clone()
    };
    assert!(matches!(fails(bytes), UnpackError::Bytes(4000)));
    let entries = Limits {
        entries: 1,
        ..limits.clone()
    };
    assert!(matches!(fails(entries), UnpackError::Entries(1)));
    let depth = Limits { depth: 2, ..limits };
    assert!(matches!(fails(depth), UnpackError::Depth { .. }));
}

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn devices_are_made_only_if_policy_lets_them() {
    let null = |archive: Archive| {
        archive.header(|header| {
            header.set_path("null").unwrap();
            header.set_entry_type(tar::EntryType::Char);
            header.set_mode(0o666);
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        })
    };
    let (outer, made) = null(Archive::new()).unpack();
    made.unwrap();
    let metadata = fs::metadata(outer.path().join("tree/null")).unwrap();
    assert_eq!(metadata.rdev(), nix::sys::stat::makedev(1, 3));
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o666);

    let bytes = null(Archive::new()).bytes();
    let expected = Expected {
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        diff_id: Digest::of(&bytes),
    };
    let limits = Limits {
        devices: false,
        ..Limits::default()
    };
    let (_, made) = unpack_as(&bytes, &expected, &limits);
    assert!(matches!(made.unwrap_err(), UnpackError::Device { .. }));
}

/// Files by path; none is a directory.
fn tree() -> impl Strategy<Value = BTreeMap<String, Option<Vec<u8>>>> {
    let path = prop::collection::vec("[a-c]{1,3}", 1..4);
    let content = prop::option::of(prop::collection::vec(any::<u8>(), 0..2000));
    prop::collection::vec((path, content), 0..20).prop_map(|files| {
        let mut tree: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
        for (parts, content) in files {
            // What is a directory of another stays one.
            let above = (1..parts.len()).map(|count| parts[..count].join("/"));
            let above: Vec<_> = above.collect();
            let taken = above
                .iter()
                .any(|path| tree.get(path).is_some_and(Option::is_some));
            if taken || tree.contains_key(&parts.join("/")) {
                continue;
            }
            tree.extend(above.into_iter().map(|path| (path, None)));
            tree.insert(parts.join("/"), content);
        }
        tree
    })
}

fn read_tree(root: &Path, below: &Path, into: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if path.is_dir() {
            into.insert(name, None);
            read_tree(root, &path, into);
        } else {
            into.insert(name, Some(fs::read(&path).unwrap()));
        }
    }
}

/// Names that try to get out.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("up".to_owned()),
        Just(".wh.a".to_owned()),
        Just(".wh..wh..opq".to_owned()),
    ];
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    #[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
    fn random_trees_packed_and_unpacked_are_equal(tree in tree(), compressed: bool) {
        let mut archive = Archive::new();
        for (name, content) in &tree {
            archive = match content {
                None => archive.directory(name),
                Some(content) => archive.file(name, content),
            };
        }
        let bytes = archive.bytes();
        let fetched = if compressed { gzip(&bytes) } else { bytes.clone() };
        let (outer, made) = unpack_bytes(&fetched, &bytes);
        prop_assert_eq!(made.unwrap().entries, tree.len() as u64);
        let root = outer.path().join("tree");
        let mut found = BTreeMap::new();
        read_tree(&root, &root, &mut found);
        prop_assert_eq!(found, tree);
    }

    #[test]
    fn hostile_archives_never_write_outside(
        entries in prop::collection::vec((0u8..5, hostile(), hostile()), 0..12)
    ) {
        let mut archive = Archive::new();
        for (kind, name, link) in &entries {
            archive = match kind {
                0 => archive.file(name, b"x"),
                1 => archive.directory(name),
                2 => archive.symlink(name, link),
                3 => archive.symlink("up", link),
                _ => archive.hardlink(name, link),
            };
        }
        let (outer, _) = archive.unpack();
        let names: Vec<_> = fs::read_dir(outer.path()).unwrap().collect();
        prop_assert_eq!(names.len(), 1);
    }

    #[test]
    fn damaged_archives_end_in_an_error_or_a_tree(
        place in 0usize..3000, value: u8, cut in 0usize..4000
    ) {
        let mut bytes = Archive::new()
            .records(&[("path", b"x/y")])
            .file("a", &[1; 600])
            .symlink("l", "a")
            .bytes();
        let length = bytes.len();
        bytes[place % length] = value;
        bytes.truncate(cut.max(1));
        let (outer, _) = unpack_bytes(&bytes, &bytes);
        prop_assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1);
    }
}
