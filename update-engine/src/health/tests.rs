use super::*;
use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Mutex;

/// Answers of `systemctl show`, one after the other; the last one stays.
struct Fake(Mutex<VecDeque<String>>);

impl Fake {
    fn new(answers: &[&str]) -> Self {
        Self(Mutex::new(answers.iter().map(|a| a.to_string()).collect()))
    }
}

impl Units for Fake {
    fn show(&self, _: &[&str]) -> Result<String, String> {
        let mut answers = self.0.lock().unwrap();
        match answers.len() {
            0 => Err("systemctl: no answer".into()),
            1 => Ok(answers[0].clone()),
            _ => Ok(answers.pop_front().unwrap()),
        }
    }

    fn journal(&self, unit: &str) -> Vec<String> {
        vec![format!("{unit} says no")]
    }

    fn jobs(&self) -> Vec<String> {
        vec!["slow.service".into()]
    }
}

const GOOD: &str = "Id=sshd.socket\nLoadState=loaded\nActiveState=active\nSubState=listening\n\
    Result=success\nJob=0\n\nId=gone.service\nLoadState=not-found\nActiveState=inactive\n\
    SubState=dead\nResult=success\n";
const STARTING: &str = "Id=a.service\nLoadState=loaded\nActiveState=activating\n\
    SubState=start\nResult=success\nJob=12\n";
const FAILED: &str = "Id=a.service\nLoadState=loaded\nActiveState=failed\nSubState=failed\n\
    Result=exit-code\n";
const LOOPING: &str = "Id=a.service\nLoadState=loaded\nActiveState=activating\n\
    SubState=auto-restart\nResult=core-dump\nJob=3\n";
const BROKEN: &str = "Id=a.service\nLoadState=bad-setting\nActiveState=inactive\nSubState=dead\n";

fn host(scripts: &[(&str, &str)]) -> (tempfile::TempDir, Checks) {
    let root = tempfile::tempdir().unwrap();
    let usr = root.path().join("usr.img");
    fs::write(&usr, vec![7; 3 << 20]).unwrap();
    for (path, text) in scripts {
        script(root.path(), path, text, 0o755);
    }
    let checks = Checks {
        root: root.path().to_path_buf(),
        units: vec!["*".parse().unwrap()],
        usr,
        deadline: Duration::from_secs(600),
        environment: vec![("BALLAST_SLOT".into(), "b".into())],
    };
    (root, checks)
}

fn script(root: &Path, path: &str, text: &str, mode: u32) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn gate(checks: Checks, answers: &[&str]) -> (Result<(), String>, Vec<String>) {
    let mut steps = Vec::new();
    let result = run(checks, Fake::new(answers), |step| {
        steps.push(step.to_string())
    });
    (result, steps)
}

const USR: &str = "usr/lib/ballast/health.d";
const ETC: &str = "etc/ballast/health.d";

#[test]
fn a_healthy_release_passes_every_step_in_order() {
    let (root, checks) = host(&[
        (&format!("{ETC}/20-b"), "test \"$BALLAST_SLOT\" = b"),
        (&format!("{USR}/10-a"), "true"),
    ]);
    let (result, steps) = gate(checks, &[STARTING, GOOD]);
    assert_eq!(result, Ok(()));
    let script = |path: &str| format!("running {}", root.path().join(path).display());
    assert_eq!(
        steps,
        [
            "looking for failed units".to_string(),
            "reading every block of /usr through dm-verity".to_string(),
            script("usr/lib/ballast/health.d/10-a"),
            script("etc/ballast/health.d/20-b"),
        ]
    );
}

#[test]
fn a_unit_that_failed_loops_or_cannot_be_loaded_is_named_with_its_last_lines() {
    for (answer, what) in [
        (FAILED, "failed (exit-code)"),
        (LOOPING, "ended and is started again (core-dump)"),
        (BROKEN, "cannot be loaded (bad-setting)"),
    ] {
        let (_root, checks) = host(&[]);
        let (result, _) = gate(checks, &[answer]);
        assert_eq!(
            result.unwrap_err(),
            format!("unit a.service {what}; its last lines: a.service says no")
        );
    }
}

#[test]
fn a_list_without_units_does_not_even_ask_systemd() {
    let (_root, mut checks) = host(&[]);
    checks.units.clear();
    assert_eq!(gate(checks, &[]).0, Ok(()));
}

#[test]
fn an_answer_that_does_not_come_is_not_healthy() {
    let (_root, checks) = host(&[]);
    assert_eq!(gate(checks, &[]).0, Err("systemctl: no answer".into()));
}

#[test]
fn usr_that_cannot_be_read_is_not_healthy() {
    let (root, mut checks) = host(&[]);
    checks.usr = root.path().join("nowhere");
    let error = gate(checks.clone(), &[GOOD]).0.unwrap_err();
    assert!(error.starts_with("opening "), "{error}");
    // A directory opens and cannot be read, like a device with a bad block.
    checks.usr = root.path().to_path_buf();
    let error = gate(checks, &[GOOD]).0.unwrap_err();
    assert!(error.starts_with("/usr is damaged: reading "), "{error}");
}

#[test]
fn a_script_that_fails_is_named_with_what_it_said_last() {
    let (_root, checks) = host(&[(
        &format!("{ETC}/50-app"),
        "yes noise | head -c 100000; echo port 80 is closed >&2; exit 3",
    )]);
    let error = gate(checks, &[GOOD]).0.unwrap_err();
    assert!(error.contains("etc/ballast/health.d/50-app failed (exit status: 3)"));
    assert!(error.ends_with("port 80 is closed"), "{error}");
    assert!(error.len() < 4096);
}

#[test]
fn scripts_are_replaced_by_their_namesakes_and_removed_by_a_link_to_dev_null() {
    let (root, checks) = host(&[
        (&format!("{USR}/10-a"), "exit 1"),
        (&format!("{ETC}/10-a"), "exit 0"),
        (&format!("{USR}/20-b"), "exit 1"),
    ]);
    symlink("/dev/null", root.path().join(ETC).join("20-b")).unwrap();
    script(root.path(), &format!("{ETC}/30-note"), "exit 1", 0o644);
    let (result, steps) = gate(checks, &[GOOD]);
    assert_eq!(result, Ok(()));
    assert_eq!(steps.len(), 3, "{steps:?}");
    assert!(steps[2].ends_with("etc/ballast/health.d/10-a"));
}

#[test]
fn what_hangs_is_not_healthy_and_the_step_is_named() {
    let (_root, mut checks) = host(&[(&format!("{ETC}/10-hang"), "read nothing < \"$PIPE\"")]);
    let pipe = checks.root.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    checks
        .environment
        .push(("PIPE".into(), pipe.display().to_string()));
    checks.deadline = Duration::from_secs(2);
    let error = gate(checks, &[GOOD]).0.unwrap_err();
    // Lets the script go.
    fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    assert!(error.starts_with("the health checks took longer than 2s: running "));
    assert!(error.ends_with("10-hang"), "{error}");
}

#[test]
fn a_boot_that_does_not_complete_is_told_by_what_failed_and_what_waits() {
    assert_eq!(
        pending_work(&Fake::new(&[FAILED])),
        "unit a.service failed (exit-code); its last lines: a.service says no; \
         still waiting: slow.service"
    );
}
