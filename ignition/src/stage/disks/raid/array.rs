//! What becomes of an array, decided from what its members hold; and what mdadm(8)
//! is told.

use std::fmt;

use crate::config::{Raid, list};

use super::super::journal::Step;
use super::super::probe::Probe;

/// The array that a member belongs to, as the member says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    uuid: String,
    /// Without the host that it was made for.
    name: String,
    level: String,
    /// Spares are not counted.
    devices: usize,
}

/// A member as it is.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it holds.
    pub found: Probe,
    /// The array that it is part of.
    pub array: Option<Array>,
    /// How far an earlier attempt of this first boot came with it.
    pub step: Option<Step>,
    /// Whether the config allows to destroy what it holds.
    pub expendable: bool,
}

/// What happens to an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is as wanted, and is assembled if it is not.
    Keep,
    /// Its members are wiped, and it is made.
    Make,
}

/// A member that holds something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its place among the members.
    pub index: usize,
    name: String,
    what: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "holds {}, and the config wants it for the array {:?}; set wipeTable on its disk, or \
             wipePartitionEntry on its partition, if that may be destroyed",
            self.what, self.name
        )
    }
}

/// What to do about `wanted`, of whose devices `members` says how they are, in the
/// same order; or which of them is in the way.
pub fn decide(wanted: &Raid, members: &[Member]) -> Result<Action, Refusal> {
    let whole = is_whole(wanted, members);
    let made = members.iter().all(|m| m.step == Some(Step::Made));
    let begun = members.iter().any(|m| m.step.is_some());
    let expendable = members.iter().any(|m| m.expendable);
    if whole && (made || !(begun || expendable)) {
        return Ok(Action::Keep);
    }
    match members.iter().position(|member| !yields(member)) {
        None => Ok(Action::Make),
        Some(index) => Err(Refusal {
            index,
            name: wanted.name.clone(),
            what: describe(&members[index]),
        }),
    }
}

/// Whether what the member holds may go.
fn yields(member: &Member) -> bool {
    // Made, or half made, by this first boot.
    let ours = member.step.is_some() && member.array.is_some();
    member.expendable || ours || member.found.describe().is_none()
}

/// Whether the members are just those of one array that is as wanted.
fn is_whole(wanted: &Raid, members: &[Member]) -> bool {
    let level = wanted.level.as_deref().and_then(canonical);
    let spares = usize::try_from(wanted.spares.unwrap_or(0)).unwrap_or(0);
    let first = members.first().and_then(|member| member.array.as_ref());
    first.is_some_and(|array| {
        array.name == wanted.name
            && Some(array.level.as_str()) == level
            && array.devices + spares == members.len()
            && members.iter().all(|m| m.array.as_ref() == Some(array))
    })
}

fn describe(member: &Member) -> String {
    match (&member.array, member.found.describe()) {
        (Some(array), _) => format!("a part of the array {:?} ({})", array.name, array.level),
        (None, Some(what)) => what,
        (None, None) => "nothing".to_owned(),
    }
}

/// mdadm's own name of a level.
pub fn canonical(level: &str) -> Option<&'static str> {
    Some(match level {
        "linear" => "linear",
        "raid0" | "0" | "stripe" => "raid0",
        "raid1" | "1" | "mirror" => "raid1",
        "raid4" | "4" => "raid4",
        "raid5" | "5" => "raid5",
        "raid6" | "6" => "raid6",
        "raid10" | "10" => "raid10",
        _ => return None,
    })
}

/// Understands `mdadm --examine --export`.
pub fn parse(text: &str) -> Option<Array> {
    let value = |wanted: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.find_map(|(key, value)| (key == wanted).then(|| value.to_owned()))
    };
    let name = value("MD_NAME").unwrap_or_default();
    let name = name.rsplit_once(':').map_or(&*name, |(_, name)| name);
    Some(Array {
        uuid: value("MD_UUID")?,
        name: name.to_owned(),
        level: value("MD_LEVEL")?,
        devices: value("MD_DEVICES")?.parse().ok()?,
    })
}

/// Bytes of a superblock that [`superblock`] wants.
#[cfg(feature = "tools")]
pub const SUPERBLOCK: usize = 96;

/// Where the superblock of a member of `size` bytes is, by the version of its format (as
/// blkid has it).
#[cfg(feature = "tools")]
pub fn superblock_at(version: &str, size: u64) -> Option<u64> {
    match version {
        // 8 to 12 KiB before the end.
        "1.0" => Some((size / 512).checked_sub(16)? / 8 * 8 * 512),
        "1.1" => Some(0),
        "1.2" => Some(4096),
        _ => None,
    }
}

