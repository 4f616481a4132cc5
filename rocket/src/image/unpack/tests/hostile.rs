//! Archives that mean harm.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

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

#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn few_bytes_that_become_many_end_at_the_limits() {
    let archive = Archive::new().file("a", &vec![0; 8 << 20]).bytes();
    let limits = Limits {
        bytes: 1 << 20,
        ..Limits::default()
    };
    let zstd = zstd::encode_all(&archive[..], 3).unwrap();
    for fetched in [gzip(&archive), zstd] {
        assert!(fetched.len() < 100_000, "{}", fetched.len());
        let expected = Expected {
            digest: Digest::of(&fetched),
            size: fetched.len() as u64,
            diff_id: Digest::of(&archive),
        };
        let (outer, made) = unpack_as(&fetched, &expected, &limits);
        assert!(matches!(made.unwrap_err(), UnpackError::Bytes(_)));
        let written = fs::read_dir(outer.path().join("tree")).unwrap();
        let written = written.map(|entry| entry.unwrap().metadata().unwrap().blocks());
        assert!(written.sum::<u64>() * 512 <= 1 << 20);
    }
}

/// Somebody who can write to the tree swaps a directory for a link as long as it is made.
#[test]
#[cfg_attr(not(feature = "privileged"), ignore = "needs root")]
fn a_link_that_is_put_in_the_place_of_a_directory_meanwhile_leads_nowhere() {
    let mut archive = Archive::new().directory("a/").directory("b/");
    for number in 0..400 {
        archive = archive.file(&format!("a/{number}"), b"x");
        archive = archive.file(&format!("b/{number}"), b"x");
        archive = archive.hardlink(&format!("a/l{number}"), &format!("a/{number}"));
    }
    let bytes = archive.bytes();
    let expected = Expected {
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        diff_id: Digest::of(&bytes),
    };
    let outside = tempfile::tempdir().unwrap();
    let mut swapped = 0;
    for _ in 0..20 {
        let outer = tempfile::tempdir().unwrap();
        let tree = outer.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let swap = || {
                let (place, aside) = (tree.join("a"), outer.path().join("aside"));
                let mut count = 0;
                while !is_over.load(Ordering::SeqCst) {
                    if fs::rename(&place, &aside).is_ok() {
                        // The tree may have got another directory there already.
                        count += usize::from(symlink(outside.path(), &place).is_ok());
                        let _ = fs::remove_file(&place);
                        let _ = fs::rename(&aside, &place);
                    }
                }
                count
            };
            let swapping = scope.spawn(swap);
            let root = OwnedFd::from(File::open(&tree).unwrap());
            // It may fail: what counts is where it writes.
            let _ = unpack(&bytes[..], &expected, root, &Limits::default());
            is_over.store(true, Ordering::SeqCst);
            swapped += swapping.join().unwrap();
        });
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
    assert!(swapped > 20, "only {swapped} swaps");
}
