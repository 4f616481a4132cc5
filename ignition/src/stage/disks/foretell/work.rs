//! Arrays, encrypted volumes and file systems on the disks that were given.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ignition_config::v3_6::Storage;

use crate::config::{Disk, Filesystem, Luks, Raid, list};

use super::super::probe::Probe;
use super::super::raid::{self, Member, Part};
use super::super::reuse::Action;
use super::super::{Claims, Context, DisksError, Subject, format, luks};
use super::disk::Target;
use super::names::{Found, Spot, find, words};
use super::{Contents, Phase, Verdict, refusal};

/// Why it is not known what an array or a volume that stays holds.
const CLOSED: &str = "what is in it shows once it is opened";

/// Why it is not known what a new array holds.
const UNDER: &str = "what its devices held may show in a new array";

/// What is found out, one kind after the other.
pub(super) struct Work<'a> {
    context: &'a Context<'a>,
    targets: &'a [Target],
    storage: &'a Storage,
    /// Arrays and volumes, by name.
    made: BTreeMap<String, Contents>,
    claims: Claims,
    verdicts: BTreeMap<String, Verdict>,
    refusals: Vec<(Phase, DisksError)>,
}

type Done = (BTreeMap<String, Verdict>, Vec<(Phase, DisksError)>);

impl<'a> Work<'a> {
    pub fn new(context: &'a Context<'a>, targets: &'a [Target], storage: &'a Storage) -> Self {
        Self {
            context,
            targets,
            storage,
            made: BTreeMap::new(),
            claims: Claims::new(),
            verdicts: BTreeMap::new(),
            refusals: Vec::new(),
        }
    }

    pub fn all(&mut self) -> Result<(), DisksError> {
        for (index, wanted) in list(self.storage.raid.as_ref()).iter().enumerate() {
            self.array(index, wanted)?;
        }
        for (index, wanted) in list(self.storage.luks.as_ref()).iter().enumerate() {
            self.volume(index, wanted)?;
        }
        let filesystems = list(self.storage.filesystems.as_ref());
        for (at, wanted, _) in format::entries(self.context, filesystems) {
            self.filesystem(&at, wanted)?;
        }
        Ok(())
    }

    pub fn done(self) -> Done {
        (self.verdicts, self.refusals)
    }

    fn array(&mut self, index: usize, wanted: &Raid) -> Result<(), DisksError> {
        let contents = match self.members(index, wanted)? {
            Some(members) => self.judge(index, wanted, &members)?,
            // Without one of its members nothing is known of it.
            None => Contents::Hidden(CLOSED),
        };
        let name = format!("/dev/md/{}", wanted.name);
        self.made.insert(name, contents);
        Ok(())
    }

