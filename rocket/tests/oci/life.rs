//! From `create` to `delete`.

use std::fs;

use serde_json::json;

use crate::bundle::{Bundle, until_ended};

#[test]
fn the_status_of_the_program_is_that_of_run() {
    assert_eq!(Bundle::new("exit 7").run().status, 7);
    assert_eq!(
        Bundle::new("kill -KILL $$; echo alive; exit 3")
            .run()
            .status,
        3
    );
    let killed = Bundle::new("exec sh -c 'kill -TERM 1; sleep 100' & kill -9 $!; wait $!");
    assert_eq!(killed.run().status, 137);
}

#[test]
fn streams_go_straight_through() {
    let said = Bundle::new("echo out; echo err >&2").run();
    assert_eq!(
        (said.status, said.out.as_str(), said.err.as_str()),
        (0, "out\n", "err\n")
    );
}

#[test]
fn a_program_that_is_not_there_is_an_error_in_the_words_engines_know() {
    for (args, words) in [
        (json!(["nothing"]), "executable file not found in $PATH"),
        (json!(["/bin/nothing"]), "no such file or directory"),
        (json!(["/etc/passwd"]), "permission denied"),
    ] {
        let bundle = Bundle::new("").with(|config| config["process"]["args"] = args);
        let said = bundle.run();
        assert_eq!(said.status, 1);
        assert!(said.err.contains(words), "{}", said.err);
        assert_eq!(bundle.oci(&["list", "-q"]).ok(), "");
    }
}

#[test]
fn states_follow_each_other() {
    let bundle = Bundle::new("echo begun; exec tail -f /dev/null");
    let id = bundle.id();
    bundle.create(&["--pid-file", "pid"]);
    let state = bundle.state();
    assert_eq!(
        (&state["status"], &state["ociVersion"]),
        (&json!("created"), &json!("1.2.0"))
    );
    let pid = fs::read_to_string(bundle.path().join("pid")).unwrap();
    assert_eq!(state["pid"].to_string(), pid);
    assert_eq!(bundle.out(), "");
    bundle.oci(&["start", &id]).ok();
    assert_eq!(bundle.state()["status"], "running");
    assert!(
        bundle
            .oci(&["start", &id])
            .failed()
            .contains("cannot start a container that is running")
    );
    assert!(
        bundle
            .oci(&["delete", &id])
            .failed()
            .contains("not stopped: running")
    );
    assert!(
        bundle
            .oci(&["create", &id])
            .failed()
            .contains("already exists")
    );
    bundle.oci(&["kill", &id, "KILL"]).ok();
    until_ended(pid.parse().unwrap());
    let state = bundle.state();
    assert_eq!(
        (&state["status"], &state["pid"]),
        (&json!("stopped"), &json!(0))
    );
    assert!(
        bundle
            .oci(&["kill", &id, "KILL"])
            .failed()
            .contains("container not running")
    );
    bundle.oci(&["delete", &id]).ok();
    assert!(
        bundle
            .oci(&["state", &id])
            .failed()
            .contains("does not exist")
    );
    bundle.oci(&["delete", "--force", &id]).ok();
    assert_eq!(bundle.out(), "begun\n");
}

#[test]
fn another_program_runs_in_the_same_namespaces() {
    let bundle = Bundle::new("exec tail -f /dev/null");
    let id = bundle.id();
    bundle.create(&[]);
    bundle.oci(&["start", &id]).ok();
    let script = "hostname; cat /proc/1/comm; for n in pid net ipc uts mnt cgroup; do \
                  [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done; \
                  echo $A; pwd; exit 5";
    let said = bundle.oci(&[
        "exec", "-e", "A=b", "--cwd", "/tmp", &id, "sh", "-c", script,
    ]);
    assert_eq!(
        (said.status, said.out.as_str()),
        (5, "box\ntail\nb\n/tmp\n"),
        "{}",
        said.err
    );
    let process = json!({"user": {"uid": 33, "gid": 33}, "cwd": "/", "args": ["id", "-u"]});
    fs::write(bundle.path().join("process.json"), process.to_string()).unwrap();
    assert_eq!(
        bundle.oci(&["exec", "--process", "process.json", &id]).ok(),
        "33\n"
    );
    let nothing = bundle.oci(&["exec", &id, "nothing"]);
    assert!(nothing.failed().contains("executable file not found"));
    // It would hold on to a pipe to the test.
    let words = ["exec", "-d", "--pid-file", "execpid", &id, "sleep", "1000"];
    let mut command = bundle.command(&words);
    let null = std::process::Stdio::null;
    assert!(
        command
            .stdout(null())
            .stderr(null())
            .status()
            .unwrap()
            .success()
    );
    let pid: i32 = fs::read_to_string(bundle.path().join("execpid"))
        .unwrap()
        .parse()
        .unwrap();
    let pids = bundle.oci(&["ps", "--format", "json", &id]).ok();
    let pids: Vec<i32> = serde_json::from_str(&pids).unwrap();
    assert!(pids.contains(&pid) && pids.len() == 2, "{pids:?}");
    bundle.delete();
    until_ended(pid);
}

#[test]
fn a_paused_container_stands_still() {
    let bundle = Bundle::new("exec tail -f /dev/null");
    let id = bundle.id();
    bundle.create(&[]);
    bundle.oci(&["start", &id]).ok();
    bundle.oci(&["pause", &id]).ok();
    assert_eq!(bundle.state()["status"], "paused");
    assert!(
        bundle
            .oci(&["exec", &id, "true"])
            .failed()
            .contains("paused")
    );
    bundle.oci(&["resume", &id]).ok();
    assert_eq!(bundle.state()["status"], "running");
    assert!(bundle.oci(&["resume", &id]).failed().contains("not paused"));
    bundle.oci(&["exec", &id, "true"]).ok();
    bundle.oci(&["pause", &id]).ok();
    // What is frozen is killed as well.
    bundle.delete();
}

