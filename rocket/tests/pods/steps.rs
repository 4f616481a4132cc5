//! Killing a program at each of its system calls that change something.
//!
//! A tracer kills the program as it enters the call, which then is not made. What can be in
//! between two changes is met so, each time the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::host::{Host, ROCKET, until_all_ended};

/// Calls that change files, devices, processes or what others know.
const CALLS: &str = "chown,clone,clone3,connect,exit_group,fchdir,fchmod,fchmodat,fchown,\
    fchownat,fdatasync,flock,fsconfig,fsetxattr,fsmount,fsopen,fsync,ftruncate,linkat,\
    mkdir,mkdirat,mknodat,mount,mount_setattr,move_mount,open,openat,openat2,open_tree,\
    pidfd_send_signal,poll,prctl,rename,renameat,renameat2,rmdir,sendmsg,sendto,setns,\
    setxattr,socketpair,symlinkat,syncfs,umount2,unlink,unlinkat,unshare,vfork,wait4,waitid,\
    write";

/// One point in a program's life.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    call: String,
    number: usize,
}

impl Step {
    /// Of this call.
    pub fn is(&self, call: &str) -> bool {
        self.call == call
    }
}

/// Whom a tracer follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The program only: what it makes goes on by itself.
    Program,
    /// All its threads.
    Threads,
}

/// A command of rocket's that is stopped on its way.
pub struct Traced<'a> {
    pub host: &'a Host,
    pub words: Vec<&'a str>,
    pub follow: Follow,
}

impl Traced<'_> {
    /// Under a tracer; says whether it came to its end, and with status 0.
    fn run(&self, options: &[&str]) -> bool {
        let mut command = Command::new("strace");
        if self.follow == Follow::Threads {
            command.arg("-f");
        }
        command
            .args(options)
            .arg(ROCKET)
            .args(self.host.options())
            .args(&self.words)
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        until_all_ended(&mut command).0
    }

    /// Every step of the command, which is done meanwhile. Threads have the same calls: one
    /// of them is killed, and all of them end.
    pub fn steps(&self) -> Vec<Step> {
        let file = self.host.path("trace");
        let calls = format!("trace={CALLS}");
        self.run(&["-o", file.to_str().unwrap(), "-e", &calls]);
        let steps = read(&file);
        fs::remove_file(file).unwrap();
        steps
    }

    /// Does the command until this step. Says whether it was killed there.
    pub fn until(&self, step: &Step) -> bool {
        let Step { call, number } = step;
        let kill = format!("inject={call}:signal=KILL:when={number}");
        let only = format!("trace={call}");
        !self.run(&["-o", "/dev/null", "-e", &only, "-e", &kill])
    }
}

/// Reads a trace: lines of a call, behind the number of its thread if there are several.
/// Opening a file that is there changes nothing; a call that was interrupted has two lines, of
/// which the first one counts.
fn read(trace: &Path) -> Vec<Step> {
    let text = fs::read_to_string(trace).unwrap();
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut steps = BTreeSet::new();
    for line in text.lines() {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let thread = &line[..line.len() - call.len()];
        let Some((call, arguments)) = call.split_once('(') else {
            continue;
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !call.bytes().all(is_name) {
            continue;
        }
        let number = seen.entry((thread, call)).or_default();
        *number += 1;
        let only_reads = call.starts_with("open") && !arguments.contains("O_CREAT");
        if !only_reads {
            steps.insert(Step {
                call: call.to_owned(),
                number: *number,
            });
        }
    }
    steps.into_iter().collect()
}
