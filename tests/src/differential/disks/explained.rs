//! Where the programs treat disks differently on purpose. `docs/compatibility.md` has the
//! same table; a test compares them.

pub use crate::differential::explained::Difference;

/// All of them, in the order of the table.
const ALL: [Difference; 19] = [
    Difference {
        when: "a copy of the table is damaged or missing, or block 0 has no protective MBR, and no partition changes",
        theirs: "leaves it so; without the MBR it sees no table",
        ours: "repairs it",
        why: "one copy is one bad block away from none",
        cases: &[
            "disks/table/main-damaged_untouched",
            "disks/table/backup-damaged_untouched",
            "disks/table/no-backup_untouched",
            "disks/table/no-mbr_untouched",
            "disks/partition/main-damaged_match",
        ],
    },
    Difference {
        when: "partitions for a disk that holds a file system and no table, without `wipeTable`",
        theirs: "writes a table over the file system",
        ours: "refuses it",
        why: "what is there is only destroyed where the config says so",
        cases: &[
            "disks/table/whole-ext4_and_one_more",
            "disks/table/whole-ext4_and_the_rest",
        ],
    },
    Difference {
        when: "a file system for a disk that holds a partition table, without `wipeFilesystem`",
        theirs: "destroys the table; leaves it if the format is `none`",
        ours: "refuses it",
        why: "what is there is only destroyed where the config says so",
        cases: &[
            "disks/filesystem/whole_disk_with_a_table",
            "disks/filesystem/whole_disk_with_an_mbr",
            "disks/filesystem/whole_disk_none_over_a_table",
        ],
    },
    Difference {
        when: "a new table where block 0 holds bytes, but no MBR",
        theirs: "keeps them as boot code",
        ours: "writes zeros",
        why: "nobody meant them to be started",
        cases: &[
            "disks/table/bytes_and_one_more",
            "disks/table/bytes_and_the_rest",
        ],
    },
    Difference {
        when: "a start that is absent or 0, on a disk whose partitions do not begin at mebibytes",
        theirs: "is aligned as the others are, to a single block if need be",
        ours: "is a mebibyte",
        why: "disks are slow with what is not aligned",
        cases: &[
            "disks/table/unaligned_and_one_more",
            "disks/table/unaligned_and_the_rest",
            "disks/partition/unaligned_zero",
            "disks/partition/unaligned_zero_sized",
            "disks/partition/unaligned_two_sized_then_zero",
            "disks/partition/unaligned_replaced",
        ],
    },
    Difference {
        when: "a start that is absent or 0, and no free mebibyte begins anywhere",
        theirs: "makes a partition of what is left beside the table",
        ours: "refuses it",
        why: "a partition of less than a mebibyte was not meant",
        cases: &[
            "disks/table/full_and_the_rest",
            "disks/partition/full_zero",
            "disks/partition/all_wiped_and_equal",
        ],
    },
    Difference {
        when: "zeros that would stand for another place once all partitions are made",
        theirs: "are carried out; a first boot that was cut off and starts again fails",
        ours: "are refused",
        why: "a first boot that was cut off starts again",
        cases: &["disks/partition/zero_before_one_that_stays"],
    },
    Difference {
        when: "a size of 0 on a disk that was grown since its table was made",
        theirs: "ends where the disk ended then",
        ours: "ends where the disk ends",
        why: "all that is free was asked for",
        cases: &[
            "disks/table/grown_and_the_rest",
            "disks/partition/grown_zero",
            "disks/partition/grown_two_sized_then_zero",
        ],
    },
    Difference {
        when: "`wipeTable`, and the table has more than 128 entries",
        theirs: "leaves what is behind them",
        ours: "wipes all of them",
        why: "what is left of a table could be taken for one",
        cases: &[
            "disks/table/large-table_wiped",
            "disks/table/large-table_wiped_and_made",
        ],
    },
    Difference {
        when: "`wipeTable`, and the table is what the config wants already",
        theirs: "makes it once more, with new GUIDs",
        ours: "leaves it so",
        why: "a first boot that was cut off starts again, and finds its own table",
        cases: &["disks/partition/wiped_as_it_is_to_be"],
    },
    Difference {
        when: "a partition of a number above 255, in a table that has room for it",
        theirs: "makes it",
        ours: "refuses it",
        why: "Linux has no device for it",
        cases: &["disks/partition/number_256_of_256"],
    },
    Difference {
        when: "attributes of a partition that is resized",
        theirs: "are lost",
        ours: "stay",
        why: "only the size was to change",
        cases: &[
            "disks/partition/2_other_size_smaller_resize",
            "disks/partition/gone_and_the_next_resized",
            "disks/partition/the_next_resized_and_gone",
            "disks/partition/main-damaged_resized",
            "disks/partition/parted-4k_resized",
            "disks/partition/grown_resized",
        ],
    },
    Difference {
        when: "a partition's `guid` of zeros",
        theirs: "takes it",
        ours: "refuses it",
        why: "it stands for none",
        cases: &["disks/partition/guid_of_zeros"],
    },
    Difference {
        when: "a partition's label of more than 36 bytes, but no more than 36 characters",
        theirs: "refuses it",
        ours: "writes it",
        why: "the table has room for 36 characters",
        cases: &["disks/partition/label_of_36_two_byte_letters"],
    },
    Difference {
        when: "a character beyond U+FFFF in a partition's label",
        theirs: "writes it",
        ours: "refuses it",
        why: "programs that find partitions by label do not agree how it is read",
        cases: &["disks/partition/label_of_a_surrogate_pair"],
    },
    Difference {
        when: "a partition of number 0, and one on the disk has its label",
        theirs: "makes another one of the same label",
        ours: "takes it for the wanted one; refuses it if it is another or there are two",
        why: "a first boot that was cut off starts again, and finds its own partitions",
        cases: &[
            "disks/partition/zero_label_there",
            "disks/partition/zero_label_there_other_size",
            "disks/partition/zero_label_there_twice",
        ],
    },
    Difference {
        when: "a link without an owner, to what another user owns",
        theirs: "belongs to that user; an absolute target is looked up in the initrd",
        ours: "belongs to root",
        why: "whose a link is does not depend on what it leads to",
        cases: &["disks/together/a_link_to_what_another_user_owns"],
    },
    Difference {
        when: "a file without a group, in a directory that hands its own on (setgid)",
        theirs: "has the directory's group",
        ours: "has the group root",
        why: "whose a file is does not depend on where it is",
        cases: &[
            "disks/together/ext4_and_a_file_that_is_there_overwrite",
            "disks/together/btrfs_and_a_file_that_is_there_overwrite",
            "disks/together/xfs_and_a_file_that_is_there_overwrite",
        ],
    },
    Difference {
        when: "more for a file that has several names (hard links)",
        theirs: "is appended to all of them",
        ours: "is appended to the one that the config names",
        why: "a file is replaced whole, so that a cut leaves the old or the new one",
        cases: &[
            "disks/together/ext4_and_more_of_a_file",
            "disks/together/btrfs_and_more_of_a_file",
            "disks/together/xfs_and_more_of_a_file",
        ],
    },
];

/// The difference for which the config `name` is there.
pub fn of(name: &str) -> Option<&'static Difference> {
    ALL.iter()
        .find(|difference| difference.cases.contains(&name))
}

/// All names of configs that are here.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(|difference| difference.cases).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_have_every_difference_about_disks_and_no_other() {
        let path = image::build::source_dir().join("docs/compatibility.md");
        let text = std::fs::read_to_string(path).unwrap();
        let header = "| on disks, when | Go Ignition | ours | why |\n|---|---|---|---|\n";
        let row = |difference: &Difference| {
            let Difference {
                when,
                theirs,
                ours,
                why,
                ..
            } = difference;
            format!("| {when} | {theirs} | {ours} | {why} |\n")
        };
        let rows: String = ALL.iter().map(row).collect();
        assert!(
            text.contains(&format!("{header}{rows}\n")),
            "{header}{rows}"
        );
    }
}
