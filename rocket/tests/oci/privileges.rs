//! What a program in a container may do, and what it finds.

use std::fs::File;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::bundle::{Bundle, ROCKET, until_ended};

#[test]
fn each_namespace_is_its_own() {
    for (kind, name) in [
        ("pid", "pid"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("mount", "mnt"),
        ("cgroup", "cgroup"),
    ] {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let script = format!("readlink /proc/self/ns/{name}");
        let inside = Bundle::new(&script).says();
        assert_ne!(inside.trim(), host.to_str().unwrap(), "{kind}");
        if kind == "mount" {
            continue;
        }
        let shared = Bundle::new(&script)
            .with(|config| {
                let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
                namespaces.retain(|namespace| namespace["type"] != kind);
                if kind == "uts" {
                    config["hostname"] = json!("");
                }
                if kind == "network" {
                    let mounts = config["mounts"].as_array_mut().unwrap();
                    mounts.retain(|mount| mount["type"] != "sysfs" && mount["type"] != "cgroup");
                }
            })
            .says();
        assert_eq!(shared.trim(), host.to_str().unwrap(), "{kind}");
    }
}

#[test]
fn namespaces_of_another_container_are_entered() {
    for user in [false, true] {
        let first = Bundle::new("exec tail -f /dev/null");
        let first = if user {
            first.in_user_namespace(700_000)
        } else {
            first
        };
        first.create(&[]);
        let pid = first.state()["pid"].clone();
        let of_first = |name: &str| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        let kinds = if user {
            "user net ipc uts pid"
        } else {
            "net ipc uts pid"
        };
        let script = format!("for n in {kinds}; do readlink /proc/self/ns/$n; done");
        let second = Bundle::new(&script).with(|config| {
            config["hostname"] = json!("");
            let mut namespaces = vec![json!({"type": "mount"}), json!({"type": "cgroup"})];
            for (kind, name) in [
                ("network", "net"),
                ("ipc", "ipc"),
                ("uts", "uts"),
                ("pid", "pid"),
                ("user", "user"),
            ] {
                if kinds.contains(name) {
                    let path = format!("/proc/{pid}/ns/{name}");
                    namespaces.push(json!({"type": kind, "path": path}));
                }
            }
            config["linux"]["namespaces"] = json!(namespaces);
        });
        let expected: Vec<String> = kinds
            .split(' ')
            .map(|name| of_first(name).to_str().unwrap().to_owned())
            .collect();
        let said = second.says();
        assert_eq!(said.lines().collect::<Vec<_>>(), expected);
        first.delete();
    }
}

#[test]
fn a_time_namespace_has_its_own_clock() {
    let out = Bundle::new("cut -d. -f1 /proc/uptime")
        .with(|config| {
            config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000_000}});
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.push(json!({"type": "time"}));
        })
        .says();
    assert!(out.trim().parse::<u64>().unwrap() >= 1_000_000_000, "{out}");
}

#[test]
fn capabilities_are_those_of_the_spec() {
    let script = "grep -E 'Cap|NoNewPrivs|Seccomp:|Groups|Umask' /proc/self/status | tr -d ' \\t'";
    let out = Bundle::new(script)
        .with(|config| {
            config["process"]["user"] =
                json!({"uid": 33, "gid": 34, "additionalGids": [5, 6], "umask": 0o027});
            config["process"]["capabilities"] = json!({
                "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"],
                "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
            });
        })
        .says();
    let expected = "Umask:0027\nGroups:56\nCapInh:0000000000000020\nCapPrm:0000000000000020\n\
                    CapEff:0000000000000020\nCapBnd:0000000000000021\nCapAmb:0000000000000020\n\
                    NoNewPrivs:1\nSeccomp:2\n";
    assert_eq!(out, expected);
}

#[test]
fn without_capabilities_there_are_none() {
    let out = Bundle::new("grep Cap /proc/self/status | grep -vc 0000000000000000; true")
        .with(|config| {
            drop(
                config["process"]
                    .as_object_mut()
                    .unwrap()
                    .remove("capabilities"),
            )
        })
        .says();
    assert_eq!(out, "0\n");
}

