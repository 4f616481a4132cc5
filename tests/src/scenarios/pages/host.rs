//! Commands for a host.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use benchmarks::registry::Registry;
use serde_json::{Value, json};

use super::Reader;
use crate::context::{BOOT, Context, contains};
use crate::disk::Disk;
use crate::etcd::Etcd;
use crate::pages::Pages;
use crate::repository::Repository;
use crate::scenarios::reboots;
use crate::scenarios::update::blessed;
use crate::trial::{TRIAL_VERSION, VERSION};
use qemu::Storage;

/// Images of the pages.
const WEB: &str = "registry.example.com/team/web:1.2";
const SYNC: &str = "registry.example.com/team/sync:4";
const NGINX: &str = "docker.io/library/nginx:1.28";

pub fn commands(context: &Context, pages: &mut Pages, config: &Path) -> Result<()> {
    let registry = images(context)?;
    let repository = Repository::start(context)?;
    repository.publish(VERSION)?;
    repository.publish(TRIAL_VERSION)?;
    let etcd = Etcd::start(context)?;
    let disk = Disk::at(context.file("disk.img"));
    let storage = Storage::Kept(disk.path().to_path_buf());
    let setup = context.setup().storage(storage).ignition(config);
    context.boot(&setup, |vm| {
        vm.wait_boot_complete(BOOT)?;
        let mut reader = Reader { vm, pages };
        just_booted(&mut reader)?;
        containers(&mut reader, &registry)?;
        declared_pods(&mut reader)?;
        updates(&mut reader, &repository)?;
        reboots(&mut reader, &etcd)?;
        afterwards(&mut reader)
    })
}

/// A registry with what the pages run.
fn images(context: &Context) -> Result<Registry> {
    let registry = Registry::start()?;
    let web = json!({"Env": ["PATH=/bin"], "Cmd": ["httpd", "-f", "-p", "80"]});
    let sync = json!({
        "Env": ["PATH=/bin"], "Entrypoint": ["sh", "-c", "exec sleep 1000", "sync"],
    });
    registry.push("team/web", "1.2", &context.busybox(&web)?);
    registry.push("library/nginx", "1.28", &context.busybox(&web)?);
    registry.push("team/sync", "4", &context.busybox(&sync)?);
    Ok(registry)
}

fn just_booted(reader: &mut Reader<'_>) -> Result<()> {
    reader.vm.exec_ok("systemctl is-system-running --wait")?;
    let state = reader.runs("systemctl is-system-running")?;
    ensure!(state.trim() == "running", "the host is {state:?}");
    let report = reader.runs("sudo ignition report")?;
    contains("the report", &report, "provisioned")?;
    for command in [
        "updatectl status",
        "locksmithctl status",
        "cat /run/issue.d/10-ballast.issue",
        "cat /etc/.ignition-result.json",
        "journalctl --list-boots",
        "journalctl -u update-engine",
        "journalctl -u locksmithd",
        "systemctl status update-engine",
    ] {
        let said = reader.runs(command)?;
        ensure!(!said.trim().is_empty(), "`{command}` says nothing");
    }
    // A unit of another example: this host has it not.
    reader.ends(
        "systemctl status hello.service",
        "systemctl status hello.service",
        &[4],
    )?;
    // It is in no cluster.
    let status = "systemctl status cluster-agent";
    reader.ends(status, status, &[3])?;
    let check = "ignition cluster check";
    reader.ends(check, check, &[4])?;
    reader.runs("systemctl cat cluster-agent")?;
    reader.runs("journalctl -u cluster-agent")?;
    reader.runs("mount /dev/disk/by-partlabel/esp /mnt")?;
    reader.vm.exec_ok("umount /mnt")?;
    Ok(())
}

