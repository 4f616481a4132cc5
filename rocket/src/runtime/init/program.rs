//! Finding the program inside the container.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, stat};

use crate::runtime::container::ProcessPlan;
use crate::runtime::error::{Error, Result};
use crate::runtime::sources::c_path;

/// The file to execute. Relative ones are relative to the working directory.
///
/// Engines tell "there is no such program" from "it may not be executed" by the words,
/// which are therefore those of other runtimes.
pub fn find(process: &ProcessPlan) -> Result<CString> {
    let name = Path::new(OsStr::from_bytes(process.args[0].as_bytes()));
    let at_place = name.as_os_str().as_bytes().contains(&b'/');
    let candidates: Vec<PathBuf> = if at_place {
        vec![name.to_owned()]
    } else {
        process
            .search
            .iter()
            .map(|directory| directory.join(name))
            .collect()
    };
    let mut denied = false;
    for candidate in candidates {
        match executable(&process.cwd.join(&candidate)) {
            Ok(()) => return c_path(&candidate),
            Err(Errno::EACCES) => denied = true,
            Err(_) => {}
        }
    }
    let step = format!("exec: {:?}", name.display().to_string());
    Err(if denied {
        Error::refused(step, "permission denied: it is not an executable file")
    } else if at_place {
        Error::refused(step, "no such file or directory in the container")
    } else {
        Error::refused(step, "executable file not found in $PATH of the container")
    })
}

fn executable(path: &Path) -> nix::Result<()> {
    let about = stat(path)?;
    let format = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT;
    if format != SFlag::S_IFREG || about.st_mode & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// The home of a user, from the container's own list; `/` if it is not in it.
pub fn home(uid: u32) -> String {
    use std::io::Read;
    const MAX_BYTES: u64 = 1 << 20;
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open("/etc/passwd") {
        // A file that cannot be read is a user that is not in it.
        let _ = file.take(MAX_BYTES).read_to_string(&mut text);
    }
    home_in(&text, uid).unwrap_or("/").to_owned()
}

fn home_in(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, id, _, _, home, _] = fields[..] else {
            return None;
        };
        (id.parse() == Ok(uid) && home.starts_with('/')).then_some(home)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:33::/srv:/bin/false\n";
        assert_eq!(home_in(passwd, 33), Some("/srv"));
        assert_eq!(home_in(passwd, 0), Some("/root"));
        assert_eq!(home_in(passwd, 7), None);
    }
}
