//! The kernel image in a slot: its length and what it says about itself.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use bootloader::uki::{HEADER_BYTES, Uki, UkiError, total_size};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// A section to be: name, content, and the bytes its header says it has.
type Part<'a> = (&'a str, &'a [u8]);

/// A PE32+ image of `parts` with a certificate table of `certificates` bytes.
fn image(parts: &[Part<'_>], certificates: usize) -> Vec<u8> {
    const ALIGN: usize = 512;
    let headers = (0x40 + 24 + 240 + 40 * parts.len()).next_multiple_of(ALIGN);
    let mut bytes = vec![0; headers];
    let put = |bytes: &mut Vec<u8>, at: usize, data: &[u8]| {
        bytes[at..at + data.len()].copy_from_slice(data);
    };
    put(&mut bytes, 0, b"MZ");
    put(&mut bytes, 0x3c, &[0x40]);
    put(&mut bytes, 0x40, b"PE\0\0\x64\x86");
    put(&mut bytes, 0x46, &(parts.len() as u16).to_le_bytes());
    put(&mut bytes, 0x54, &240u16.to_le_bytes());
    put(&mut bytes, 0x58, &0x20bu16.to_le_bytes());
    put(&mut bytes, 0x58 + 60, &(headers as u32).to_le_bytes());
    put(&mut bytes, 0x58 + 108, &[16]);
    for (index, (name, content)) in parts.iter().enumerate() {
        let (at, offset) = (0x40 + 24 + 240 + 40 * index, bytes.len());
        let raw = content.len().next_multiple_of(ALIGN);
        put(&mut bytes, at, name.as_bytes());
        put(&mut bytes, at + 8, &(content.len() as u32).to_le_bytes());
        put(&mut bytes, at + 16, &(raw as u32).to_le_bytes());
        put(&mut bytes, at + 20, &(offset as u32).to_le_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(offset + raw, 0);
    }
    let place = [bytes.len() as u32, certificates as u32].map(u32::to_le_bytes);
    put(&mut bytes, 0x58 + 112 + 4 * 8, &place.concat());
    bytes.resize(bytes.len() + certificates, 0xce);
    bytes
}

const OS_RELEASE: &[u8] =
    b"ID=ballast\nNAME=\"Ballast\"\nIMAGE_ID=ballast\nIMAGE_VERSION=\"1.2.3-rc.1\"\n";
const PARTS: [Part<'_>; 3] = [
    (
        ".sbat",
        b"sbat,1,SBAT Version,sbat,1,https://example.com/sbat",
    ),
    (".osrel", OS_RELEASE),
    (".cmdline", b"console=ttyS0 usrhash=0123"),
];

/// An image without certificates. That images by ukify are read too is shown by
/// every build of a release, which takes its disk's GUID from one.
fn unsigned() -> &'static [u8] {
    static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| image(&PARTS, 0));
    &IMAGE
}

/// The same with room for a signature.
fn signed() -> &'static [u8] {
    static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| image(&PARTS, 1528));
    &IMAGE
}

#[test]
fn an_image_is_read() {
    assert_eq!(
        total_size(unsigned(), u64::MAX),
        Ok(unsigned().len() as u64)
    );
    let uki = Uki::parse(unsigned()).unwrap();
    assert_eq!(uki.version(), Ok("1.2.3-rc.1"));
    assert_eq!(uki.command_line(), Ok("console=ttyS0 usrhash=0123"));
    assert!(uki.os_release().unwrap().starts_with("ID=ballast\n"));
}

#[test]
fn a_signature_belongs_to_the_image() {
    assert!(signed().len() > unsigned().len());
    assert_eq!(total_size(signed(), u64::MAX), Ok(signed().len() as u64));
    assert_eq!(Uki::parse(signed()).unwrap().version(), Ok("1.2.3-rc.1"));
    let cut = Uki::parse(&signed()[..signed().len() - 1]).unwrap_err();
    assert!(matches!(
        cut,
        UkiError::Truncated {
            what: "the image",
            ..
        }
    ));
}