fn containers(reader: &mut Reader<'_>, registry: &Registry) -> Result<()> {
    let mirror = |prefix: &str| {
        format!(
            "[[registry]]\nprefix = \"{prefix}\"\n[[registry.mirror]]\n\
             location = \"{}\"\nplain-http = true\n",
            registry.name()
        )
    };
    let mirrors = mirror("registry.example.com") + &mirror("docker.io");
    let policy = "[[policy]]\nprefix = \"registry.example.com\"\nrequired = false\n";
    reader
        .vm
        .exec_ok("mkdir -p /etc/rocket/registries.d /etc/rocket/trust.d /srv/data")?;
    reader
        .vm
        .write_file("/etc/rocket/registries.d/e2e.toml", mirrors.as_bytes())?;
    reader
        .vm
        .write_file("/etc/rocket/trust.d/e2e.toml", policy.as_bytes())?;

    let run = format!("rocket run {WEB}");
    reader.starts(&run, &run)?;
    let uuid = running(reader, 1)?;
    let list = reader.runs("rocket list")?;
    contains("the list", &list, "web")?;
    let of = |command: &str| command.replace("UUID", &uuid);
    reader.fills_in("rocket status UUID", &of("rocket status UUID"))?;
    reader.fills_in("rocket enter UUID", &of("rocket enter UUID /bin/true"))?;
    reader.fills_in(
        "rocket export UUID FILE",
        &of("rocket export UUID /var/tmp/web.tar"),
    )?;
    reader.fills_in("rocket stop UUID", &of("rocket stop UUID"))?;
    running(reader, 0)?;
    reader.fills_in("rocket rm UUID", &of("rocket rm UUID"))?;

    let uuid = reader.fills_in("rocket prepare", &format!("rocket prepare {WEB}"))?;
    let prepared = format!("rocket run-prepared {}", uuid.trim());
    reader.starts("rocket run-prepared UUID", &prepared)?;
    stops(reader, 1)?;
    let several =
        format!("rocket run --port=8080:80 {WEB} --memory=256M --- {SYNC} -- --every=60s");
    reader.starts(&several, &several)?;
    stops(reader, 1)?;
    let volumes = "rocket run --volume=data,kind=host,source=/srv/data \
        --volume=tmp,kind=tmpfs,size=64M IMAGE --mount=volume=data,target=/data,readonly \
        --mount=volume=tmp,target=/tmp";
    reader.starts(volumes, &volumes.replace("IMAGE", WEB))?;
    stops(reader, 1)?;

    reader
        .vm
        .exec_ok("mkdir -p /etc/rocket/services.d && : > /etc/rocket/services.d/web.env")?;
    let words = format!("RUN=--port=8080:80 {WEB} --memory=256M\n");
    reader
        .vm
        .write_file("/etc/rocket/services.d/web.env", words.as_bytes())?;
    reader.runs("systemctl enable --now rocket@web")?;
    running(reader, 1)?;
    reader.vm.exec_ok("systemctl disable --now rocket@web")?;

    let detach = format!("rocket run --detach {WEB}");
    let uuid = reader.fills_in("rocket run --detach IMAGE", &detach)?;
    let uuid = uuid.trim();
    running(reader, 1)?;
    reader.fills_in("rocket logs UUID", &format!("rocket logs {uuid}"))?;
    stops(reader, 1)?;
    reader.fills_in("rocket rm --force", &format!("rocket rm --force {uuid}"))?;

    let quick = format!("sudo rocket run --detach --insecure-options=image --port=80:80 {NGINX}");
    let uuid = reader.runs(&quick)?;
    running(reader, 1)?;
    let page = reader
        .vm
        .exec_ok("curl -s -o /dev/null -w '%{http_code}' http://$(hostname -I | cut -d' ' -f1)/")?;
    ensure!(page.trim() == "404", "busybox has no index: {page}");
    reader.fills_in(
        "sudo rocket stop UUID",
        &format!("rocket stop {}", uuid.trim()),
    )?;
    reader.runs("sudo rocket gc --grace-period=0s")?;
    reader.runs("rocket gc")?;

    for verb in ["fetch", "image", "trust", "run", "oci run"] {
        let command = format!("rocket {verb}");
        reader.fills_in(&command, &format!("{command} --help"))?;
    }
    reader.runs("rocket run --help")?;
    reader.fills_in(
        "rocket run IMAGE --help",
        &format!("rocket run {WEB} --help"),
    )?;
    reader.runs("rocket oci list")?;
    reader.fills_in("rocket image verify", &format!("rocket image verify {WEB}"))?;
    let export = format!("rocket image export {WEB} /var/tmp/image.tar");
    reader.fills_in("rocket image export IMAGE FILE", &export)?;
    let import = format!("rocket image import /var/tmp/image.tar {WEB}");
    reader.fills_in("rocket image import FILE NAME", &import)?;
    for command in ["rocket image rm", "rocket image gc", "rocket trust list"] {
        let filled = match command {
            "rocket image rm" => format!("{command} {WEB}"),
            _ => command.to_owned(),
        };
        reader.fills_in(command, &filled)?;
    }
    let key = "/etc/ballast/team.pub";
    reader.vm.exec_ok(&format!(
        "printf -- '-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\\n-----END PUBLIC KEY-----\\n' > {key}"
    ))?;
    let trust = format!("rocket trust --yes --prefix example.com/team {key}");
    reader.fills_in("rocket trust --prefix example.com/team KEY", &trust)?;
    reader.fills_in("rocket trust rm PREFIX", "rocket trust rm example.com/team")?;
    Ok(())
}

