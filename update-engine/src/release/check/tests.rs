use proptest::prelude::*;

use super::*;
use crate::release::{Digest, WaveStep};

/// A descriptor of a release with a `/usr` of `usr` blocks and a kernel image of `boot`
/// bytes, in frames of `cut` blocks.
fn sample(usr: u64, boot: u64, cut: u32) -> Descriptor {
    let frames = |blocks: u64| {
        let cut = u64::from(cut);
        let frame = |at: u64| Frame((blocks - at * cut).min(cut) as u32, 100);
        (0..blocks.div_ceil(cut)).map(frame).collect()
    };
    let size = usr * BLOCK as u64;
    let boot_blocks = boot.div_ceil(BLOCK as u64);
    Descriptor {
        schema: SCHEMA,
        version: Version::new(1, 2, 3),
        architecture: "x86_64".to_string(),
        minimum_version: Version::new(1, 0, 0),
        notes: Some("https://example.org/1.2.3".to_string()),
        usr: Usr {
            size,
            root: Digest([1; 32]),
            salt: Digest([2; 32]),
            tree_size: tree_size(size),
            tree_sha256: Digest([3; 32]),
            frames: frames(usr),
        },
        boot: Boot {
            size: boot,
            sha256: Digest([4; 32]),
            blocks: vec![5; boot_blocks as usize * 32],
            frames: frames(boot_blocks),
        },
        patches: vec![Patch {
            from: Digest([6; 32]),
            from_version: Version::new(1, 2, 2),
            target: "releases/1.2.3/from-1.2.2.patch".to_string(),
            memory: 77,
            frames: vec![Frame(usr as u32, 77)],
        }],
    }
}

fn channel() -> Channel {
    Channel {
        schema: SCHEMA,
        channel: "stable".to_string(),
        release: Version::new(3, 0, 0),
        steps: vec![Version::new(1, 5, 0), Version::new(2, 0, 0)],
        waves: Some(Waves {
            start: jiff::Timestamp::UNIX_EPOCH,
            steps: [(0, 1), (3600, 10), (7200, 100)]
                .map(|(after, percent)| WaveStep { after, percent })
                .to_vec(),
        }),
    }
}

