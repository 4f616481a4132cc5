//! What is left when the runtime is killed.
//!
//! A tracer counts system calls of the runtime and kills it at each of them; then nothing may
//! run, and what is left on disk must be removed by one `delete`.

use std::process::Command;

use crate::bundle::Bundle;

/// Whether a process has this bundle's name in its command line.
fn is_anybody_left(bundle: &Bundle) -> bool {
    let mark = bundle.id();
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let name = entry.file_name();
        let of_process = name.to_str().is_some_and(|name| name.parse::<i32>().is_ok());
        of_process
            && std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&mark))
    })
}

/// Kills the runtime at its `number`-th system call; says whether it had as many.
fn killed_at(bundle: &Bundle, number: usize) -> bool {
    let words = ["oci", "--root", "state", "create", "--bundle"];
    let output = Command::new("strace")
        .args(["-o", "/dev/null", "-e", &format!("inject=all:signal=KILL:when={number}")])
        .arg(crate::bundle::ROCKET)
        .args(words)
        .arg(bundle.path())
        .arg(bundle.id())
        .current_dir(bundle.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    !output.status.success()
}

#[test]
fn a_runtime_that_is_killed_leaves_no_process_and_one_delete_removes_the_rest() {
    let bundle = Bundle::new("exec tail -f /dev/null");
    bundle.write();
    let mut number = 40;
    let mut kills = 0;
    while killed_at(&bundle, number) {
        kills += 1;
        // The container's process ends when it sees that nobody waits for it: its group is
        // empty then, if there is one.
        bundle.oci(&["delete", "--force", &bundle.id()]).ok();
        assert!(!is_anybody_left(&bundle), "system call {number}");
        assert_eq!(bundle.oci(&["list", "-q"]).ok(), "", "system call {number}");
        number += 7;
    }
    assert!(kills > 5, "{kills}");
    assert_eq!(bundle.state()["status"], "created");
    bundle.delete();
}
