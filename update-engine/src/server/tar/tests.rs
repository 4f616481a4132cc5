use std::io::Cursor;

use proptest::prelude::*;
use tar::Builder;

use super::*;

fn read(archive: &[u8]) -> Result<Index, TarError> {
    Index::read(Cursor::new(archive))
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header
}

/// An archive of one entry, whose name is written as it is.
fn archive_of(name: &str, kind: EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = header(kind, content.len() as u64);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn files_are_found_where_they_lie() {
    let long = format!("targets/releases/1.0.0/{}.release.json", "a".repeat(200));
    let mut builder = Builder::new(Vec::new());
    for (name, content) in [("metadata/1.root.json", "root"), (&long, "descriptor")] {
        let mut header = header(EntryType::Regular, content.len() as u64);
        builder
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    let index = read(&bytes).unwrap();
    let place = index.0[&long];
    let start = usize::try_from(place.offset).unwrap();
    assert_eq!(&bytes[start..start + 10], b"descriptor");
    assert_eq!(index.files().count(), 2);
}

#[test]
fn a_leading_dot_and_directories_are_no_part_of_names() {
    let file = archive_of("././metadata/x", EntryType::Regular, b"x");
    assert!(read(&file).unwrap().0.contains_key("metadata/x"));
    for name in ["./", ".", "metadata/", "./metadata/"] {
        let dir = archive_of(name, EntryType::Directory, b"");
        assert_eq!(read(&dir).unwrap(), Index::default());
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["../x", "/etc/passwd", "a/../../x", "a//b", "", "a\\b"] {
        let error = read(&archive_of(name, EntryType::Regular, b"x")).unwrap_err();
        assert!(matches!(error, TarError::Name(_)), "{name}: {error}");
    }
    let error = read(&archive_of("../x/", EntryType::Directory, b"")).unwrap_err();
    assert!(matches!(error, TarError::Name(_)));
}

#[test]
fn what_is_not_a_plain_file_is_refused_by_name() {
    for (kind, named) in [
        (EntryType::Symlink, "symbolic link"),
        (EntryType::Link, "hard link"),
        (EntryType::GNUSparse, "sparse"),
        (EntryType::Char, "device"),
        (EntryType::Fifo, "pipe"),
        (EntryType::new(b'7'), "'7'"),
    ] {
        let text = read(&archive_of("x", kind, b"")).unwrap_err().to_string();
        assert!(text.contains(named) && text.contains('x'), "{text}");
    }
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    let mut twice = archive_of("x", EntryType::Regular, b"1");
    twice.truncate(1024);
    twice.extend(archive_of("./x", EntryType::Regular, b"2"));
    assert!(matches!(read(&twice), Err(TarError::Twice(name)) if name == "x"));
}

#[test]
fn properties_that_change_a_file_are_refused() {
    for key in ["size", "GNU.sparse.major", "GNU.sparse.realsize"] {
        for kind in [EntryType::XHeader, EntryType::XGlobalHeader] {
            let mut record = format!(" {key}=1\n");
            record.insert_str(0, &(record.len() + 2).to_string());
            let mut bytes = archive_of("about", kind, record.as_bytes());
            bytes.truncate(1024);
            bytes.extend(archive_of("x", EntryType::Regular, b"1"));
            let error = read(&bytes).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}

#[test]
fn an_archive_that_was_cut_off_is_refused() {
    let whole = archive_of("x", EntryType::Regular, &[7; 5000]);
    assert!(matches!(read(&whole[..3000]), Err(TarError::CutOff(name)) if name == "x"));
    assert!(matches!(read(&whole[..300]), Err(TarError::Read(_))));
}

#[test]
fn endless_names_are_not_read_into_memory() {
    let long = vec![b'a'; usize::try_from(EXTENSION).unwrap() + 1];
    for kind in [EntryType::GNULongName, EntryType::XHeader] {
        let error = read(&archive_of("about", kind, &long)).unwrap_err();
        assert!(matches!(error, TarError::Extension), "{error}");
    }
}

#[test]
fn compressed_archives_are_refused_by_name() {
    for (magic, name) in COMPRESSED {
        let mut bytes = magic.to_vec();
        bytes.resize(1024, 0);
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_index_within_the_archive_or_an_error(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..4096),
        kind in proptest::sample::select(b"05xgLKS1".to_vec()),
    ) {
        if bytes.len() >= 512 {
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes[..512]);
            header.set_entry_type(EntryType::new(kind));
            header.set_size(bytes.len() as u64 - 512);
            header.set_cksum();
            bytes[..512].copy_from_slice(header.as_bytes());
        }
        if let Ok(index) = read(&bytes) {
            for (name, place) in index.files() {
                prop_assert!(name::check(name).is_ok());
                prop_assert!(place.offset + place.length <= bytes.len() as u64);
            }
        }
    }
}
