use super::*;
use proptest::prelude::*;

/// Made by `mkfs.erofs` 1.8 with the options of a build, from: `plain` (8192 bytes, with
/// a hard link `dir/hard`), `tail` (6000 bytes), `long` (8000 bytes), `small` and `empty`, a link, and `dir/sub` with 200 small files and
/// `deep` (4096 bytes).
fn image() -> Vec<u8> {
    zstd::decode_all(&include_bytes!("small.erofs.zst")[..]).unwrap()
}

#[test]
fn files_are_found_where_their_bytes_are() {
    let image = image();
    let files = files(&image).unwrap();
    let content = |path: &str| {
        let file = files.iter().find(|file| file.path.ends_with(path)).unwrap();
        image[file.start * 4096..][..file.bytes].to_vec()
    };
    let plain = b"0123456789abcdef".repeat(512);
    let one = files
        .iter()
        .filter(|f| f.path == "plain" || f.path == "dir/hard");
    assert_eq!(one.count(), 1);
    let start = files.iter().find(|f| f.bytes == 8192).unwrap();
    assert!(image[start.start * 4096..][..8192] == plain);
    assert!(content("tail") == b"tail".repeat(1024));
    assert!(content("dir/sub/deep") == b"deep".repeat(1024));
    assert!(
        content("long") == b"x".repeat(4096),
        "its end is in its inode"
    );
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(files.is_sorted_by_key(|file| file.start));
}

#[test]
fn what_is_no_erofs_is_refused() {
    for bytes in [vec![], vec![0; 100], vec![0; 100_000]] {
        assert_eq!(files(&bytes), Err(ErofsError::Other));
    }
    let mut devices = image();
    devices[1024 + 80] = 8;
    assert_eq!(files(&devices), Err(ErofsError::Other));
    let mut compressed = image();
    let root = usize::from(u16::from_le_bytes([compressed[1038], compressed[1039]]));
    let inodes = u32::from_le_bytes(compressed[1064..1068].try_into().unwrap());
    compressed[inodes as usize * 4096 + root * 32] |= 3 << 1;
    let error = files(&compressed).unwrap_err();
    assert!(
        matches!(error, ErofsError::Layout { layout: 3, .. }),
        "{error}"
    );
}

#[test]
fn a_cut_image_is_refused_or_shorter() {
    let image = image();
    let whole = files(&image).unwrap().len();
    for length in (0..image.len()).step_by(509) {
        if let Ok(found) = files(&image[..length]) {
            assert!(found.len() <= whole);
        }
    }
}

proptest! {
    #[test]
    fn no_damage_panics_and_no_file_leaves_the_image(
        damage in prop::collection::vec((1024..20_000_usize, any::<u8>()), 1..8),
    ) {
        let mut image = image();
        for (at, byte) in damage {
            if let Some(place) = image.get_mut(at) {
                *place = byte;
            }
        }
        for file in files(&image).unwrap_or_default() {
            prop_assert!(file.start * 4096 + file.bytes <= image.len());
            prop_assert!(file.blocks * 4096 >= file.bytes);
        }
    }
}
