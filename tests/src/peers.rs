//! Programs of Debian's from a tree of their own: what an encrypted volume is bound to, beside
//! the machine (an emulated TPM, and a tang server), and what a web site is made of.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use benchmarks::containers::Layer;
use image::host::capture;
use image::tools::Tools;

use crate::context::Context;

const PACKAGES: [&str; 4] = ["nginx-light", "redis-server", "swtpm", "tang-common"];

/// The tree with all of them; made once.
pub fn tools(context: &Context) -> Result<Tools> {
    let tools = &context.prepared().tools;
    let tools = tools.with_packages(&PACKAGES);
    tools.context("making a tree with swtpm, tang, nginx and redis")
}

/// A program of the tree with its libraries, as the layer of an image.
pub fn layer(tools: &Tools, program: &str) -> Result<Layer> {
    let listed = capture(tools.command("ldd").arg(program))?;
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    let mut tar = tools.command("tar");
    tar.args(["--create", "--dereference", "--directory=/", "--file=-"]);
    for path in std::iter::once(program).chain(libraries) {
        tar.arg(path.trim_start_matches('/'));
    }
    let packed = tar.output().context("starting tar")?;
    ensure!(
        packed.status.success(),
        "packing {program}: {}",
        String::from_utf8_lossy(&packed.stderr)
    );
    Ok(Layer::plain(packed.stdout))
}

/// A TPM 2.0 that forgets nothing while it lives.
pub struct Tpm {
    child: Child,
    socket: PathBuf,
}

impl Tpm {
    /// Starts one that has never been used.
    pub fn start(context: &Context, tools: &Tools) -> Result<Self> {
        let state = context.file("tpm");
        fs::create_dir(&state).context("making a directory for the TPM")?;
        let socket = context.file("tpm.sock");
        // Listening before the emulator runs: whoever connects first only waits.
        let listener = UnixListener::bind(&socket).context("listening for the machine's TPM")?;
        let mut swtpm = tools.command("swtpm");
        swtpm
            .args([
                "socket",
                "--tpm2",
                "--ctrl",
                "type=unixio,fd=0",
                "--tpmstate",
            ])
            .arg(format!("dir={}", state.display()))
            .stdin(Stdio::from(OwnedFd::from(listener)));
        let child = swtpm.spawn().context("starting swtpm")?;
        Ok(Self { child, socket })
    }

    /// Its control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // It may have ended with its machine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tang server on this machine's loopback interface, until the process ends.
pub struct Tang {
    port: u16,
    thumbprint: String,
    connections: Arc<AtomicUsize>,
}

impl Tang {
    /// Makes keys and serves them.
    pub fn start(context: &Context, tools: &Tools) -> Result<Self> {
        let keys = context.file("tang");
        fs::create_dir(&keys).context("making a directory for tang")?;
        let mut keygen = tools.command("/usr/libexec/tangd-keygen");
        capture(keygen.arg(&keys).args(["sig", "exc"]))?;
        let mut jose = tools.command("jose");
        jose.args(["jwk", "thp", "-a", "S256", "-i"])
            .arg(keys.join("sig.jwk"));
        let thumbprint = capture(&mut jose)?.trim().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").context("listening on 127.0.0.1")?;
        let port = listener.local_addr().context("finding the port")?.port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (tools, counter) = (tools.clone(), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let (tools, keys) = (tools.clone(), keys.clone());
                // A guest that breaks off asks again.
                thread::spawn(move || answer(&tools, &keys, stream));
            }
        });
        Ok(Self {
            port,
            thumbprint,
            connections,
        })
    }

    /// Its port on this machine's loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What its key is known by.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// How often somebody connected.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// One connection: tangd speaks HTTP through standard input and output, and ends with it.
fn answer(tools: &Tools, keys: &Path, stream: TcpStream) -> Result<()> {
    let input = OwnedFd::from(stream.try_clone()?);
    let mut tangd = tools.command("/usr/libexec/tangd");
    let mut child = tangd
        .arg(keys)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(OwnedFd::from(stream)))
        .stderr(Stdio::null())
        .spawn()?;
    child.wait()?;
    Ok(())
}
