//! etcd itself, over gRPC.
//!
//! There is one connection, to one endpoint, as long as that answers; then the next one
//! has its turn. A balanced channel over all of them would go on asking a member that is
//! stopped or cut off.

mod fault;
mod link;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Compare as Condition, CompareOp, DeleteOptions, Error, GetOptions, KeyValue, PutOptions,
    SortOrder, SortTarget, TxnOp, WatchOptions,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::store::{
    Committed, Compare, Entry, Fault, Kept, Lease, Listing, Op, Query, Read, Revision, Store,
    StoreError, Txn,
};
use crate::lock::LockError;
use link::Link;

/// How long an endpoint has for an answer, connecting included.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Where etcd is, and who this host is to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Addresses of members, `http` or `https`.
    pub endpoints: Vec<String>,
    /// Authorities that are believed, instead of the host's.
    pub ca: Option<PathBuf>,
    /// The host's certificate.
    pub certificate: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
    /// The user.
    pub user: Option<String>,
    /// The file with the user's password.
    pub password_file: Option<PathBuf>,
}

/// A client of etcd. Connects when it is first asked for something.
pub struct Client {
    options: Options,
    turn: Mutex<Turn>,
}

/// Whose turn it is, and the connection to it.
#[derive(Default)]
struct Turn {
    endpoint: usize,
    link: Option<Link>,
}

impl Client {
    /// A client for `options`. Files are read when a connection is made, so a certificate
    /// that was renewed is used from the next one on.
    pub fn new(options: Options) -> Result<Self, LockError> {
        link::check(&options)?;
        Ok(Self {
            options,
            turn: Mutex::default(),
        })
    }

    /// Asks one endpoint after the other, each once, until one answers. A refusal may be
    /// that of a token or a certificate whose time is over: then there is one try more,
    /// as all of them on a new connection.
    async fn ask<T, F>(&self, ask: impl Fn(etcd_client::Client) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut left = self.options.endpoints.len();
        let mut was_refused = false;
        loop {
            let (endpoint, answer) = self.ask_one(&ask).await;
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            left -= 1;
            if error.fault == Fault::Denied && !was_refused {
                (left, was_refused) = (left + 1, true);
            }
            if fault::is_final(error.fault) || left == 0 {
                return Err(error);
            }
            self.turn_from(endpoint).await;
        }
    }

    async fn ask_one<T, F>(
        &self,
        ask: &impl Fn(etcd_client::Client) -> F,
    ) -> (usize, Result<T, StoreError>)
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (endpoint, linked) = self.linked().await;
        let server = self.options.endpoints[endpoint].clone();
        let linked = match linked {
            Ok(linked) => linked,
            Err(error) => return (endpoint, Err(error)),
        };
        let answer = match timeout(DEADLINE, ask(linked)).await {
            Ok(answer) => answer.map_err(|error| fault::told(server, error)),
            Err(_) => Err(fault::late(server, DEADLINE)),
        };
        if answer
            .as_ref()
            .is_err_and(|error| fault::ends_link(error.fault))
        {
            self.turn.lock().await.link = None;
        }
        (endpoint, answer)
    }

    /// The connection to the endpoint whose turn it is.
    async fn linked(&self) -> (usize, Result<etcd_client::Client, StoreError>) {
        let mut turn = self.turn.lock().await;
        let endpoint = turn.endpoint;
        if let Some(link) = &turn.link {
            return (endpoint, Ok(link.client()));
        }
        let server = &self.options.endpoints[endpoint];
        let made = match timeout(DEADLINE, Link::make(server, &self.options)).await {
            Ok(made) => made,
            Err(_) => Err(fault::late(server.clone(), DEADLINE)),
        };
        let client = made.map(|link| turn.link.insert(link).client());
        (endpoint, client)
    }

    async fn watch_once(&self, key: &str, after: Revision) -> Result<(), StoreError> {
        let options = WatchOptions::new().with_start_revision(after + 1);
        let (endpoint, linked) = self.linked().await;
        let server = self.options.endpoints[endpoint].clone();
        let watched = match linked {
            Ok(client) => watch(client, key, options, &server).await,
            Err(error) => Err(error),
        };
        if watched
            .as_ref()
            .is_err_and(|error| fault::ends_link(error.fault))
        {
            self.turn_from(endpoint).await;
        }
        watched
    }

    /// The turn goes on, unless it did already.
    async fn turn_from(&self, endpoint: usize) {
        let mut turn = self.turn.lock().await;
        if turn.endpoint == endpoint {
            turn.endpoint = (endpoint + 1) % self.options.endpoints.len();
            turn.link = None;
        }
    }
}

