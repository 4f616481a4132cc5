//! Containers on a host.

use anyhow::{Context as _, Result, ensure};
use qemu::Vm;
use serde_json::{Value, json};

use crate::context::{Context, contains, same};
use crate::disk::Disk;
use crate::scenario::{Scenario, scenario};

pub const SCENARIOS: &[Scenario] = &[scenario!(
    pods_run_as_children_of_rocket_and_leave_nothing,
    8,
    "An app is rocket's child and its status rocket's; pods have limits, networks and units, and leave nothing behind."
)];

/// Where the image is on the host.
const IMAGE: &str = "docker-archive:/var/tmp/busybox.tar";

fn pods_run_as_children_of_rocket_and_leave_nothing(context: &Context) -> Result<()> {
    let disk = Disk::at(context.file("disk.img"));
    let image = context.busybox(&json!({"Env": ["PATH=/bin"]}))?;
    let image = image.archive()?;
    context.warm(&context.setup_lived(&disk), |vm| {
        vm.write_file("/var/tmp/busybox.tar", &image)?;
        an_unsigned_image_is_refused(vm)?;
        let before = traces(vm)?;
        the_status_is_the_apps(vm)?;
        the_app_is_rockets_child(vm)?;
        an_app_is_shut_in(vm)?;
        limits_hold(vm)?;
        pods_reach_each_other_and_ports_lead_in(vm)?;
        a_detached_pod_is_a_unit(vm)?;
        a_killed_rocket_leaves_nothing_that_is_not_collected(vm)?;
        vm.exec_ok("rocket gc --grace-period=0s")?;
        same(
            "pods that are left",
            &vm.exec_ok("rocket list --no-legend")?,
            "",
        )?;
        same(
            "mounts, control groups, devices and addresses",
            &traces(vm)?,
            &before,
        )
    })
}

/// `rocket run` without a check of signatures, with these words.
fn run(words: &str) -> String {
    format!("rocket run --insecure-options=image {words}")
}

/// What a pod may leave: mounts, control groups, devices, addresses.
fn traces(vm: &mut Vm) -> Result<String> {
    Ok(vm.exec_ok(
        "grep -c . /proc/self/mounts; find /sys/fs/cgroup -path '*rocket*' -type d; \
         ip -o link | grep -c rk; ls /run/rocket/network 2>/dev/null | grep -c lease; \
         ls /proc/*/root/.rocket 2>/dev/null; true",
    )?)
}

fn an_unsigned_image_is_refused(vm: &mut Vm) -> Result<()> {
    let output = vm.exec(&format!("rocket run --net=none {IMAGE} -- true"))?;
    ensure!(
        output.status == 254,
        "status {}: {}",
        output.status,
        output.stderr
    );
    contains("the refusal", &output.stderr, "--insecure-options=image")
}

fn the_status_is_the_apps(vm: &mut Vm) -> Result<()> {
    // PID 1 of a namespace is not killed from inside: a child is.
    let killed = "sh -c 'kill -9 $$'; exit $?";
    for (command, status) in [("exit 7", 7), ("exit 0", 0), (killed, 137)] {
        let output = vm.exec(&run(&format!(
            "--net=none {IMAGE} -- /bin/sh -c {}",
            qemu::ssh::quote(command)
        )))?;
        ensure!(
            output.status == status,
            "{command}: {} {}",
            output.status,
            output.stderr
        );
    }
    let output = vm.exec(&run(&format!("--net=none {IMAGE} -- /no/such/program")))?;
    ensure!(
        output.status == 254,
        "a program that is not there: {}",
        output.status
    );
    contains("the failure", &output.stderr, "/no/such/program")
}

fn the_app_is_rockets_child(vm: &mut Vm) -> Result<()> {
    vm.start(&run(&format!(
        "--net=none --uuid-file-save=/run/uuid {IMAGE} -- sleep 1000"
    )))?;
    let app = app_of(vm, "/run/uuid")?;
    let parent = vm.exec_ok(&format!("ps -o comm= -p $(ps -o ppid= -p {app})"))?;
    same("the app's parent", &parent, "rocket")?;
    let children = vm.exec_ok(&format!("ps -o comm= --ppid $(ps -o ppid= -p {app})"))?;
    same("rocket's children", &children, "sleep")?;
    vm.exec_ok("rocket stop --timeout=1s $(cat /run/uuid)")?;
    let state = vm.exec_ok("rocket status --json $(cat /run/uuid)")?;
    let state: Value = serde_json::from_str(&state)?;
    ensure!(state["state"] == "exited", "{state}");
    ensure!(state["apps"][0]["status"] == 137, "{state}");
    Ok(())
}

/// Waits until the pod whose UUID is in a file runs, and returns its first process.
fn app_of(vm: &mut Vm, file: &str) -> Result<u64> {
    let state = vm.exec_ok(&format!(
        "until rocket status --json $(cat {file} 2>/dev/null) 2>/dev/null | grep -q '\"pid\"'; \
         do sleep 1; done; rocket status --json $(cat {file})"
    ))?;
    let state: Value = serde_json::from_str(&state).context("reading the pod's status")?;
    state["apps"][0]["pid"]
        .as_u64()
        .context("the app has no process")
}

