//! Each option does what its description says.

use std::fs;

use crate::host::{Host, on_a_host};

/// What an app says with these options of the pod and of the app.
#[track_caller]
fn says(host: &Host, pod: &[&str], app: &[&str], script: &str) -> String {
    let words = [app, &["--", "sh", "-c", script]].concat();
    host.does(&host.run(pod, &words))
}

const NONE: &[&str] = &["--net=none"];

#[test]
fn options_of_an_app_are_heeded() {
    on_a_host(|host| {
        let variables = host.path("variables");
        fs::write(&variables, "# a file\nB=file\nC=file\n").unwrap();
        let variables = variables.to_str().unwrap();
        let status = |name: &str| format!("grep {name}: /proc/self/status | cut -f2");
        let (bounding, filter) = (status("CapBnd"), status("Seccomp"));
        let cases: [(&[&str], &str, &str); 14] = [
            (&["--user", "33"], "id -u", "33"),
            (&["--user", "33", "--group", "44"], "id -g", "44"),
            (&["--user", "33:45"], "id -g", "45"),
            (&["--workdir", "/tmp"], "pwd", "/tmp"),
            (&["--env", "A=1"], "echo $A", "1"),
            (&["--env-file", variables], "echo $B$C", "filefile"),
            (&["--env-file", variables, "--env", "C=2"], "echo $C", "2"),
            (&["--cap-drop", "ALL"], &bounding, "0000000000000000"),
            (
                &["--cap-drop", "ALL", "--cap-add", "CAP_KILL"],
                &bounding,
                "0000000000000020",
            ),
            (&["--seccomp", "unconfined"], &filter, "0"),
            (&[], &filter, "2"),
            (
                &["--read-only"],
                "touch /x 2>&1",
                "touch: /x: Read-only file system",
            ),
            (&["--stdin", "null"], "wc -c", "0"),
            (&["--name", "other"], "true", ""),
        ];
        for (options, script, expected) in cases {
            let said = says(host, NONE, options, &format!("{script}; true"));
            assert_eq!(said.trim_end(), expected, "{options:?}");
        }
        let list = host.does(&["list"]);
        assert!(list.contains("other"), "{list}");
        let program = host.does(&host.run(NONE, &["--exec", "/bin/echo", "--", "a", "b"]));
        assert_eq!(program, "a b\n");
    });
}

#[test]
fn streams_of_an_app_lead_where_they_are_asked_to() {
    on_a_host(|host| {
        let (input, output) = (host.path("input"), host.path("output"));
        fs::write(&input, "given\n").unwrap();
        let stdin = format!("file:{}", input.display());
        let stdout = format!("file:{}", output.display());
        let options = ["--stdin", &stdin, "--stdout", &stdout, "--stderr", "null"];
        for _ in 0..2 {
            assert_eq!(says(host, NONE, &options, "cat; echo unseen >&2"), "");
        }
        assert_eq!(fs::read_to_string(&output).unwrap(), "given\ngiven\n");
    });
}

#[test]
fn options_of_a_pod_are_heeded() {
    on_a_host(|host| {
        let cases: [(&[&str], &str, &str); 8] = [
            (
                &["--hostname", "box"],
                "hostname; cat /etc/hostname",
                "box\nbox",
            ),
            (&["--set-env", "A=pod"], "echo $A", "pod"),
            (
                &["--hosts-entry", "10.1.2.3=db"],
                "grep -w db /etc/hosts | tr '\\t' ' '",
                "10.1.2.3 db",
            ),
            (
                &[
                    "--dns",
                    "10.1.2.4",
                    "--dns-search",
                    "a.example",
                    "--dns-opt",
                    "ndots:2",
                ],
                "cat /etc/resolv.conf",
                "nameserver 10.1.2.4\nsearch a.example\noptions ndots:2",
            ),
            (
                &["--userns", "auto"],
                "awk '{print $3}' /proc/self/uid_map",
                "65536",
            ),
            (
                &[
                    "--volume",
                    "mem,kind=tmpfs,size=64K",
                    "--volume",
                    "stay:/kept:ro",
                ],
                "touch /kept/x 2>&1; grep -c ' /mem ' /proc/mounts",
                "touch: /kept/x: Read-only file system\n0",
            ),
            (&[], "ls /sys/class/net", "lo"),
            (&["--ipc", "app"], "true", ""),
        ];
        for (options, script, expected) in cases {
            let options = [NONE, options].concat();
            let said = says(host, &options, &[], &format!("{script}; true"));
            assert_eq!(said.trim_end(), expected, "{options:?}");
        }
        let mount = ["--mount", "volume=mem,target=/mem"];
        let pod = ["--net=none", "--volume", "mem,kind=tmpfs,size=64K"];
        let script = "df -k /mem | tail -1 | awk '{print $2}'";
        assert_eq!(says(host, &pod, &mount, script), "64\n");
    });
}

/// Who shares what: the second app tells which of its namespaces are the first one's.
#[test]
fn apps_of_a_pod_share_network_name_and_ipc_and_have_processes_of_their_own() {
    on_a_host(|host| {
        let names = "for n in net uts ipc pid mnt; do readlink /proc/self/ns/$n; done";
        for (mode, shared) in [("pod", 3), ("app", 2)] {
            let volume = format!("both-{mode}:/both");
            let options = ["--net=none", "--ipc", mode, "--volume", &volume];
            let first = format!("{names} > /both/first");
            let second = format!("{names} > /both/second");
            let image = host.image();
            let app = ["--", "sh", "-c", &first, "---", image, "--name", "second"];
            let words = [&app[..], &["--", "sh", "-c", &second]].concat();
            host.does(&host.run(&options, &words));
            let both = host
                .path("rocket/data/volumes")
                .join(format!("both-{mode}"));
            let read = |name: &str| fs::read_to_string(both.join(name)).unwrap();
            let (first, second) = (read("first"), read("second"));
            let same = first.lines().zip(second.lines()).map(|(a, b)| a == b);
            let expected: Vec<bool> = (0..5).map(|number| number < shared).collect();
            assert_eq!(same.collect::<Vec<_>>(), expected, "{mode}");
        }
    });
}
