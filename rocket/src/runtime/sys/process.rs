//! Processes: `clone3`, capabilities, filters, and what else has no wrapper.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;

/// A process that was made.
#[derive(Debug)]
pub struct Made {
    /// Its number, seen from here.
    pub pid: Pid,
    /// A handle that never means another process.
    pub pidfd: OwnedFd,
}

/// Which of the two processes returned from [`clone3`].
#[derive(Debug)]
pub enum Forked {
    /// The caller.
    Parent(Made),
    /// The new process.
    Child,
}

/// Makes a process, a copy of this one, with `flags` (`CLONE_*`), in a cgroup if one is
/// given.
///
/// The copy has one thread. What other threads of this process hold (locks of the
/// allocator) would stay locked in it: call it only in a process of one thread, see
/// [`threads`].
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd>) -> nix::Result<Forked> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zero is a valid clone_args: no stack, no thread-local storage.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags | libc::CLONE_PIDFD as u64;
    arguments.pidfd = (&raw mut pidfd) as u64;
    if flags & libc::CLONE_PARENT as u64 == 0 {
        arguments.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments are complete and live through the call. Without CLONE_VM the
    // child has its own copy of memory and goes on from here, as after fork(2).
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match Errno::result(result)? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(Made {
            pid: Pid::from_raw(pid as libc::pid_t),
            // SAFETY: the kernel has just made this descriptor for us.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
    }
}

/// Ends the process at once: no destructors, no buffers.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(status) }
}

/// Takes over a descriptor that another process put into the table shared with this one.
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: only called with the number that the helper process made and told us, and
    // the helper has ended.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// How many threads this process has.
pub fn threads() -> nix::Result<u64> {
    let entry = nix::sys::stat::stat(c"/proc/self/task")?;
    Ok(entry.st_nlink.saturating_sub(2))
}

/// A handle for a process.
pub fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: numbers only.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends a signal to exactly this process. Numbers beyond the named signals are real-time
/// signals.
pub fn pidfd_signal<F: AsFd>(pidfd: F, signal: i32) -> nix::Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: no signal information is passed, the kernel makes it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// What to do with a range of descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// At once.
    Now,
    /// When another program is executed.
    OnExec,
}

/// Closes descriptors `first` to `last`. With [`Close::Now`] no owner may be left that
/// will close them again.
pub fn close_range(first: u32, last: u32, how: Close) -> nix::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    let flags = if how == Close::OnExec {
        CLOSE_RANGE_CLOEXEC
    } else {
        0
    };
    // SAFETY: numbers only; who owns the descriptors never returns (see above).
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    Errno::result(result).map(drop)
}

/// Makes `target` (0, 1, 2 or higher) another name of `fd`, kept across execution.
pub fn dup_onto<F: AsFd>(fd: F, target: RawFd) -> nix::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    if fd == target {
        // SAFETY: numbers only.
        return Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::dup2(fd, target) }).map(drop)
}

/// The three sets that a thread has of its own, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// In force.
    pub effective: u64,
    /// May be in force.
    pub permitted: u64,
    /// May be kept across execution.
    pub inheritable: u64,
}

/// Sets the capabilities of this thread.
pub fn capset(sets: &Capabilities) -> nix::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: header and two data elements, as version 3 wants them.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    Errno::result(result).map(drop)
}

fn prctl(option: libc::c_int, second: u64, third: u64) -> nix::Result<i32> {
    // SAFETY: only called below with options that take numbers.
    Errno::result(unsafe { libc::prctl(option, second, third, 0, 0) })
}

/// Takes a capability out of the bounding set for good.
pub fn bounding_drop(capability: u32) -> nix::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0).map(drop)
}

/// Empties the ambient set.
pub fn ambient_clear() -> nix::Result<()> {
    const CLEAR_ALL: u64 = 4;
    prctl(libc::PR_CAP_AMBIENT, CLEAR_ALL, 0).map(drop)
}

/// Puts a capability into the ambient set; it must be permitted and inheritable.
pub fn ambient_raise(capability: u32) -> nix::Result<()> {
    const RAISE: u64 = 2;
    prctl(libc::PR_CAP_AMBIENT, RAISE, u64::from(capability)).map(drop)
}

/// One instruction of a filter.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if true.
    pub jt: u8,
    /// Instructions to skip if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Puts system calls of this thread, and of all it becomes, under a filter.
pub fn seccomp(program: &[Instruction], flags: u32) -> nix::Result<()> {
    #[repr(C)]
    struct Program {
        length: libc::c_ushort,
        filter: *const Instruction,
    }
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    let program = Program {
        length: libc::c_ushort::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        filter: program.as_ptr(),
    };
    // SAFETY: the program is valid for its length through the call; the kernel checks it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    Errno::result(result).map(drop)
}

/// A new session keyring without a name: one with a name would be whoever's has it already.
pub fn new_session_keyring() -> nix::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: no name is passed.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, none) };
    Errno::result(result).map(drop)
}

/// The argument of `sched_setattr(2)`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// Of this structure.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For time-sharing policies.
    pub nice: i32,
    /// For real-time policies.
    pub priority: u32,
    /// For deadlines, in nanoseconds.
    pub runtime: u64,
    /// For deadlines, in nanoseconds.
    pub deadline: u64,
    /// For deadlines, in nanoseconds.
    pub period: u64,
}

/// Sets how a process is scheduled; 0 is this one.
pub fn schedule(pid: Pid, mut scheduling: Scheduling) -> nix::Result<()> {
    scheduling.size = size_of::<Scheduling>() as u32;
    // SAFETY: the structure is the kernel's first version and says its size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            pid.as_raw(),
            &raw const scheduling,
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// Sets class (1 real time, 2 best effort, 3 idle) and level of a process's I/O; 0 is this
/// one.
pub fn io_priority(pid: Pid, class: u32, level: u32) -> nix::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let value = (class << 13) | level;
    // SAFETY: numbers only.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            pid.as_raw(),
            value,
        )
    };
    Errno::result(result).map(drop)
}

/// Sets a limit of another process.
pub fn limit(pid: Pid, resource: u32, soft: u64, hard: u64) -> nix::Result<()> {
    let limits = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: reads one rlimit64, writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid.as_raw(),
            resource,
            &raw const limits,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    };
    Errno::result(result).map(drop)
}

/// The name of the NIS domain.
pub fn set_domain_name(name: &str) -> nix::Result<()> {
    // SAFETY: pointer and length belong together.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// All identities of this process at once, without what glibc does for threads: there is
/// one thread.
pub fn set_ids(uid: u32, gid: u32, groups: &[u32]) -> nix::Result<()> {
    // SAFETY: pointer and length belong together; the rest are numbers.
    unsafe {
        Errno::result(libc::syscall(
            libc::SYS_setgroups,
            groups.len(),
            groups.as_ptr(),
        ))?;
        Errno::result(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        Errno::result(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// What Rust's runtime and callers change goes back to what programs expect: broken pipes
/// kill, no signal is blocked.
pub fn default_signals() -> nix::Result<()> {
    // SAFETY: sets a default action; replaces the mask by an empty one.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        Errno::result(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut(),
        ))
        .map(drop)
    }
}

/// Whether processes of the same user may look into this one.
pub fn set_dumpable(yes: bool) -> nix::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(yes), 0).map(drop)
}

/// CPUs that this process may run on.
pub fn pin(cpus: &[usize]) -> nix::Result<()> {
    let mut set = nix::sched::CpuSet::new();
    for &cpu in cpus {
        set.set(cpu)?;
    }
    nix::sched::sched_setaffinity(Pid::from_raw(0), &set)
}
