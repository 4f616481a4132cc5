//! How rocket itself looks names up: `/etc/hosts`, then the servers of `/etc/resolv.conf`.
//!
//! rocket is linked statically, so that it runs inside any image that it is handed to. Both
//! of these are part of the C library. Whatever else an `nsswitch.conf` names would be
//! loaded from the image, made for another C library than the one in rocket.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::sync::OnceLock;

unsafe extern "C" {
    /// glibc's override of one line of `nsswitch.conf` for this process, `<nss.h>`.
    fn __nss_configure_lookup(database: *const c_char, line: *const c_char) -> c_int;
}

/// Has names looked up so from now on, whatever `nsswitch.conf` says. To be called before a
/// name is looked up.
///
/// # Errors
/// The C library does not know these words: it is not the one that rocket was made with.
pub fn use_own_lookup() -> std::io::Result<()> {
    static DONE: OnceLock<c_int> = OnceLock::new();
    let result = DONE.get_or_init(|| {
        // SAFETY: both are strings with an end, which live for ever; the function copies what
        // it keeps, and takes its own lock.
        unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) }
    });
    match result {
        0 => Ok(()),
        _ => Err(std::io::Error::other(
            "this C library cannot be told how to look names up",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs as _;

    #[test]
    fn names_of_the_hosts_file_are_found() {
        super::use_own_lookup().unwrap();
        super::use_own_lookup().unwrap();
        let mut found = ("localhost", 1).to_socket_addrs().unwrap();
        assert!(found.any(|address| address.ip().is_loopback()));
    }
}
