//! Partitions that must not change while the machine runs from them.

use std::collections::BTreeMap;

use bootloader::gpt::{Guid, Partition, guid};
use bootloader::slot::BOOT_PARTITION;

const ESP: Guid = guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
const USR: Guid = guid!("8484680c-9521-48c6-9c11-b0720656f69e");
const USR_VERITY: Guid = guid!("77ff5f63-e7b6-4633-acf4-1565b864c0e6");
const ROOT: Guid = guid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");

/// Numbers of the partitions of one disk that must not change, and why.
///
/// These are the ones with `users`; and on the disk that the system runs from,
/// also its ESP, the other slot and root: a mistake there takes the host.
pub fn protected(partitions: &[Partition], users: BTreeMap<u32, String>) -> BTreeMap<u32, String> {
    let of_system = |p: &Partition| [USR, USR_VERITY, ROOT].contains(&p.type_guid);
    let running = partitions
        .iter()
        .any(|p| of_system(p) && users.contains_key(&p.number));
    let mut protected = users;
    if running {
        let ours = |p: &&Partition| of_system(p) || [ESP, BOOT_PARTITION].contains(&p.type_guid);
        for partition in partitions.iter().filter(ours) {
            let why = format!("{:?} belongs to the running system", partition.name);
            protected.entry(partition.number).or_insert(why);
        }
    }
    protected
}

/// Numbers of the partitions that the system runs from if a disk with `partitions` is
/// booted, and in what words.
#[cfg(feature = "tools")]
pub fn running_from(partitions: &[Partition]) -> BTreeMap<u32, String> {
    let usr = |p: &&Partition| is_bootable(partitions) && p.type_guid == USR;
    let usr = partitions.iter().filter(usr);
    let why = |p: &Partition| format!("{:?} belongs to the running system", p.name);
    usr.map(|p| (p.number, why(p))).collect()
}

/// Whether this is a disk of the system on which root was not made yet.
#[cfg(feature = "tools")]
pub fn lacks_root(partitions: &[Partition]) -> bool {
    is_bootable(partitions) && !partitions.iter().any(|p| p.type_guid == ROOT)
}

#[cfg(feature = "tools")]
fn is_bootable(partitions: &[Partition]) -> bool {
    partitions.iter().any(|p| p.type_guid == BOOT_PARTITION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u32, type_guid: Guid, name: &str) -> Partition {
        Partition {
            number,
            type_guid,
            guid: Guid::ZERO,
            first_lba: u64::from(number) * 10,
            last_lba: u64::from(number) * 10,
            attributes: 0,
            name: name.to_owned(),
        }
    }

    #[test]
    fn the_whole_system_is_protected_on_its_disk_only() {
        let data = Guid::from_bytes([1; 16]);
        let disk = [
            partition(1, ESP, "esp"),
            partition(2, BOOT_PARTITION, "boot-a"),
            partition(4, USR, "usr-a"),
            partition(7, USR, "usr-b"),
            partition(8, ROOT, "root"),
            partition(9, data, "data"),
        ];
        let users = BTreeMap::from([(4, "it is in use by dm-0".to_owned())]);
        let found = protected(&disk, users.clone());
        let numbers: Vec<u32> = found.keys().copied().collect();
        assert_eq!(numbers, [1, 2, 4, 7, 8]);
        assert_eq!(found[&4], users[&4]);
        assert_eq!(found[&7], "\"usr-b\" belongs to the running system");
        // Another disk with the same system on it, which does not run.
        assert_eq!(protected(&disk, BTreeMap::new()), BTreeMap::new());
        let users = BTreeMap::from([(9, "it is mounted at /mnt".to_owned())]);
        assert_eq!(protected(&disk, users.clone()), users);
    }
}
