//! The programs that make file systems, and their arguments, as upstream has
//! them: the config's options first, then what makes the program not ask.

use crate::config::{Filesystem, filled, list};

/// A call of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The program.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// How one format says what it is told.
struct Format {
    name: &'static str,
    program: &'static str,
    force: Option<&'static str>,
    uuid: &'static str,
    label: &'static str,
}

const FORMATS: [Format; 5] = [
    Format {
        name: "btrfs",
        program: "mkfs.btrfs",
        force: Some("--force"),
        uuid: "-U",
        label: "-L",
    },
    Format {
        name: "ext4",
        program: "mkfs.ext4",
        force: Some("-F"),
        uuid: "-U",
        label: "-L",
    },
    Format {
        name: "swap",
        program: "mkswap",
        force: Some("-f"),
        uuid: "-U",
        label: "-L",
    },
    // Has no force, and destroys whatever is there.
    Format {
        name: "vfat",
        program: "mkfs.fat",
        force: None,
        uuid: "-i",
        label: "-n",
    },
    Format {
        name: "xfs",
        program: "mkfs.xfs",
        force: Some("-f"),
        uuid: "-m",
        label: "-L",
    },
];

/// The call that makes `filesystem` on `device`; None for the format `none` and
/// unknown ones, which the validation refuses.
pub fn call(filesystem: &Filesystem, device: &str) -> Option<Call> {
    let name = filled(filesystem.format.as_ref())?;
    let format = FORMATS.iter().find(|format| format.name == name)?;
    let mut arguments: Vec<String> = list(filesystem.options.as_ref()).to_vec();
    arguments.extend(format.force.map(str::to_owned));
    if let Some(uuid) = &filesystem.uuid {
        let uuid = canonical_uuid(name, uuid);
        arguments.push(format.uuid.to_owned());
        arguments.push(match name {
            "xfs" => format!("uuid={uuid}"),
            _ => uuid,
        });
    }
    if let Some(label) = &filesystem.label {
        arguments.extend([format.label.to_owned(), label.clone()]);
    }
    arguments.push(device.to_owned());
    let program = format.program;
    Some(Call { program, arguments })
}

/// A UUID in the one way in which equal ones are equal. That of FAT is four
/// bytes, shown with a dash that `mkfs.fat` does not take.
pub fn canonical_uuid(format: &str, uuid: &str) -> String {
    let uuid = uuid.to_ascii_lowercase();
    match (format, uuid.split_at_checked(4)) {
        ("vfat", Some((first, rest))) if rest.starts_with('-') => format!("{first}{}", &rest[1..]),
        _ => uuid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn line(filesystem: Value) -> String {
        let mut filesystem = filesystem;
        filesystem["device"] = json!("/dev/ignored");
        let filesystem = serde_json::from_value(filesystem).unwrap();
        let call = call(&filesystem, "/dev/vdb1").unwrap();
        format!("{} {}", call.program, call.arguments.join(" "))
    }

    #[test]
    fn arguments_are_those_of_upstream() {
        for (format, expected) in [
            (
                "btrfs",
                "mkfs.btrfs -a -b --force -U abcd-ef -L Data /dev/vdb1",
            ),
            ("ext4", "mkfs.ext4 -a -b -F -U abcd-ef -L Data /dev/vdb1"),
            ("xfs", "mkfs.xfs -a -b -f -m uuid=abcd-ef -L Data /dev/vdb1"),
            ("swap", "mkswap -a -b -f -U abcd-ef -L Data /dev/vdb1"),
            ("vfat", "mkfs.fat -a -b -i abcdef -n Data /dev/vdb1"),
        ] {
            let filesystem = json!({"format": format, "label": "Data", "uuid": "ABCD-EF",
                "options": ["-a", "-b"]});
            assert_eq!(line(filesystem), expected);
        }
        for (format, expected) in [
            ("btrfs", "mkfs.btrfs --force /dev/vdb1"),
            ("ext4", "mkfs.ext4 -F /dev/vdb1"),
            ("xfs", "mkfs.xfs -f /dev/vdb1"),
            ("swap", "mkswap -f /dev/vdb1"),
            ("vfat", "mkfs.fat /dev/vdb1"),
        ] {
            assert_eq!(line(json!({"format": format})), expected);
        }
        let none = json!({"format": "none", "device": "/dev/a"});
        assert_eq!(call(&serde_json::from_value(none).unwrap(), "/d"), None);
    }

    #[test]
    fn identities_of_fat_are_compared_without_the_dash() {
        assert_eq!(canonical_uuid("vfat", "A1B2-C3D4"), "a1b2c3d4");
        assert_eq!(canonical_uuid("vfat", "a1b2c3d4"), "a1b2c3d4");
        assert_eq!(canonical_uuid("vfat", "éa-"), "éa-");
        assert_eq!(canonical_uuid("ext4", "A1B2-C3D4"), "a1b2-c3d4");
    }
}
