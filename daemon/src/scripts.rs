//! Executables that operators drop into directories: `health.d`, `pre-reboot.d`.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How much of a script's last output is kept, in bytes.
const KEPT: usize = 2048;

/// How long output is waited for that a script's children may still hold back.
const REST: Duration = Duration::from_secs(1);

/// One script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its path.
    pub path: PathBuf,
}

/// What becomes of a script's output, besides that its end is the reason of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// Nothing.
    Kept,
    /// It goes to this process's standard error, which is the journal.
    Passed,
}

/// The scripts in `directories` below `root`, in the order in which they run: by name.
/// As with units, a file replaces its namesake in an earlier directory, and a link to
/// `/dev/null` removes it. Files that are not executable are none.
pub fn list(root: &Path, directories: &[&str]) -> io::Result<Vec<Script>> {
    let mut found = BTreeMap::new();
    for directory in directories {
        let directory = root.join(directory);
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("listing {}: {error}", directory.display()),
            )
        };
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(named(error)),
        };
        for entry in entries {
            let entry = entry.map_err(named)?;
            found.insert(entry.file_name(), entry.path());
        }
    }
    let scripts = found.into_iter().filter(|(name, path)| {
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let metadata = fs::metadata(path);
        !hidden && metadata.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    });
    Ok(scripts.map(|(_, path)| Script { path }).collect())
}

/// Runs one script to its end.
pub fn run(script: &Script, environment: &[(String, String)], words: Words) -> Result<(), String> {
    let name = script.path.display();
    let failed = |error: io::Error| format!("{name} cannot be run: {error}");
    let (reader, writer) = io::pipe().map_err(failed)?;
    let mut command = Command::new(&script.path);
    command
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer);
    let mut child = command.spawn().map_err(failed)?;
    // The command holds the pipe's writing end, which must be gone for it to end.
    drop(command);
    let (say, hear) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens where the script's children kept the pipe open for too long.
        let _ = say.send(last_of(reader, words));
    });
    let status = child.wait().map_err(failed)?;
    let output = hear.recv_timeout(REST).unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    match output.trim() {
        "" => Err(format!("{name} failed ({status}) and said nothing")),
        said => Err(format!("{name} failed ({status}): {said}")),
    }
}

/// The last bytes of a stream, as text.
fn last_of(mut stream: impl Read, words: Words) -> String {
    let mut kept = VecDeque::with_capacity(KEPT);
    let mut part = [0; 512];
    while let Ok(length @ 1..) = stream.read(&mut part) {
        if words == Words::Passed {
            // A journal that cannot be written has nobody to be reported to.
            let _ = io::stderr().write_all(&part[..length]);
        }
        kept.extend(&part[..length]);
        kept.drain(..kept.len().saturating_sub(KEPT));
    }
    let bytes: Vec<u8> = kept.into();
    String::from_utf8_lossy(&bytes).into_owned()
}
