//! The page about three hosts on one machine, with one of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use benchmarks::registry::Registry;
use qemu::Forward;
use qemu::deadline::scaled;
use serde_json::json;

use super::here;
use crate::config::data_url;
use crate::context::{BOOT, Context, contains, same};
use crate::disk::Disk;
use crate::etcd::{self, Server, free_port};
use crate::pages::{LIST_NODES, Pages, START_ETCD, TRANSLATE_NODES};
use crate::repository::Repository;
use crate::scenarios::joining::ask;
use crate::trial::{DISK_GIB, VERSION};
use image::build::source_dir;
use image::host::capture;
use image::tools::Tools;

/// How long a pod may take to answer; scaled.
const ANSWERS: Duration = Duration::from_secs(120);

const IMAGE: &str = "mkdir /www && echo served > /www/index.html && exec httpd -f -p 80 -h /www";

pub fn the_page_about_three_hosts_makes_a_node(context: &Context) -> Result<()> {
    let mut pages = Pages::read(&source_dir())?;
    let dir = context.file("three");
    let here_is = |command: &str| command.replace("three/", &format!("{}/", dir.display()));

    let mut copy = Command::new("cp");
    copy.args(["-r", "examples/three-hosts"]).arg(&dir);
    capture(copy.current_dir(source_dir()))?;
    let certify = pages.command("sh three/certificates.sh")?;
    let certify = here_is(certify);
    capture(context.tool("sh").args(certify.split(' ').skip(1)))?;

    let plane = ControlPlane::start(context, &mut pages, &dir)?;
    let repository = Repository::start(context)?;
    repository.publish(VERSION)?;
    let template = fs::read_to_string(dir.join("node.yaml")).context("reading the template")?;
    let template = template
        .replace("10.0.2.2:2379", &format!("10.0.2.2:{}", plane.port))
        .replace("http://10.0.2.2:8000", &repository.url());
    for n in ["1", "2", "3"] {
        let name = format!("host-{n}");
        fs::write(
            dir.join(&name).with_extension("yaml"),
            template.replace("NAME", &name),
        )?;
        let filled = here_is(TRANSLATE_NODES)
            .replace("$n", n)
            .replace(" three ", &format!(" {} ", dir.display()));
        here(&mut pages, TRANSLATE_NODES, &filled)?;
    }

    let registry = Registry::start()?;
    let web = json!({"Env": ["PATH=/bin"], "Cmd": ["/bin/sh", "-c", IMAGE]});
    registry.push("library/nginx", "1.28", &context.busybox(&web)?);
    let config = with_mirror(context, &dir.join("host-1.ign"), &registry)?;
    let disk = context.file("host-1.img");
    let disk = Disk::copy(&context.prepared().disk_image(), disk, DISK_GIB)?;
    let forward = Forward {
        host: free_port()?,
        guest: 8080,
    };
    pages.command(
        "cargo vm -- --ignition three/host-1.ign --disk three/host-1.img --forward 8081:8080",
    )?;
    let port = forward.host;
    let setup = context.setup_on(&disk).ignition(config).forward(forward);
    context.boot(&setup, |vm| {
        vm.wait_boot_complete(BOOT)?;
        serves(port)?;
        vm.exec_ok(
            "until journalctl -u cluster-agent | grep -q 'host-1 is registered'; do sleep 1; done",
        )?;
        same(
            "the nodes",
            &plane.nodes(&mut pages)?,
            "/nodes/host-1\nzone=here\n",
        )?;
        for command in [
            "sudo ignition cluster check",
            "systemctl status cluster-agent",
            "rocket list",
            "locksmithctl status",
        ] {
            pages.command(command)?;
            vm.exec_ok(command.trim_start_matches("sudo "))?;
        }
        contains("the lock", &vm.exec_ok("locksmithctl status")?, "three")?;
        Ok(())
    })
}

/// Waits until the pod of the node answers.
fn serves(port: u16) -> Result<()> {
    let until = Instant::now() + scaled(ANSWERS);
    loop {
        match ask(port) {
            Ok(answer) => return same("the pod's answer", &answer, "served"),
            Err(error) if Instant::now() > until => return Err(error.context("no pod serves")),
            Err(_) => thread::sleep(Duration::from_secs(2)),
        }
    }
}

/// A config that has the page's in it, and where the image comes from here.
fn with_mirror(context: &Context, config: &Path, registry: &Registry) -> Result<PathBuf> {
    let text =
        fs::read_to_string(config).with_context(|| format!("reading {}", config.display()))?;
    let mirror = format!(
        "[[registry]]\nprefix = \"docker.io\"\n[[registry.mirror]]\nlocation = \"{}\"\n\
         plain-http = true\n",
        registry.name()
    );
    context.config(&json!({
        "ignition": {
            "version": "3.6.0",
            "config": { "merge": [{ "source": data_url(text) }] }
        },
        "storage": { "files": [{
            "path": "/etc/rocket/registries.d/e2e.toml",
            "contents": { "source": data_url(mirror) }
        }] }
    }))
}

/// etcd, as the page starts it.
struct ControlPlane {
    tools: Tools,
    _server: Server,
    port: u16,
    dir: PathBuf,
}

impl ControlPlane {
    fn start(context: &Context, pages: &mut Pages, dir: &Path) -> Result<Self> {
        let tools = etcd::tools(&context.prepared().tools)?;
        let port = free_port()?;
        let dir = dir.to_path_buf();
        let mut etcd = tools.command("etcd");
        etcd.args(words(pages.command(START_ETCD)?, &dir, port));
        let server = Server::start(&mut etcd, &dir.join("etcd.log"))?;
        Ok(Self {
            tools,
            _server: server,
            port,
            dir,
        })
    }

    /// The nodes that are registered, as the page asks for them.
    fn nodes(&self, pages: &mut Pages) -> Result<String> {
        let mut etcdctl = self.tools.command("etcdctl");
        etcdctl.env("ETCDCTL_API", "3");
        etcdctl.args(words(pages.command(LIST_NODES)?, &self.dir, self.port));
        capture(&mut etcdctl)
    }
}

/// What follows the program in a command of the page.
fn words(command: &str, dir: &Path, port: u16) -> Vec<String> {
    let filled = command
        .replace("three/", &format!("{}/", dir.display()))
        .replace(":2379", &format!(":{port}"));
    filled.split(' ').skip(1).map(str::to_owned).collect()
}
