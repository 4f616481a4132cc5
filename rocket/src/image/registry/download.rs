//! Layers on their way: one task writes what arrives to the file, and whoever unpacks reads
//! behind it. What was there before is not asked for again.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

use super::super::Error;
use super::super::fetch::Bytes;
use super::super::progress::Progress;
use super::super::store::LayerLock;
use super::super::unpack::Expected;
use super::Repository;
use super::client::Client;
use super::error::RegistryError;
use super::pauses::Pauses;

/// The layers of an image in a registry.
pub struct Downloads<'a> {
    runtime: &'a Runtime,
    repository: &'a Arc<Repository>,
    layers: &'a [Expected],
    progress: &'a Arc<Progress>,
}

impl<'a> Downloads<'a> {
    /// Nothing is asked for yet.
    pub fn new(
        runtime: &'a Runtime,
        repository: &'a Arc<Repository>,
        layers: &'a [Expected],
        progress: &'a Arc<Progress>,
    ) -> Self {
        Self {
            runtime,
            repository,
            layers,
            progress,
        }
    }
}

impl Bytes for Downloads<'_> {
    fn open(&self, place: usize, lock: &LayerLock) -> Result<Box<dyn Read + Send>, Error> {
        let layer = self.layers.get(place).ok_or(RegistryError::NoEndpoint)?;
        let here = lock.fetched()?.min(layer.size);
        self.progress.add(here);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                written: here,
                end: None,
            }),
            changed: Condvar::new(),
        });
        let task = Download {
            repository: Arc::clone(self.repository),
            what: format!("blobs/{}", layer.digest),
            size: layer.size,
            file: lock.file()?,
            shared: Arc::clone(&shared),
            progress: Arc::clone(self.progress),
        };
        let task = self.runtime.spawn(task.run());
        Ok(Box::new(Tail {
            file: lock.file()?,
            at: 0,
            shared,
            task: task.abort_handle(),
        }))
    }

    fn resumes(&self) -> bool {
        true
    }
}

/// How far it is.
struct State {
    written: u64,
    /// Set when nothing more comes: because all is here, or because of this.
    end: Option<Result<(), Arc<RegistryError>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

struct Download {
    repository: Arc<Repository>,
    what: String,
    size: u64,
    file: File,
    shared: Arc<Shared>,
    progress: Arc<Progress>,
}

impl Download {
    async fn run(self) {
        let end = self.fetch().await.map_err(Arc::new);
        self.shared.update(|state| state.end = Some(end));
    }

    fn written(&self) -> u64 {
        self.shared.lock().written
    }

    /// Asks until all is here. A place that fails for good is left for the next one.
    async fn fetch(&self) -> Result<(), RegistryError> {
        let mut last = Ok(());
        for (_, client) in self.repository.in_order() {
            match self.fetch_from(client).await {
                Ok(()) => return Ok(()),
                Err(error @ RegistryError::Write(_)) => return Err(error),
                // What was asked first was the place that had the manifest.
                Err(error) => last = last.and(Err(error)),
            }
        }
        last
    }

    async fn fetch_from(&self, client: &Client) -> Result<(), RegistryError> {
        let mut pauses = Pauses::default();
        while self.written() < self.size {
            let before = self.written();
            let Err(error) = self.part(client).await else {
                continue;
            };
            if self.written() > before {
                pauses.reset();
            }
            pauses.after(error).await?;
        }
        Ok(())
    }

    /// Asks for what is missing, and takes what comes of it.
    async fn part(&self, client: &Client) -> Result<(), RegistryError> {
        let from = self.written();
        let range = (from > 0).then_some(from);
        let mut answer = client.get(&self.what, "*/*", range).await?;
        // From a registry without ranges, all of it comes again.
        let mut skip = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let starts = answer.headers().get(CONTENT_RANGE);
                let starts = starts.and_then(|value| start(value.to_str().ok()?));
                if starts != Some(from) {
                    return Err(RegistryError::Range {
                        host: client.host().to_owned(),
                        what: self.what.clone(),
                    });
                }
                0
            }
            _ => from,
        };
        let sending = |error| client.sending(&self.what, error);
        while let Some(part) = answer.chunk().await.map_err(sending)? {
            let passed = skip.min(part.len() as u64);
            skip -= passed;
            let new = usize::try_from(passed).ok().and_then(|at| part.get(at..));
            self.write(new.unwrap_or_default())?;
            if self.written() >= self.size {
                break;
            }
        }
        if self.written() < self.size {
            // It ended well, but too early; asking again would give the same.
            return Err(RegistryError::Short {
                host: client.host().to_owned(),
                what: self.what.clone(),
                found: self.written(),
                expected: self.size,
            });
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), RegistryError> {
        let at = self.written();
        let room = usize::try_from(self.size - at).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        let written = self.file.write_all_at(bytes, at);
        written.map_err(RegistryError::Write)?;
        self.progress.add(bytes.len() as u64);
        self.shared
            .update(|state| state.written += bytes.len() as u64);
        Ok(())
    }
}

/// First byte of `bytes 5-9/10`.
fn start(range: &str) -> Option<u64> {
    let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    first.parse().ok()
}

/// Reads a file that somebody else fills.
struct Tail {
    file: File,
    at: u64,
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        while state.written <= self.at {
            match &state.end {
                Some(Ok(())) => return Ok(0),
                Some(Err(error)) => return Err(as_io(error)),
                None => {
                    let waited = self.shared.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        let there = usize::try_from(state.written - self.at).unwrap_or(usize::MAX);
        drop(state);
        let most = buffer.len().min(there);
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// A full disk stays one, so that it can be told as such.
fn as_io(error: &Arc<RegistryError>) -> io::Error {
    match &**error {
        RegistryError::Write(source) => source.kind().into(),
        _ => io::Error::other(Shown(Arc::clone(error))),
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // Nobody wants the rest; what is here stays.
        self.task.abort();
    }
}

/// An error that several readers may get.
#[derive(Debug)]
struct Shown(Arc<RegistryError>);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shown {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_of_a_range_is_found() {
        assert_eq!(start("bytes 5-9/10"), Some(5));
        assert_eq!(start("bytes */10"), None);
        assert_eq!(start("5-9"), None);
    }
}
