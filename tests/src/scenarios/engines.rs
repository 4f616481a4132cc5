//! Engines of others, with rocket as their runtime.

use anyhow::{Context as _, Result, ensure};
use benchmarks::engines::{self, KEEPER, ROOT, inside};
use qemu::{Output, Vm};
use serde_json::{Value, json};

use crate::context::{BOOT, Context, contains, same};
use crate::scenario::{Scenario, scenario};

pub const SCENARIOS: &[Scenario] = &[scenario!(
    engines_run_containers_with_rocket_as_their_runtime,
    12,
    "Debian's podman and containerd run, enter, limit, stop and remove containers that rocket makes, and nothing is left."
)];

/// The name of the image for both.
const IMAGE: &str = "e2e.test/busybox:latest";

/// Where containerd has rocket keep what it knows.
const CONTAINERD_ROOT: &str = "/run/containerd/runc/default";

fn engines_run_containers_with_rocket_as_their_runtime(context: &Context) -> Result<()> {
    let image = context.busybox(&json!({"Env": ["PATH=/bin"]}))?.archive()?;
    let setup = context.setup_of(&context.prepared().lived_image());
    let written = context.file("engines.qcow2");
    let tools = &context.prepared().tools;
    let setup = context.engines()?.attach(setup, tools, &written)?;
    context.boot(&setup, |vm| {
        vm.wait_boot_complete(BOOT)?;
        engines::mount(vm)?;
        vm.write_file(&format!("{ROOT}/var/tmp/busybox.tar"), &image)?;
        podman_loads_the_image(vm)?;
        let before = traces(vm)?;
        podman_tells_how_an_app_ended(vm)?;
        podman_limits_enters_and_stops_a_service(vm)?;
        same("what podman has left", &traces(vm)?, &before)?;
        with_containerd(vm, |vm| {
            containerd_tells_how_an_app_ended(vm)?;
            containerd_enters_and_kills_a_task(vm)
        })?;
        same("what both have left", &traces(vm)?, &before)
    })
}

/// What containers may leave: processes, control groups, mounts, devices, and what rocket
/// keeps of them.
fn traces(vm: &mut Vm) -> Result<String> {
    Ok(vm.exec_ok(&format!(
        "pgrep -l 'conmon|containerd|rocket|podman|sleep|httpd'; \
         find /sys/fs/cgroup -type d | grep -E 'libpod|/default/|conmon'; \
         grep -E 'merged|shm|rootfs|/netns/' /proc/self/mounts /proc/$({KEEPER})/mounts; \
         ip -o link | grep -E 'veth|podman'; \
         ls /run/rocket/oci /run/containerd/runc/default 2>/dev/null | grep -v ^/; true"
    ))?)
}

/// Podman with rocket as its runtime.
fn podman(words: &str) -> String {
    inside(&format!("podman --runtime=/usr/bin/rocket {words}"))
}

fn podman_loads_the_image(vm: &mut Vm) -> Result<()> {
    let loaded = vm.exec_ok(&podman("load --input=/var/tmp/busybox.tar"))?;
    contains("podman load", &loaded, IMAGE)
}

fn podman_tells_how_an_app_ended(vm: &mut Vm) -> Result<()> {
    let output = vm.exec(&podman(&format!(
        "run --rm --network=none {IMAGE} sh -c 'echo $$; exit 7'"
    )))?;
    ended("podman run", &output, 7)?;
    same("its first process", &output.stdout, "1")?;
    let output = vm.exec(&podman(&format!(
        "run --rm --network=none --tty {IMAGE} sh -c 'test -t 0 && echo terminal'"
    )))?;
    ended("podman run --tty", &output, 0)?;
    contains("an app with a terminal", &output.stdout, "terminal")?;
    let output = vm.exec(&podman(&format!(
        "run --rm --network=none {IMAGE} /no/such/program"
    )))?;
    // podman-run(1): 127 is a program that is not there.
    ended("podman run of what is not there", &output, 127)?;
    contains("the failure", &output.stderr, "/no/such/program")
}

fn podman_limits_enters_and_stops_a_service(vm: &mut Vm) -> Result<()> {
    let service = "echo started; mkdir /www; echo hello > /www/index.html; \
         httpd -f -p 80 -h /www";
    vm.exec_ok(&podman(&format!(
        "run --detach --name=web --memory=64m --publish=8080:80 {IMAGE} sh -c '{service}'"
    )))?;
    let inspected = vm.exec_ok(&podman("inspect web"))?;
    let inspected: Value = serde_json::from_str(&inspected).context("reading podman inspect")?;
    let inspected = &inspected[0];
    let id = inspected["Id"].as_str().context("no Id")?;
    let pid = &inspected["State"]["Pid"];
    same_container("podman", &known(vm, "/run/rocket/oci", id)?, pid)?;
    scope_has(vm, id, pid)?;
    let limit = "cat /sys/fs/cgroup/memory.max";
    let limit = vm.exec_ok(&podman(&format!("exec web {limit}")))?;
    same("its limit", &limit, "67108864")?;
    let output = vm.exec(&podman("exec web sh -c 'exit 3'"))?;
    ended("podman exec", &output, 3)?;
    let answer = "for i in $(seq 100); do busybox wget -q -O - http://127.0.0.1:8080/ && exit; \
         sleep 1; done; exit 1";
    let answer = vm.exec_ok(&inside(&format!("sh -c '{answer}'")))?;
    same("what its port says", &answer, "hello")?;
    same("its log", &vm.exec_ok(&podman("logs web"))?, "started")?;
    vm.exec_ok(&podman("pause web"))?;
    let state = vm.exec_ok(&podman("inspect --format={{.State.Status}} web"))?;
    same("its state", &state, "paused")?;
    vm.exec_ok(&podman("unpause web"))?;
    vm.exec_ok(&podman("stop --time=1 web"))?;
    let status = vm.exec_ok(&podman("inspect --format={{.State.ExitCode}} web"))?;
    same("its status", &status, "137")?;
    vm.exec_ok(&podman("rm web"))?;
    same(
        "podman's containers",
        &vm.exec_ok(&podman("ps --all --quiet"))?,
        "",
    )
}

