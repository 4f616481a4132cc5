//! This terminal as the guest's.

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::process::ChildStdin;
use std::thread;

use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use crate::exit;

const CTRL_A: u8 = 0x01;
const CTRL_BRACKET: u8 = 0x1d;

/// What typed bytes mean.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    /// They are for the guest.
    Pass(Vec<u8>),
    /// The machine is to end.
    End,
}

/// Finds the escape sequences in what is typed.
#[derive(Default)]
struct Escape {
    after_ctrl_a: bool,
}

impl Escape {
    fn take(&mut self, bytes: &[u8]) -> Typed {
        let mut pass = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            match (std::mem::take(&mut self.after_ctrl_a), byte) {
                (_, CTRL_BRACKET) | (true, b'x' | b'X') => return Typed::End,
                (false, CTRL_A) => self.after_ctrl_a = true,
                (true, CTRL_A) | (false, _) => pass.push(byte),
                (true, _) => pass.extend([CTRL_A, byte]),
            }
        }
        Typed::Pass(pass)
    }
}

/// Whether there is a terminal to attach.
pub fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Sends what is typed to the guest, from a thread, until the program ends.
///
/// The terminal is raw from here on, and restored on every way out.
pub fn keyboard(mut guest: ChildStdin) -> std::io::Result<()> {
    let stdin = std::io::stdin();
    let before = tcgetattr(stdin.as_fd())?;
    let mut raw = before.clone();
    cfmakeraw(&mut raw);
    tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw)?;
    exit::before(move || {
        let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSADRAIN, &before);
        // The guest may have left colours on.
        print!("\x1b[0m\r\n");
        let _ = std::io::stdout().flush();
    });
    thread::spawn(move || {
        let mut escape = Escape::default();
        let mut bytes = [0; 256];
        while let Ok(n @ 1..) = std::io::stdin().read(&mut bytes) {
            match escape.take(bytes.get(..n).unwrap_or_default()) {
                Typed::End => exit::now(0),
                // A guest that is gone shows on the console.
                Typed::Pass(pass) => {
                    let _ = guest.write_all(&pass);
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_end_the_machine_and_all_else_is_passed_on() {
        let take = |parts: &[&[u8]]| {
            let mut escape = Escape::default();
            let mut all = Vec::new();
            for part in parts {
                match escape.take(part) {
                    Typed::Pass(pass) => all.extend(pass),
                    Typed::End => return Typed::End,
                }
            }
            Typed::Pass(all)
        };
        let pass = |bytes: &[u8]| Typed::Pass(bytes.to_vec());
        assert_eq!(take(&[b"ls\rx"]), pass(b"ls\rx"));
        assert_eq!(take(&[b"ls\x1d"]), Typed::End);
        assert_eq!(take(&[b"\x01", b"x"]), Typed::End);
        assert_eq!(take(&[b"\x01\x01x"]), pass(b"\x01x"));
        assert_eq!(take(&[b"\x01b"]), pass(b"\x01b"));
        assert_eq!(take(&[b"\x01\x1d"]), Typed::End);
    }
}
