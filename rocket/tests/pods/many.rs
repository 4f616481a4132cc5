//! Many pods, one after the other and at once.

use std::process::{Child, Stdio};

use crate::host::on_a_host;

#[test]
fn five_hundred_pods_that_ran_and_were_collected_leave_nothing() {
    on_a_host(|host| {
        let mut companion = host.companion();
        host.does(&["gc", "--grace-period=0s"]);
        let before = host.settled();
        for number in 0..500 {
            let port = format!("127.0.0.1:{}:80", 10_000 + number);
            let options = match number % 5 {
                0 => vec!["--net=none"],
                1 => vec!["--net=none", "--userns=auto"],
                2 => vec!["--port", &port],
                _ => vec![],
            };
            let said = host.does(&host.run(&options, &["--", "echo", "done"]));
            assert_eq!(said, "done\n", "pod {number}");
        }
        companion.assert_runs();
        assert_eq!(host.does(&["list", "--no-legend"]).lines().count(), 501);
        host.does(&["gc", "--grace-period=0s"]);
        host.assert_like(&before, "after the collection");
        companion.end();
    });
}

#[test]
fn pods_that_run_at_once_have_an_address_each_and_leave_nothing() {
    on_a_host(|host| {
        let companion = host.companion();
        host.does(&["gc", "--grace-period=0s"]);
        let before = host.settled();
        let words = host.run(&[], &["--", "sh", "-c", "ip -4 -o addr show eth0; cat"]);
        let mut pods: Vec<Child> = (0..50)
            .map(|_| {
                let mut command = host.command(&words);
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
                command.spawn().unwrap()
            })
            .collect();
        let collecting: Vec<Child> = (0..10)
            .map(|_| host.command(&["gc", "--grace-period=0s"]).spawn().unwrap())
            .collect();
        let mut addresses = std::collections::BTreeSet::new();
        for mut child in collecting {
            assert!(child.wait().unwrap().success());
        }
        for pod in &mut pods {
            drop(pod.stdin.take());
        }
        for pod in pods {
            let output = pod.wait_with_output().unwrap();
            assert!(output.status.success());
            let text = String::from_utf8(output.stdout).unwrap();
            let mut words = text.split_whitespace().skip_while(|word| *word != "inet");
            assert!(addresses.insert(words.nth(1).unwrap().to_owned()), "{text}");
        }
        assert_eq!(addresses.len(), 50);
        host.does(&["gc", "--grace-period=0s"]);
        host.assert_like(&before, "after the collection");
        companion.end();
    });
}
