//! Commands for the machine of whoever makes configs and releases.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use qemu::deadline::scaled;

use super::{COMMAND, here, shell};
use crate::authority::Authority;
use crate::context::{Context, contains};
use crate::pages::Pages;
use crate::trial::VERSION;

/// Commands about configs. Returns the one of the quick start, translated.
pub fn configs(context: &Context, pages: &mut Pages) -> Result<PathBuf> {
    let quick = context.file("quick-start.ign");
    for command in [
        "cargo ignition validate examples/quick-start.yaml",
        "cargo ignition plan --config examples/quick-start.yaml",
        "cargo ignition translate --pretty examples/minimal.yaml",
        "cargo ignition validate examples/single-host.yaml",
    ] {
        here(pages, command, command)?;
    }
    let command = "cargo ignition translate examples/quick-start.yaml > quick-start.ign";
    here(
        pages,
        command,
        &in_place(command, "quick-start.ign", &quick),
    )?;

    let dir = context.file("config");
    fs::create_dir_all(dir.join("files")).context("making a directory for a config")?;
    fs::write(
        dir.join("files/id_ed25519.pub"),
        "ssh-ed25519 AAAA of-nobody\n",
    )?;
    fs::write(dir.join("host.yaml"), HOST)?;
    fs::write(dir.join("web.yaml"), WEB)?;
    fs::write(dir.join("node.yaml"), NODE)?;
    let authority = Authority::new()?;
    let node = authority.certify("web-1", &[])?;
    fs::write(dir.join("files/ca.crt"), authority.pem())?;
    fs::write(dir.join("files/web-1.crt"), node.certificate_pem())?;
    fs::write(dir.join("files/web-1.key"), node.key_pem())?;
    fs::File::create(dir.join("vdb.img"))?.set_len(100 << 20)?;
    let inside = |command: &str| {
        let names = [
            "files",
            "host.yaml",
            "web.yaml",
            "node.yaml",
            "vdb.img",
            "host.ign",
            "node.ign",
        ];
        names.into_iter().fold(command.to_owned(), |command, name| {
            in_place(&command, name, &dir.join(name))
        })
    };
    for command in [
        "cargo ignition validate --files-dir files host.yaml",
        "cargo ignition plan --files-dir files --config host.yaml",
        "cargo ignition translate --pretty --files-dir files host.yaml > host.ign",
        "cargo ignition translate --files-dir files node.yaml > node.ign",
    ] {
        here(pages, command, &inside(command))?;
    }
    let command = "ignition plan --config web.yaml --disk /dev/vdb=vdb.img";
    let plan = here(pages, command, &format!("cargo {}", inside(command)))?;
    contains("the plan", &plan, "/dev/vdb is ")?;

    let command = "openssl req -x509 -newkey ed25519 -nodes -days 3650 -keyout key.pem \
        -out cert.pem -subj /CN=config.example -addext subjectAltName=DNS:config.example \
        -addext basicConstraints=critical,CA:FALSE";
    pages.command(command)?;
    let words = command.split_whitespace().skip(1).map(|word| match word {
        "key.pem" | "cert.pem" => dir.join(word).display().to_string(),
        word => word.to_owned(),
    });
    image::host::capture(context.tool("openssl").args(words))?;
    Ok(quick)
}

/// The config of the page about provisioning, in short.
const HOST: &str = "variant: ballast
version: 1.0.0
passwd:
  users:
    - name: core
      ssh_authorized_keys_local: [id_ed25519.pub]
";

/// The config of the page about joining.
const NODE: &str = "variant: ballast
version: 1.0.0
cluster:
  endpoint: https://api.cluster.local:6443
  ca: {local: ca.crt}
  certificate: {local: web-1.crt}
  key: {local: web-1.key}
  dns: [10.96.0.10]
  domain: cluster.local
  name: web-1
  labels: {zone: eu-1, disk: fast}
  agent:
    image: registry.example.com/team/agent:1.4
    args: [--log-level=info]
";

const WEB: &str = "variant: ballast
version: 1.0.0
storage:
  disks:
    - device: /dev/vdb
      partitions:
        - label: data
          size_mib: 10
";

/// Commands about releases, with keys and a repository of their own.
pub fn releases(context: &Context, pages: &mut Pages) -> Result<()> {
    let keys = context.file("keys");
    let repository = context.file("published");
    let at = |path: &Path| path.display().to_string();
    let keys = at(&keys);
    let command = "cargo image -- keys";
    here(pages, command, &format!("{command} --dir {keys}"))?;
    let release = at(&context.prepared().release(VERSION));
    for version in ["1.2.3", "0.2.0"] {
        let command = format!(
            "cargo image -- publish --repo repo --channel stable \
             --from ~/.cache/ballast/images/{version}"
        );
        let filled = format!(
            "cargo image -- publish --repo {} --channel stable --from {release} --keys {keys} --level 1",
            at(&repository)
        );
        here(pages, &command, &filled)?;
    }
    let command = "cargo image -- keys rotate";
    here(pages, command, &format!("{command} --dir {keys}"))?;
    let command = "cargo image -- publish --repo DIR";
    let filled = command.replace("DIR", &at(&repository));
    here(pages, command, &format!("{filled} --keys {keys}"))?;
    for command in ["cargo image -- serve repo", "cargo image -- serve repo &"] {
        pages.command(command)?;
    }
    serves(&format!(
        "exec cargo image -- serve {} --listen 127.0.0.1:0",
        at(&repository)
    ))?;
    pages.command("cargo e2e -- --list")?;
    let list = std::env::current_exe().context("finding this program")?;
    let list = image::host::capture(std::process::Command::new(list).arg("--list"))?;
    contains("the list", &list, "the_example_runs_with_cargo_vm")
}

/// Fails unless a server prints its address and answers there.
fn serves(command: &str) -> Result<()> {
    let mut server = shell(command)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting a server")?;
    let mut url = String::new();
    let read = server
        .stdout
        .take()
        .map(|stdout| BufReader::new(stdout).read_line(&mut url));
    let answer = ask(url.trim());
    let _ = server.kill();
    server.wait().context("waiting for a server")?;
    read.context("the server has no output")??;
    let answer = answer.with_context(|| format!("asking {url:?}"))?;
    contains("the server's answer", &answer, "HTTP/1.1 200")
}

/// What a web server answers, as text.
fn ask(url: &str) -> Result<String> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(scaled(COMMAND)))?;
    write!(
        stream,
        "GET /metadata/1.root.json HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A command with a path in the place of a file's name.
fn in_place(command: &str, name: &str, path: &Path) -> String {
    let path = path.display();
    let command = command.replace(&format!(" {name}"), &format!(" {path}"));
    command.replace(&format!("={name}"), &format!("={path}"))
}
