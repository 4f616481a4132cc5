//! Pods that files declare.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use benchmarks::containers::Image;
use benchmarks::registry::Registry;
use qemu::Vm;
use serde_json::{Value, json};

use crate::context::{Context, contains, same};
use crate::peers;
use crate::scenario::{Scenario, scenario};

pub const SCENARIOS: &[Scenario] = &[scenario!(
    a_declared_pod_comes_up_and_follows_its_file,
    15,
    "A first-boot config declares a web site as a pod; it serves, heals, and follows every change of its file but a broken one."
)];

const FILE: &str = "/etc/rocket/pods/web.yaml";
const UNIT: &str = "rocket-pod-web";

/// `REGISTRY` and `GREETING` stand for what differs.
const POD: &str = include_str!("declared.yaml");

fn a_declared_pod_comes_up_and_follows_its_file(context: &Context) -> Result<()> {
    let registry = Registry::start()?;
    publish(context, &registry)?;
    let config = context.config(&config(&registry))?;
    context.boot(&context.setup().ignition(config), |vm| {
        // Waits for what the boot began.
        vm.exec_ok(&format!("systemctl start {UNIT}"))?;
        it_serves(vm, "hello")?;
        it_is_known_by_its_name(vm)?;
        only_the_container_that_is_not_well_is_restarted(vm)?;
        a_changed_map_is_followed(vm, &registry)?;
        a_broken_file_changes_nothing(vm, &registry)?;
        a_removed_file_stops_the_pod(vm)
    })
}

/// nginx and redis as Debian has them, and busybox.
fn publish(context: &Context, registry: &Registry) -> Result<()> {
    let tools = peers::tools(context)?;
    let busybox = context.engines()?.busybox()?;
    let environment = json!({"Env": ["PATH=/bin:/usr/bin:/usr/sbin"]});
    for (name, program) in [
        ("nginx", "/usr/sbin/nginx"),
        ("redis", "/usr/bin/redis-server"),
    ] {
        let layer = peers::layer(&tools, program)?;
        let image = Image::of_program_below(&busybox, layer, &environment)?;
        registry.push(&format!("site/{name}"), "1", &image);
    }
    registry.push("site/sync", "1", &context.busybox(&environment)?);
    Ok(())
}

fn pod(registry: &Registry, greeting: &str) -> String {
    POD.replace("REGISTRY", &registry.name())
        .replace("GREETING", greeting)
}

/// What the host has on its first boot: whose images may run, from where, and the pod.
fn config(registry: &Registry) -> Value {
    let name = registry.name();
    let file = |path: &str, text: String| {
        let source = format!("data:;base64,{}", STANDARD.encode(text));
        json!({"path": path, "mode": 0o644, "contents": {"source": source}})
    };
    let trust = format!("[[policy]]\nprefix = \"{name}/site\"\nrequired = false\n");
    let plain = format!("[[registry]]\nprefix = \"{name}\"\nplain-http = true\n");
    json!({
        "ignition": {"version": "3.6.0"},
        "storage": {"files": [
            file("/etc/rocket/trust.d/site.toml", trust),
            file("/etc/rocket/registries.d/site.toml", plain),
            file(FILE, pod(registry, "hello")),
        ]},
    })
}

/// What a server on the host says to a line.
fn said(vm: &mut Vm, port: u16, line: &str) -> Result<String> {
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; printf '{line}\\r\\n\\r\\n' >&3; timeout 5 cat <&3; true"
    );
    Ok(vm.exec_ok(&format!("bash -c {}", qemu::ssh::quote(&script)))?)
}

fn page(vm: &mut Vm) -> Result<String> {
    said(vm, 80, "GET / HTTP/1.0")
}

fn it_serves(vm: &mut Vm, greeting: &str) -> Result<()> {
    contains("the page", &page(vm)?, &format!("\n{greeting} from web"))?;
    contains("redis", &said(vm, 6379, "PING\\r\\nQUIT")?, "+PONG")
}

/// What `rocket pods status` says of the pod.
fn status(vm: &mut Vm) -> Result<Value> {
    let text = vm.exec_ok("rocket pods status --json")?;
    let all: Value = serde_json::from_str(&text).context("reading the pods' status")?;
    Ok(all[0].clone())
}

fn it_is_known_by_its_name(vm: &mut Vm) -> Result<()> {
    let shown = vm.exec_ok(&format!(
        "systemctl show --property=StatusText,ActiveState {UNIT}"
    ))?;
    contains("the unit", &shown, "StatusText=3/3 ready")?;
    contains("the unit", &shown, "ActiveState=active")?;
    contains("the list", &vm.exec_ok("rocket list")?, "web/nginx")?;
    let inside = vm.exec_ok("rocket enter --app=redis web hostname")?;
    same("the host name", &inside, "web")?;
    let log = vm.exec_ok("rocket logs --app=sync web")?;
    contains("what a container wrote", &log, "wrote the page")?;
    ensure!(!log.contains("GET /"), "another container's lines: {log}");
    // nginx opens its log as /dev/stdout.
    let log = vm.exec_ok("rocket logs --app=nginx web")?;
    contains("what nginx wrote", &log, "GET / HTTP/1.0")?;
    let limit = "cat /sys/fs/cgroup/machine.slice/rocket-pod-web.service/app-redis/memory.max";
    same("the limit of redis", &vm.exec_ok(limit)?, "67108864")?;
    let failed = vm.exec_ok("systemctl --failed --no-legend --plain")?;
    same("failed units", &failed, "")
}