/// One app looks around and says what it sees.
fn an_app_is_shut_in(vm: &mut Vm) -> Result<()> {
    let script = "id -u; hostname; set -- /proc/[0-9]*; echo $#; \
         echo x > /proc/sys/kernel/hostname 2>/dev/null || echo sysctl refused; \
         cat /proc/kcore 2>/dev/null | head -c1 | wc -c; \
         mount -t tmpfs x /tmp 2>/dev/null || echo mount refused; \
         grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'; ls /proc/self/fd | wc -w";
    let seen = vm.exec_ok(&run(&format!(
        "--net=none --hostname=inside {IMAGE} --user=web -- /bin/sh -c {}",
        qemu::ssh::quote(script)
    )))?;
    let expected = "33\ninside\n1\nsysctl refused\n0\nmount refused\nNoNewPrivs:1\nSeccomp:2\n4";
    same("what an app sees", &seen, expected)
}

fn limits_hold(vm: &mut Vm) -> Result<()> {
    let script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max";
    let limits = vm.exec_ok(&run(&format!(
        "--net=none {IMAGE} --memory=64M --pids=20 --cpus=0.5 -- /bin/sh -c '{script}'"
    )))?;
    same("the app's limits", &limits, "67108864\n20\n50000 100000")?;
    let hungry = "head -c 200000000 /dev/zero | grep -c x";
    let output = vm.exec(&run(&format!(
        "--net=none {IMAGE} --memory=32M -- /bin/sh -c '{hungry}'"
    )))?;
    ensure!(
        output.status != 0,
        "200 MB of memory were had with a limit of 32"
    );
    Ok(())
}

fn pods_reach_each_other_and_ports_lead_in(vm: &mut Vm) -> Result<()> {
    vm.start(&run(&format!(
        "--uuid-file-save=/run/web --port=8080:80 {IMAGE} -- \
         /bin/sh -c 'mkdir /www; echo hello > /www/index.html; httpd -f -p 80 -h /www'"
    )))?;
    app_of(vm, "/run/web")?;
    let state: Value = serde_json::from_str(&vm.exec_ok("rocket status --json $(cat /run/web)")?)?;
    let addresses = state["addresses"].as_array().context("no addresses")?;
    ensure!(addresses.len() == 2, "{addresses:?}");
    let ask = |address: &str| {
        format!(
            "for i in $(seq 100); do wget -q -O - http://{address}/ && exit 0; sleep 1; done; exit 1"
        )
    };
    let bracketed = |address: &Value| {
        let address = address.as_str().unwrap_or_default();
        if address.contains(':') {
            format!("[{address}]")
        } else {
            address.to_owned()
        }
    };
    for address in addresses.iter().map(bracketed) {
        let answer = vm.exec_ok(&run(&format!("{IMAGE} -- /bin/sh -c '{}'", ask(&address))))?;
        same(
            &format!("what {address} says to another pod"),
            &answer,
            "hello",
        )?;
    }
    for address in ["127.0.0.1:8080", "10.0.2.15:8080"] {
        let answer = vm.exec_ok(&run(&format!(
            "--net=host {IMAGE} -- /bin/sh -c '{}'",
            ask(address)
        )))?;
        same(&format!("what the host's {address} says"), &answer, "hello")?;
    }
    let taken = vm.exec(&run(&format!("--port=8080:81 {IMAGE} -- true")))?;
    contains("a port that is taken", &taken.stderr, "leads into pod")?;
    vm.exec_ok("rocket stop --force $(cat /run/web)")?;
    Ok(())
}

fn a_detached_pod_is_a_unit(vm: &mut Vm) -> Result<()> {
    let uuid = vm.exec_ok(&run(&format!(
        "--detach --net=none {IMAGE} -- /bin/sh -c 'echo started; exec sleep 1000'"
    )))?;
    let uuid = uuid.trim();
    let unit = format!("rocket-{uuid}.service");
    let shown = vm.exec_ok(&format!(
        "systemctl show --property=ActiveState,MainPID {unit}"
    ))?;
    contains("the unit", &shown, "ActiveState=active")?;
    let main = shown.lines().find_map(|line| line.strip_prefix("MainPID="));
    let main = main.context("no main process")?;
    let name = vm.exec_ok(&format!("cat /proc/{main}/comm"))?;
    same("the unit's main process", &name, "sleep")?;
    let rockets = vm.exec("pgrep -c -x rocket")?;
    same("rockets that are left", &rockets.stdout, "0")?;
    same(
        "its log",
        &vm.exec_ok(&format!("rocket logs {uuid}"))?,
        "started",
    )?;
    vm.exec_ok(&format!("rocket stop --timeout=1s {uuid}"))?;
    let state: Value = serde_json::from_str(&vm.exec_ok(&format!("rocket status --json {uuid}"))?)?;
    ensure!(state["state"] == "exited", "{state}");
    Ok(())
}

fn a_killed_rocket_leaves_nothing_that_is_not_collected(vm: &mut Vm) -> Result<()> {
    vm.start(&run(&format!(
        "--uuid-file-save=/run/lost --port=9000:80 {IMAGE} -- sleep 1000"
    )))?;
    let app = app_of(vm, "/run/lost")?;
    vm.exec_ok(&format!("kill -9 $(ps -o ppid= -p {app})"))?;
    // The app dies with its parent.
    vm.exec_ok(&format!("while test -d /proc/{app}; do sleep 1; done"))?;
    let state: Value = serde_json::from_str(&vm.exec_ok("rocket status --json $(cat /run/lost)")?)?;
    ensure!(state["state"] == "aborted", "{state}");
    contains("gc", &vm.exec_ok("rocket gc")?, "ended")
}