/// Understands a superblock of version 1 (Linux, `struct mdp_superblock_1`), as `mdadm
/// --examine` does, which wants a device of its own for it.
#[cfg(feature = "tools")]
pub fn superblock(bytes: &[u8; SUPERBLOCK]) -> Option<Array> {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    if (number(0)?, number(4)?) != (0xa92b_4efc, 1) {
        return None;
    }
    let name = bytes.get(32..64)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    let name = name.rsplit_once(':').map_or(&*name, |(_, name)| name);
    Some(Array {
        uuid: format!("{:02x?}", bytes.get(16..32)?),
        name: name.to_owned(),
        level: canonical(&number(72)?.to_string())?.to_owned(),
        devices: usize::try_from(number(92)?).ok()?,
    })
}

/// Where the array `name` is. The bare name, as upstream has it, is a file of the working
/// directory for mdadm if there is one: `root` in an initrd.
fn node(name: &str) -> String {
    format!("/dev/md/{name}")
}

/// What makes `wanted` of `devices`, as upstream has it. The name belongs to any
/// host, so that it is `/dev/md/NAME` everywhere.
pub fn creation(wanted: &Raid, devices: &[String]) -> Vec<String> {
    let spares = usize::try_from(wanted.spares.unwrap_or(0)).unwrap_or(0);
    let level = wanted.level.as_deref().unwrap_or_default();
    let active = devices.len().saturating_sub(spares).to_string();
    let mut arguments = [
        "--create",
        &node(&wanted.name),
        "--force",
        "--run",
        "--homehost",
        "any",
        "--level",
        level,
        "--raid-devices",
        &active,
    ]
    .map(str::to_owned)
    .to_vec();
    if spares > 0 {
        arguments.extend(["--spare-devices".to_owned(), spares.to_string()]);
    }
    arguments.extend_from_slice(list(wanted.options.as_ref()));
    arguments.extend_from_slice(devices);
    arguments
}

