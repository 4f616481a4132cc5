//! Layers of one image, several at once.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::super::Error;
use super::super::local::LocalImage;
use super::super::progress::Progress;
use super::super::store::{LayerLock, Store};
use super::super::unpack::{Expected, UnpackError};
use super::FetchOptions;

/// Where the bytes of layers come from.
pub trait Bytes: Sync {
    /// All bytes of a layer, from the first one on. By the time they have been read, they
    /// are in `lock`'s file too.
    fn open(&self, place: usize, lock: &LayerLock) -> Result<Box<dyn Read + Send>, Error>;

    /// Whether what was fetched is worth keeping if the rest cannot be had now.
    fn resumes(&self) -> bool;
}

/// Takes in the layers that the store does not have.
pub fn take_in(
    store: &Store,
    layers: &[Expected],
    bytes: &dyn Bytes,
    options: &FetchOptions,
    progress: &Progress,
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let failure = || failed.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while failure().is_none() {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(layer) = layers.get(place) else {
                break;
            };
            if let Err(error) = take_layer(store, place, layer, bytes, options, progress) {
                // What the others say is a consequence, or will be seen the next time.
                failure().get_or_insert(error);
            }
        }
    };
    let jobs = options.jobs.clamp(1, layers.len().max(1));
    thread::scope(|scope| {
        for _ in 1..jobs {
            scope.spawn(work);
        }
        work();
    });
    let result = failure().take();
    match result {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

fn take_layer(
    store: &Store,
    place: usize,
    layer: &Expected,
    bytes: &dyn Bytes,
    options: &FetchOptions,
    progress: &Progress,
) -> Result<(), Error> {
    let was_there = store.has_layer(layer) || {
        let short = &layer.digest.hex()[..12];
        let waiting = || progress.note(&format!("layer {short}: another rocket is fetching it"));
        let lock = store.lock_layer(&layer.digest, waiting)?;
        if is_there_now(store, layer, options)? {
            lock.discard()?;
            true
        } else {
            fill(store, place, layer, bytes, options, progress, lock)?;
            false
        }
    };
    progress.layer(&layer.digest, layer.size, was_there);
    Ok(())
}

/// Whether somebody else fetched it meanwhile, or its bytes are there without the tree,
/// which then is made.
fn is_there_now(store: &Store, layer: &Expected, options: &FetchOptions) -> Result<bool, Error> {
    if store.has_layer(layer) {
        return Ok(true);
    }
    let has_bytes = store.blob_path(&layer.digest).is_file();
    if has_bytes {
        store.unpack_again(layer, &options.limits)?;
    }
    Ok(has_bytes)
}

fn fill(
    store: &Store,
    place: usize,
    layer: &Expected,
    bytes: &dyn Bytes,
    options: &FetchOptions,
    progress: &Progress,
    lock: LayerLock,
) -> Result<(), Error> {
    let before = lock.fetched()?;
    let add = || {
        let source = bytes.open(place, &lock)?;
        store.add_layer(&lock, source, layer, &options.limits)
    };
    let mut added = add();
    // What was fetched long ago, by who knows whom, may be what is wrong.
    if before > 0 && added.as_ref().is_err_and(is_wrong) {
        progress.note(&format!("layer {}: once more", &layer.digest.hex()[..12]));
        lock.reset()?;
        added = add();
    }
    if let Err(error) = &added
        && (!bytes.resumes() || is_wrong(error) || matches!(error, Error::Full { .. }))
    {
        lock.discard()?;
    }
    added
}

/// Whether the bytes are not those that they should be.
fn is_wrong(error: &Error) -> bool {
    match error {
        Error::Layer { source, .. } => !matches!(source, UnpackError::Read(_)),
        _ => false,
    }
}

/// Bytes of files on this host.
pub struct Copies<'a> {
    image: &'a LocalImage,
    progress: Arc<Progress>,
}

impl<'a> Copies<'a> {
    /// Of this image.
    pub fn new(image: &'a LocalImage, progress: Arc<Progress>) -> Self {
        Self { image, progress }
    }
}

impl Bytes for Copies<'_> {
    fn open(&self, place: usize, lock: &LayerLock) -> Result<Box<dyn Read + Send>, Error> {
        lock.reset()?;
        Ok(Box::new(Copying {
            from: self.image.layer(place)?,
            to: lock.file()?,
            progress: Arc::clone(&self.progress),
            failed: None,
        }))
    }

    fn resumes(&self) -> bool {
        false
    }
}

/// Writes what it reads.
struct Copying {
    from: Box<dyn Read + Send>,
    to: File,
    progress: Arc<Progress>,
    /// What was not written is not passed on either, ever.
    failed: Option<ErrorKind>,
}

impl Read for Copying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(kind) = self.failed {
            return Err(kind.into());
        }
        let count = self.from.read(buffer)?;
        let written = self.to.write_all(&buffer[..count]);
        written.inspect_err(|error| self.failed = Some(error.kind()))?;
        self.progress.add(count as u64);
        Ok(count)
    }
}
