//! Standard streams, and a terminal if the program has one of its own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open as open_file};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{Gid, Uid, fchown};

use super::devices;
use crate::runtime::beneath;
use crate::runtime::container::{Container, ProcessPlan};
use crate::runtime::error::{During, Error, Result};
use crate::runtime::sync;
use crate::runtime::sys::mount::{self, Depth};
use crate::runtime::sys::process::dup_onto;
use crate::runtime::sys::terminal;
use crate::runtime::{Session, Stream, Streams};

/// Of the file system of pseudo-terminals.
const DEVPTS: FsType = FsType(0x1cd1);

/// Opens a terminal of the container, sends its master to who asked, and shows it as
/// `/dev/console`.
pub fn open(
    container: &Container,
    receiver: Option<&OwnedFd>,
    root: &OwnedFd,
) -> Result<Option<OwnedFd>> {
    let Some(receiver) = receiver else {
        return Ok(None);
    };
    let slave = pair(root, receiver, &container.process)?;
    let step = || "showing the terminal as /dev/console".to_owned();
    let copy = mount::clone_tree(&slave, c"", Depth::One).during(step)?;
    mount::attach(&copy, devices::console(root)?).during(step)?;
    Ok(Some(slave))
}

/// Makes a terminal of the devpts that is mounted below `root`; returns its slave.
pub fn pair<F: AsFd>(root: F, receiver: &OwnedFd, process: &ProcessPlan) -> Result<OwnedFd> {
    let step = || "opening a terminal (/dev/pts must be a mount of type devpts)".to_owned();
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    let master = beneath::open_plain(root, Path::new("/dev/pts/ptmx"), flags).during(step)?;
    if fstatfs(&master).during(step)?.filesystem_type() != DEVPTS {
        return Err(Error::refused(step(), "it is something else"));
    }
    let slave = terminal::peer(&master).during(step)?;
    if let Some((rows, columns)) = process.terminal.filter(|size| *size != (0, 0)) {
        terminal::set_size(&slave, rows, columns).during(step)?;
    }
    sync::send(receiver, b"/dev/ptmx", Some(&master))
        .during(|| "sending the terminal to the console socket".into())?;
    Ok(slave)
}

/// Puts the streams where the program expects them.
pub fn set_streams(streams: &Streams, console: Option<&OwnedFd>, session: Session) -> Result<()> {
    let step = || "setting standard streams".to_owned();
    if let Some(console) = console {
        if session == Session::New {
            terminal::control(console).during(step)?;
        }
        return (0..3)
            .try_for_each(|target| dup_onto(console, target))
            .during(step);
    }
    for (target, stream) in [&streams.input, &streams.output, &streams.error]
        .iter()
        .enumerate()
    {
        let target = target as i32;
        match stream {
            Stream::Inherit => {}
            Stream::Null => {
                let null = open_file("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
                    .during(|| "opening the container's /dev/null".into())?;
                dup_onto(null, target).during(step)?;
            }
            Stream::File(file) => dup_onto(file, target).during(step)?,
        }
    }
    Ok(())
}

/// Pipes and our own terminal belong to the user that the program runs as, so that it can
/// open `/dev/stdout`. The caller's files stay as they are.
pub fn own_streams(uid: u32) -> Result<()> {
    for stream in [
        std::io::stdin().as_fd(),
        std::io::stdout().as_fd(),
        std::io::stderr().as_fd(),
    ] {
        let Ok(about) = fstat(stream) else {
            continue;
        };
        let format = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT;
        let terminal = format == SFlag::S_IFCHR
            && fstatfs(stream).is_ok_and(|fs| fs.filesystem_type() == DEVPTS);
        if about.st_uid == uid || !(format == SFlag::S_IFIFO || terminal) {
            continue;
        }
        match fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>) {
            Ok(()) | Err(nix::Error::EPERM | nix::Error::EINVAL | nix::Error::EROFS) => {}
            Err(error) => {
                Err(error)
                    .during(|| format!("giving stream {} to its user", stream.as_raw_fd()))?;
            }
        }
    }
    Ok(())
}
