//! Hosts that join a cluster, from the config to the agent's pods.

mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use benchmarks::containers::{Image, Layer};
use benchmarks::registry::Registry;
use ignition::tools::butane::{Files, translate};
use qemu::deadline::scaled;
use qemu::{Forward, Setup, Vm};
use serde_json::{Value, json};

use crate::authority::{Authority, Certified};
use crate::config::data_url;
use crate::context::{BOOT, Context, STEP, contains, same};
use crate::disk::Disk;
use crate::etcd::{self, Etcd, free_port};
use crate::names::Names;
use crate::repository::Repository;
use crate::scenario::{Scenario, scenario};
use crate::trial::{DISK_GIB, TRIAL_VERSION, VERSION};

use super::reboots::{HOSTS, after_a_release, apart, each, goes_down_and_up};
use super::rejected::{WITNESS, stops};
use super::update::blessed;
use watch::Watch;
pub use watch::ask;

pub const SCENARIOS: &[Scenario] = &[
    scenario!(
        hosts_join_a_cluster_and_take_releases_one_at_a_time,
        40,
        "Three hosts provisioned from one config in YAML: their agent, a container image, finds \
         the control plane by the cluster's DNS, shows it a certificate, registers its node, and \
         starts a pod with the host's rocket. A release goes through them, never two are down at \
         once, and at every moment one of them serves. A bad one takes down one host, which goes \
         back, and no other leaves the old one. When a holder of the lock is gone for good, the \
         command that status names frees the lock. Without etcd nobody reboots, but who is told \
         to."
    ),
    scenario!(
        an_expired_certificate_is_said_where_people_look,
        5,
        "A host whose certificate has expired does not start its agent, and says why on the \
         console, at login and in systemctl status; with another certificate it starts."
    ),
    scenario!(
        a_node_with_the_key_of_another_stops_first_boot,
        3,
        "A certificate with the key of another one stops first boot with the reason before \
         anything is written."
    ),
];

/// The port of the pods' service, on hosts.
const SERVICE: u16 = 8080;

/// How long hosts may take from the end of their boot until their pods serve; scaled.
const JOIN: Duration = Duration::from_secs(180);

/// Between two looks, which cost processors that the hosts need.
const LOOK: Duration = Duration::from_secs(2);

const NODE: &str = include_str!("joining/node.yaml");
const AGENT: &str = include_str!("joining/agent.sh");

/// What a pod of the service does.
const WEB: &str = "mkdir -p /tmp/www && echo \"web on $NODE\" > /tmp/www/index.html && \
                   exec httpd -f -p 8080 -h /tmp/www";

fn hosts_join_a_cluster_and_take_releases_one_at_a_time(context: &Context) -> Result<()> {
    let etcd = Etcd::start(context)?;
    let names = Names::start(context, etcd::NAME)?;
    let registry = Registry::start()?;
    push_images(context, &etcd, &registry)?;
    let repository = Repository::start(context)?;
    repository.publish(VERSION)?;
    let cluster = Cluster {
        context,
        etcd: &etcd,
        values: [
            ("@ENDPOINT@", etcd.named_url()),
            ("@LOCK@", etcd.url()),
            ("@DNS@", names.address()),
            ("@REGISTRY@", registry.name()),
            ("@UPDATES@", repository.url()),
        ],
    };
    let mut ports = Vec::new();
    let mut setups = Vec::new();
    for number in 1..=HOSTS {
        let port = free_port()?;
        let forward = Forward {
            host: port,
            guest: SERVICE,
        };
        setups.push(cluster.host(number)?.forward(forward));
        ports.push(port);
    }
    context.boot_all(&setups, |fleet| {
        // First boots share this machine's processors.
        each(fleet, |vm| Ok(vm.wait_boot_complete(BOOT * 3)?))?;
        all_serve(&ports)?;
        registered(&etcd)?;
        each(fleet, is_a_node)?;

        let watch = Watch::start(&ports);
        repository.publish(TRIAL_VERSION)?;
        let downs = each(fleet, |vm| goes_down_and_up(vm, TRIAL_VERSION));
        let served = downs.is_ok().then(|| all_serve(&ports));
        let seen = watch.stop()?;
        apart(&downs?)?;
        served.transpose()?;
        ensure!(
            seen.down.is_empty(),
            "nobody served {:?} after the release was there",
            seen.down
        );
        ensure!(
            seen.missed.iter().all(|missed| *missed > 0),
            "a host that rebooted always served: {seen:?}"
        );
        println!(
            "     asked {} times; hosts were missed {:?} times, never all at once",
            seen.rounds, seen.missed
        );
        for vm in fleet.iter_mut() {
            blessed(vm, TRIAL_VERSION, "b")?;
        }
        each(fleet, is_a_node)?;
        after_a_release(fleet, etcd, &repository)
    })
}

