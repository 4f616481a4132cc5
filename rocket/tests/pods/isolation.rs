//! What of the host gets into an app.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::host::{Companion, on_a_host};

/// Open in rocket as well, as a careless caller would leave it.
fn leaked() -> Vec<File> {
    let held: Vec<File> = (0..5).map(|_| File::open("/").unwrap()).collect();
    for file in &held {
        fcntl(file.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    }
    held
}

/// 3 is the directory that ls reads.
const LOOK: &str = "ls /proc/self/fd | tr '\\n' ' '; ls -l /proc/1/fd | grep -c ' 1[0-9] '";

#[test]
fn no_descriptor_of_the_caller_gets_into_an_app() {
    on_a_host(|host| {
        let _held = leaked();
        for options in [&["--net=none"][..], &["--net=none", "--userns=auto"], &[]] {
            let words = host.run(options, &["--", "sh", "-c", LOOK]);
            let output = host.rocket(&words);
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said, "0 1 2 3 0\n", "{options:?}");
        }
    });
}

#[test]
fn no_descriptor_of_the_caller_gets_in_with_who_enters() {
    on_a_host(|host| {
        let file = host.path("uuid");
        let options = ["--uuid-file-save", file.to_str().unwrap()];
        let words = host.run(&options, &["--", "cat"]);
        let mut command = host.command(&words);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut companion = Companion::of(child.spawn().unwrap());
        companion.assert_runs();
        let uuid = std::fs::read_to_string(&file).unwrap();
        let _held = leaked();
        let said = host.rocket(&["enter", uuid.trim(), "sh", "-c", LOOK]);
        assert_eq!(String::from_utf8_lossy(&said.stdout), "0 1 2 3 0\n");
        companion.end();
    });
}

#[test]
fn an_app_sees_its_own_processes_unless_it_is_shown_the_hosts() {
    on_a_host(|host| {
        let caller = std::process::id();
        let look = format!("test -e /proc/{caller}/comm && cat /proc/{caller}/comm; echo $$");
        let see = |options: &[&str]| {
            let words = host.run(options, &["--", "sh", "-c", &look]);
            let output = host.rocket(&words);
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(see(&["--net=none"]), "1\n");
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        let seen = see(&["--net=none", "--pid=host"]);
        assert!(
            seen.starts_with(&comm) && seen != format!("{comm}1\n"),
            "{seen}"
        );
    });
}