/// What assembles the array `name` of `devices`.
pub fn assembly(name: &str, devices: &[String]) -> Vec<String> {
    let mut arguments = ["--assemble", &node(name), "--homehost", "any"]
        .map(str::to_owned)
        .to_vec();
    arguments.extend_from_slice(devices);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn raid(body: Value) -> Raid {
        let mut raid = body;
        raid["name"] = json!("data");
        serde_json::from_value(raid).unwrap()
    }

    fn mirror() -> Raid {
        raid(json!({"level": "1", "devices": ["/dev/a", "/dev/b"]}))
    }

    fn blank() -> Member {
        Member {
            found: Probe::default(),
            array: None,
            step: None,
            expendable: false,
        }
    }

    fn holding(kind: &str) -> Member {
        let kind = Some(kind.to_owned());
        let found = Probe {
            kind,
            ..Probe::default()
        };
        Member { found, ..blank() }
    }

    #[cfg(feature = "tools")]
    #[test]
    fn a_superblock_says_what_mdadm_says() {
        let mut bytes = [0; SUPERBLOCK];
        let mut put = |at: usize, value: &[u8]| bytes[at..][..value.len()].copy_from_slice(value);
        put(0, &0xa92b_4efc_u32.to_le_bytes());
        put(4, &1_u32.to_le_bytes());
        put(16, &[7; 16]);
        put(32, b"any:data");
        put(72, &1_u32.to_le_bytes());
        put(92, &2_u32.to_le_bytes());
        let array = superblock(&bytes).unwrap();
        let told = parse("MD_LEVEL=raid1\nMD_DEVICES=2\nMD_NAME=any:data\nMD_UUID=a\n").unwrap();
        let uuid = told.uuid.clone();
        assert_eq!(
            Array {
                uuid,
                ..array.clone()
            },
            told
        );
        assert_ne!(array.uuid, "");
        assert_eq!(superblock(&[0; SUPERBLOCK]), None);
        assert_eq!(superblock_at("1.2", 1 << 20), Some(4096));
        assert_eq!(superblock_at("1.0", 1 << 20), Some((1 << 20) - 8192));
        assert_eq!(
            superblock_at("1.0", (1 << 20) + 1536),
            Some((1 << 20) - 8192)
        );
        assert_eq!(
            (superblock_at("1.0", 512), superblock_at("0.90.0", 1 << 20)),
            (None, None)
        );
    }

    fn part() -> Member {
        let array = parse(
            "MD_LEVEL=raid1\nMD_DEVICES=2\nMD_METADATA=1.2\nMD_NAME=any:data\n\
             MD_UUID=a:b:c:d\nMD_UPDATE_TIME=1\nMD_EVENTS=17\n",
        );
        assert!(array.is_some());
        Member {
            array,
            ..holding("linux_raid_member")
        }
    }

    fn made() -> Member {
        let step = Some(Step::Made);
        Member { step, ..part() }
    }

    fn begun(member: Member) -> Member {
        let step = Some(Step::Begun);
        Member { step, ..member }
    }

    fn wiped(member: Member) -> Member {
        Member {
            expendable: true,
            ..member
        }
    }

    #[test]
    fn arguments_are_those_of_upstream() {
        let devices = ["/dev/b", "/dev/a", "/dev/c"].map(str::to_owned);
        let wanted =
            raid(json!({"level": "raid1", "spares": 1, "options": ["--bitmap=none", "-N"]}));
        assert_eq!(
            creation(&wanted, &devices).join(" "),
            "--create /dev/md/data --force --run --homehost any --level raid1 --raid-devices 2 \
             --spare-devices 1 --bitmap=none -N /dev/b /dev/a /dev/c"
        );
        let wanted = raid(json!({"level": "stripe"}));
        assert_eq!(
            creation(&wanted, &devices[..2]).join(" "),
            "--create /dev/md/data --force --run --homehost any --level stripe --raid-devices 2 \
             /dev/b /dev/a"
        );
        assert_eq!(
            assembly("data", &devices).join(" "),
            "--assemble /dev/md/data --homehost any /dev/b /dev/a /dev/c"
        );
    }

    #[test]
    fn an_array_as_wanted_is_kept_and_blank_members_become_one() {
        assert_eq!(decide(&mirror(), &[part(), part()]), Ok(Action::Keep));
        assert_eq!(decide(&mirror(), &[blank(), blank()]), Ok(Action::Make));
        // What the first attempt made is not wiped by the second.
        let ours = [wiped(made()), wiped(made())];
        assert_eq!(decide(&mirror(), &ours), Ok(Action::Keep));
    }

    #[test]
    fn an_array_that_was_begun_is_made_again() {
        for members in [
            [begun(part()), begun(blank())],
            [begun(part()), begun(part())],
            [begun(blank()), blank()],
            [made(), begun(part())],
        ] {
            assert_eq!(decide(&mirror(), &members), Ok(Action::Make));
        }
        // Something else was put there since.
        let members = [begun(part()), begun(holding("ext4"))];
        assert_eq!(decide(&mirror(), &members).unwrap_err().index, 1);
    }

    #[test]
    fn what_members_hold_is_named_and_stays_unless_it_may_be_wiped() {
        let members = [blank(), holding("xfs")];
        let refusal = decide(&mirror(), &members).unwrap_err();
        assert_eq!(refusal.index, 1);
        let message = refusal.to_string();
        assert!(message.starts_with("holds xfs, and the config wants it for the array \"data\""));
        assert!(message.contains("wipeTable") && message.contains("wipePartitionEntry"));
        let members = [blank(), wiped(holding("xfs"))];
        assert_eq!(decide(&mirror(), &members), Ok(Action::Make));
        // A matching array of which one half may be wiped is not halved.
        let members = [wiped(part()), part()];
        assert_eq!(decide(&mirror(), &members).unwrap_err().index, 1);
    }

    #[test]
    fn another_array_is_in_the_way() {
        let other = |change: fn(&mut Array)| {
            let mut member = part();
            change(member.array.as_mut().unwrap());
            member
        };
        for members in [
            [part(), other(|a| a.uuid = "e".into())],
            [
                other(|a| a.name = "old".into()),
                other(|a| a.name = "old".into()),
            ],
            [
                other(|a| a.level = "raid0".into()),
                other(|a| a.level = "raid0".into()),
            ],
            [other(|a| a.devices = 3), other(|a| a.devices = 3)],
            [part(), blank()],
        ] {
            let refusal = decide(&mirror(), &members).unwrap_err();
            assert!(refusal.to_string().starts_with("holds a part of the array"));
        }
    }

    #[test]
    fn levels_have_one_name() {
        let same = ["mirror", "1", "raid1"].map(canonical);
        assert_eq!(same, [Some("raid1"); 3]);
        assert_eq!(canonical("raid7"), None);
        assert_eq!(parse("MD_LEVEL=container\nMD_UUID=a\n"), None);
    }
}