    /// The devices of an array, if it is known what all of them hold.
    fn members<'w>(
        &mut self,
        index: usize,
        wanted: &'w Raid,
    ) -> Result<Option<Vec<(Part<'w>, Spot)>>, DisksError> {
        let mut members = Vec::new();
        for at in raid::subjects(self.context, index, wanted) {
            let Some(spot) = self.spot(&at, Phase::Arrays)? else {
                return Ok(None);
            };
            let Contents::Known(found) = spot.contents.clone() else {
                self.open(&at, CLOSED);
                return Ok(None);
            };
            let disks = list(self.storage.disks.as_ref());
            members.push((part(disks, at, &spot, found)?, spot));
        }
        Ok(Some(members))
    }

    /// Decides about an array; returns what it holds then.
    fn judge(
        &mut self,
        index: usize,
        wanted: &Raid,
        members: &[(Part<'_>, Spot)],
    ) -> Result<Contents, DisksError> {
        let (verdict, contents) = match raid::judge(
            self.context,
            index,
            wanted,
            members.iter().map(|(part, _)| part),
        ) {
            Ok(raid::Action::Keep) => {
                let what = format!("{}, of {} devices", wanted.name, members.len());
                (Verdict::Kept(what), Contents::Hidden(CLOSED))
            }
            Ok(raid::Action::Make) => {
                let contents = match members.iter().all(|(_, spot)| spot.empty) {
                    true => Contents::Known(Probe::default()),
                    false => Contents::Hidden(UNDER),
                };
                (Verdict::Made(lost(members)), contents)
            }
            Err(error) => {
                let touched = members.iter().any(|(_, spot)| spot.touched);
                self.refuse(Phase::Arrays, touched, error)?;
                return Ok(Contents::Hidden(CLOSED));
            }
        };
        self.verdicts.insert(raid::place(index), verdict);
        Ok(contents)
    }

    fn volume(&mut self, index: usize, wanted: &Luks) -> Result<(), DisksError> {
        let device = wanted.device.as_deref().unwrap_or_default();
        let at = self.context.subject(luks::place(index), device);
        let judge = |at: &Subject<'_>, found: &Probe, user| {
            luks::judge(at, wanted, found, None, || Ok(user))
        };
        let action = self.decide(&at, Phase::Volumes, judge)?;
        // Whatever lies below a new volume is not readable with its key.
        let contents = match action {
            Some(Action::Make) => Contents::Known(Probe::default()),
            _ => Contents::Hidden(CLOSED),
        };
        for prefix in ["/dev/mapper/", "/dev/disk/by-id/dm-name-"] {
            let name = format!("{prefix}{}", wanted.name);
            self.made.insert(name, contents.clone());
        }
        Ok(())
    }

    fn filesystem(&mut self, at: &Subject<'_>, wanted: &Filesystem) -> Result<(), DisksError> {
        let judge = |at: &Subject<'_>, found: &Probe, user| {
            format::judge(at, wanted, found, None, || Ok(user))
        };
        self.decide(at, Phase::Filesystems, judge)?;
        Ok(())
    }

    /// Has `judge` decide about the device `at`, if it is known what that holds.
    fn decide(
        &mut self,
        at: &Subject<'_>,
        phase: Phase,
        judge: impl Fn(&Subject<'_>, &Probe, Option<String>) -> Result<Action, DisksError>,
    ) -> Result<Option<Action>, DisksError> {
        let Some(spot) = self.spot(at, phase)? else {
            return Ok(None);
        };
        let found = match &spot.contents {
            Contents::Known(found) => found,
            Contents::Hidden(why) => {
                self.open(at, why);
                return Ok(None);
            }
        };
        match judge(at, found, spot.user.clone()) {
            Ok(action) => {
                let verdict = match action {
                    Action::Keep => Verdict::Kept(words(found)),
                    Action::Make => Verdict::Made(found.describe()),
                };
                self.verdicts.insert(at.key.clone(), verdict);
                Ok(Some(action))
            }
            Err(error) => {
                self.refuse(phase, spot.touched, error)?;
                Ok(None)
            }
        }
    }

    /// What the config calls `at`, claimed; None if that is not known, which is noted, or in
    /// the way.
    fn spot(&mut self, at: &Subject<'_>, phase: Phase) -> Result<Option<Spot>, DisksError> {
        let spot = match self.made.get(at.name) {
            Some(contents) => Spot::made(at.name, contents),
            None => match find(self.context, self.targets, at.name)? {
                Found::Here(spot) => *spot,
                Found::Unknown(why) => {
                    self.open(at, &why);
                    return Ok(None);
                }
                Found::Absent => {
                    let message = "is not there once the partition table is written; give a \
                                   partition that is, or have it made";
                    self.refuse(phase, true, at.conflict(message))?;
                    return Ok(None);
                }
            },
        };
        match self.claims.claim(at, &spot.place) {
            Ok(()) => Ok(Some(spot)),
            Err(error) => {
                self.refuse(phase, true, error)?;
                Ok(None)
            }
        }
    }

    fn open(&mut self, at: &Subject<'_>, why: &str) {
        let why = format!("{}: {why}", at.name);
        self.verdicts.insert(at.key.clone(), Verdict::Open(why));
    }

    /// Notes what is in the way. Of a device that is as it was before, it is noticed before
    /// anything is written.
    fn refuse(&mut self, phase: Phase, touched: bool, error: DisksError) -> Result<(), DisksError> {
        let phase = if touched { phase } else { Phase::Tables };
        self.refusals.push((phase, refusal(error)?));
        Ok(())
    }
}

impl Spot {
    /// An array or a volume.
    fn made(name: &str, contents: &Contents) -> Self {
        Self {
            place: name.into(),
            contents: contents.clone(),
            touched: true,
            user: None,
            image: name.into(),
            offset: 0,
            size: 0,
            empty: matches!(contents, Contents::Known(_)),
            disk: name.to_owned(),
            partition: None,
        }
    }
}

/// What a new array of `members` destroys, in words.
fn lost(members: &[(Part<'_>, Spot)]) -> Option<String> {
    let lost = members.iter().filter_map(|(part, _)| {
        let what = part.member.found.describe()?;
        Some(format!("{what} on {}", part.at.name))
    });
    let lost: Vec<String> = lost.collect();
    (!lost.is_empty()).then(|| lost.join("; "))
}

/// A member of an array, of which `found` is known.
fn part<'s>(
    disks: &[Disk],
    at: Subject<'s>,
    spot: &Spot,
    found: Probe,
) -> Result<Part<'s>, DisksError> {
    let version = found.version.as_deref().unwrap_or_default();
    let place = match found.kind.as_deref() {
        Some(raid::MEMBER) => raid::superblock_at(version, spot.size),
        _ => None,
    };
    let array = match place {
        None => None,
        Some(place) => {
            let mut bytes = [0; raid::SUPERBLOCK];
            let start = spot.offset.saturating_add(place);
            let read = read(&spot.image, start, &mut bytes);
            read.map_err(|source| at.device("reading the superblock of", source))?;
            raid::superblock(&bytes)
        }
    };
    let (number, label) = match &spot.partition {
        Some((number, label)) => (Some(*number), Some(label.as_str())),
        None => (None, None),
    };
    let disk = disks.iter().find(|disk| disk.device == spot.disk);
    let member = Member {
        found,
        array,
        step: None,
        expendable: disk.is_some_and(|disk| raid::allows(disk, number, label)),
    };
    let user = spot.user.clone();
    Ok(Part { at, member, user })
}

fn read(image: &Path, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    File::open(image)?.read_exact_at(bytes, offset)
}
