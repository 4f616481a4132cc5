//! All files of an app.

use std::os::fd::OwnedFd;

use anyhow::Context as _;

use super::{App, Pod};
use crate::runtime;

/// Those of its image, with what the app changed so far; nobody can write to them.
///
/// # Errors
/// The kernel cannot put them together.
pub fn files(pod: &Pod, app: &App) -> anyhow::Result<OwnedFd> {
    // A single layer makes no overlay.
    let nothing = pod.path().join("nothing");
    super::run::make(&nothing, 0o755)?;
    let mut layers = vec![nothing];
    layers.extend(app.layers.iter().cloned());
    let own = pod.path().join("apps").join(&app.name).join("upper");
    if own.is_dir() {
        layers.push(own);
    }
    let files = runtime::overlay(&layers, None);
    files.with_context(|| format!("putting the layers of app {} together", app.name))
}
