//! Which images pods hold.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::Error;
use super::super::digest::Digest;
use super::{Store, file_names};
use crate::dirs::Dirs;

/// States of pods whose images are needed, in the order in which pods go on: a pod that is
/// renamed while this looks is seen in the next one.
const STATES: [&str; 4] = ["preparing", "prepared", "running", "exited"];

/// The images that all pods of a host hold.
pub fn held_by_pods(dirs: &Dirs) -> Result<BTreeSet<Digest>, Error> {
    let mut held = BTreeSet::new();
    for state in STATES {
        let directory = dirs.pods().join(state);
        for pod in file_names(&directory)? {
            held.extend(Store::held(&directory.join(Path::new(&pod)))?);
        }
    }
    Ok(held)
}
