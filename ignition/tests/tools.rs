//! The tools as an operator runs them: output, exit status.
#![cfg(feature = "tools")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails is a failed test"
)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const GOOD: &str = r#"{"ignition": {"version": "3.6.0"}}"#;
const BAD: &str = "{\"ignition\": {\"version\": \"3.6.0\"},\n \"storage\": {\"files\": [\n  {\"path\": \"etc/motd\", \"mod\": 420}]}}";

/// Exit status, standard output, standard error.
fn run(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ignition"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A tool that refuses its arguments ends without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn file(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn validate_tells_good_from_bad_by_its_exit_status() {
    let directory = tempfile::tempdir().unwrap();
    let good = file(directory.path(), "good.ign", GOOD);
    let (code, out, err) = run(&["validate", &good], "");
    let expected = format!("{good}: valid (0 errors, 0 warnings)\n");
    assert_eq!((code, out, err.as_str()), (0, expected, ""));
    let bad = file(directory.path(), "bad.ign", BAD);
    let (code, out, _) = run(&["validate", &bad], "");
    assert_eq!(code, 1);
    let expected = format!(
        "{bad}:3:12: error: storage.files.0.path: expected an absolute path, found \"etc/motd\"\n  \
         |   {{\"path\": \"etc/motd\", \"mod\": 420}}]}}}}\n  |            ^\n\
         {bad}:3:24: warning: storage.files.0.mod: this key is not in the config's spec version \
         and has no effect; is it misspelt?\n  \
         |   {{\"path\": \"etc/motd\", \"mod\": 420}}]}}}}\n  |                        ^\n\
         {bad}: not valid (1 error, 1 warning)\n"
    );
    assert_eq!(out, expected);
}

#[test]
fn validate_reads_standard_input_and_writes_json() {
    let (code, out, err) = run(&["validate", "--json", "-"], BAD);
    assert_eq!((code, err.as_str()), (1, ""));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["file"], "standard input");
    let first = &report["problems"][0];
    assert_eq!(first["severity"], "error");
    assert_eq!(first["line"], 3);
    assert_eq!(first["column"], 12);
    assert_eq!(first["key"], "storage.files.0.path");
    assert_eq!(report["problems"][1]["severity"], "warning");
}

const PLANNED: &str = r#"
variant: ballast
version: 1.0.0
ignition:
  config:
    merge:
      - source: https://example.com/more.ign
        verification:
          hash: sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
passwd:
  groups:
    - name: wheel
  users:
    - name: core
      groups: [sudo, wheel]
      ssh_authorized_keys: [ssh-ed25519 AAAA secret]
storage:
  files:
    - path: /etc/deep/below/file
      mode: 0600
      contents: {inline: "top secret"}
    - path: /etc/motd
      overwrite: true
      contents: {source: "https://example.com/motd?token=hidden"}
  directories:
    - path: /etc/deep
      user: {name: core}
  links:
    - path: /etc/hard
      target: /etc/motd
      hard: true
systemd:
  units:
    - name: web.service
      enabled: true
      contents: "[Service]\n[Install]\nWantedBy=multi-user.target\n"
"#;

#[test]
fn plan_says_what_happens_in_order_and_no_secret() {
    let (code, out, err) = run(&["plan", "--config", "-"], PLANNED);
    assert_eq!((code, err.as_str()), (0, ""));
    let expected = "fetch
   1. fetch https://example.com/more.ign: the config is merged with this one, which is not known here, checked against its hash
files
   2. make or change wheel: group
   3. make or change core: user, in sudo, wheel, 1 SSH key
   4. make directory /etc/deep: mode 0755, owner core:root
   5. write /etc/motd: mode 0644, from https://example.com/motd?…, replaces what is there [destroys]
   6. write /etc/deep/below/file: mode 0600, 10 bytes
   7. link hard /etc/hard: to /etc/motd
   8. set up web.service: written to /etc/systemd/system/web.service, enabled
   9. write /etc/.ignition-result.json: the record: after it, the machine is never provisioned again
";
    assert_eq!(out, expected);
    let (code, out, _) = run(&["plan", "--json", "--config", "-"], PLANNED);
    assert_eq!(code, 0);
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(plan["steps"][4]["target"], "/etc/motd");
    assert_eq!(plan["steps"][4]["destroys"], true);
    assert!(!out.contains("secret") && !out.contains("hidden"), "{out}");
    assert_eq!(run(&["plan", "--config", "-"], BAD).0, 1);
}