#[test]
fn system_calls_are_filtered() {
    let script = "unshare -U true 2>&1 | head -1; swapoff /x 2>&1; chroot / true && echo chroot";
    let out = Bundle::new(script).says();
    assert!(
        out.contains("swapoff") && out.contains("Operation not permitted"),
        "{out}"
    );
    assert!(out.ends_with("chroot\n"), "{out}");
    for (nnp, action, status) in [
        (true, "SCMP_ACT_KILL_PROCESS", 128 + 31),
        (false, "SCMP_ACT_KILL_PROCESS", 128 + 31),
        (true, "SCMP_ACT_ERRNO", 1),
    ] {
        let bundle = Bundle::new("mkdir /data/x || exit 1").with(|config| {
            config["process"]["noNewPrivileges"] = json!(nnp);
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": action}],
            });
        });
        let bundle = match action {
            "SCMP_ACT_ERRNO" => bundle,
            _ => bundle.with(|config| config["process"]["args"] = json!(["mkdir", "/data/x"])),
        };
        assert_eq!(bundle.run().status, status);
    }
}

#[test]
fn programs_of_32_bits_are_filtered_by_their_own_numbers() {
    // 39 is mkdir on i386 and getpid on x86-64.
    let bundle = Bundle::new("mkdir /data/x && echo made").with(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO"}],
        });
    });
    assert_eq!(bundle.says(), "made\n");
}

#[test]
fn no_descriptor_of_the_host_is_left() {
    let bundle =
        Bundle::new("ls /proc/self/fd | tr '\\n' ' '; ls -l /proc/1/fd | grep -c ' 1[0-9] '");
    bundle.write();
    let held: Vec<File> = (0..5).map(|_| File::open("/").unwrap()).collect();
    let mut command = bundle.command(&["run", &bundle.id()]);
    for file in &held {
        // Open in the runtime as well, as a careless engine would leave it.
        nix::fcntl::fcntl(
            file,
            nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
        )
        .unwrap();
    }
    let said = crate::bundle::Said::from(command.output().unwrap());
    // 3 is the directory that ls reads.
    assert_eq!(said.out, "0 1 2 3 0\n", "{}", said.err);
}

#[test]
fn descriptors_that_are_to_be_kept_are_kept() {
    let bundle = Bundle::new("cat <&3; ls /proc/self/fd | tr '\\n' ' '");
    bundle.write();
    let file = bundle.path().join("given");
    std::fs::write(&file, "given\n").unwrap();
    let script =
        "exec 3< given 4< given; exec \"$ROCKET\" oci --root state run --preserve-fds 1 \"$ID\"";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(bundle.path())
        .env("ROCKET", ROCKET)
        .env("ID", bundle.id())
        .output()
        .unwrap();
    assert_eq!(crate::bundle::Said::from(output).ok(), "given\n0 1 2 3 4 ");
}

#[test]
fn a_working_directory_through_a_descriptor_of_the_host_is_refused() {
    for number in 3..14 {
        let bundle = Bundle::new("pwd; ls ../../..").with(|config| {
            config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        });
        bundle.write();
        let held = File::open("/").unwrap();
        nix::fcntl::fcntl(
            &held,
            nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
        )
        .unwrap();
        let said = bundle.oci(&["run", &bundle.id()]);
        assert_eq!(
            (said.status, said.out.as_str()),
            (1, ""),
            "{number}: {}",
            said.err
        );
        drop(held);
    }
}

/// Puts what the runtime's own program is linked with into a container.
fn copy_libraries(bundle: &Bundle) {
    let listed = std::process::Command::new("ldd")
        .arg(ROCKET)
        .output()
        .unwrap();
    for word in String::from_utf8(listed.stdout).unwrap().split_whitespace() {
        if word.starts_with('/') {
            let inside = bundle.root().join(word.trim_start_matches('/'));
            std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
            std::fs::copy(word, inside).unwrap();
        }
    }
}