/// A declared pod, as short as it can be.
const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: nginx, image: registry.example.com/team/web:1.2}
";

fn declared_pods(reader: &mut Reader<'_>) -> Result<()> {
    reader.vm.exec_ok("mkdir -p /etc/rocket/pods")?;
    reader.vm.write_file("/run/web.yaml", POD.as_bytes())?;
    reader.fills_in("rocket pods check FILE…", "rocket pods check /run/web.yaml")?;
    reader.vm.exec_ok(
        "mv /run/web.yaml /etc/rocket/pods/web.yaml && \
         until systemctl is-active --quiet rocket-pod-web; do sleep 1; done",
    )?;
    for command in [
        "rocket pods status",
        "rocket pods diff",
        "rocket pods apply --dry-run",
        "rocket pods apply",
        "systemctl status rocket-pod-web",
        "systemctl is-active rocket-pod-web",
        "rocket logs web",
        "rocket logs --app=nginx web",
        "systemctl --failed",
        "systemctl restart rocket-pod-web",
    ] {
        reader.runs(command)?;
    }
    let enter = "rocket enter --app=nginx web";
    reader.fills_in(enter, &format!("{enter} /bin/true"))?;
    reader.runs("systemctl stop rocket-pod-web")?;
    reader
        .vm
        .exec_ok("rm /etc/rocket/pods/web.yaml && rocket pods apply")?;
    Ok(())
}

/// Waits until that many pods run, and returns the newest.
fn running(reader: &mut Reader<'_>, count: usize) -> Result<String> {
    let list = "rocket list --no-legend --full | grep -E ' running ' | cut -d' ' -f1";
    let pods = reader.vm.exec_ok(&format!(
        "until test $({list} | grep -c .) = {count}; do sleep 1; done; {list} | tail -n1"
    ))?;
    Ok(pods.trim().to_owned())
}

/// Waits until that many pods run, and stops the newest.
fn stops(reader: &mut Reader<'_>, count: usize) -> Result<()> {
    let uuid = running(reader, count)?;
    reader.vm.exec_ok(&format!("rocket stop {uuid}"))?;
    running(reader, count - 1).map(drop)
}

/// Ends when no look by policy is under way.
const IDLE: &str = "until updatectl check; do test $? = 4 || exit; sleep 1; done";

fn updates(reader: &mut Reader<'_>, repository: &Repository<'_>) -> Result<()> {
    reader.vm.exec_ok("rm -f /etc/ballast/config.d/*")?;
    // It is not to reboot by itself, at whatever time of the day this is.
    reader.vm.write_file(
        "/etc/ballast/config.d/00-stay.toml",
        b"[reboot]\nstrategy = \"off\"\n",
    )?;
    repository.follow(reader.vm, "poll = \"1 week\"")?;
    // The engine looks as soon as it knows the server.
    reader.vm.exec_ok(IDLE)?;
    reader.runs("updatectl config check")?;
    reader.runs("updatectl config show")?;
    reader.runs("updatectl check")?;
    reader.fills_in("updatectl hold [REASON]", "updatectl hold looking at it")?;
    reader.runs("updatectl unhold")?;
    reader.vm.exec_ok(IDLE)?;
    let apply = format!("updatectl apply {TRIAL_VERSION}");
    reader.fills_in("updatectl apply [VERSION]", &apply)?;
    reader.runs("updatectl cancel")?;
    reader.vm.exec_ok(IDLE)?;
    reader.runs("sudo updatectl apply")?;
    reader.runs("updatectl apply")?;
    reader.fills_in("updatectl channel [NAME]", "updatectl channel")?;
    for command in ["updatectl status --json", "updatectl history --json"] {
        let said = reader.runs(command)?;
        let _: Value = serde_json::from_str(&said).with_context(|| command.to_owned())?;
    }
    let history = reader.runs("updatectl history")?;
    contains("the history", &history, TRIAL_VERSION)
}

