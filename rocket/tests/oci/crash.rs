//! What is left when the runtime is killed.
//!
//! A tracer counts system calls of the runtime and kills it at each of them; then nothing may
//! run, and what is left on disk must be removed by one `delete`.

use std::collections::HashMap;
use std::process::Command;

use crate::bundle::Bundle;

/// Whether a process has this bundle's name in its command line.
fn is_anybody_left(bundle: &Bundle) -> bool {
    let mark = bundle.id();
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let name = entry.file_name();
        let of_process = name
            .to_str()
            .is_some_and(|name| name.parse::<i32>().is_ok());
        of_process
            && std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&mark))
    })
}

/// Runs `create` under a tracer with these options; says whether the runtime lived.
fn create_traced(bundle: &Bundle, options: &[&str]) -> bool {
    let null = std::process::Stdio::null;
    let status = Command::new("strace")
        .args(options)
        .arg(crate::bundle::ROCKET)
        .args(["oci", "--root", "state", "create", "--bundle"])
        .arg(bundle.path())
        .arg(bundle.id())
        .current_dir(bundle.path())
        .stdin(null())
        // The container that waits would hold on to pipes to the test.
        .stdout(null())
        .stderr(null())
        .status();
    status.expect("this test needs strace").success()
}

/// The system calls of a `create`, from the first that leaves something behind: name, and how
/// often it was made until then.
fn steps(bundle: &Bundle) -> Vec<(String, usize)> {
    let trace = bundle.path().join("trace");
    assert!(create_traced(bundle, &["-o", trace.to_str().unwrap()]));
    bundle.delete();
    let text = std::fs::read_to_string(trace).unwrap();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut all = Vec::new();
    let mut begun = false;
    for line in text.lines() {
        let Some((name, _)) = line.split_once('(') else {
            continue;
        };
        let count = seen.entry(name.to_owned()).or_default();
        *count += 1;
        begun |= name == "mkdir";
        if begun && name != "exit_group" {
            all.push((name.to_owned(), *count));
        }
    }
    all
}

#[test]
fn a_runtime_that_is_killed_leaves_no_process_and_one_delete_removes_the_rest() {
    let bundle = Bundle::new("exec tail -f /dev/null");
    bundle.write();
    let steps = steps(&bundle);
    assert!(steps.len() > 60, "{}", steps.len());
    // What comes after the word that lets the container live alone has succeeded.
    for (name, count) in steps.iter().step_by(3) {
        let point = format!("{name}, call {count}");
        let kill = format!("inject={name}:signal=KILL:when={count}");
        let lived = create_traced(&bundle, &["-o", "/dev/null", "-e", &kill]);
        let state = bundle.oci(&["state", &bundle.id()]);
        // One answer: what was about to end may have ended when it is asked again.
        let told: serde_json::Value = serde_json::from_str(&state.out).unwrap_or_default();
        if !lived && told["status"] == "created" {
            assert_ne!(told["pid"], 0, "{point}");
        }
        // Empties and removes the control group, and with it whoever is left.
        bundle.delete();
        assert!(!is_anybody_left(&bundle), "{point}");
        assert_eq!(bundle.oci(&["list", "-q"]).ok(), "", "{point}");
        let group = format!("/sys/fs/cgroup/unified/rocket/{}", bundle.id());
        assert!(!std::path::Path::new(&group).exists(), "{point}");
    }
}
