//! FleetLock v1: a lock behind two requests, as Fedora CoreOS speaks it.
//!
//! [`FleetLock`] asks a server for the lock; [`server`] is one, over the same document in
//! etcd that hosts of this system share, so that both kinds of hosts share one lock.
//!
//! A request is a `POST` with the header `fleet-lock-protocol: true` and the body
//! `{"client_params":{"id":"…","group":"…"}}`. Any answer but success means no, and has
//! `{"kind":"…","value":"…"}`.

mod client;
mod identity;
pub mod server;

use serde::{Deserialize, Serialize};

use crate::record::{BadText, GroupName, Text};

pub use client::{FleetLock, FleetOptions};
pub use identity::identity;

/// The header without which a request is not one.
pub const HEADER: &str = "fleet-lock-protocol";

/// Most bytes of a request's body.
pub const MAX_REQUEST: usize = 4096;

/// Most bytes of an answer's body that are looked at.
pub const MAX_REPLY: usize = 64 * 1024;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The lock, to reboot.
    PreReboot,
    /// To give it back.
    SteadyState,
}

impl Verb {
    /// The path below the server's address.
    pub fn path(self) -> &'static str {
        match self {
            Self::PreReboot => "v1/pre-reboot",
            Self::SteadyState => "v1/steady-state",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientParams {
    /// By what the host is known.
    pub id: Text<117>,
    /// Hosts that share one lock.
    pub group: GroupName,
}

#[derive(Serialize, Deserialize)]
struct Body {
    client_params: ClientParams,
}

/// Why a body is not taken.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is too large.
    #[error("it has more than {MAX_REQUEST} bytes")]
    Large,
    /// It is not the JSON of the protocol.
    #[error("it is not as the protocol has it: {0}")]
    Damaged(#[source] serde_json::Error),
    /// The ID cannot be used.
    #[error("the ID cannot be used: {0}")]
    Id(#[source] BadText),
}

impl ClientParams {
    /// Reads the body of a request.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        if body.len() > MAX_REQUEST {
            return Err(BodyError::Large);
        }
        let Body { client_params } = serde_json::from_slice(body).map_err(BodyError::Damaged)?;
        match client_params.id.is_empty() {
            true => Err(BodyError::Id(BadText::Empty)),
            false => Ok(client_params),
        }
    }

    /// The body of a request.
    pub fn print(&self) -> Result<Vec<u8>, serde_json::Error> {
        let client_params = self.clone();
        serde_json::to_vec(&Body { client_params })
    }
}

/// Why the answer is no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// For programs.
    pub kind: String,
    /// For people.
    pub value: String,
}

impl Rejection {
    /// Reads the body of an answer. None if it does not say why.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body = body.get(..MAX_REPLY.min(body.len()))?;
        let Self { kind, value } = serde_json::from_slice(body).ok()?;
        // It goes to a terminal and to the journal.
        let clip = |text: &str| Text::<256>::clip(text).to_string();
        Some(Self {
            kind: clip(&kind),
            value: clip(&value),
        })
    }
}

#[cfg(test)]
mod tests;