#[test]
fn plan_merges_what_is_embedded_and_names_what_is_destroyed() {
    let text = "variant: ballast\nversion: 1.0.0\nignition: {config: {merge: [{inline: \
                '{\"ignition\": {\"version\": \"3.0.0\"}, \"storage\": {\"files\": \
                [{\"path\": \"/etc/child\"}]}}'}]}}\nstorage:\n  disks:\n    \
                - {device: /dev/vdb, wipe_table: true, partitions: [{label: a, size_mib: 5}]}\n";
    let (code, out, _) = run(&["plan", "--config", "-"], text);
    assert_eq!(code, 0);
    assert!(out.contains("/etc/child"), "{out}");
    let disk = "partition /dev/vdb: the partition table and all that is on the disk are lost, \
                partition a, 5 MiB [destroys]";
    assert!(out.contains(disk), "{out}");
}

#[test]
fn kernel_arguments_are_planned_with_their_reboot_and_refused_by_name() {
    let text = |argument: &str| {
        format!(
            "variant: ballast\nversion: 1.0.0\nkernel_arguments:\n  \
             should_exist: [{argument}]\n  should_not_exist: [quiet]\n"
        )
    };
    let (code, out, _) = run(&["plan", "--config", "-"], &text("net.ifnames=0"));
    assert_eq!(code, 0);
    let expected = "kargs
   1. add net.ifnames=0: kernel argument
   2. remove quiet: kernel argument
   3. reboot the machine: once, unless it runs with these arguments already
files
";
    assert!(out.starts_with(expected), "{out}");
    let (code, out, err) = run(&["translate", "-"], &text("net.ifnames=0"));
    let arguments = r#""kernelArguments":{"shouldExist":["net.ifnames=0"],"#;
    assert!(
        code == 0 && err.is_empty() && out.contains(arguments),
        "{out}{err}"
    );
    let (code, out, _) = run(&["validate", "-"], &text("init=/bin/sh"));
    let expected = ":4:18: error: kernel_arguments.should_exist.0: \"init=/bin/sh\" is not for a \
                    host to change: it says which program starts first; remove it";
    assert!(code == 1 && out.contains(expected), "{out}");
}

#[test]
fn translate_writes_json_to_standard_output_and_talk_to_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let good = "variant: fcos\nversion: 1.5.0\n";
    let (code, out, err) = run(&["translate", "-"], good);
    let expected = "{\"ignition\":{\"version\":\"3.4.0\"}}\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, expected, ""));
    let (_, out, _) = run(&["translate", "--pretty", "-"], good);
    assert_eq!(
        out,
        "{\n  \"ignition\": {\n    \"version\": \"3.4.0\"\n  }\n}\n"
    );
    let doubtful = file(directory.path(), "a.bu", &format!("{good}storag: {{}}\n"));
    let (code, out, err) = run(&["translate", &doubtful], "");
    assert_eq!((code, out.as_str()), (0, expected));
    assert!(
        err.contains(":3:1: warning: storag: ") && err.contains("storage"),
        "{err}"
    );
    let (code, out, err) = run(&["translate", "--strict", &doubtful], "");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(":3:1: error: storag: "), "{err}");
    let (code, out, _) = run(&["translate", "-"], GOOD);
    assert_eq!((code, out.as_str()), (2, ""));
}

#[test]
fn wrong_usage_is_exit_status_2() {
    for arguments in [
        &["validate"][..],
        &["validate", "--nope", "-"],
        &["validate", "/does/not/exist"],
        &["translate", "--files-dir", "/does/not/exist", "-"],
        &["plan"],
    ] {
        let (code, out, err) = run(arguments, "");
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
    assert_eq!(run(&["validate", "--help"], "").0, 0);
}

#[test]
fn upstreams_command_line_is_left_alone() {
    let (code, out, _) = run(&["-version"], "");
    assert_eq!(code, 0);
    assert!(out.starts_with("Ignition "), "{out}");
    let (code, _, err) = run(&["-platform", "file", "-stage", "nope"], "");
    assert_eq!(code, 2);
    assert!(err.contains("--stage"), "{err}");
}