#[test]
fn what_follows_the_image_in_its_partition_does_not_count() {
    let mut partition = signed().to_vec();
    partition.resize(4 * HEADER_BYTES, 0xff);
    let room = partition.len() as u64;
    assert_eq!(
        total_size(&partition[..HEADER_BYTES], room),
        Ok(signed().len() as u64)
    );
    let (size, room) = (signed().len() as u64, signed().len() as u64 - 1);
    assert_eq!(
        total_size(signed(), room),
        Err(UkiError::TooLarge { size, room })
    );
}

/// What is wrong with the unsigned image once `value` is at `offset`.
fn broken(offset: usize, value: &[u8]) -> UkiError {
    let mut bytes = unsigned().to_vec();
    bytes[offset..offset + value.len()].copy_from_slice(value);
    Uki::parse(&bytes).unwrap_err()
}

#[test]
fn what_is_no_uki_is_refused_by_name() {
    let pe = u32::from_le_bytes(unsigned()[0x3c..0x40].try_into().unwrap()) as usize;
    assert_eq!(Uki::parse(&[0; 4096]).unwrap_err(), UkiError::Empty);
    assert!(matches!(
        Uki::parse(b"").unwrap_err(),
        UkiError::Truncated { .. }
    ));
    assert!(matches!(
        broken(0, b"ZM"),
        UkiError::Magic { magic: "MZ", .. }
    ));
    assert!(matches!(
        broken(pe, b"NE"),
        UkiError::Magic {
            magic: "PE signature",
            ..
        }
    ));
    assert!(matches!(
        broken(0x3c, &[0xff; 4]),
        UkiError::Truncated { .. }
    ));
    let arm = UkiError::Machine { machine: 0xaa64 };
    assert_eq!(broken(pe + 4, &0xaa64u16.to_le_bytes()), arm);
    for count in [0u16, 97, u16::MAX] {
        assert_eq!(
            broken(pe + 6, &count.to_le_bytes()),
            UkiError::Sections { count }
        );
    }
    assert!(matches!(
        broken(pe + 20, &[0xff; 2]),
        UkiError::Truncated { .. }
    ));
    assert!(matches!(
        broken(pe + 24, &[0x0b, 1]),
        UkiError::Magic { magic: "PE32+", .. }
    ));
    // An optional header too short for the directories that it says it has.
    assert!(matches!(
        broken(pe + 20, &[112, 0]),
        UkiError::Truncated { .. }
    ));
}

