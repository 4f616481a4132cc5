//! What was measured, as a table.

use std::fmt::Write as _;

use benchmarks::aligned;
use serde_json::{Value, json};

use crate::Measured;
use crate::hosts::Drained;

/// Whose section of `docs/benchmarks.md` this is.
pub const COMMAND: &str = "cargo bench-locksmith";

/// The number of hosts for which cost is computed.
const MANY: u32 = 100_000;

fn seconds(drained: &Drained) -> f64 {
    drained.time.as_secs_f64()
}

fn grants(drained: &Drained) -> f64 {
    f64::from(drained.hosts) / seconds(drained)
}

fn each(drained: &Drained) -> f64 {
    let all: u64 = drained.requests.values().sum();
    all as f64 / f64::from(drained.hosts)
}

fn row(hosts: String, drained: &Drained, waiting: f64) -> [String; 5] {
    [
        hosts,
        format!("{:.1} s", seconds(drained)),
        format!("{:.0}", grants(drained)),
        format!("{:.1}", each(drained)),
        format!("{waiting:.1}"),
    ]
}

/// What `MANY` hosts would cost if each cost what each of the most that were measured did.
fn computed(measured: &Measured) -> Option<Drained> {
    let most = measured
        .drained
        .iter()
        .max_by_key(|drained| drained.hosts)?;
    let times = f64::from(MANY) / f64::from(most.hosts);
    Some(Drained {
        hosts: MANY,
        time: most.time.mul_f64(times),
        requests: most
            .requests
            .iter()
            .map(|(kind, number)| (kind.clone(), (*number as f64 * times) as u64))
            .collect(),
    })
}

/// The table for a terminal, or a document: both read Markdown.
pub fn text(measured: &Measured) -> String {
    let head = [
        "hosts",
        "all had the lock after",
        "grants/s",
        "requests/grant",
        "requests/s while all wait",
    ];
    let while_all_wait = |hosts: u32| f64::from(hosts) * measured.waited.waiting / 3600.0;
    let mut cells = vec![head.map(String::from)];
    for drained in &measured.drained {
        let hosts = drained.hosts.to_string();
        cells.push(row(hosts, drained, while_all_wait(drained.hosts)));
    }
    if let Some(many) = computed(measured) {
        cells.push(row(
            format!("{MANY} (computed)"),
            &many,
            while_all_wait(MANY),
        ));
    }
    let mut out = aligned(&cells);
    let _ = writeln!(out, "\n{}", conditions(measured));
    out
}

/// How the run was made.
fn conditions(measured: &Measured) -> String {
    let waited = &measured.waited;
    format!(
        "Three members of etcd and all hosts on one machine; {} hosts at once may hold the lock, \
         and give it back at once. A host that waits makes {:.0} requests an hour, one that has \
         nothing to do {:.0}, each watched for {} s. What is computed has the cost of the \
         largest measurement for each host.",
        measured.max,
        waited.waiting,
        waited.idle,
        waited.time.as_secs(),
    )
}

/// What stands between the markers.
pub fn section(measured: &Measured, date: &str) -> String {
    let hosts = measured
        .drained
        .iter()
        .map(|drained| drained.hosts.to_string());
    let hosts: Vec<String> = hosts.collect();
    let (hosts, max, watch) = (
        hosts.join(","),
        measured.max,
        measured.waited.time.as_secs(),
    );
    let command = format!("{COMMAND} -- --hosts {hosts} --max {max} --watch {watch} --write");
    format!("Measured on {date} with `{command}`:\n\n{}", text(measured))
}

/// Everything, for programs.
pub fn json(measured: &Measured) -> Value {
    let drained = measured.drained.iter().map(|drained| {
        json!({
            "hosts": drained.hosts,
            "seconds": seconds(drained),
            "grants_per_second": grants(drained),
            "requests_per_grant": each(drained),
            "requests": drained.requests,
        })
    });
    json!({
        "max": measured.max,
        "drained": drained.collect::<Vec<Value>>(),
        "requests_per_waiting_host_per_hour": measured.waited.waiting,
        "requests_per_idle_host_per_hour": measured.waited.idle,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hosts::Waited;

    fn example() -> Measured {
        let drained = |hosts, millis, requests| Drained {
            hosts,
            time: Duration::from_millis(millis),
            requests: [("Txn".to_owned(), requests)].into(),
        };
        Measured {
            max: 10,
            drained: vec![drained(10, 200, 120), drained(1000, 20_000, 15_000)],
            waited: Waited {
                time: Duration::from_secs(150),
                waiting: 60.0,
                idle: 0.0,
            },
        }
    }

    #[test]
    fn many_hosts_cost_what_each_of_the_most_did() {
        let text = text(&example());
        let last = text
            .lines()
            .find(|line| line.contains("computed)"))
            .unwrap();
        let cells: Vec<&str> = last.split('|').map(str::trim).collect();
        assert_eq!(
            cells[1..6],
            ["100000 (computed)", "2000.0 s", "50", "15.0", "1666.7"]
        );
    }

    #[test]
    fn the_section_names_date_and_command() {
        let section = section(&example(), "2025-01-31");
        let first = "Measured on 2025-01-31 with `cargo bench-locksmith -- --hosts 10,1000 --max 10 \
                     --watch 150 --write`:";
        assert_eq!(section.lines().next(), Some(first));
    }
}
