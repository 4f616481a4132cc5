//! Who is logged in, and telling them.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::libc;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath, proxy};

/// Longest message, in bytes.
const MAX_MESSAGE: usize = 4096;

/// Somebody who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The user.
    pub user: String,
    /// The terminal, as `pts/0`; empty if there is none.
    pub terminal: String,
}

#[proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Logins {
    fn list_sessions(&self) -> zbus::Result<Vec<(String, u32, String, String, OwnedObjectPath)>>;
}

#[proxy(
    interface = "org.freedesktop.login1.Session",
    default_service = "org.freedesktop.login1"
)]
trait Login {
    #[zbus(property)]
    fn class(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;
    #[zbus(property, name = "TTY")]
    fn tty(&self) -> zbus::Result<String>;
}

/// Who is logged in, as logind knows. Greeters, service managers and sessions that end
/// are nobody.
pub async fn list(bus: &Connection) -> zbus::Result<Vec<Session>> {
    let logins = LoginsProxy::new(bus).await?;
    let mut sessions = Vec::new();
    for (_, _, user, _, path) in logins.list_sessions().await? {
        let login = LoginProxy::builder(bus)
            .path(path)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        // One that ended meanwhile is nobody either.
        let (Ok(class), Ok(state)) = (login.class().await, login.state().await) else {
            continue;
        };
        if is_somebody(&class, &state) {
            let terminal = login.tty().await.unwrap_or_default();
            sessions.push(Session { user, terminal });
        }
    }
    Ok(sessions)
}

fn is_somebody(class: &str, state: &str) -> bool {
    class.starts_with("user") && state != "closing"
}

/// Writes `message` to the terminals of `sessions` below `root`, as wall(1) does.
/// Terminals that take nothing are left alone.
pub fn tell(root: &Path, sessions: &[Session], message: &str) {
    let text = wall(message);
    for session in sessions.iter().filter(|session| is_name(&session.terminal)) {
        let path = root.join("dev").join(&session.terminal);
        let terminal = File::options()
            .write(true)
            // Neither waits for a line nor becomes this process's own terminal.
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW)
            .open(path);
        if let Ok(mut terminal) = terminal
            && terminal.is_terminal()
        {
            // A terminal that is full or gone has nobody who looks at it.
            let _ = terminal.write_all(text.as_bytes());
        }
    }
}

/// A terminal's name leads nowhere else.
fn is_name(terminal: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'/';
    !terminal.is_empty() && !terminal.starts_with('/') && terminal.bytes().all(allowed)
}

/// The message as terminals want it: lines that begin at the left, and a bell.
fn wall(message: &str) -> String {
    let plain = |c: char| if c == '\n' || !c.is_control() { c } else { ' ' };
    let mut text: String = message.chars().map(plain).collect();
    text.truncate(text.floor_char_boundary(MAX_MESSAGE));
    format!("\r\n\x07{}\r\n", text.replace('\n', "\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greeters_and_managers_are_nobody() {
        assert!(is_somebody("user", "active"));
        assert!(is_somebody("user-early", "online"));
        assert!(!is_somebody("user", "closing"));
        assert!(!is_somebody("greeter", "active"));
        assert!(!is_somebody("manager", "active"));
        assert!(!is_somebody("background", "active"));
    }

    #[test]
    fn a_message_does_not_draw_on_terminals() {
        assert_eq!(wall("one\ntwo\x1b[2J"), "\r\n\x07one\r\ntwo [2J\r\n");
        assert!(wall(&"ä".repeat(5000)).len() < 4200);
        assert!(is_name("pts/0") && is_name("ttyS0"));
        assert!(!is_name("../kmsg") && !is_name("/kmsg") && !is_name(""));
    }

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let pts = root.path().join("dev/pts");
        std::fs::create_dir_all(&pts).unwrap();
        std::fs::write(pts.join("0"), "").unwrap();
        let session = Session {
            user: "core".into(),
            terminal: "pts/0".into(),
        };
        tell(root.path(), &[session], "down in 5 min");
        assert_eq!(std::fs::read_to_string(pts.join("0")).unwrap(), "");
    }

    #[test]
    fn a_terminal_gets_the_message() {
        use std::io::Read as _;
        let pty = nix::pty::openpty(None, None).unwrap();
        let name = nix::unistd::ttyname(&pty.slave).unwrap();
        let terminal = name.strip_prefix("/dev/").unwrap();
        let session = Session {
            user: "core".into(),
            terminal: terminal.display().to_string(),
        };
        tell(Path::new("/"), &[session], "down in 5 min");
        let mut said = [0; 64];
        let length = File::from(pty.master).read(&mut said).unwrap();
        let said = String::from_utf8_lossy(&said[..length]).into_owned();
        assert!(said.contains("down in 5 min"), "{said:?}");
    }
}