#[test]
fn sections_that_leave_the_image_are_refused() {
    let parts: [Part<'_>; 1] = [(".osrel", b"IMAGE_VERSION=1\n")];
    let section = 0x40 + 24 + 240;
    for (size, offset) in [
        (u32::MAX, 0x400),
        (512, u32::MAX),
        (u32::MAX, u32::MAX),
        (513, 1024),
    ] {
        let mut bytes = image(&parts, 0);
        bytes[section + 16..section + 20].copy_from_slice(&size.to_le_bytes());
        bytes[section + 20..section + 24].copy_from_slice(&offset.to_le_bytes());
        let end = u64::from(size) + u64::from(offset);
        assert_eq!(total_size(&bytes, u64::MAX), Ok(end));
        let have = bytes.len();
        let expected = UkiError::Truncated {
            what: "the image",
            end,
            have,
        };
        assert_eq!(Uki::parse(&bytes).unwrap_err(), expected);
    }
}

#[test]
fn a_kernel_that_is_cut_or_overwritten_is_refused() {
    let check = |kernel: &[u8]| {
        let bytes = image(&[(".osrel", b"IMAGE_VERSION=1\n"), (".linux", kernel)], 0);
        Uki::parse(&bytes).unwrap().check_kernel()
    };
    let (name, what) = (".linux", "whole kernel");
    let broken = Err(UkiError::Content { name, what });
    assert_eq!(check(signed()), Ok(()));
    assert_eq!(check(&signed()[..signed().len() - 1]), broken);
    assert_eq!(check(&[0x99; 4096]), broken);
    assert_eq!(check(&[0; 4096]), broken);
    assert_eq!(check(b""), broken);
    let without = Uki::parse(unsigned()).unwrap().check_kernel();
    assert_eq!(without, Err(UkiError::NoSection { name }));
}

#[test]
fn versions_are_read_as_os_release_writes_them() {
    let version = |osrel: &str| {
        let bytes = image(&[(".osrel", osrel.as_bytes())], 0);
        Uki::parse(&bytes).unwrap().version().map(str::to_string)
    };
    let none = Err(UkiError::Content {
        name: ".osrel",
        what: "IMAGE_VERSION",
    });
    assert_eq!(version("ID=x\nIMAGE_VERSION=1.2.3\n").unwrap(), "1.2.3");
    assert_eq!(version("IMAGE_VERSION=\"1.2.3\"").unwrap(), "1.2.3");
    assert_eq!(version("IMAGE_VERSION='1.2.3'\nX=y").unwrap(), "1.2.3");
    assert_eq!(
        version("IMAGE_VERSION=1\nIMAGE_VERSION=2\n").unwrap(),
        "2",
        "the last counts"
    );
    assert_eq!(version("MY_IMAGE_VERSION=1\nIMAGE_VERSIONS=2\n"), none);
    assert_eq!(version("IMAGE_VERSION=\n"), none);
    assert_eq!(
        version("IMAGE_VERSION=\"1\x1b[2J\"\n"),
        none,
        "no control characters"
    );
    let text = UkiError::Content {
        name: ".osrel",
        what: "UTF-8 text",
    };
    let bytes = image(&[(".osrel", b"\xff\xfe")], 0);
    assert_eq!(Uki::parse(&bytes).unwrap().os_release(), Err(text));
    let nothing = UkiError::NoSection { name: ".osrel" };
    let bytes = image(&[(".osrel2", b"IMAGE_VERSION=1")], 0);
    assert_eq!(Uki::parse(&bytes).unwrap().version(), Err(nothing));
}

#[test]
fn the_fingerprint_is_the_first_half_of_the_sha_256() {
    let bytes = image(&[(".osrel", b"IMAGE_VERSION=1.0.0")], 0);
    let hash = Sha256::digest(&bytes);
    let hex: String = hash[..16].iter().map(|b| format!("{b:02x}")).collect();
    let text = Uki::parse(&bytes).unwrap().fingerprint().to_string();
    assert_eq!(text.replace('-', ""), hex);
}

proptest! {
    #[test]
    fn any_changed_byte_is_noticed(at in 0usize..signed().len(), flip in 1u8..) {
        let expected = Uki::parse(signed()).unwrap().fingerprint();
        let mut bytes = signed().to_vec();
        bytes[at] ^= flip;
        let whole = Uki::parse(&bytes).and_then(|uki| uki.check_whole(expected));
        prop_assert!(whole.is_err());
    }

    #[test]
    fn every_image_has_its_length_and_its_sections(
        sizes in prop::collection::vec(0usize..3000, 1..20),
        version in "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(-[a-z]{1,8})?",
        command_line in "[ -~]{0,200}",
        certificates in 0usize..2000,
        behind in 0usize..2000,
    ) {
        let osrel = format!("NAME=\"Ballast\"\nIMAGE_VERSION={version}\n");
        let filler: Vec<Vec<u8>> = sizes.iter().map(|size| vec![0xaa; *size]).collect();
        let mut parts: Vec<Part<'_>> = filler.iter().map(|f| (".linux", f.as_slice())).collect();
        parts.insert(parts.len() / 2, (".osrel", osrel.as_bytes()));
        parts.insert(parts.len() / 3, (".cmdline", command_line.as_bytes()));
        let mut bytes = image(&parts, certificates);
        let size = bytes.len() as u64;
        bytes.resize(bytes.len() + behind, 0x55);
        prop_assert_eq!(total_size(&bytes, size), Ok(size));
        let uki = Uki::parse(&bytes).unwrap();
        prop_assert_eq!(uki.version(), Ok(version.as_str()));
        prop_assert_eq!(uki.command_line(), Ok(command_line.trim()));
    }

    #[test]
    fn no_damage_panics(
        patches in prop::collection::vec((0usize..1024, any::<u8>()), 1..20),
        length in 0..=signed().len(),
    ) {
        let mut bytes = signed()[..length].to_vec();
        for (at, value) in patches {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if let Ok(uki) = Uki::parse(&bytes) {
            let _ = (uki.version(), uki.command_line(), uki.check_kernel());
        }
        if let Ok(size) = total_size(&bytes, 1 << 20) {
            prop_assert!(size <= 1 << 20);
        }
    }

    #[test]
    fn no_content_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Uki::parse(&bytes).is_err());
    }
}
