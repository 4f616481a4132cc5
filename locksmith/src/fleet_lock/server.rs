//! A FleetLock server without a state of its own: everything is in etcd.
//!
//! A client asks again every few minutes and is not connected in between, so its place in
//! the queue is kept for that long. It is known as `fleet-lock:ID`: whoever can reach the
//! server, which knows nobody's name, can give back what a client of it holds, and never
//! what a host holds by itself.

mod connection;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{ClientParams, Rejection, Verb};
use crate::etcd::{Client, EtcdLock, HostClock, Store, Terms};
use crate::lock::{Answer, Claim, GroupName, HolderId, Lock, LockError, Text, Wait};

pub use tls::TlsError;

/// Connections at a time; further ones wait.
const CONNECTIONS: usize = 64;

/// How long a client that does not ask again keeps its place.
const PLACE: Duration = Duration::from_secs(900);

/// Before the IDs of clients.
const MARK: &str = "fleet-lock:";

/// What a server is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Its certificate and the key of it, for TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How long a client has for a request's head, and for its body.
    pub patience: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            tls: None,
            patience: Duration::from_secs(10),
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened at.
    #[error("listening at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("setting up TLS")]
    Tls(#[from] TlsError),
}

/// A server that listens.
pub struct Server<S = Client> {
    listener: TcpListener,
    service: Arc<Service<S>>,
    tls: Option<tokio_rustls::TlsAcceptor>,
    patience: Duration,
}

/// What all connections share.
pub(super) struct Service<S> {
    etcd: Arc<S>,
}

/// An answer.
pub(super) struct Reply {
    pub status: StatusCode,
    /// Why not, unless it is yes.
    pub rejection: Option<Rejection>,
}

impl Reply {
    pub(super) fn no(status: StatusCode, kind: &str, value: impl Into<String>) -> Self {
        let (kind, value) = (kind.to_owned(), value.into());
        Self {
            status,
            rejection: Some(Rejection { kind, value }),
        }
    }

    fn yes() -> Self {
        Self {
            status: StatusCode::OK,
            rejection: None,
        }
    }
}

impl<S: Store + 'static> Server<S> {
    /// Listens at `address`, and keeps everything in `etcd`.
    pub async fn bind(
        address: SocketAddr,
        etcd: S,
        options: ServerOptions,
    ) -> Result<Self, ServeError> {
        let tls = match &options.tls {
            Some((certificate, key)) => Some(tls::acceptor(certificate, key)?),
            None => None,
        };
        let etcd = Arc::new(etcd);
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ServeError::Listen { address, source })?;
        Ok(Self {
            listener,
            service: Arc::new(Service { etcd }),
            tls,
            patience: options.patience,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped.
    pub async fn serve(self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let service = Arc::clone(&self.service);
                    let (tls, patience) = (self.tls.clone(), self.patience);
                    tokio::spawn(async move {
                        connection::serve(stream, from, tls, service, patience).await;
                        drop(place);
                    });
                }
                // The client is gone, or there are too many open files: others go on.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

impl<S: Store> Service<S> {
    pub(super) async fn answer(&self, verb: Verb, params: ClientParams, from: SocketAddr) -> Reply {
        let id = match HolderId::new(format!("{MARK}{}", params.id)) {
            Ok(id) => id,
            Err(why) => {
                let value = format!("the ID cannot be used: {why}");
                return Reply::no(StatusCode::BAD_REQUEST, "bad_request", value);
            }
        };
        let mut lock = self.lock(params.group);
        let answer = match verb {
            Verb::PreReboot => pre_reboot(&mut lock, claim(id, from)).await,
            Verb::SteadyState => lock.release(&id).await.map(|_| Reply::yes()),
        };
        answer.unwrap_or_else(|error| failed(&error))
    }

    fn lock(&self, group: GroupName) -> EtcdLock<Arc<S>, HostClock> {
        let terms = Terms {
            group,
            brake_threshold: 1,
            expire_after: None,
        };
        EtcdLock::new(Arc::clone(&self.etcd), HostClock::default(), terms).keeping_places_for(PLACE)
    }
}

fn claim(id: HolderId, from: SocketAddr) -> Claim {
    Claim {
        id,
        host: Text::default(),
        boot_id: Text::default(),
        reason: Text::clip(&format!("FleetLock client at {}", from.ip())),
        from: None,
        to: None,
    }
}

async fn pre_reboot(lock: &mut impl Lock, claim: Claim) -> Result<Reply, LockError> {
    let value = match lock.acquire(&claim).await? {
        Answer::Granted(_) => return Ok(Reply::yes()),
        Answer::Waiting(Wait::Queued { position, view }) => {
            let holders: Vec<&str> = view.holders.iter().map(|h| h.claim.id.as_str()).collect();
            let holders = holders.join(", ");
            format!(
                "all {} places are taken, by {holders}; place {position} in the queue",
                view.max
            )
        }
        Answer::Waiting(Wait::Refused { reason }) => reason,
        Answer::Braked(brake) => format!("{} is under a brake", brake.version),
    };
    Ok(Reply::no(StatusCode::CONFLICT, "failed_lock", value))
}

/// What clients may know of what went wrong; the journal has the rest.
fn failed(error: &LockError) -> Reply {
    let value = error.to_string();
    match error {
        LockError::Asked(_) => Reply::no(StatusCode::BAD_REQUEST, "bad_request", value),
        error if error.is_outage() => {
            Reply::no(StatusCode::SERVICE_UNAVAILABLE, "etcd_unavailable", value)
        }
        _ => Reply::no(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", value),
    }
}
