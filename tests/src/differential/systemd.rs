//! An imitation of the service manager's private socket.
//!
//! Go Ignition asks the manager for its version before it writes presets of instances,
//! and fails if nobody answers. In an initrd systemd does; here there is none.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context as _, Result};

/// What systemd of the image says, as the property is.
const VERSION: &str = "257";
/// Longest message that is read.
const LONGEST: usize = 64 << 10;

/// Answers at `directory/private` as long as the process lives.
pub fn imitate(directory: &Path) -> Result<()> {
    let path = directory.join("private");
    let listener =
        UnixListener::bind(&path).with_context(|| format!("listening at {}", path.display()))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who asks and is not answered fails, and that is seen.
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(())
}

/// Takes whoever connects for root, then answers every call with the version.
fn answer(stream: UnixStream) -> Result<()> {
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line);
        let reply: &[u8] = match line.trim_matches(['\0', '\r', '\n']) {
            "BEGIN" => break,
            "" => return Ok(()),
            "AUTH" => b"REJECTED EXTERNAL\r\n",
            "NEGOTIATE_UNIX_FD" => b"ERROR\r\n",
            _ => b"OK 0123456789abcdef0123456789abcdef\r\n",
        };
        out.write_all(reply)?;
    }
    loop {
        // The fixed part: kind at 1, length of the body at 4, serial at 8, length of the
        // fields at 12; all little-endian, as every peer of this machine sends them.
        let mut fixed = [0; 16];
        input.read_exact(&mut fixed)?;
        let fields = number(&fixed, 12).next_multiple_of(8);
        let mut rest = vec![0; (fields + number(&fixed, 4)).min(LONGEST)];
        input.read_exact(&mut rest)?;
        out.write_all(&reply(number(&fixed, 8)))?;
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    usize::try_from(u32::from_le_bytes(four)).unwrap_or(LONGEST)
}

/// A method's return: a variant with a string.
fn reply(serial: usize) -> Vec<u8> {
    let little = |number: usize| u32::try_from(number).unwrap_or_default().to_le_bytes();
    let mut body = vec![1, b's', 0, 0];
    body.extend(little(VERSION.len()));
    body.extend(VERSION.as_bytes());
    body.push(0);
    // Reply to (5, u), signature (8, g).
    let mut fields = vec![5, 1, b'u', 0];
    fields.extend(little(serial));
    fields.extend([8, 1, b'g', 0, 1, b'v', 0]);
    let mut message = vec![b'l', 2, 1, 1];
    message.extend(little(body.len()));
    message.extend(little(serial));
    message.extend(little(fields.len()));
    message.extend(&fields);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_given_to_who_asks() {
        let directory = tempfile::tempdir().unwrap();
        imitate(directory.path()).unwrap();
        let mut stream = UnixStream::connect(directory.path().join("private")).unwrap();
        stream.write_all(b"\0AUTH EXTERNAL 30\r\n").unwrap();
        let mut line = [0; 37];
        stream.read_exact(&mut line).unwrap();
        assert!(line.starts_with(b"OK "));
        stream.write_all(b"BEGIN\r\n").unwrap();
        let call = [b'l', 1, 0, 1, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        stream.write_all(&call).unwrap();
        let expected = reply(9);
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, expected);
        assert!(answer.windows(3).any(|part| part == VERSION.as_bytes()));
        assert_eq!((expected.len() - 12) % 4, 0);
    }
}
