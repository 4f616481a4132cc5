//! What a descriptor or a channel must fulfil before anything is done with it.
//!
//! TUF says who wrote these files, not that they make sense. Whoever holds a parsed
//! one may rely on everything that is checked here.

use semver::Version;
use serde::de::DeserializeOwned;

use super::{BLOCK, Boot, Channel, Descriptor, Frame, Patch, SCHEMA, Usr, Waves, target_name};

/// Bytes of a descriptor or channel file that are read at most. A descriptor of the
/// largest image that is cut into the smallest frames does not fit; one that the
/// publisher makes is a tenth of this.
pub const MAX_FILE: usize = 4 << 20;

/// Blocks in a frame, at most: 1 MiB, so that a host needs little memory.
pub const MAX_FRAME_BLOCKS: u32 = 256;

/// Bytes of `/usr`, at most.
pub const MAX_USR: u64 = 4 << 30;

/// Bytes of a kernel image, at most.
pub const MAX_BOOT: u64 = 512 << 20;

/// Patches of one release, steps and waves of one channel, at most.
pub const MAX_LIST: usize = 64;

/// Hashes in one block of a verity tree.
const HASHES_PER_BLOCK: u64 = 128;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Longer than any real one.
    #[error("the {file} has {bytes} bytes; at most {MAX_FILE} are read")]
    TooLong {
        /// What kind of file.
        file: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// Not JSON, or a value of the wrong type.
    #[error("the {file} cannot be read at key {key}")]
    Json {
        /// What kind of file.
        file: &'static str,
        /// Path of keys; `.` is the whole.
        key: String,
        /// What is wrong there.
        source: serde_json::Error,
    },
    /// Written for hosts that know more.
    #[error(
        "the {file} has schema {found}, this system knows {SCHEMA}: \
         it must first take a release in between (minimum_version, steps)"
    )]
    Schema {
        /// What kind of file.
        file: &'static str,
        /// The schema that it names.
        found: u32,
    },
    /// A value that cannot be right.
    #[error("the {file} is wrong at key {key}: {problem}")]
    Value {
        /// What kind of file.
        file: &'static str,
        /// Path of keys.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

/// A wrong value: its key and what is wrong.
type Wrong = (String, String);

fn wrong<T>(key: impl Into<String>, problem: impl Into<String>) -> Result<T, Wrong> {
    Err((key.into(), problem.into()))
}

fn require(holds: bool, key: &str, problem: impl FnOnce() -> String) -> Result<(), Wrong> {
    if holds { Ok(()) } else { wrong(key, problem()) }
}

impl Descriptor {
    const FILE: &'static str = "release descriptor";

    /// Reads and checks a descriptor. Unknown keys are passed over, so that a later
    /// release can say more without a new schema.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let descriptor: Self = read(Self::FILE, bytes)?;
        descriptor.check()?;
        Ok(descriptor)
    }

    /// Checks that sizes, frames and lists agree with each other and with the limits
    /// of this module.
    pub fn check(&self) -> Result<(), FormatError> {
        self.checked().map_err(|wrong| value(Self::FILE, wrong))
    }

    fn checked(&self) -> Result<(), Wrong> {
        check_version("version", &self.version)?;
        let architecture = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        require(
            (1..=32).contains(&self.architecture.len())
                && self.architecture.bytes().all(architecture),
            "architecture",
            || format!("{:?} is not a name as in uname -m", self.architecture),
        )?;
        check_version("minimum_version", &self.minimum_version)?;
        require(
            self.minimum_version <= self.version,
            "minimum_version",
            || format!("{} is above the release itself", self.minimum_version),
        )?;
        if let Some(notes) = &self.notes {
            let web = notes.starts_with("https://") || notes.starts_with("http://");
            let plain = notes.len() <= 2048 && notes.bytes().all(|b| b.is_ascii_graphic());
            require(web && plain, "notes", || {
                "not an http or https address".to_string()
            })?;
        }
        self.usr.checked()?;
        self.boot.checked()?;
        self.check_patches()
    }

    fn check_patches(&self) -> Result<(), Wrong> {
        require(self.patches.len() <= MAX_LIST, "patches", || {
            format!(
                "{} entries, at most {MAX_LIST} are allowed",
                self.patches.len()
            )
        })?;
        for (index, patch) in self.patches.iter().enumerate() {
            let at = |key: &str| format!("patches[{index}].{key}");
            self.check_patch(patch)
                .map_err(|(key, problem)| (at(&key), problem))?;
            let again = |other: &Patch| other.from == patch.from;
            require(
                !self.patches[..index].iter().any(again),
                &at("from"),
                || "a second patch from the same release".to_string(),
            )?;
        }
        Ok(())
    }

    fn check_patch(&self, patch: &Patch) -> Result<(), Wrong> {
        check_version("from_version", &patch.from_version)?;
        require(patch.from != self.usr.root, "from", || {
            "the release itself".to_string()
        })?;
        let file = patch.target.strip_prefix(&target_name(&self.version, ""));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-+._".contains(&b);
        let good = |name: &str| {
            (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
        };
        require(file.is_some_and(good), "target", || {
            format!("{:?} is not a file of this release", patch.target)
        })?;
        let mut blocks = 0;
        for (index, frame) in patch.frames.iter().enumerate() {
            let fits = frame.0 > 0 && (1..=patch.memory).contains(&u64::from(frame.1));
            require(fits, &format!("frames[{index}]"), || {
                format!(
                    "no blocks, or not 1 to {} bytes, as memory says",
                    patch.memory
                )
            })?;
            blocks += u64::from(frame.0);
        }
        let expected = self.usr.size / BLOCK as u64;
        require(blocks == expected, "frames", || {
            format!("they stand for {blocks} blocks, /usr has {expected}")
        })
    }
}

impl Usr {
    fn checked(&self) -> Result<(), Wrong> {
        let aligned = self.size.is_multiple_of(BLOCK as u64);
        require(
            aligned && (1..=MAX_USR).contains(&self.size),
            "usr.size",
            || {
                format!(
                    "{} is not a number of {BLOCK}-byte blocks up to {MAX_USR} bytes",
                    self.size
                )
            },
        )?;
        let tree = tree_size(self.size);
        require(self.tree_size == tree, "usr.tree_size", || {
            format!(
                "{}, but the tree of {} bytes has {tree}",
                self.tree_size, self.size
            )
        })?;
        check_frames("usr.frames", &self.frames, self.size / BLOCK as u64)
    }
}

impl Boot {
    fn checked(&self) -> Result<(), Wrong> {
        require((1..=MAX_BOOT).contains(&self.size), "boot.size", || {
            format!("{} is not in 1..={MAX_BOOT}", self.size)
        })?;
        let blocks = self.size.div_ceil(BLOCK as u64);
        require(
            self.blocks.len() as u64 == blocks * 32,
            "boot.blocks",
            || {
                format!(
                    "{} bytes are not the hashes of {blocks} blocks",
                    self.blocks.len()
                )
            },
        )?;
        check_frames("boot.frames", &self.frames, blocks)
    }
}

/// Bytes of the verity tree of `size` bytes, superblock included: what `veritysetup
/// format` makes with [`BLOCK`] for data and hashes.
pub fn tree_size(size: u64) -> u64 {
    let mut level = size.div_ceil(BLOCK as u64);
    let mut blocks = 1;
    while level > 1 {
        level = level.div_ceil(HASHES_PER_BLOCK);
        blocks += level;
    }
    blocks * BLOCK as u64
}

/// The most bytes that zstd makes of `blocks` (`ZSTD_COMPRESSBOUND`).
pub fn frame_bound(blocks: u32) -> u64 {
    let plain = u64::from(blocks) * BLOCK as u64;
    plain + (plain >> 8) + 64
}

fn check_frames(key: &str, frames: &[Frame], blocks: u64) -> Result<(), Wrong> {
    let mut sum = 0;
    for (index, &Frame(blocks, bytes)) in frames.iter().enumerate() {
        let key = || format!("{key}[{index}]");
        if !(1..=MAX_FRAME_BLOCKS).contains(&blocks) {
            return wrong(
                key(),
                format!("{blocks} blocks are not in 1..={MAX_FRAME_BLOCKS}"),
            );
        }
        if bytes == 0 || u64::from(bytes) > frame_bound(blocks) {
            return wrong(
                key(),
                format!("{bytes} bytes cannot be a frame of {blocks} blocks"),
            );
        }
        sum += u64::from(blocks);
    }
    require(sum == blocks, key, || {
        format!("they hold {sum} blocks, the image has {blocks}")
    })
}

/// Versions are parts of target names and of lines on a screen.
fn check_version(key: &str, version: &Version) -> Result<(), Wrong> {
    let length = version.to_string().len();
    require(length <= 64, key, || {
        format!("{length} characters, at most 64 are allowed")
    })
}

impl Channel {
    const FILE: &'static str = "channel file";

    /// Reads and checks a channel file. Unknown keys are passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let channel: Self = read(Self::FILE, bytes)?;
        channel.check()?;
        Ok(channel)
    }

    /// Checks names, order of steps and order of waves.
    pub fn check(&self) -> Result<(), FormatError> {
        self.checked().map_err(|wrong| value(Self::FILE, wrong))
    }

    fn checked(&self) -> Result<(), Wrong> {
        require(is_channel_name(&self.channel), "channel", || {
            format!("{:?} is not 1 to 32 of a-z, 0-9 and -", self.channel)
        })?;
        check_version("release", &self.release)?;
        require(self.steps.len() <= MAX_LIST, "steps", || {
            format!(
                "{} entries, at most {MAX_LIST} are allowed",
                self.steps.len()
            )
        })?;
        let mut after = &self.release;
        for (index, step) in self.steps.iter().enumerate().rev() {
            let key = format!("steps[{index}]");
            check_version(&key, step)?;
            require(step < after, &key, || {
                format!("{step} is not below {after}, which comes after it")
            })?;
            after = step;
        }
        self.waves.as_ref().map_or(Ok(()), Waves::checked)
    }
}

