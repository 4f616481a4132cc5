//! Three members of etcd on this machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use image::tools::Tools;
use locksmith::etcd::{EtcdLock, Options, Terms};
use locksmith::lock::{GroupName, Lock as _};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Debian's package of etcd.
const PACKAGE: &str = "etcd-server";

const MEMBERS: usize = 3;

/// How long the members have to find each other.
const START: Duration = Duration::from_secs(60);

/// What etcd counts for each kind of request.
const COUNTER: &str = "grpc_server_started_total{";

/// A cluster; ends when it is dropped.
pub struct Cluster {
    members: Vec<Child>,
    clients: Vec<u16>,
    // With what the members write.
    _work: TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("finding a port")?;
    Ok(listener.local_addr().context("finding a port")?.port())
}

impl Cluster {
    /// Starts one from the tree of tools, or with this program.
    pub async fn start(program: Option<&Path>) -> Result<Self> {
        let tools = match program {
            Some(_) => None,
            None => Some(Tools::ensure()?.with_packages(&[PACKAGE])?),
        };
        let command = || match (&tools, program) {
            (Some(tools), _) => tools.command("etcd"),
            (None, program) => Command::new(program.unwrap_or(Path::new("etcd"))),
        };
        let work = tempfile::tempdir().context("making a directory for etcd")?;
        let ports = || {
            (0..MEMBERS)
                .map(|_| free_port())
                .collect::<Result<Vec<u16>>>()
        };
        let (clients, peers) = (ports()?, ports()?);
        let members = (0..MEMBERS)
            .map(|n| start(command(), n, work.path(), &clients, &peers))
            .collect::<Result<_>>()?;
        let cluster = Self {
            members,
            clients,
            _work: work,
        };
        cluster.wait().await?;
        Ok(cluster)
    }

    /// Waits until each member answers.
    async fn wait(&self) -> Result<()> {
        let end = Instant::now() + START;
        for member in 0..MEMBERS {
            let mut lock = self.lock(member as u32, "start")?;
            while let Err(error) = lock.view().await {
                ensure!(Instant::now() < end, "etcd does not start: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// The lock as one of its hosts has it; each begins with another member.
    pub fn lock(&self, host: u32, group: &str) -> Result<EtcdLock> {
        let mut clients = self.clients.clone();
        clients.rotate_left(host as usize % MEMBERS);
        let endpoint = |port| format!("http://127.0.0.1:{port}");
        let options = Options {
            endpoints: clients.into_iter().map(endpoint).collect(),
            ..Options::default()
        };
        let terms = Terms {
            group: GroupName::new(group).context("naming the group")?,
            brake_threshold: 1,
            expire_after: None,
        };
        Ok(EtcdLock::open(options, terms)?)
    }

    /// Requests of each kind that hosts have made so far.
    pub async fn requests(&self) -> Result<BTreeMap<String, u64>> {
        let mut all = BTreeMap::new();
        for port in &self.clients {
            let page = metrics(*port).await.context("reading etcd's metrics")?;
            for (kind, number) in page.lines().filter_map(counted) {
                *all.entry(kind).or_default() += number;
            }
        }
        Ok(all)
    }
}

fn start(
    mut command: Command,
    n: usize,
    work: &Path,
    clients: &[u16],
    peers: &[u16],
) -> Result<Child> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let all = peers.iter().enumerate();
    let all: Vec<String> = all
        .map(|(n, port)| format!("m{n}={}", url(*port)))
        .collect();
    let log = work.join(format!("m{n}.log"));
    let log = std::fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    command
        .args(["--log-level=warn".to_owned(), format!("--name=m{n}")])
        .arg(format!(
            "--data-dir={}",
            work.join(format!("m{n}")).display()
        ))
        .arg(format!("--listen-client-urls={}", url(clients[n])))
        .arg(format!("--advertise-client-urls={}", url(clients[n])))
        .arg(format!("--listen-peer-urls={}", url(peers[n])))
        .arg(format!("--initial-advertise-peer-urls={}", url(peers[n])))
        .arg(format!("--initial-cluster={}", all.join(",")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn().context("starting etcd")
}

async fn metrics(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}

/// Kind and number of a line of the metrics, if it counts requests.
fn counted(line: &str) -> Option<(String, u64)> {
    let labels = line.strip_prefix(COUNTER)?;
    let (_, method) = labels.split_once("grpc_method=\"")?;
    let (method, _) = method.split_once('"')?;
    let number = line.rsplit(' ').next()?.parse::<f64>().ok()?;
    Some((method.to_owned(), number as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As etcd 3.5 writes it.
    #[test]
    fn requests_are_read_from_metrics() {
        let line = "grpc_server_started_total{grpc_method=\"Txn\",grpc_service=\"etcdserverpb.KV\",\
                    grpc_type=\"unary\"} 1.234567e+06";
        assert_eq!(counted(line), Some(("Txn".to_owned(), 1_234_567)));
        assert_eq!(counted("# HELP grpc_server_started_total"), None);
        assert_eq!(
            counted("grpc_server_handled_total{grpc_method=\"Txn\"} 5"),
            None
        );
    }
}
