//! A service that several hosts answer, watched from outside.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use qemu::deadline::scaled;

/// How long one answer may take; scaled.
const ANSWER: Duration = Duration::from_secs(4);

/// Between two rounds. An answer costs a guest much of its processor's time.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks all hosts again and again.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What it has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often all were asked.
    pub rounds: usize,
    /// Of each host, in how many rounds it did not answer.
    pub missed: Vec<usize>,
    /// Rounds in which nobody answered, by the time since the beginning.
    pub down: Vec<Duration>,
}

impl Watch {
    /// Begins with the service at these ports of this machine.
    pub fn start(ports: &[u16]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, ports) = (Arc::clone(&stop), ports.to_vec());
        let thread = thread::spawn(move || watch(&flag, &ports));
        Self { stop, thread }
    }

    /// Ends it.
    pub fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the watch panicked"))
    }
}

fn watch(stop: &AtomicBool, ports: &[u16]) -> Seen {
    let began = Instant::now();
    let mut seen = Seen {
        missed: vec![0; ports.len()],
        ..Seen::default()
    };
    while !stop.load(Ordering::Relaxed) {
        let at = began.elapsed();
        let answers = all(ports);
        seen.rounds += 1;
        for (missed, answer) in seen.missed.iter_mut().zip(&answers) {
            *missed += usize::from(answer.is_err());
        }
        if answers.iter().all(Result::is_err) {
            seen.down.push(at);
        }
        thread::sleep(PAUSE);
    }
    seen
}

/// Asks all hosts at once.
fn all(ports: &[u16]) -> Vec<Result<String>> {
    thread::scope(|scope| {
        let asked: Vec<_> = ports
            .iter()
            .map(|port| scope.spawn(move || ask(*port)))
            .collect();
        let join = |host: thread::ScopedJoinHandle<'_, Result<String>>| {
            host.join()
                .unwrap_or_else(|_| Err(anyhow!("asking panicked")))
        };
        asked.into_iter().map(join).collect()
    })
}

/// What the host behind `port` answers. QEMU takes connections for machines that are down.
pub fn ask(port: u16) -> Result<String> {
    let limit = scaled(ANSWER);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    anyhow::ensure!(head.contains(" 200 "), "answered {head}");
    Ok(body.trim().to_owned())
}
