//! Both programs on equal disks: partition tables byte for byte, file systems by what their
//! superblocks say, and the trees in them.
//!
//! A disk is a loop device over an image. Its partitions are those that the kernel is told
//! of, since kernels of build machines need not read GPTs: by what runs before and after
//! `sgdisk` here, and by ours itself. What needs device mapper or md, which such kernels
//! need not have either, is left to the scenarios with virtual machines.

mod cases;
mod disk;
mod explained;
mod generate;
mod identities;
mod look;
mod start;
mod table;

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use image::tools::Tools;

use super::programs::{Outcome, Programs, Side};
use super::{End, Tally, Verdict, normal};
pub use cases::{Case, PLACEHOLDERS, all};
use disk::Disk;
use explained::Difference;
pub use generate::case;
use identities::Identities;
use look::{Lines, Seen};

/// Looks at disks, after all stages.
const LOOK: &str = include_str!("disks/look.sh");
/// Runs instead of sgdisk.
const SGDISK: &str = include_str!("disks/sgdisk.sh");

/// Configs of the short suite.
pub const QUICK: [&str; 12] = [
    "disks/filesystem/ext4_over_xfs_wipe",
    "disks/filesystem/vfat_label_and_uuid",
    "disks/filesystem/xfs_over_ext4",
    "disks/partition/3_other_size_rest_resize",
    "disks/partition/gaps_two_sized_then_zero",
    "disks/partition/gone_and_its_place_taken",
    "disks/partition/matched_in_all",
    "disks/partition/zero_between_numbers",
    "disks/table/main-damaged_and_one_more",
    "disks/table/parted-4k_wiped_and_made",
    "disks/together/btrfs_and_a_file",
    "disks/together/mount_below_one_another",
];

/// What one program left.
struct Left {
    outcome: Outcome,
    tables: Lines,
    /// By the names of `look.sh`.
    devices: Vec<(String, Seen)>,
    /// Whether the disks hold what they held before.
    untouched: bool,
}

/// Compares the programs on each of `cases`, one after the other: a kernel knows file
/// systems by their UUIDs, which are the same on all copies of a disk.
pub fn compare_all(
    cases: &[Case],
    programs: &Programs,
    work: &Path,
    kept: &Path,
    tally: &mut Tally,
) -> Result<()> {
    let states = work.join("states");
    fs::create_dir_all(&states).with_context(|| format!("creating {}", states.display()))?;
    let tools = programs.tools();
    for case in cases {
        let bench = Bench {
            case,
            tools,
            states: &states,
        };
        let run = |side, directory: &str| {
            let work = work.join(directory).join("disks");
            let left = bench.run(programs, side, &work);
            image::tools::remove_tree(&work)?;
            left
        };
        let compare = || {
            let theirs = run(Side::Theirs, "theirs")?;
            Ok::<_, anyhow::Error>((theirs, run(Side::Ours, "ours")?))
        };
        let (theirs, ours) = compare().with_context(|| format!("comparing {}", case.name))?;
        let verdict = judge(case, &theirs, &ours);
        let outcomes = [&theirs.outcome, &ours.outcome];
        tally.count(&case.name, case.config.as_bytes(), verdict, outcomes, kept)?;
    }
    Ok(())
}

/// One config, and what its disks are made of.
struct Bench<'a> {
    case: &'a Case,
    tools: &'a Tools,
    states: &'a Path,
}

impl Bench<'_> {
    fn run(&self, programs: &Programs, side: Side, work: &Path) -> Result<Left> {
        fs::create_dir_all(work.join("bin"))
            .with_context(|| format!("creating {}", work.display()))?;
        let wrapper = work.join("bin/sgdisk");
        fs::write(&wrapper, SGDISK).context("writing what runs instead of sgdisk")?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
        let images = self.images(work)?;
        let mut disks = Vec::new();
        for (image, start) in images.iter().zip(&self.case.starts) {
            disks.push(Disk::attach(self.tools, image, start.block_size)?);
        }
        let nodes: Vec<_> = disks.iter().map(Disk::node).collect();
        let mut config = self.case.config.clone();
        for (placeholder, node) in PLACEHOLDERS.iter().zip(&nodes) {
            config = config.replace(placeholder, &node.display().to_string());
        }
        let config = super::cases::Case::text(&self.case.name, &config);
        let mut outcome = programs.run_on(side, &config, work, &nodes, LOOK)?;
        drop(disks);
        normal::normalise(&mut outcome.tree);
        self.look(work, &images, outcome)
    }

    /// Fresh images, in the states that the case wants.
    fn images(&self, work: &Path) -> Result<Vec<PathBuf>> {
        let mut images = Vec::new();
        for (number, start) in self.case.starts.iter().enumerate() {
            let image = work.join(format!("disk-{number}"));
            start::copy(self.tools, &start.image(self.tools, self.states)?, &image)?;
            images.push(image);
        }
        Ok(images)
    }

    fn look(&self, work: &Path, images: &[PathBuf], outcome: Outcome) -> Result<Left> {
        let mut identities = Identities::known_from(&[start::MAKE, &self.case.config]);
        let mut tables = Lines::new();
        let mut untouched = true;
        for (number, (image, start)) in images.iter().zip(&self.case.starts).enumerate() {
            let disk = format!("disk {}", number + 1);
            let size = start.block_size;
            table::read(image, size, &disk, &mut identities, &mut tables)?;
            untouched &= same_bytes(image, &self.states.join(start.name))?;
        }
        let mut devices = Vec::new();
        let seen = work.join("seen");
        if outcome.failed.is_none() {
            let entries = fs::read_dir(&seen).context("listing what was seen of disks")?;
            let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
            let mut names = names.collect::<std::io::Result<Vec<_>>>()?;
            names.sort();
            for name in names {
                let seen = Seen::read(&seen.join(&name), &mut identities)?;
                devices.push((name.to_string_lossy().into_owned(), seen));
            }
        }
        Ok(Left {
            outcome,
            tables,
            devices,
            untouched,
        })
    }
}

