//! Whole installations on disks in memory.

mod lies;
mod order;
mod patches;
mod power;
mod random;
mod requests;
mod resume;
mod slots;
mod support;

use bootloader::uki;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::blocks::hash_blocks;
use crate::fetch::FetchError;
use crate::frames::FrameTable;
use crate::release::{BLOCK, Digest, Frame};
use crate::slots::SlotsError;
use support::*;

#[test]
fn a_release_is_installed_with_what_the_disk_has_and_armed() {
    let (old, new) = (release("1.0.0", 0), release("2.0.0", 1));
    let mut disk = disk_with(&old);
    let server = Server::of(&new);
    let report = run(&mut disk, &old, &new, &server).unwrap();

    assert_eq!(report.slot, Slot::B);
    let progress = report.progress;
    assert_eq!(progress.phase, Phase::Armed);
    assert_eq!(
        progress.kept + progress.copied + progress.fetched,
        progress.total
    );
    assert!(progress.copied > 0 && progress.fetched > 0, "{progress:?}");
    assert_eq!(progress.received, server.sent());
    assert!(server.sent() < server.size_of(&new));
    assert_eq!(server.asked().len() as u64, progress.requests);

    assert_holds(&disk, Slot::B, &new);
    assert_holds(&disk, Slot::A, &old);
    let bits = bits(&disk, Slot::B);
    assert_eq!((bits.priority, bits.tries, bits.successful), (2, 1, false));
    assert_eq!(chosen(&disk), Slot::B);
}
