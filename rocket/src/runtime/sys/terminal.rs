//! Pseudo-terminals without paths.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// Opens the other end of the terminal whose master this is. No path is involved, so it
/// is the right one whatever is mounted on `/dev/pts`.
pub fn peer(master: &OwnedFd) -> nix::Result<OwnedFd> {
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads an integer.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags of open(2) by value.
    let fd = Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes the terminal the controlling one of this session.
pub fn control(terminal: &OwnedFd) -> nix::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer by value.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Rows and columns.
pub fn set_size(terminal: &OwnedFd, rows: u16, columns: u16) -> nix::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads a winsize.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })
        .map(drop)
}

/// Rows and columns of the terminal that `fd` is.
pub fn size<F: std::os::fd::AsFd>(fd: F) -> nix::Result<(u16, u16)> {
    // SAFETY: all zero is a valid winsize.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    let raw = fd.as_fd().as_raw_fd();
    // SAFETY: TIOCGWINSZ fills a winsize.
    Errno::result(unsafe { libc::ioctl(raw, libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_row, size.ws_col))
}