/// The key that is named when `change` was made to a good descriptor.
fn refused(change: impl FnOnce(&mut Descriptor)) -> String {
    let mut descriptor = sample(300, 70_000, 32);
    change(&mut descriptor);
    let bytes = serde_json::to_vec(&descriptor).unwrap();
    match Descriptor::parse(&bytes) {
        Err(FormatError::Value { key, .. }) => key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_wrong_value_of_a_descriptor_is_named() {
    assert_eq!(
        refused(|d| d.version.pre = semver::Prerelease::new(&"a".repeat(65)).unwrap()),
        "version"
    );
    assert_eq!(
        refused(|d| d.architecture = "x86/64".into()),
        "architecture"
    );
    assert_eq!(refused(|d| d.minimum_version.major = 2), "minimum_version");
    assert_eq!(refused(|d| d.notes = Some("file:///etc".into())), "notes");
    assert_eq!(
        refused(|d| d.notes = Some("http://a\u{1b}[2J".into())),
        "notes"
    );
    assert_eq!(refused(|d| d.usr.size += 1), "usr.size");
    assert_eq!(refused(|d| d.usr.size = 0), "usr.size");
    assert_eq!(refused(|d| d.usr.size = MAX_USR + BLOCK as u64), "usr.size");
    assert_eq!(
        refused(|d| d.usr.tree_size += BLOCK as u64),
        "usr.tree_size"
    );
    assert_eq!(refused(|d| d.usr.frames[3].0 = 0), "usr.frames[3]");
    assert_eq!(refused(|d| d.usr.frames[3].0 = 257), "usr.frames[3]");
    assert_eq!(refused(|d| d.usr.frames[3].1 = 0), "usr.frames[3]");
    assert_eq!(refused(|d| d.usr.frames[3].1 = 131_650), "usr.frames[3]");
    assert_eq!(refused(|d| d.usr.frames[3].0 += 1), "usr.frames");
    assert_eq!(refused(|d| d.usr.frames.clear()), "usr.frames");
    assert_eq!(refused(|d| d.boot.size = 0), "boot.size");
    assert_eq!(refused(|d| d.boot.size = MAX_BOOT + 1), "boot.size");
    assert_eq!(refused(|d| d.boot.blocks.truncate(31)), "boot.blocks");
    assert_eq!(refused(|d| d.boot.frames.push(Frame(1, 20))), "boot.frames");
}

#[test]
fn every_wrong_value_of_a_patch_is_named() {
    let target = |name: &str| {
        let name = name.to_string();
        refused(move |d| d.patches[0].target = name)
    };
    for name in [
        "releases/1.2.3/",
        "releases/1.2.3/../x",
        "releases/1.2.3/.x",
        "releases/1.2.4/x",
        "/etc/passwd",
    ] {
        assert_eq!(target(name), "patches[0].target", "{name}");
    }
    assert_eq!(
        refused(|d| d.patches[0].frames[0].0 += 1),
        "patches[0].frames"
    );
    for bytes in [0, 78] {
        let key = refused(|d| d.patches[0].frames[0].1 = bytes);
        assert_eq!(key, "patches[0].frames[0]", "{bytes}");
    }
    assert_eq!(
        refused(|d| d.patches[0].from = d.usr.root),
        "patches[0].from"
    );
    let again = |d: &mut Descriptor| d.patches.push(d.patches[0].clone());
    assert_eq!(refused(again), "patches[1].from");
    let many = |d: &mut Descriptor| d.patches = vec![d.patches[0].clone(); MAX_LIST + 1];
    assert_eq!(refused(many), "patches");
}

#[test]
fn every_wrong_value_of_a_channel_is_named() {
    let refused = |change: fn(&mut Channel)| {
        let mut channel = channel();
        change(&mut channel);
        match Channel::parse(&serde_json::to_vec(&channel).unwrap()) {
            Err(FormatError::Value { key, .. }) => key,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|c| c.channel = "../x".into()), "channel");
    assert_eq!(refused(|c| c.channel = String::new()), "channel");
    assert_eq!(refused(|c| c.steps[1].major = 3), "steps[1]");
    assert_eq!(refused(|c| c.steps.swap(0, 1)), "steps[0]");
    assert_eq!(refused(|c| c.steps = vec![c.release.clone(); 65]), "steps");
    let wave = |change: fn(&mut Vec<WaveStep>)| {
        let mut channel = channel();
        change(&mut channel.waves.as_mut().unwrap().steps);
        channel.checked().unwrap_err().0
    };
    assert_eq!(wave(Vec::clear), "waves.steps");
    assert_eq!(wave(|s| s[2].percent = 101), "waves.steps[2].percent");
    assert_eq!(wave(|s| s[2].percent = 9), "waves.steps[2].percent");
    assert_eq!(wave(|s| s[1].after = 0), "waves.steps[1].after");
    assert_eq!(wave(|s| s[2].after = u64::MAX), "waves.steps[2].after");
}

#[test]
fn unknown_keys_are_passed_over_and_an_unknown_schema_is_named() {
    let mut value = serde_json::to_value(sample(300, 70_000, 32)).unwrap();
    value["later"] = serde_json::json!({"a": [1]});
    value["usr"]["later"] = serde_json::json!(1);
    let parsed = Descriptor::parse(&serde_json::to_vec(&value).unwrap()).unwrap();
    assert_eq!(parsed, sample(300, 70_000, 32));
    let later = br#"{"schema": 2, "usr": "looks quite different"}"#;
    let error = Descriptor::parse(later).unwrap_err();
    assert!(
        matches!(error, FormatError::Schema { found: 2, .. }),
        "{error}"
    );
    let error = Channel::parse(br#"{"schema": 0}"#).unwrap_err();
    assert!(
        matches!(error, FormatError::Schema { found: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    let mut value = serde_json::to_value(sample(300, 70_000, 32)).unwrap();
    value["usr"]["frames"][2] = serde_json::json!([1, -1]);
    let error = Descriptor::parse(&serde_json::to_vec(&value).unwrap()).unwrap_err();
    let FormatError::Json { key, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(key, "usr.frames[2][1]");
    let long = vec![b' '; MAX_FILE + 1];
    assert!(matches!(
        Channel::parse(&long),
        Err(FormatError::TooLong { .. })
    ));
    let rest = [serde_json::to_vec(&channel()).unwrap(), b"{}".to_vec()].concat();
    assert!(matches!(
        Channel::parse(&rest),
        Err(FormatError::Json { .. })
    ));
}

#[test]
fn sizes_of_trees_are_those_of_veritysetup() {
    // One data block is its own root; otherwise levels of 128 hashes a block.
    assert_eq!(tree_size(4096), 4096);
    assert_eq!(tree_size(2 * 4096), 2 * 4096);
    assert_eq!(tree_size(129 * 4096), 4 * 4096);
    assert_eq!(tree_size(247_136_256), 1_957_888);
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(usr in 1..2000_u64, boot in 1..5_000_000_u64, cut in 1..=256_u32) {
        let descriptor = sample(usr, boot, cut);
        let bytes = serde_json::to_vec(&descriptor).unwrap();
        prop_assert_eq!(Descriptor::parse(&bytes).unwrap(), descriptor);
    }

    #[test]
    fn a_changed_byte_never_panics_and_what_passes_is_consistent(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = serde_json::to_vec(&sample(40, 9000, 8)).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(descriptor) = Descriptor::parse(&bytes) {
            let blocks: u64 = descriptor.usr.frames.iter().map(|f| u64::from(f.0)).sum();
            prop_assert_eq!(blocks * BLOCK as u64, descriptor.usr.size);
        }
        let mut bytes = serde_json::to_vec(&channel()).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = Channel::parse(&bytes);
    }
}
