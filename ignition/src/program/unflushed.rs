//! Keeps a program from flushing what it writes.
//!
//! A program that adds one account flushes each of its files, twenty times in all, and a
//! config has many accounts: that is waiting for the disk for nothing, as the caller
//! flushes everything before it relies on any of it. A filter of system calls (seccomp(2))
//! makes these calls succeed without doing anything, for the program and what it starts.

use nix::libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP,
    SECCOMP_MODE_FILTER, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SYS_fdatasync, SYS_fsync, SYS_sync,
    SYS_syncfs, c_long, prctl, sock_filter, sock_fprog,
};

/// How audit(8) calls this processor, whose system calls the numbers are of; the kernel's
/// `linux/audit.h`. None where nobody tried: there, programs flush.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xC000_003E)
} else if cfg!(target_arch = "aarch64") {
    Some(0xC000_00B7)
} else {
    None
};

/// Offsets in the kernel's `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// Calls that flush.
const FLUSHING: [c_long; 4] = [SYS_fsync, SYS_fdatasync, SYS_syncfs, SYS_sync];

/// Length of the filter.
const LENGTH: usize = FLUSHING.len() + 5;

const FILTER: [sock_filter; LENGTH] = filter();

/// Loads the processor's name and leaves if it is another one; loads the call's number and
/// jumps to the last line, which is success without the call, if it is one of those.
const fn filter() -> [sock_filter; LENGTH] {
    let architecture = match ARCHITECTURE {
        Some(architecture) => architecture,
        None => 0,
    };
    let allow = line(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
    let mut lines = [allow; LENGTH];
    lines[0] = line(BPF_LD | BPF_W | BPF_ABS, ARCH, 0, 0);
    lines[1] = line(
        BPF_JMP | BPF_JEQ | BPF_K,
        architecture,
        0,
        FLUSHING.len() as u8 + 1,
    );
    lines[2] = line(BPF_LD | BPF_W | BPF_ABS, NUMBER, 0, 0);
    let mut at = 0;
    while at < FLUSHING.len() {
        let left = (FLUSHING.len() - at) as u8;
        lines[at + 3] = line(BPF_JMP | BPF_JEQ | BPF_K, FLUSHING[at] as u32, left, 0);
        at += 1;
    }
    lines[LENGTH - 1] = line(BPF_RET | BPF_K, SECCOMP_RET_ERRNO, 0, 0);
    lines
}

const fn line(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}

/// From now on, this process and its children flush nothing, if the kernel has filters;
/// for between fork and exec.
///
/// It gives up new privileges by set-user-ID programs, without which only root may do this.
pub fn enter() {
    if ARCHITECTURE.is_none() {
        return;
    }
    let mut lines = FILTER;
    let program = sock_fprog {
        len: LENGTH as u16,
        filter: lines.as_mut_ptr(),
    };
    // SAFETY: prctl(2) takes numbers, and in the second call a program that lives until it
    // returns, of as many lines as it says. Neither allocates. If the kernel refuses, the
    // program flushes, which is only slower.
    unsafe {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program);
    }
}