fn only_the_container_that_is_not_well_is_restarted(vm: &mut Vm) -> Result<()> {
    let before = status(vm)?;
    vm.exec_ok("rocket enter --app=sync web touch /srv/sick")?;
    vm.exec_ok(
        "until rocket pods status --json | grep -q '\"restarts\": 1'; do sleep 1; done; \
         rocket enter --app=sync web rm /srv/sick; \
         until rocket pods status --json | grep -q '\"standing\": \"ready\"'; do sleep 1; done",
    )?;
    let after = status(vm)?;
    same(
        "the pod",
        &after["uuid"].to_string(),
        &before["uuid"].to_string(),
    )?;
    for number in 0..3 {
        let (old, new) = (&before["containers"][number], &after["containers"][number]);
        let is_nginx = new["name"] == "nginx";
        ensure!((old["pid"] == new["pid"]) != is_nginx, "{old} became {new}");
    }
    it_serves(vm, "hello")
}

/// Waits until the page says this.
fn until_page(vm: &mut Vm, text: &str) -> Result<()> {
    let script = format!(
        "until (exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; \
         timeout 5 cat <&3) 2>/dev/null | grep -q '{text}'; do sleep 2; done"
    );
    vm.exec_ok(&format!(
        "timeout 300 bash -c {}",
        qemu::ssh::quote(&script)
    ))?;
    Ok(())
}

fn a_changed_map_is_followed(vm: &mut Vm, registry: &Registry) -> Result<()> {
    let before = status(vm)?;
    vm.write_file(FILE, pod(registry, "welcome").as_bytes())?;
    until_page(vm, "welcome from web")?;
    let after = status(vm)?;
    ensure!(
        before["uuid"] != after["uuid"],
        "the pod is the same: {after}"
    );
    let log = vm.exec_ok("journalctl --unit=rocket-pods.service --output=cat")?;
    contains("what apply says", &log, "web: restarts, it was changed")
}

fn a_broken_file_changes_nothing(vm: &mut Vm, registry: &Registry) -> Result<()> {
    vm.exec_ok(&format!("systemctl start {UNIT}"))?;
    let before = status(vm)?;
    let broken = pod(registry, "never").replace("readinessProbe", "readynessProbe");
    let line = broken.lines().position(|line| line.contains("readyness"));
    let line = line.context("the pod has no such probe")? + 1;
    vm.write_file(FILE, broken.as_bytes())?;
    let expected = format!("{FILE}:{line}: spec.containers[0].readynessProbe: not supported");
    vm.exec_ok(&format!(
        "timeout 120 sh -c \"until journalctl --unit=rocket-pods.service --output=cat | \
         grep -qF '{expected}'; do sleep 2; done\""
    ))?;
    let after = status(vm)?;
    same(
        "the pod",
        &after["uuid"].to_string(),
        &before["uuid"].to_string(),
    )?;
    ensure!(after["declared"] == "broken", "{after}");
    it_serves(vm, "welcome")?;
    // By hand it fails, and says why.
    vm.exec(&format!("systemctl restart {UNIT}"))?;
    let shown = vm.exec(&format!("systemctl status {UNIT}"))?;
    contains("the unit's status", &shown.stdout, &expected)?;
    vm.write_file(FILE, pod(registry, "again").as_bytes())?;
    until_page(vm, "again from web")
}

fn a_removed_file_stops_the_pod(vm: &mut Vm) -> Result<()> {
    vm.exec_ok(&format!("rm {FILE}"))?;
    vm.exec_ok(&format!(
        "timeout 120 sh -c 'while systemctl is-active --quiet {UNIT} || \
         rocket pods status --json | grep -q web; do sleep 2; done'"
    ))?;
    let list = vm.exec_ok("rocket list --json")?;
    let list: Value = serde_json::from_str(&list)?;
    let pods = list.as_array().context("no list")?;
    ensure!(pods.iter().all(|pod| pod["state"] != "running"), "{list}");
    let left = "ip -o link | grep -c rk; find /sys/fs/cgroup -path '*rocket-pod-web*' | wc -l; \
                ls /run/rocket/network | grep -c lease; true";
    same(
        "devices, groups and addresses",
        &vm.exec_ok(left)?,
        "0\n0\n0",
    )
}