/// The agent's image has a shell, etcd's client and the script; that of the pods a shell.
fn push_images(context: &Context, etcd: &Etcd, registry: &Registry) -> Result<()> {
    let busybox = context.engines()?.busybox()?;
    let client = etcd.client()?;
    let mut files: Vec<(&str, u32, &[u8])> = vec![("agent", 0o755, AGENT.as_bytes())];
    files.extend(
        client
            .iter()
            .map(|(path, bytes)| (path.as_str(), 0o755, bytes.as_slice())),
    );
    let agent = Image::of_program_and(
        &busybox,
        vec![Layer::of_files(&files)?],
        &json!({"Env": ["PATH=/bin:/usr/bin"], "Entrypoint": ["/bin/sh", "/agent"]}),
    )?;
    registry.push("agent", "1", &agent);
    let web = json!({"Env": ["PATH=/bin"], "Cmd": ["/bin/sh", "-c", WEB]});
    registry.push("web", "1", &Image::of_program(&busybox, &web)?);
    Ok(())
}

struct Cluster<'a> {
    context: &'a Context,
    etcd: &'a Etcd,
    /// What the template has for all hosts.
    values: [(&'static str, String); 5],
}

impl Cluster<'_> {
    /// A machine that has never been booted, with its config.
    fn host(&self, number: usize) -> Result<Setup> {
        let name = format!("host-{number}");
        let dir = self.context.file(&name);
        fs::create_dir(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let certified = self.etcd.authority().certify(&name, &[])?;
        for (file, content) in [
            ("ca.crt".to_owned(), self.etcd.authority().pem()),
            (format!("{name}.crt"), certified.certificate_pem()),
            (format!("{name}.key"), certified.key_pem()),
        ] {
            fs::write(dir.join(file), content)?;
        }
        let mut yaml = NODE.replace("@NAME@", &name);
        for (word, value) in &self.values {
            yaml = yaml.replace(word, value);
        }
        let config = translated(&yaml, &dir)?;
        let disk = dir.join("disk.img");
        let disk = Disk::copy(&self.context.prepared().disk_image(), disk, DISK_GIB)?;
        Ok(self.context.setup_on(&disk).ignition(config))
    }
}

/// The Ignition config of this YAML, beside its files.
fn translated(yaml: &str, dir: &Path) -> Result<PathBuf> {
    let mut files = Files::new(Some(dir)).context("opening the node's files")?;
    let translation = translate("node.yaml", yaml.as_bytes(), &mut files);
    let found = &translation.found;
    ensure!(
        found.errors.is_empty() && found.warnings.is_empty(),
        "{found:?}"
    );
    let json = translation.json.context("nothing was translated")?;
    let path = dir.join("config.ign");
    fs::write(&path, json.to_string()).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Waits until the pods of all hosts answer, each with its own name.
fn all_serve(ports: &[u16]) -> Result<()> {
    let until = Instant::now() + scaled(JOIN);
    for (number, port) in (1..).zip(ports) {
        let expected = format!("web on host-{number}");
        loop {
            let answer = ask(*port);
            match answer {
                Ok(answer) if answer == expected => break,
                Ok(other) => anyhow::bail!("host-{number} answered {other:?}"),
                Err(error) if Instant::now() > until => {
                    return Err(error.context(format!("host-{number} does not serve")));
                }
                Err(_) => thread::sleep(LOOK),
            }
        }
    }
    Ok(())
}

/// Waits until all nodes are registered, with their labels.
fn registered(etcd: &Etcd) -> Result<()> {
    let until = Instant::now() + scaled(JOIN);
    let expected: String = (1..=HOSTS)
        .map(|number| format!("/nodes/host-{number}\nzone=e2e,example.com/node=host-{number}\n"))
        .collect();
    loop {
        let found = etcd.ctl(&["get", "--prefix", "/nodes/"])?;
        if found.trim() == expected.trim() || Instant::now() > until {
            return same("the nodes that are registered", &found, &expected);
        }
        thread::sleep(LOOK);
    }
}

/// The host's own view: certificate, agent, its pod.
fn is_a_node(vm: &mut Vm) -> Result<()> {
    let checked = vm.exec_ok("ignition cluster check --json")?;
    let checked: Value = serde_json::from_str(&checked)?;
    ensure!(checked["state"] == "right", "{checked}");
    same(
        "the agent",
        &vm.exec_ok("systemctl is-active cluster-agent")?,
        "active",
    )?;
    // The agent is a pod in its unit; the service has a unit of its own.
    let pods = vm.exec_ok("rocket list --no-legend")?;
    let running = pods.lines().filter(|line| line.contains("running")).count();
    ensure!(running == 2, "pods: {pods}");
    let units = vm.exec_ok("systemctl list-units --no-legend --plain 'rocket-*.service'")?;
    ensure!(units.lines().count() == 1, "units: {units}");
    let env = vm.exec_ok("cat /etc/cluster/cluster.env")?;
    ensure!(!env.contains("PRIVATE"), "cluster.env holds a key");
    Ok(())
}

fn an_expired_certificate_is_said_where_people_look(context: &Context) -> Result<()> {
    let authority = Authority::new()?;
    let day = |days: i64| -> Result<jiff::civil::Date> {
        let today = jiff::Timestamp::now()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        Ok(today.checked_add(jiff::Span::new().try_days(days)?)?)
    };
    let disk = Disk::at(context.file("disk.img"));
    context.warm(&context.setup_lived(&disk), |vm| {
        vm.set_clock()?;
        let over = day(-3)?;
        is_given(vm, &authority, &authority.certify_until("host-1", over)?)?;
        let started = vm.exec("systemctl start cluster-agent")?;
        ensure!(started.status != 0, "the agent started");
        let expected = format!("the node's certificate expired on {over}T00:00:00Z");
        vm.expect_despite_failure(&expected, STEP)?;
        let status = vm
            .exec("systemctl status --no-pager --full cluster-agent")?
            .stdout;
        contains("systemctl status", &status, &expected)?;
        contains("systemctl status", &status, "issue another certificate")?;
        let notice = vm.exec_ok("cat /run/motd.d/50-cluster")?;
        contains("the message at login", &notice, &expected)?;
        // It is tried again, and said once.
        vm.exec_ok(
            "until test $(systemctl show --property=NRestarts --value cluster-agent) -ge 3; do \
             sleep 1; done",
        )?;
        let times = vm.console().text().matches(&expected).count();
        ensure!(times == 1, "the console says it {times} times");
        let unit = vm.exec_ok("systemctl cat cluster-agent")?;
        contains("systemctl cat", &unit, "CLUSTER_ACCESS=--net=host")?;
        let said = vm.exec_ok("journalctl --sync && journalctl -u cluster-agent")?;
        contains("the journal", &said, &expected)?;
        let checked = vm.exec("ignition cluster check")?;
        ensure!(checked.status == 3, "cluster check: {checked:?}");

        // Soon over: it runs, and says so.
        is_given(
            vm,
            &authority,
            &authority.certify_until("host-1", day(10)?)?,
        )?;
        vm.exec_ok("systemctl restart cluster-agent")?;
        let warned = "journalctl --sync && journalctl -u cluster-agent -p warning -o cat -n 1";
        let journal = vm.exec_ok(warned)?;
        contains(
            "the journal",
            &journal,
            "the node's certificate expires in ",
        )?;

        is_given(vm, &authority, &authority.certify("host-1", &[])?)?;
        vm.exec_ok("systemctl restart cluster-agent && systemctl start cluster-check")?;
        same(
            "the agent",
            &vm.exec_ok("systemctl is-active cluster-agent")?,
            "active",
        )?;
        vm.exec_ok("test ! -e /run/motd.d/50-cluster && test ! -e /run/issue.d/50-cluster.issue")?;
        Ok(())
    })
}

/// Makes the host the node host-1 with this certificate, and an agent that only waits.
fn is_given(vm: &mut Vm, authority: &Authority, certified: &Certified) -> Result<()> {
    const UNIT: &str = "/etc/systemd/system/cluster-agent.service.d";
    vm.exec_ok(&format!("mkdir -p /etc/cluster {UNIT}"))?;
    for (path, content) in [
        ("/etc/cluster/ca.crt", authority.pem()),
        ("/etc/cluster/node.crt", certified.certificate_pem()),
        ("/etc/cluster/node.key", certified.key_pem()),
        ("/etc/cluster/name", "host-1\n".to_owned()),
        (
            "/etc/cluster/cluster.env",
            "CLUSTER_NAME=host-1\n".to_owned(),
        ),
        (
            "/etc/systemd/system/cluster-agent.service.d/50-agent.conf",
            "[Service]\nExecStart=\nExecStart=/bin/sleep infinity\n".to_owned(),
        ),
    ] {
        vm.write_file(path, content.as_bytes())?;
    }
    vm.exec_ok("systemctl daemon-reload")?;
    Ok(())
}

fn a_node_with_the_key_of_another_stops_first_boot(context: &Context) -> Result<()> {
    let authority = Authority::new()?;
    let one = authority.certify("host-1", &[])?;
    let other = authority.certify("host-1", &[])?;
    let file = |path: &str, text: String| json!({ "path": path, "contents": { "source": data_url(text) } });
    let config = json!({
        "ignition": { "version": "3.6.0" },
        "storage": { "files": [
            { "path": WITNESS },
            file("/etc/cluster/ca.crt", authority.pem()),
            file("/etc/cluster/node.crt", one.certificate_pem()),
            file("/etc/cluster/node.key", other.key_pem()),
        ] }
    });
    let config = context.config(&config)?;
    let parts = [
        "storage.files.3",
        "the node's key is not that of the node's certificate: they are not a pair",
    ];
    stops(context, |setup| setup.ignition(config), &parts).map(drop)
}
