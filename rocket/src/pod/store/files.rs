//! What is kept of a pod, in files of its directory.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ATTACHMENTS, MANIFEST, Pod, StoreError, failed};
use crate::durable;
use crate::network::Attachment;
use crate::pod::manifest::VERSION;
use crate::pod::{Exit, Manifest, Record};

/// What is read of a pod's files at most.
const MOST: u64 = 16 << 20;

const RECORD: &str = "record.json";
const EXIT: &str = "exit.json";

/// The name of a declared pod.
const NAME: &str = "name.json";

impl Pod {
    /// What it is to be.
    ///
    /// # Errors
    /// The file is not there, damaged, or of another rocket.
    pub fn manifest(&self) -> Result<Manifest, StoreError> {
        #[derive(serde::Deserialize)]
        struct Format {
            version: u32,
        }
        let path = self.path.join(MANIFEST);
        let bytes = self.bytes(MANIFEST)?;
        let damaged = |source| StoreError::Damaged {
            path: path.clone(),
            source,
        };
        let found: Format = serde_json::from_slice(&bytes).map_err(damaged)?;
        if found.version != VERSION {
            return Err(StoreError::Format {
                path,
                found: found.version,
            });
        }
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    /// Its processes, if it was started.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn record(&self) -> Result<Option<Record>, StoreError> {
        self.read_if_there(RECORD)
    }

    /// How it ended, if somebody saw it.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn exit(&self) -> Result<Option<Exit>, StoreError> {
        self.read_if_there(EXIT)
    }

    /// Networks of plugins that it is in.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn attachments(&self) -> Result<Vec<Attachment>, StoreError> {
        Ok(self.read_if_there(ATTACHMENTS)?.unwrap_or_default())
    }

    /// Keeps the networks of plugins that it is in. What plugins hold for a pod outlives a
    /// loss of power, and so does this.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write_attachments(&self, attachments: &[Attachment]) -> Result<(), StoreError> {
        let path = self.path.join(ATTACHMENTS);
        let written = match attachments {
            [] => durable::remove(&path),
            some => serde_json::to_vec(some)
                .map_err(io::Error::from)
                .and_then(|bytes| durable::replace(&path, &bytes)),
        };
        written.map_err(failed("writing", &path))
    }

    /// Forgets that it has run. It has left its networks.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn forget_run(&self) -> Result<(), StoreError> {
        for name in [RECORD, EXIT] {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("removing", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps what it is to be.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        self.write(MANIFEST, manifest)
    }

    /// Keeps its processes.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write_record(&self, record: &Record) -> Result<(), StoreError> {
        self.write(RECORD, record)
    }

    /// Keeps how it ended.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_exit(&self, exit: &Exit) -> Result<(), StoreError> {
        self.write(EXIT, exit)
    }

    /// Whole or not at all, but not on the disk yet: a pod does not outlive a loss of power,
    /// and an fsync costs more than starting an app.
    /// Notes the name under which the pod was declared.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_name(&self, name: &str) -> Result<(), StoreError> {
        self.write(NAME, &name)
    }

    /// The name under which the pod was declared; nothing if it was not.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn name(&self) -> Result<Option<String>, StoreError> {
        self.read_if_there(NAME)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let new = self.path.join(format!("{name}.new"));
        let bytes = serde_json::to_vec(value).map_err(|source| StoreError::Damaged {
            path: path.clone(),
            source,
        })?;
        File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(&bytes))
            .map_err(failed("writing", &new))?;
        fs::rename(&new, &path).map_err(failed("writing", &path))
    }

    fn read_if_there<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        match self.bytes(name) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes)
                    .map(Some)
                    .map_err(|source| StoreError::Damaged {
                        path: self.path.join(name),
                        source,
                    })
            }
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.path.join(name);
        let length = fs::metadata(&path).map_err(failed("reading", &path))?.len();
        if length > MOST {
            let error = io::Error::new(ErrorKind::FileTooLarge, "more than 16 MiB");
            return Err(failed("reading", &path)(error));
        }
        fs::read(&path).map_err(failed("reading", &path))
    }
}
