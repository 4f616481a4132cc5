//! TUF's reference implementation, in Python, as the other side of interoperability
//! tests: it reads repositories that were published here, and writes repositories that
//! hosts read.
//!
//! It is installed once, into the cache directory, by the machine's own `python3` and
//! `pip` as they are configured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use update_engine::release::Digest;

use crate::cache::{self, Key};
use crate::host::capture;

const REQUIREMENTS: &str = include_str!("python_tuf/requirements.txt");
const READ: &str = include_str!("python_tuf/read.py");
const WRITE: &str = include_str!("python_tuf/write.py");

/// A Python that has `tuf`.
#[derive(Debug, Clone)]
pub struct PythonTuf {
    python: PathBuf,
}

/// A target that the reference client fetched and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Name of the target.
    pub name: String,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of what was fetched.
    pub sha256: Digest,
}

impl PythonTuf {
    /// Finds the installed one, or installs it. Another process that does the same is
    /// waited for.
    pub fn ensure() -> Result<Self> {
        let version = capture(Command::new("python3").arg("--version")).context(
            "the tests of interoperability need python3 with venv and pip; on Debian: \
             apt-get install python3-venv",
        )?;
        let key = Key::default()
            .add("requirements", REQUIREMENTS)
            .add("python", version)
            .finish();
        let dir = cache::cache_dir().join(format!("python-tuf-{key}"));
        let python = dir.join("bin/python");
        let _lock = cache::lock("python-tuf")?;
        // Written last: an installation that was cut off is made again.
        let done = dir.join("installed");
        if !done.exists() {
            install(&dir, &python)?;
            fs::write(&done, "").with_context(|| format!("writing {}", done.display()))?;
        }
        Ok(Self { python })
    }

    /// Reads `targets` from the repository at the address `url` with TUF's own client.
    ///
    /// `root` is the root that is trusted; what is remembered between calls is in
    /// `work`. Fails if the client refuses anything.
    pub fn read(
        &self,
        url: &str,
        root: &Path,
        work: &Path,
        targets: &[&str],
    ) -> Result<Vec<Fetched>> {
        let mut python = self.program(READ);
        python.arg(url).arg(root).arg(work).args(targets);
        let text = capture(&mut python).context("reading with Python's tuf")?;
        text.lines().map(fetched).collect()
    }

    /// Writes a repository to `repository`, which must not be there yet; its targets are
    /// the files below `targets`. Returns the first root, which is not the newest.
    pub fn write(&self, targets: &Path, repository: &Path) -> Result<PathBuf> {
        let mut python = self.program(WRITE);
        python.arg(targets).arg(repository);
        let text = capture(&mut python).context("writing with Python's tuf")?;
        Ok(PathBuf::from(text.trim()))
    }

    fn program(&self, text: &str) -> Command {
        let mut python = Command::new(&self.python);
        // Isolated: nothing of the user's own Python is in the way.
        python.args(["-I", "-c", text]);
        python
    }
}

fn install(dir: &Path, python: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    capture(Command::new("python3").args(["-m", "venv"]).arg(dir)).context(
        "making a virtual environment for Python's tuf; on Debian: apt-get install \
         python3-venv",
    )?;
    let list = dir.join("requirements.txt");
    fs::write(&list, REQUIREMENTS).with_context(|| format!("writing {}", list.display()))?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--requirement"])
        .arg(&list);
    capture(&mut pip).context("installing Python's tuf with pip")?;
    Ok(())
}

/// A line of `read.py`.
fn fetched(line: &str) -> Result<Fetched> {
    let words: Vec<&str> = line.split(' ').collect();
    let [name, length, sha256] = words[..] else {
        bail!("Python's tuf printed {line:?}");
    };
    Ok(Fetched {
        name: name.to_string(),
        length: length.parse()?,
        sha256: sha256.parse()?,
    })
}
