//! etcd for the hosts of a cluster: one member, on this machine's loopback interface, that
//! answers only who has a certificate.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use image::host::capture;
use image::tools::Tools;
use qemu::deadline::scaled;

use crate::authority::Authority;
use crate::context::Context;
use crate::http::HOST_AS_SEEN_BY_GUESTS;

const PACKAGES: [&str; 2] = ["etcd-client", "etcd-server"];

/// A name that its certificate has, too, for clusters with DNS of their own.
pub const NAME: &str = "api.cluster.test";

/// How long it may take to start; scaled.
const START: Duration = Duration::from_secs(30);

/// What it says when it answers.
const READY: &str = "ready to serve client requests";

/// The tree with it; made once.
pub fn tools(tools: &Tools) -> Result<Tools> {
    let tools = tools.with_packages(&PACKAGES);
    tools.context("making a tree with etcd")
}

/// It forgets everything when it is dropped.
pub struct Etcd {
    tools: Tools,
    _server: Server,
    port: u16,
    dir: PathBuf,
    authority: Authority,
}

impl Etcd {
    /// Starts one without content.
    pub fn start(context: &Context) -> Result<Self> {
        let tools = tools(&context.prepared().tools)?;
        let dir = context.file("etcd");
        fs::create_dir(&dir).context("making a directory for etcd")?;
        let authority = Authority::new()?;
        fs::write(dir.join("ca.crt"), authority.pem())?;
        let names = [HOST_AS_SEEN_BY_GUESTS, "127.0.0.1", NAME];
        keep(&authority, &dir, "server", &names)?;
        keep(&authority, &dir, "operator", &[])?;
        let port = free_port()?;
        let server = run(&tools, &dir, port)?;
        Ok(Self {
            tools,
            _server: server,
            port,
            dir,
            authority,
        })
    }

    /// Its address for a guest.
    pub fn url(&self) -> String {
        format!("https://{HOST_AS_SEEN_BY_GUESTS}:{}", self.port)
    }

    /// Its address by its name.
    pub fn named_url(&self) -> String {
        format!("https://{NAME}:{}", self.port)
    }

    /// `etcdctl` and the libraries that it needs, for an image that has none: paths without
    /// the leading slash, and contents.
    pub fn client(&self) -> Result<Vec<(String, Vec<u8>)>> {
        const CLIENT: &str = "/usr/bin/etcdctl";
        let needs = capture(self.tools.command("ldd").arg(CLIENT))?;
        let libraries = needs
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        let mut files = Vec::new();
        for path in libraries.chain([CLIENT]) {
            let mut cat = self.tools.command("cat");
            let read = cat.arg(path).output().context("starting cat")?;
            anyhow::ensure!(read.status.success(), "{path} cannot be read");
            files.push((path.trim_start_matches('/').to_owned(), read.stdout));
        }
        Ok(files)
    }

    /// Who signs its certificate, and those of its clients.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What `etcdctl` prints.
    pub fn ctl(&self, words: &[&str]) -> Result<String> {
        let mut etcdctl = self.tools.command("etcdctl");
        let file = |name: &str| self.dir.join(name);
        etcdctl
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints=https://127.0.0.1:{}", self.port))
            .arg("--cacert")
            .arg(file("ca.crt"))
            .arg("--cert")
            .arg(file("operator.crt"))
            .arg("--key")
            .arg(file("operator.key"))
            .args(words);
        capture(&mut etcdctl)
    }
}

fn run(tools: &Tools, dir: &Path, port: u16) -> Result<Server> {
    let clients = format!("https://127.0.0.1:{port}");
    let file = |name: &str| dir.join(name).display().to_string();
    let mut etcd = tools.command("etcd");
    etcd.args(["--client-cert-auth", "--unsafe-no-fsync"])
        .arg(format!("--data-dir={}", file("data")))
        .arg(format!("--listen-client-urls={clients}"))
        .arg(format!("--advertise-client-urls={clients}"))
        .arg(format!("--trusted-ca-file={}", file("ca.crt")))
        .arg(format!("--cert-file={}", file("server.crt")))
        .arg(format!("--key-file={}", file("server.key")));
    Server::start(&mut etcd, &dir.join("etcd.log"))
}

/// One that runs; it ends when this is dropped.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts this etcd as the only member, with a port for peers that it does not have; its
    /// log goes to a file. Returns when it answers.
    pub fn start(etcd: &mut Command, log: &Path) -> Result<Self> {
        let peers = format!("http://127.0.0.1:{}", free_port()?);
        etcd.arg("--name=e2e")
            .arg(format!("--listen-peer-urls={peers}"))
            .arg(format!("--initial-advertise-peer-urls={peers}"))
            .arg(format!("--initial-cluster=e2e={peers}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut server = Self(etcd.spawn().context("starting etcd")?);
        let said = server.0.stderr.take();
        let said = said.context("etcd has no standard error")?;
        let (ready, started) = channel();
        let mut kept = fs::File::create(log).context("making etcd's log")?;
        thread::spawn(move || follow(said, &mut kept, &ready));
        if started.recv_timeout(scaled(START)).is_err() {
            let log = fs::read_to_string(log).unwrap_or_default();
            anyhow::bail!("etcd did not start: {log}");
        }
        Ok(server)
    }
}

/// Keeps what etcd says, and tells once that it answers.
fn follow(said: impl Read, log: &mut fs::File, ready: &Sender<()>) {
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        if line.contains(READY) {
            let _ = ready.send(());
        }
        let _ = writeln!(log, "{line}");
    }
}

/// A certificate and its key as files.
fn keep(authority: &Authority, dir: &Path, name: &str, names: &[&str]) -> Result<()> {
    let certified = authority.certify(name, names)?;
    fs::write(
        dir.join(name).with_extension("crt"),
        certified.certificate_pem(),
    )?;
    fs::write(dir.join(name).with_extension("key"), certified.key_pem())?;
    Ok(())
}

/// A port that nobody had a moment ago.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listening on 127.0.0.1")?;
    Ok(listener.local_addr().context("finding the port")?.port())
}