fn reboots(reader: &mut Reader<'_>, etcd: &Etcd) -> Result<()> {
    etcd.ctl(&["role", "add", "other"])?;
    for command in [
        "etcdctl role add locksmith",
        "etcdctl role grant-permission locksmith --prefix=true readwrite \
         /ballast/locksmith/v1/workers/",
    ] {
        reader.pages.command(command)?;
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        etcd.ctl(&words)?;
    }
    // At no time of this test.
    let never = "[{ days = [\"Mon\"], start = \"00:00\", length = \"1s\" }]";
    reboots::becomes_a_member(reader.vm, etcd, never)?;
    reader.runs("locksmithctl who-blocks")?;
    for command in ["locksmithctl status --json", "locksmithctl brake --json"] {
        let said = reader.runs(command)?;
        let _: Value = serde_json::from_str(&said).with_context(|| command.to_owned())?;
    }
    reader.fills_in("locksmithctl set-max N", "locksmithctl set-max 2")?;
    reader.runs("locksmithctl set-max 1")?;
    reader.fills_in("locksmithctl lock [REASON]", "locksmithctl lock looking")?;
    reader.runs("locksmithctl unlock")?;
    let nobody = "locksmithctl unlock --yes 00000000000000000000000000000001";
    reader.fills_in("locksmithctl unlock ID", nobody)?;
    reader.runs("locksmithctl brake")?;
    reader.fills_in("locksmithctl brake [lift VERSION]", "locksmithctl brake")?;
    // No host had to leave it.
    let lift = "locksmithctl brake lift 0.3.0";
    reader.ends(lift, lift, &[0, 4])?;
    reader.vm.write_file(
        "/run/semaphore.json",
        b"{\"semaphore\":1,\"max\":1,\"holders\":[]}",
    )?;
    // Nothing is there yet that it could be; then it was taken over.
    reader.ends("locksmithctl migrate", "locksmithctl migrate", &[0, 1, 4])?;
    let file = "locksmithctl migrate /run/semaphore.json";
    reader.fills_in("locksmithctl migrate [FILE]", file)?;
    let serve = "locksmithd serve --fleet-lock '[::]:3333' --certificate FILE --key FILE";
    let filled = serve
        .replacen("FILE", &format!("{}/node.crt", reboots::IDENTITY), 1)
        .replacen("FILE", &format!("{}/node.key", reboots::IDENTITY), 1);
    reader.starts(serve, &filled)?;
    reader.vm.exec_ok(
        "until curl -sk -o /dev/null https://127.0.0.1:3333/; do sleep 1; done; \
         pkill -f 'locksmithd serve'",
    )?;
    reader.fills_in(
        "locksmithctl reboot [REASON]",
        "locksmithctl reboot looking",
    )?;
    reader.vm.exec_ok("locksmithctl unlock")?;
    reader.runs("locksmithctl reboot")?;
    reader.vm.exec_ok("locksmithctl unlock")?;
    reader.starts("locksmithctl reboot --force", "locksmithctl reboot --force")?;
    reader.vm.wait_reboot(BOOT)?;
    reader.vm.wait_boot_complete(BOOT)?;
    Ok(())
}

/// The host has rebooted into another release.
fn afterwards(reader: &mut Reader<'_>) -> Result<()> {
    blessed(reader.vm, TRIAL_VERSION, "b")?;
    let said = reader.runs("journalctl -b -1")?;
    let armed = format!("armed version={TRIAL_VERSION}");
    contains("the journal", &said, &armed)?;
    // The policy allows any time: the host may be gone before the command has ended.
    reader.starts("sudo updatectl rollback", "updatectl rollback")?;
    reader.pages.command("updatectl rollback")?;
    reader.vm.wait_reboot(BOOT)?;
    let back = reader.vm.wait_boot_complete(BOOT)?;
    ensure!(back.version == VERSION, "came back on {back:?}");
    let allow = format!("updatectl allow {TRIAL_VERSION}");
    reader.fills_in("updatectl allow VERSION", &allow)?;
    // They are not denied.
    for command in ["updatectl allow 0.3.0", "updatectl allow 1.3.0"] {
        reader.ends(command, command, &[4])?;
    }
    reader.starts("systemctl reboot", "systemctl reboot")?;
    reader.vm.wait_reboot(BOOT)?;
    Ok(())
}