/// Whether two images of the same size hold the same.
fn same_bytes(one: &Path, other: &Path) -> Result<bool> {
    const PIECE: usize = 1 << 20;
    let open =
        |path: &Path| fs::File::open(path).with_context(|| format!("opening {}", path.display()));
    let (one, other) = (open(one)?, open(other)?);
    let size = one.metadata()?.len();
    let mut pieces = [vec![0; PIECE], vec![0; PIECE]];
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
        let [first, second] = &mut pieces;
        one.read_exact_at(&mut first[..length], at)?;
        other.read_exact_at(&mut second[..length], at)?;
        if first[..length] != second[..length] {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

fn judge(case: &Case, theirs: &Left, ours: &Left) -> Verdict {
    let mut found = super::differences(&theirs.outcome, &ours.outcome);
    let ends = [&theirs.outcome, &ours.outcome].map(End::of);
    if ends == [End::Done, End::Done] {
        found.extend(look::differences(&theirs.tables, &ours.tables));
        found.extend(devices(&theirs.devices, &ours.devices));
    }
    // Ours decides all before it writes anything.
    if refused(&ours.outcome) && !case.late && !ours.untouched {
        found.push("ours refuses, and has changed a disk".to_owned());
    }
    verdict(case.explained, ends, found)
}

fn verdict(explained: Option<&Difference>, ends: [End; 2], found: Vec<String>) -> Verdict {
    // What theirs finds out in the middle, ours may know before it writes anything.
    let earlier = ends == [End::Failed, End::Refused];
    match explained {
        None if found.is_empty() => Verdict::Same,
        None if earlier => Verdict::Explained,
        None => Verdict::Differ(found),
        Some(difference) if found.is_empty() => Verdict::Differ(vec![format!(
            "explained by {:?}, but the programs agree",
            difference.when
        )]),
        Some(_) => Verdict::Explained,
    }
}

/// Whether the disks could not be made what the config says.
fn refused(outcome: &Outcome) -> bool {
    matches!(
        outcome.failed.as_deref(),
        Some("fetch-offline" | "fetch" | "kargs" | "disks")
    )
}

fn devices(theirs: &[(String, Seen)], ours: &[(String, Seen)]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, seen) in theirs {
        match ours.iter().find(|(other, _)| other == name) {
            Some((_, other)) => found.extend(seen.differences(other, name)),
            None => found.push(format!("{name}: only theirs")),
        }
    }
    let known = |name: &str| theirs.iter().any(|(other, _)| other == name);
    let new = ours.iter().filter(|(name, _)| !known(name));
    found.extend(new.map(|(name, _)| format!("{name}: only ours")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_suite_is_part_of_the_whole_one_and_of_every_kind() {
        let all = all();
        for name in QUICK {
            assert!(all.iter().any(|case| case.name == name), "{name}");
        }
        for kind in ["table", "partition", "filesystem", "together"] {
            let start = format!("disks/{kind}/");
            assert!(QUICK.iter().any(|name| name.starts_with(&start)));
        }
    }

    #[test]
    fn one_other_byte_of_an_image_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut bytes = vec![7; (1 << 20) + 99];
        fs::write(path("a"), &bytes).unwrap();
        fs::write(path("b"), &bytes).unwrap();
        assert!(same_bytes(&path("a"), &path("b")).unwrap());
        *bytes.last_mut().unwrap() = 8;
        fs::write(path("b"), &bytes).unwrap();
        assert!(!same_bytes(&path("a"), &path("b")).unwrap());
    }
}