/// What rocket knows of a container for an engine.
fn known(vm: &mut Vm, root: &str, id: &str) -> Result<Value> {
    let state = vm.exec_ok(&format!("rocket oci --root={root} state {id}"))?;
    serde_json::from_str(&state).context("reading rocket oci state")
}

fn same_container(engine: &str, known: &Value, pid: &Value) -> Result<()> {
    ensure!(
        known["status"] == "running" && known["pid"] == *pid && pid.is_u64(),
        "{engine}'s container has process {pid}, and rocket knows {known}"
    );
    Ok(())
}

/// Debian's podman asks for control groups of systemd.
fn scope_has(vm: &mut Vm, id: &str, pid: &Value) -> Result<()> {
    let group = vm.exec_ok(&format!("cat /proc/{pid}/cgroup"))?;
    contains("its control group", &group, &format!("/libpod-{id}.scope"))?;
    let unit = format!("systemctl is-active libpod-{id}.scope");
    same("its scope", &vm.exec_ok(&unit)?, "active")
}

/// Runs containerd as a unit while `test` runs.
fn with_containerd(vm: &mut Vm, test: impl FnOnce(&mut Vm) -> Result<()>) -> Result<()> {
    let daemon = inside("containerd");
    vm.exec_ok(&format!(
        "systemd-run --quiet --collect --unit=e2e-containerd --property=Delegate=yes \
         --property=KillMode=process {daemon}"
    ))?;
    let ready = inside("ctr version");
    vm.exec_ok(&format!(
        "until {ready} > /dev/null 2>&1; do systemctl is-active e2e-containerd && sleep 1 \
         || exit; done"
    ))?;
    vm.exec_ok(&inside("ctr images import /var/tmp/busybox.tar"))?;
    test(vm)?;
    vm.exec_ok("systemctl stop e2e-containerd")?;
    Ok(())
}

/// `ctr run` with rocket as the program of its shim.
fn ctr_run(words: &str) -> String {
    inside(&format!(
        "ctr run --runtime=io.containerd.runc.v2 --runc-binary=/usr/bin/rocket {words}"
    ))
}

fn containerd_tells_how_an_app_ended(vm: &mut Vm) -> Result<()> {
    let output = vm.exec(&ctr_run(&format!(
        "--rm {IMAGE} one sh -c 'echo $$; exit 7'"
    )))?;
    ended("ctr run", &output, 7)?;
    same("its first process", &output.stdout, "1")?;
    let output = vm.exec(&ctr_run(&format!("--rm {IMAGE} one /no/such/program")))?;
    ensure!(output.status != 0, "a program that is not there was run");
    contains("the failure", &output.stderr, "/no/such/program")
}

fn containerd_enters_and_kills_a_task(vm: &mut Vm) -> Result<()> {
    vm.exec_ok(&ctr_run(&format!(
        "--detach --memory-limit=67108864 {IMAGE} two sleep 1000"
    )))?;
    let pid = vm.exec_ok(&inside("ctr task ps two"))?;
    let pid = pid.lines().nth(1).and_then(|line| line.split(' ').next());
    let pid: u64 = pid.context("no process of the task")?.parse()?;
    same_container(
        "containerd",
        &known(vm, CONTAINERD_ROOT, "two")?,
        &json!(pid),
    )?;
    // ctr's own spec shows a container no control groups.
    let limit = format!("cat /sys/fs/cgroup$(cut -d: -f3 /proc/{pid}/cgroup)/memory.max");
    same("its limit", &vm.exec_ok(&limit)?, "67108864")?;
    let output = vm.exec(&inside("ctr task exec --exec-id=f two sh -c 'exit 3'"))?;
    ended("ctr task exec", &output, 3)?;
    vm.exec_ok(&inside("ctr task pause two"))?;
    let tasks = vm.exec_ok(&inside("ctr task ls"))?;
    contains("the list of tasks", &tasks, "PAUSED")?;
    vm.exec_ok(&inside("ctr task resume two"))?;
    vm.exec_ok(&inside("ctr task kill --signal=SIGKILL two"))?;
    // Killed by signal 9, which ctr only tells.
    let output = vm.exec(&inside("ctr task delete two"))?;
    contains("ctr task delete", &output.stderr, "exit code 137")?;
    vm.exec_ok(&inside("ctr container delete two"))?;
    same(
        "containerd's containers",
        &vm.exec_ok(&inside("ctr container ls --quiet"))?,
        "",
    )
}

fn ended(what: &str, output: &Output, status: i32) -> Result<()> {
    ensure!(
        output.status == status,
        "{what} ended with {} instead of {status}: {}{}",
        output.status,
        output.stdout,
        output.stderr
    );
    Ok(())
}
