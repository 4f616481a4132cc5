//! Programs that decide which devices a cgroup may open.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// One instruction of eBPF, as the kernel has it in memory.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination in the low half, source in the high half.
    pub registers: u8,
    /// Offset of a jump or an access.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

/// The part of `union bpf_attr` that loading needs.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    length: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The part of `union bpf_attr` that attaching and detaching need.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// The part of `union bpf_attr` that asking needs.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> nix::Result<RawFd> {
    // SAFETY: every caller passes the structure that belongs to the command, and the
    // kernel takes a shorter one than its own as filled up with zeros.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    Errno::result(result).map(|fd| fd as RawFd)
}

/// Hands a program for devices to the kernel, which checks it.
pub fn load_device_program(program: &[Instruction]) -> nix::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attributes = Load {
        kind: TYPE_CGROUP_DEVICE,
        length: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        name: *b"rocket_devices\0\0",
        ..Load::default()
    };
    let fd = bpf(PROG_LOAD, &mut attributes)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets the program decide for the cgroup, beside others that may be there.
pub fn attach_device_program<C: AsFd>(cgroup: C, program: &OwnedFd) -> nix::Result<()> {
    let mut attributes = Attach {
        target: cgroup.as_fd().as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
        ..Attach::default()
    };
    bpf(PROG_ATTACH, &mut attributes).map(drop)
}

/// The programs for devices that are attached to the cgroup itself, at most 64.
pub fn device_programs<C: AsFd>(cgroup: C) -> nix::Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; 64];
    let mut attributes = Query {
        target: cgroup.as_fd().as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut attributes)?;
    let count = (attributes.count as usize).min(ids.len());
    ids[..count].iter().map(|&id| by_id(id)).collect()
}

fn by_id(id: u32) -> nix::Result<OwnedFd> {
    let mut attributes = [id, 0, 0];
    let fd = bpf(PROG_GET_FD_BY_ID, &mut attributes)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a program from the cgroup.
pub fn detach_device_program<C: AsFd>(cgroup: C, program: &OwnedFd) -> nix::Result<()> {
    let mut attributes = Attach {
        target: cgroup.as_fd().as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        ..Attach::default()
    };
    bpf(PROG_DETACH, &mut attributes).map(drop)
}
