//! How long `rocket list` and `rocket gc` take with many pods that have run, as ratios: per
//! pod, against a hundred of them. `cargo bench -p rocket --bench records`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rocket::dirs::Dirs;
use rocket::pod::{Ended, Exit, Liveness, Manifest, Pods, Record, State};

const FEW: u32 = 100;
const MANY: u32 = 10_000;
/// The shortest of so many runs counts: the others had to wait for something.
const RUNS: usize = 5;

fn main() {
    let verbs: [(&str, &[&str]); 3] = [
        ("list", &["list"]),
        ("list --json", &["list", "--json"]),
        ("gc", &["gc"]),
    ];
    let directories = [FEW, MANY].map(|count| {
        let directory = tempfile::tempdir().unwrap();
        fill(directory.path(), count);
        directory
    });
    for (name, words) in verbs {
        let [few, many] = [0, 1].map(|place: usize| {
            let time = || timed(directories[place].path(), words);
            (0..RUNS).map(|_| time()).min().unwrap()
        });
        print(name, few, many);
    }
    // Removes all of them, so it runs once.
    let all = ["gc", "--grace-period=0s"];
    let [few, many] = [0, 1].map(|place: usize| timed(directories[place].path(), &all));
    print("gc of all", few, many);
}

fn print(name: &str, few: Duration, many: Duration) {
    let each = many / MANY;
    let ratio = many.as_secs_f64() / f64::from(MANY) / (few.as_secs_f64() / f64::from(FEW));
    println!(
        "{name:<12} {FEW}: {few:>8.1?}   {MANY}: {many:>8.1?}   {each:>6.1?} a pod, \
         {ratio:.2} of what one of {FEW} takes"
    );
}

fn timed(root: &Path, words: &[&str]) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rocket"));
    command.arg("--root").arg(root).args(words);
    let begun = Instant::now();
    let status = command.stdout(Stdio::null()).status().unwrap();
    let time = begun.elapsed();
    assert!(status.success(), "{words:?}");
    time
}

/// Pods that have just run.
fn fill(root: &Path, count: u32) {
    let pods = Pods::open(&Dirs::below(root)).unwrap();
    let boot = Liveness::of_this_boot().unwrap().boot().to_owned();
    for number in 0..count {
        let mut pod = pods.create().unwrap();
        let manifest = format!(
            r#"{{"version": 1, "uuid": "{}", "created": "2026-01-01T00:00:00Z",
                "hostname": "pod-{number}", "network": "default", "dns": {{}}, "ipc": "pod",
                "users": "host", "apps": []}}"#,
            pod.uuid()
        );
        let manifest: Manifest = serde_json::from_str(&manifest).unwrap();
        pod.write_manifest(&manifest).unwrap();
        pod.advance(State::Prepared).unwrap();
        pod.advance(State::Running).unwrap();
        pod.write_record(&Record {
            boot: boot.clone(),
            started: Timestamp::now(),
            unit: None,
            apps: Vec::new(),
            addresses: vec!["10.0.0.2".parse().unwrap()],
        })
        .unwrap();
        pod.write_exit(&Exit {
            finished: Timestamp::now(),
            apps: vec![Ended {
                name: "app".into(),
                status: Some(0),
            }],
        })
        .unwrap();
        pod.advance(State::Exited).unwrap();
    }
}
