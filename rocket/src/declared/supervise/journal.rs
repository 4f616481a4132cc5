//! The journal, for what containers write: each line is kept under the container's name.

use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// Where the journal takes lines, systemd's native protocol for streams.
const SOCKET: &str = "/run/systemd/journal/stdout";

/// Set by systemd for services whose output is in the journal, systemd.exec(5).
const VARIABLE: &str = "JOURNAL_STREAM";

/// Whether what this process writes is in the journal.
pub fn is_there() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// A stream whose lines the journal keeps with `SYSLOG_IDENTIFIER=name`.
///
/// # Errors
/// The journal is not there.
pub fn stream(name: &str) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(SOCKET)?;
    stream.shutdown(Shutdown::Read)?;
    // Identifier, unit, priority (6 is info), whether lines begin with a priority, and to whom
    // else they go: to nobody.
    write!(stream, "{name}\n\n6\n0\n0\n0\n0\n")?;
    Ok(stream)
}