#[async_trait]
impl Store for Client {
    async fn get(&self, key: &str) -> Result<Read, StoreError> {
        let answer = self
            .ask(|mut client| async move { client.get(key, None).await })
            .await?;
        Ok(Read {
            revision: answer.header().map_or(0, |header| header.revision()),
            entry: answer.kvs().first().map(entry),
        })
    }

    async fn list(&self, prefix: &str, query: Query) -> Result<Listing, StoreError> {
        let options = listing(query);
        let answer = self
            .ask(|mut client| {
                let options = options.clone();
                async move { client.get(prefix, Some(options)).await }
            })
            .await?;
        let named = |kv: &KeyValue| Some((kv.key_str().ok()?.to_owned(), entry(kv)));
        Ok(Listing {
            revision: answer.header().map_or(0, |header| header.revision()),
            entries: answer.kvs().iter().filter_map(named).collect(),
            count: u32::try_from(answer.count()).unwrap_or(u32::MAX),
        })
    }

    async fn commit(&self, txn: &Txn) -> Result<Committed, StoreError> {
        let txn = transaction(txn);
        let answer = self
            .ask(|mut client| {
                let txn = txn.clone();
                async move { client.txn(txn).await }
            })
            .await?;
        let revision = answer.header().map_or(0, |header| header.revision());
        Ok(match answer.succeeded() {
            true => Committed::Yes(revision),
            false => Committed::No,
        })
    }

    async fn watch(&self, key: &str, after: Revision) -> Result<(), StoreError> {
        let watched = self.watch_once(key, after).await;
        // As in `ask`.
        match watched {
            Err(error) if error.fault == Fault::Denied => self.watch_once(key, after).await,
            other => other,
        }
    }

    async fn lease(&self, ttl: Duration) -> Result<Lease, StoreError> {
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let answer = self
            .ask(|mut client| async move { client.lease_grant(ttl, None).await })
            .await?;
        Ok(answer.id())
    }

    async fn keep(&self, lease: Lease) -> Result<Kept, StoreError> {
        let kept = self
            .ask(|mut client| async move {
                // The stream is for more renewals than this one.
                client.lease_keep_alive(lease).await.map(drop)
            })
            .await;
        match kept {
            Ok(()) => Ok(Kept::Yes),
            Err(error) if error.fault == Fault::NoLease => Ok(Kept::Gone),
            Err(error) => Err(error),
        }
    }
}

async fn watch(
    mut client: etcd_client::Client,
    key: &str,
    options: WatchOptions,
    server: &str,
) -> Result<(), StoreError> {
    let told = |error| fault::told(server.to_owned(), error);
    let stream = match timeout(DEADLINE, client.watch(key, Some(options))).await {
        Ok(stream) => stream,
        Err(_) => return Err(fault::late(server.to_owned(), DEADLINE)),
    };
    let mut stream = stream.map_err(told)?;
    while let Some(message) = stream.message().await.map_err(told)? {
        // What was changed so long ago that it is not known any more was changed.
        if !message.events().is_empty() || message.compact_revision() > 0 {
            return Ok(());
        }
        if message.canceled() {
            let reason = message.cancel_reason().to_owned();
            return Err(fault::cancelled(server.to_owned(), reason));
        }
    }
    let reason = "the stream ended".to_owned();
    Err(fault::cancelled(server.to_owned(), reason))
}

fn entry(kv: &KeyValue) -> Entry {
    Entry {
        value: kv.value().to_vec(),
        created: kv.create_revision(),
        modified: kv.mod_revision(),
    }
}

fn listing(query: Query) -> GetOptions {
    let options = GetOptions::new().with_prefix();
    match query {
        Query::First { limit } => options
            .with_sort(SortTarget::Create, SortOrder::Ascend)
            .with_limit(i64::from(limit)),
        Query::LastBefore(created) => options
            .with_sort(SortTarget::Create, SortOrder::Descend)
            .with_max_create_revision(created - 1)
            .with_limit(1)
            .with_keys_only(),
        Query::Count => options.with_count_only(),
    }
}

fn transaction(txn: &Txn) -> etcd_client::Txn {
    let condition = |compare: &Compare| match compare {
        Compare::Modified(key, revision) => {
            Condition::mod_revision(key.as_str(), CompareOp::Equal, *revision)
        }
        Compare::Created(key, revision) => {
            Condition::create_revision(key.as_str(), CompareOp::Equal, *revision)
        }
    };
    let change = |op: &Op| match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease));
            TxnOp::put(key.as_str(), value.as_slice(), options)
        }
        Op::Delete { key } => TxnOp::delete(key.as_str(), None::<DeleteOptions>),
    };
    let conditions: Vec<Condition> = txn.compare.iter().map(condition).collect();
    let changes: Vec<TxnOp> = txn.then.iter().map(change).collect();
    etcd_client::Txn::new().when(conditions).and_then(changes)
}
