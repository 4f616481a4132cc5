//! What a device contains, asked of blkid(8).

use std::io;
use std::path::Path;

use crate::program::{self, Answer, ProgramError};

/// Where it is, also for users whose search path is not an administrator's.
const BLKID: [&str; 3] = ["blkid", "/usr/sbin/blkid", "/sbin/blkid"];

/// blkid's exit status when it knows nothing of what is there.
const NOTHING: i32 = 2;

/// Its exit status when it sees the traces of several things.
const SEVERAL: i32 = 8;

/// What a device contains.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Probe {
    /// File system, swap space, or member of something: `ext4`, `LVM2_member`.
    pub kind: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// Its identity.
    pub uuid: Option<String>,
    /// Version of its format.
    pub version: Option<String>,
    /// Kind of the partition table on it: `gpt`, `dos`.
    pub table: Option<String>,
    /// The PARTUUID, if the device is a partition.
    pub partition: Option<String>,
    /// Traces of several things, as blkid lists them; then nothing else of it
    /// is known.
    pub several: Option<String>,
}

impl Probe {
    /// What is there in words, if anything is.
    pub fn describe(&self) -> Option<String> {
        if let Some(several) = &self.several {
            return Some(format!("traces of several things ({several})"));
        }
        match (&self.kind, &self.table) {
            (Some(kind), _) => {
                let mut text = kind.clone();
                for (what, value) in [("label", &self.label), ("UUID", &self.uuid)] {
                    if let Some(value) = value {
                        text.push_str(&format!(", {what} {value:?}"));
                    }
                }
                Some(text)
            }
            (None, Some(table)) => Some(format!("a partition table ({table})")),
            (None, None) => None,
        }
    }
}

/// Looks at `device` itself, past all caches.
pub fn probe(device: &Path) -> Result<Probe, ProgramError> {
    look(device, &[])
}

/// Looks at `size` bytes of `device`, from `offset` on, as at a device of their own. `size`
/// is not 0.
#[cfg(feature = "tools")]
pub fn probe_part(device: &Path, offset: u64, size: u64) -> Result<Probe, ProgramError> {
    look(
        device,
        &[format!("--offset={offset}"), format!("--size={size}")],
    )
}

fn look(device: &Path, part: &[String]) -> Result<Probe, ProgramError> {
    let device = device.display().to_string();
    let mut arguments = ["--probe", "--output", "udev"].map(str::to_owned).to_vec();
    arguments.extend_from_slice(part);
    arguments.extend(["--".to_owned(), device]);
    let answer = ask(&arguments)?;
    let mut probe = parse(&answer.text);
    if answer.code == SEVERAL && probe.several.is_none() {
        probe.several = Some("blkid does not say which".to_owned());
    }
    Ok(probe)
}

fn ask(arguments: &[String]) -> Result<Answer, ProgramError> {
    let mut answer = program::ask(BLKID[0], arguments, &[NOTHING, SEVERAL]);
    for program in &BLKID[1..] {
        match &answer {
            Err(ProgramError::Start { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                answer = program::ask(program, arguments, &[NOTHING, SEVERAL]);
            }
            _ => break,
        }
    }
    answer
}

fn parse(text: &str) -> Probe {
    let mut probe = Probe::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let field = match key {
            "ID_FS_TYPE" => &mut probe.kind,
            "ID_FS_LABEL_ENC" => &mut probe.label,
            "ID_FS_UUID_ENC" => &mut probe.uuid,
            "ID_FS_VERSION" => &mut probe.version,
            "ID_PART_TABLE_TYPE" => &mut probe.table,
            "ID_PART_ENTRY_UUID" => &mut probe.partition,
            "ID_FS_AMBIVALENT" => &mut probe.several,
            _ => continue,
        };
        *field = Some(decode(value));
    }
    probe
}

/// Undoes udev's encoding: `\xNN` stands for a byte.
pub(super) fn decode(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut parts = value.split("\\x");
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        let code = part.get(..2);
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(part[2..].bytes());
            }
            None => bytes.extend(format!("\\x{part}").bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As util-linux 2.38 and 2.41 say it.
    #[test]
    fn what_blkid_says_is_understood() {
        let text = "ID_FS_LABEL=my_\"d\\aé\nID_FS_LABEL_ENC=my\\x20\\x22d\\x5caé\n\
            ID_FS_UUID_ENC=dd8832da\nID_FS_BLOCK_SIZE=1024\nID_FS_TYPE=ext4\n\
            ID_PART_ENTRY_UUID=5dfbf5f4-2848\n";
        let probe = parse(text);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(probe.label, some("my \"d\\aé"));
        assert_eq!(
            (probe.kind.clone(), probe.table.clone()),
            (some("ext4"), None)
        );
        assert_eq!(probe.partition, some("5dfbf5f4-2848"));
        let described = probe.describe().unwrap();
        let expected = "ext4, label \"my \\\"d\\\\aé\", UUID \"dd8832da\"";
        assert_eq!(described, expected);
        assert_eq!(
            parse("ID_PART_TABLE_TYPE=dos\n").describe(),
            some("a partition table (dos)")
        );
        let several = parse("ID_FS_AMBIVALENT=filesystem:ext4:1.0 filesystem:xfs:\n");
        let described = several.describe().unwrap();
        assert!(described.contains("(filesystem:ext4:1.0 filesystem:xfs:)"));
        assert_eq!(parse("").describe(), None);
        assert_eq!(decode("a\\x4"), "a\\x4");
        assert_eq!(decode("\\xc3\\xa9\\"), "é\\");
    }
}