#[test]
fn all_processes_are_found_and_killed() {
    let bundle = Bundle::new("sleep 1000 & sleep 1000 & exec tail -f /dev/null").with(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let id = bundle.id();
    bundle.create(&[]);
    let first = bundle.state()["pid"].as_i64().unwrap() as i32;
    bundle.oci(&["start", &id]).ok();
    bundle.oci(&["exec", &id, "true"]).ok();
    bundle.oci(&["kill", "--all", &id, "KILL"]).ok();
    until_ended(first);
    bundle.oci(&["delete", &id]).ok();
}

#[test]
fn hooks_run_in_their_order_and_namespaces() {
    let bundle = Bundle::new("echo program >> /log");
    let log = bundle.root().join("log");
    let hook = |name: &str| {
        let script = format!(
            "read -r state; case $state in *'\"id\":\"'*) echo {name} $(hostname) >> {};; esac",
            log.display()
        );
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
    };
    let inside = json!([{"path": "/bin/sh", "env": ["PATH=/bin"],
        "args": ["sh", "-c", "read -r state; echo startContainer $(id -u) >> /log"]}]);
    let hooks = json!({
        "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
        "createContainer": hook("createContainer"), "startContainer": inside,
        "poststart": hook("poststart"), "poststop": hook("poststop"),
    });
    let bundle = bundle.with(|config| config["hooks"] = hooks);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = host.trim();
    bundle.says();
    let lines = fs::read_to_string(log).unwrap();
    let mut lines: Vec<&str> = lines.lines().collect();
    // The program and the hook after its start run at the same time.
    let poststart = format!("poststart {host}");
    lines.retain(|line| *line != poststart);
    let expected = [
        format!("prestart {host}"),
        format!("createRuntime {host}"),
        "createContainer box".into(),
        "startContainer 0".into(),
        "program".into(),
        format!("poststop {host}"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_hook_that_fails_takes_the_container_with_it() {
    let bundle = Bundle::new("echo begun").with(|config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    });
    let said = bundle.run();
    assert_eq!((said.status, said.out.as_str()), (1, ""));
    assert!(
        said.err.contains("createRuntime[0], /bin/false"),
        "{}",
        said.err
    );
    assert_eq!(bundle.oci(&["list", "-q"]).ok(), "");
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    use std::io::Read;
    use std::os::unix::net::UnixListener;
    let bundle =
        Bundle::new("tty; stty size; [ -c /dev/console ] && echo done; read line").with(|config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["consoleSize"] = json!({"height": 11, "width": 22});
        });
    let id = bundle.id();
    let listener = UnixListener::bind(bundle.path().join("console")).unwrap();
    bundle.create(&["--console-socket", "console"]);
    let (socket, _) = listener.accept().unwrap();
    let (_, master) = rocket::runtime::sync::receive_fd(&socket.into()).unwrap();
    bundle.oci(&["start", &id]).ok();
    let mut master = fs::File::from(master.unwrap());
    let mut text = String::new();
    while !text.contains("done") {
        let mut buffer = [0; 100];
        let length = master.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    assert_eq!(text, "/dev/pts/0\r\n11 22\r\ndone\r\n");
    bundle.delete();
}

#[test]
fn features_and_lists_are_json() {
    let bundle = Bundle::new("");
    let features: serde_json::Value =
        serde_json::from_str(&bundle.oci(&["features"]).ok()).unwrap();
    assert_eq!(features["linux"]["cgroup"]["v2"], json!(true));
    assert_eq!(bundle.oci(&["list", "--format", "json"]).ok(), "null\n");
    bundle.create(&[]);
    let list: serde_json::Value =
        serde_json::from_str(&bundle.oci(&["list", "--format", "json"]).ok()).unwrap();
    assert_eq!(
        (&list[0]["id"], &list[0]["status"]),
        (&json!(bundle.id()), &json!("created"))
    );
    assert!(bundle.oci(&["list"]).ok().starts_with("ID "));
    bundle.delete();
}

#[test]
fn failures_are_in_the_log() {
    let bundle = Bundle::new("");
    let said = bundle.oci(&["--log", "log", "--log-format", "json", "state", "nobody"]);
    assert_eq!(said.status, 1);
    let log = fs::read_to_string(bundle.path().join("log")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert_eq!(entry["level"], "error");
    assert!(entry["msg"].as_str().unwrap().contains("does not exist"));
}

#[test]
fn a_wrong_spec_is_refused_by_its_place() {
    let bundle = Bundle::new("").with(|config| config["process"]["user"]["uid"] = json!("x"));
    let error = bundle.run().failed();
    assert!(error.contains("config.json: process.user.uid"), "{error}");
    let bundle = Bundle::new("").with(|config| config["linux"]["namespaces"] = json!([]));
    let error = bundle.run().failed();
    assert!(error.contains("linux.namespaces"), "{error}");
}

#[test]
fn limits_on_a_host_with_old_control_groups_are_refused() {
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let bundle = Bundle::new("cat /sys/fs/cgroup/pids.max").with(|config| {
        config["linux"]["resources"] = json!({"pids": {"limit": 77}});
    });
    if v2.contains("pids") {
        assert_eq!(bundle.says(), "77\n");
    } else {
        let error = bundle.run().failed();
        assert!(
            error.contains("pids.max") && error.contains("cgroup v2"),
            "{error}"
        );
    }
}