#[test]
fn the_hosts_binary_cannot_be_overwritten() {
    let copy = tempfile::tempdir().unwrap();
    let rocket = copy.path().join("rocket");
    std::fs::copy(ROCKET, &rocket).unwrap();
    let before = std::fs::read(&rocket).unwrap();
    // The container's program is what rocket is at that moment. It goes on reading from a pipe
    // to which nobody writes.
    let bundle = Bundle::new("").with(|config| {
        config["process"]["args"] = json!(["/link", "oci", "update", "-r", "-", "x"]);
    });
    copy_libraries(&bundle);
    symlink("/proc/self/exe", bundle.root().join("link")).unwrap();
    bundle.write();
    let id = bundle.id();
    let null = std::process::Stdio::null;
    let mut child = std::process::Command::new(&rocket)
        .args(["oci", "--root", "state", "create", &id])
        .current_dir(bundle.path())
        .stdin(std::process::Stdio::piped())
        .stdout(null())
        .stderr(null())
        .spawn()
        .unwrap();
    let input = child.stdin.take();
    assert!(child.wait().unwrap().success());
    bundle.oci(&["start", &id]).ok();
    let script = "stat -L -c %i /proc/1/exe; echo x > /proc/1/exe";
    let said = bundle.oci(&["exec", &id, "sh", "-c", script]);
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&rocket).unwrap());
    assert_eq!(said.out, format!("{inode}\n"), "it is not the host's file");
    assert!(said.err.contains("Read-only file system"), "{}", said.err);
    // The same of a program that comes later.
    let mut later = std::process::Command::new(&rocket)
        .args(["oci", "--root", "state", "exec", &id])
        .args(["/link", "oci", "update", "-r", "-", "later"])
        .current_dir(bundle.path())
        .stdin(std::process::Stdio::piped())
        .stdout(null())
        .stderr(null())
        .spawn()
        .unwrap();
    // The pattern is not in the command line of who looks. Before that program is executed, the
    // process cannot be looked into.
    let script = "until of=$(grep -l 'late[r]' /proc/[0-9]*/cmdline 2>/dev/null | head -n 1) && \
                  [ -n \"$of\" ] && stat -L -c %i ${of%cmdline}exe 2>/dev/null; do :; done; \
                  echo x > ${of%cmdline}exe";
    let said = bundle.oci(&["exec", &id, "sh", "-c", script]);
    assert_eq!(said.out, format!("{inode}\n"), "it is not the host's file");
    assert!(said.err.contains("Read-only file system"), "{}", said.err);
    drop(later.stdin.take());
    later.wait().unwrap();
    drop(input);
    bundle.delete();
    assert_eq!(std::fs::read(&rocket).unwrap(), before);
}

#[test]
fn settings_of_a_namespace_are_made_and_others_refused() {
    let out = Bundle::new("cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/shmmni")
        .with(|config| {
            config["linux"]["sysctl"] =
                json!({"net.ipv4.ip_default_ttl": "33", "kernel.shmmni": "99"});
        })
        .says();
    assert_eq!(out, "33\n99\n");
}

#[test]
fn limits_of_a_process_are_set() {
    let script = "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; \
                  [ $(awk '{print $19}' /proc/self/stat) = -5 ] && echo nice; cat /proc/sys/kernel/osrelease >/dev/null; uname -m";
    for user in [false, true] {
        let bundle = Bundle::new(script).with(|config| {
            config["process"]["rlimits"] =
                json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 9_999}]);
            config["process"]["oomScoreAdj"] = json!(123);
            config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -5});
            config["linux"]["personality"] = json!({"domain": "LINUX32"});
        });
        let bundle = if user {
            bundle.in_user_namespace(700_000)
        } else {
            bundle
        };
        assert_eq!(bundle.says(), "99\n9999\n123\nnice\ni686\n");
    }
}

#[test]
fn signals_reach_the_program() {
    let bundle = Bundle::new(
        "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 1000 & wait; done",
    );
    bundle.write();
    let mut child = bundle
        .command(&["run", &bundle.id()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::{BufRead, BufReader};
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "got");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    until_ended(pid.as_raw());
}

#[test]
fn home_is_that_of_the_user() {
    for (user, home) in [(0, "/root\n"), (33, "/srv\n"), (77, "/\n")] {
        let out = Bundle::new("echo $HOME")
            .with(|config| config["process"]["user"] = json!({"uid": user, "gid": 0}))
            .says();
        assert_eq!(out, home);
    }
}

#[test]
fn a_user_can_open_its_streams() {
    let out = Bundle::new("echo text > /dev/stdout")
        .with(|config| config["process"]["user"] = json!({"uid": 33, "gid": 33}))
        .says();
    assert_eq!(out, "text\n");
}
