//! The keys below `storage`.

use crate::config::Spec;

use super::{Kind, NUMBER, RESOURCE, Shape, TEXT, TEXTS, TRUTH, key, shape, since};

pub(super) const STORAGE: Shape = shape(&[
    key("directories", Kind::List(&Kind::Map(&DIRECTORY))),
    key("disks", Kind::List(&Kind::Map(&DISK))),
    key("files", Kind::List(&Kind::Map(&FILE))),
    key("filesystems", Kind::List(&Kind::Map(&FILESYSTEM))),
    key("links", Kind::List(&Kind::Map(&LINK))),
    since(Spec::V3_2, "luks", Kind::List(&Kind::Map(&LUKS))),
    key("raid", Kind::List(&Kind::Map(&RAID))),
    since(Spec::V3_1, "trees", Kind::Later),
]);

const OWNER: Shape = shape(&[key("id", NUMBER), key("name", TEXT)]);

const DIRECTORY: Shape = shape(&[
    key("group", Kind::Map(&OWNER)),
    key("mode", Kind::Mode),
    key("overwrite", TRUTH),
    key("path", TEXT),
    key("user", Kind::Map(&OWNER)),
]);

const FILE: Shape = shape(&[
    key("append", Kind::List(&Kind::Map(&RESOURCE))),
    key("contents", Kind::Map(&RESOURCE)),
    key("group", Kind::Map(&OWNER)),
    key("mode", Kind::Mode),
    key("overwrite", TRUTH),
    key("path", TEXT),
    key("user", Kind::Map(&OWNER)),
]);

const LINK: Shape = shape(&[
    key("group", Kind::Map(&OWNER)),
    key("hard", TRUTH),
    key("overwrite", TRUTH),
    key("path", TEXT),
    key("target", TEXT),
    key("user", Kind::Map(&OWNER)),
]);

/// Directories of the laptop.
pub const TREES: Kind = Kind::List(&Kind::Map(&TREE));

const TREE: Shape = shape(&[
    key("local", TEXT),
    key("path", TEXT),
    since(Spec::V3_6, "dir_mode", Kind::Mode),
    since(Spec::V3_6, "file_mode", Kind::Mode),
    since(Spec::V3_6, "group", Kind::Map(&OWNER)),
    since(Spec::V3_6, "user", Kind::Map(&OWNER)),
]);

const DISK: Shape = shape(&[
    key("device", TEXT),
    key("partitions", Kind::List(&Kind::Map(&PARTITION))),
    key("wipe_table", TRUTH),
]);

const PARTITION: Shape = shape(&[
    key("guid", TEXT),
    key("label", TEXT),
    key("number", NUMBER),
    since(Spec::V3_2, "resize", TRUTH),
    key("should_exist", TRUTH),
    key("size_mib", NUMBER),
    key("start_mib", NUMBER),
    key("type_guid", TEXT),
    key("wipe_partition_entry", TRUTH),
]);

const FILESYSTEM: Shape = shape(&[
    key("device", TEXT),
    key("format", TEXT),
    key("label", TEXT),
    since(Spec::V3_1, "mount_options", TEXTS),
    key("options", TEXTS),
    key("path", TEXT),
    key("uuid", TEXT),
    key("wipe_filesystem", TRUTH),
    since(Spec::V3_1, "with_mount_unit", Kind::Sugar(&TRUTH)),
]);

const RAID: Shape = shape(&[
    key("devices", TEXTS),
    key("level", TEXT),
    key("name", TEXT),
    key("options", TEXTS),
    key("spares", NUMBER),
]);

const LUKS: Shape = shape(&[
    since(Spec::V3_5, "cex", Kind::Map(&CEX)),
    key("clevis", Kind::Map(&CLEVIS)),
    key("device", TEXT),
    since(Spec::V3_4, "discard", TRUTH),
    key("key_file", Kind::Map(&RESOURCE)),
    key("label", TEXT),
    key("name", TEXT),
    since(Spec::V3_4, "open_options", TEXTS),
    key("options", TEXTS),
    key("uuid", TEXT),
    key("wipe_volume", TRUTH),
]);

const CEX: Shape = shape(&[key("enabled", TRUTH)]);

const CLEVIS: Shape = shape(&[
    key("custom", Kind::Map(&CUSTOM)),
    key("tang", Kind::List(&Kind::Map(&TANG))),
    key("threshold", NUMBER),
    key("tpm2", TRUTH),
]);

const CUSTOM: Shape = shape(&[
    key("config", TEXT),
    key("needs_network", TRUTH),
    key("pin", TEXT),
]);

const TANG: Shape = shape(&[
    since(Spec::V3_4, "advertisement", TEXT),
    key("thumbprint", TEXT),
    key("url", TEXT),
]);
