//! Machines that are provisioned with what other systems document, as
//! `tests/documented/examples.toml` says.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use qemu::{Setup, Vm};
use serde_json::{Value, json};

use crate::context::{BOOT, Context, same};
use crate::documented::{Corpus, Expectation, of_configs};
use crate::http::Server;
use crate::scenario::{Scenario, scenario};

pub const SCENARIOS: &[Scenario] = &[
    scenario!(
        documented_examples_of_hosts_are_carried_out_and_have_their_effect,
        6,
        "What Fedora CoreOS, Butane, Ignition and Flatcar document about users, files, units, \
         kernel arguments, time, networks, SSH and fetching, all merged from a web server into \
         one host: each entry is there, and each unit, argument and setting has its effect."
    ),
    scenario!(
        documented_examples_of_disks_are_carried_out_and_have_their_effect,
        6,
        "What they document about disks, merged into one host with fifteen more disks: \
         partitions, arrays, volumes, file systems and swap are in use as documented."
    ),
    scenario!(
        documented_examples_of_var_on_a_disk_of_its_own_are_carried_out,
        6,
        "A host with /var as btrfs on a second disk, one with xfs, and one with an array that \
         has root's name, whose root stays where it is."
    ),
];

/// What mounts wait for comes late where many disks meet a slow machine.
const PATIENCE: &str = "systemd.default_device_timeout_sec=600";

/// Size of a further disk in MiB.
const DISK_MIB: u64 = 340;

fn documented_examples_of_hosts_are_carried_out_and_have_their_effect(
    context: &Context,
) -> Result<()> {
    provisions(context, "hosts", context.setup())
}

fn documented_examples_of_disks_are_carried_out_and_have_their_effect(
    context: &Context,
) -> Result<()> {
    // vdb to vdp.
    provisions(context, "disks", with_disks(context, 15)?)
}

fn documented_examples_of_var_on_a_disk_of_its_own_are_carried_out(
    context: &Context,
) -> Result<()> {
    for (machine, disks) in [("var-btrfs", 1), ("var-xfs", 1), ("array", 3)] {
        provisions(context, machine, with_disks(context, disks)?)
            .with_context(|| format!("machine {machine}"))?;
    }
    Ok(())
}

/// A machine with blank disks.
fn with_disks(context: &Context, count: usize) -> Result<Setup> {
    let blank = |number: usize| -> Result<PathBuf> {
        let path = context.file(&format!("disk-{number}.img"));
        let file = File::create(&path).context("creating a disk")?;
        file.set_len(DISK_MIB << 20).context("sizing a disk")?;
        Ok(path)
    };
    (0..count).try_fold(context.setup(), |setup, number| {
        Ok(setup.extra_disk(blank(number)?))
    })
}

/// Boots a machine with all configs that are this machine's, and looks at what each asks for.
fn provisions(context: &Context, machine: &str, setup: Setup) -> Result<()> {
    let corpus = Corpus::read()?;
    let names = corpus.provisioned(machine);
    ensure!(!names.is_empty(), "no config is for machine {machine}");
    let served = corpus.served()?;
    let files = Server::start(served.clone())?;
    let configs = names
        .iter()
        .map(|name| Ok(corpus.translated(name, &files.url(""))?.0))
        .collect::<Result<Vec<Value>>>()?;
    let mut expected = of_configs(&configs, files.url("").trim_end_matches('/'), &served)?;
    for name in &names {
        expected.extend(effects(name, corpus.outcome(name).effect));
    }
    let top = Server::start(merging(&names, &configs))?;
    let own = Server::start(BTreeMap::from([("top.ign".to_owned(), all(&names, &top))]))?;
    let argument = format!("ignition.config.url={}", own.url("top.ign"));
    let has_arguments = |config: &Value| config.get("kernelArguments").is_some();
    let reboots = configs.iter().any(has_arguments);
    let setup = setup.kernel_argument(argument).kernel_argument(PATIENCE);
    context.boot(&setup, |vm| {
        if reboots {
            vm.wait_reboot(BOOT)?;
        }
        vm.wait_boot_complete(BOOT)?;
        // Units that are not needed for a login may still be starting, and one is to fail.
        vm.exec("systemctl is-system-running --wait")?;
        look(vm, &expected)
    })
}

fn effects(name: &str, effects: BTreeMap<String, String>) -> Vec<Expectation> {
    let expectation = |(command, says)| Expectation {
        what: format!("effect of {name}"),
        command,
        says,
    };
    effects.into_iter().map(expectation).collect()
}

/// The configs by their paths on a server.
fn merging(names: &[&str], configs: &[Value]) -> BTreeMap<String, Vec<u8>> {
    let both = names.iter().zip(configs);
    both.map(|(name, config)| ((*name).to_owned(), config.to_string().into_bytes()))
        .collect()
}

/// A config that merges all of them.
fn all(names: &[&str], server: &Server) -> Vec<u8> {
    let children: Vec<Value> = names
        .iter()
        .map(|name| json!({ "source": server.url(name) }))
        .collect();
    json!({ "ignition": { "version": "3.6.0", "config": { "merge": children } } })
        .to_string()
        .into_bytes()
}

/// Where the questions are on the host.
const SCRIPT: &str = "/run/e2e-questions";
/// Begins a line before each answer.
const ANSWER: &str = "==answer==";

/// Asks all questions in one session, and compares all answers.
fn look(vm: &mut Vm, expected: &[Expectation]) -> Result<()> {
    let script: String = expected
        .iter()
        .map(|question| format!("echo {ANSWER}\n( {}\n) 2>&1 </dev/null\n", question.command))
        .collect();
    vm.write_file(SCRIPT, script.as_bytes())?;
    let output = vm.exec(&format!("bash {SCRIPT}"))?;
    let answers: Vec<&str> = output.stdout.split(ANSWER).skip(1).collect();
    ensure!(
        answers.len() == expected.len(),
        "{} answers to {} questions: {}",
        answers.len(),
        expected.len(),
        output.stderr
    );
    let line = |what: &str, text: &str| format!("{what}: {}", text.trim().replace('\n', " / "));
    let (mut found, mut wanted) = (Vec::new(), Vec::new());
    for (question, answer) in expected.iter().zip(answers) {
        found.push(line(&question.what, answer));
        wanted.push(line(&question.what, &question.says));
    }
    same("the host", &found.join("\n"), &wanted.join("\n"))
}