/// Whether `name` can be a channel: 1 to 32 of `a-z`, `0-9` and `-`, no `-` first.
pub fn is_channel_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(plain)
}

impl Waves {
    fn checked(&self) -> Result<(), Wrong> {
        let count = self.steps.len();
        require((1..=MAX_LIST).contains(&count), "waves.steps", || {
            format!("{count} entries are not in 1..={MAX_LIST}")
        })?;
        for (index, step) in self.steps.iter().enumerate() {
            let at = |key: &str| format!("waves.steps[{index}].{key}");
            require(step.percent <= 100, &at("percent"), || {
                format!("{} is not in 0..=100", step.percent)
            })?;
            // Ten years: start and step can be added without a thought.
            require(step.after <= 10 * 366 * 86_400, &at("after"), || {
                format!("{} seconds are more than ten years", step.after)
            })?;
            let Some(before) = index.checked_sub(1).map(|i| self.steps[i]) else {
                continue;
            };
            require(before.after < step.after, &at("after"), || {
                "not later than the step before".to_string()
            })?;
            require(before.percent <= step.percent, &at("percent"), || {
                "less than in the step before".to_string()
            })?;
        }
        Ok(())
    }
}

fn value(file: &'static str, (key, problem): Wrong) -> FormatError {
    FormatError::Value { file, key, problem }
}

/// Reads the schema first: the rest may look otherwise in a later one.
fn read<T: DeserializeOwned>(file: &'static str, bytes: &[u8]) -> Result<T, FormatError> {
    #[derive(serde::Deserialize)]
    struct Head {
        schema: u32,
    }
    if bytes.len() > MAX_FILE {
        let bytes = bytes.len();
        return Err(FormatError::TooLong { file, bytes });
    }
    let Head { schema } = json(file, bytes)?;
    if schema == 0 || schema > SCHEMA {
        return Err(FormatError::Schema {
            file,
            found: schema,
        });
    }
    json(file, bytes)
}

fn json<T: DeserializeOwned>(file: &'static str, bytes: &[u8]) -> Result<T, FormatError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let key = error.path().to_string();
        let source = error.into_inner();
        FormatError::Json { file, key, source }
    })?;
    reader.end().map_err(|source| {
        let key = ".".to_string();
        FormatError::Json { file, key, source }
    })?;
    Ok(value)
}

#[cfg(test)]
mod tests;
