//! What a release and a channel look like in a repository.
//!
//! Everything here is a TUF target: it is believed only because TUF's metadata
//! names its length and hash. Names of targets:
//!
//! | target | content |
//! |---|---|
//! | `channels/CHANNEL.json` | [`Channel`] |
//! | `releases/VERSION/release.json` | [`Descriptor`] |
//! | `releases/VERSION/usr.verity` | the hash tree of `/usr`, plain |
//! | `releases/VERSION/usr.zst` | `/usr` as frames of zstd, one after the other |
//! | `releases/VERSION/boot.zst` | the kernel image, the same way |
//! | `releases/VERSION/usr.from-VERSION.patch` | a [`Patch`]: see [`crate::patch`] |
//!
//! A file of frames is at once the whole image (decompress it from the start) and
//! its chunks (each frame is read and decompressed by itself).

mod check;

use std::fmt;
use std::str::FromStr;

use semver::Version;
use serde::{Deserialize, Serialize};

pub use check::{
    FormatError, MAX_BOOT, MAX_FILE, MAX_FRAME_BLOCKS, MAX_LIST, MAX_USR, frame_bound,
    is_channel_name, tree_size,
};

/// Bytes of a block: of the verity tree, of what is compared, copied and fetched.
pub const BLOCK: usize = 4096;

/// A release's descriptor, `/usr`'s tree, `/usr`, and the kernel image: the last part
/// of the names of their targets ([`target_name`]).
pub const RELEASE_FILES: [&str; 4] = [DESCRIPTOR, USR_TREE, USR_FRAMES, BOOT_FRAMES];
/// [`Descriptor`].
pub const DESCRIPTOR: &str = "release.json";
/// The hash tree of `/usr`.
pub const USR_TREE: &str = "usr.verity";
/// `/usr` in frames.
pub const USR_FRAMES: &str = "usr.zst";
/// The kernel image in frames.
pub const BOOT_FRAMES: &str = "boot.zst";

/// Name of the target `file` of the release `version`.
pub fn target_name(version: &Version, file: &str) -> String {
    format!("releases/{version}/{file}")
}

/// The version of these formats. A reader refuses a higher one.
pub const SCHEMA: u32 = 1;

/// Name of the target that holds channel `name`.
pub fn channel_target(name: &str) -> String {
    format!("channels/{name}.json")
}

/// A SHA-256 value; in JSON, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a SHA-256 value of 64 hexadecimal digits")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let bad = || NotADigest(text.to_string());
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The release's version.
    pub version: Version,
    /// As in `uname -m`: `x86_64`.
    pub architecture: String,
    /// The oldest version that can update to this one directly.
    pub minimum_version: Version,
    /// Where an operator reads what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// `/usr`.
    pub usr: Usr,
    /// The kernel image.
    pub boot: Boot,
    /// Shorter ways from some earlier releases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,
}

/// `/usr` and its hash tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usr {
    /// Bytes of the image; a multiple of [`BLOCK`].
    pub size: u64,
    /// Root of the verity tree (`usrhash=`).
    pub root: Digest,
    /// Salt of the verity tree, the same for all releases.
    pub salt: Digest,
    /// Bytes of the tree as it lies in its partition, with its superblock.
    pub tree_size: u64,
    /// SHA-256 of that.
    pub tree_sha256: Digest,
    /// The image's frames in `usr.zst`.
    pub frames: Vec<Frame>,
}

/// The kernel image in the boot partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Bytes of the image, which need not be a multiple of [`BLOCK`]; blocks are
    /// compared with zeros behind the end.
    pub size: u64,
    /// SHA-256 of the image; its first half is the GUID of its partition.
    pub sha256: Digest,
    /// SHA-256 of every block, without salt, one after the other, in base64.
    #[serde(with = "base64_text")]
    pub blocks: Vec<u8>,
    /// The image's frames in `boot.zst`.
    pub frames: Vec<Frame>,
}

/// One independently compressed part of an image: `[blocks, bytes]` in JSON.
///
/// Frames follow each other, in the image and in the file, without a gap. Each is one
/// frame of zstd that says how long its content is, and holds at most
/// [`MAX_FRAME_BLOCKS`]. The last one ends where the image ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame(
    /// Blocks of the image.
    pub u32,
    /// Bytes, compressed.
    pub u32,
);

/// A patch: makes blocks of this release out of an earlier release's `/usr`. Its length
/// and hash are in TUF's metadata, like those of all targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// Root of the verity tree of the `/usr` that it starts from.
    pub from: Digest,
    /// Version of that release, for people.
    pub from_version: Version,
    /// Name of the target.
    pub target: String,
    /// Bytes of memory that a host needs to apply it: what its largest frame takes
    /// together with what is in that. A host that has less for it passes it over.
    pub memory: u64,
    /// Its frames. Together they stand for all blocks of `/usr`; a frame may stand for
    /// any number of them, as it makes few.
    pub frames: Vec<Frame>,
}

impl Patch {
    /// Bytes of the target.
    pub fn size(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.1)).sum()
    }
}

/// The target of the patch from `from` to `version`.
pub fn patch_target(version: &Version, from: &Version) -> String {
    target_name(version, &format!("usr.from-{from}.patch"))
}

/// Which release a channel's hosts run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The channel's name.
    pub channel: String,
    /// The release that hosts go to.
    pub release: Version,
    /// Releases on the way for hosts that are too old to go there directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Version>,
    /// When which part of the fleet goes; all at once if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waves: Option<Waves>,
}

/// A fleet takes a release in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waves {
    /// When the first hosts may take the release.
    pub start: jiff::Timestamp,
    /// In the order of time.
    pub steps: Vec<WaveStep>,
}

/// From `start + after` on, `percent` of the hosts may take the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveStep {
    /// Seconds after the start.
    pub after: u64,
    /// Part of the fleet, 0 to 100, counted from the lowest position.
    pub percent: u8,
}

mod base64_text {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD
            .decode(text)
            .map_err(serde::de::Error::custom)
    }
}
