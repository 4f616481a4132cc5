//! Asking a server.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::{Certificate, Response, StatusCode, redirect};
use semver::Version;
use serde_json::Map;
use url::Url;

use super::{ClientParams, HEADER, MAX_REPLY, Rejection, Verb};
use crate::lock::{
    Answer, Brake, Claim, Grant, GroupName, Holder, HolderId, Lock, LockError, Operator, Released,
    Report, Standing, Text, View, Wait,
};

/// How long a server has for an answer, connecting included.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often a server is asked that has no place.
const AGAIN: Duration = Duration::from_secs(60);

/// Authorities that the host believes.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetOptions {
    /// Its address, below which the two paths are.
    pub url: Url,
    /// The hosts this one shares the lock with.
    pub group: GroupName,
    /// Authorities that are believed beside the host's.
    pub ca: Option<PathBuf>,
}

/// A lock that a FleetLock server keeps.
pub struct FleetLock {
    options: FleetOptions,
    client: reqwest::Client,
    granted: Option<Holder>,
}

/// What a server says.
enum Said {
    Yes,
    No(Rejection),
}

impl FleetLock {
    /// The lock at a server. Nothing is asked yet.
    pub fn open(mut options: FleetOptions) -> Result<Self, LockError> {
        // What is below an address without a slash at the end would replace its last part.
        if !options.url.path().ends_with('/') {
            let path = format!("{}/", options.url.path());
            options.url.set_path(&path);
        }
        let failed = |source: Box<dyn StdError + Send + Sync>| LockError::Settings {
            key: "reboot.fleet_lock.ca",
            what: "reading certificates of authorities".to_owned(),
            source,
        };
        let authorities = authorities(&options).map_err(failed)?;
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .tls_certs_only(authorities)
            .build()
            .map_err(|error| failed(error.into()))?;
        Ok(Self {
            options,
            client,
            granted: None,
        })
    }

    async fn ask(&self, verb: Verb, id: &HolderId) -> Result<Said, LockError> {
        let group = self.options.group.clone();
        // A machine ID is not told; what else a policy names is told as it is.
        let derived = super::identity(id.as_str());
        let id = Text::clip(derived.as_deref().unwrap_or(id.as_str()));
        let body = ClientParams { id, group }.print();
        let body = body.map_err(|error| LockError::Asked(error.to_string()))?;
        let url = self.options.url.join(verb.path());
        let url = url.map_err(|error| LockError::Asked(error.to_string()))?;
        let request = self.client.post(url).header(HEADER, "true");
        let request = request.header("content-type", "application/json");
        let answer = request.body(body).send().await;
        let answer = answer.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let reply = bounded(answer).await;
        let reply = reply.map_err(|error| self.unreachable(error))?;
        self.said(status, &reply)
    }

    fn said(&self, status: StatusCode, reply: &[u8]) -> Result<Said, LockError> {
        let server = self.options.url.to_string();
        let source = || format!("it answers with status {status}").into();
        if status.is_success() {
            return Ok(Said::Yes);
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(LockError::NotAllowed {
                server,
                check: "what the server demands of its clients",
                source: source(),
            });
        }
        match Rejection::parse(reply) {
            Some(rejection) => Ok(Said::No(rejection)),
            None if status.is_server_error() => Err(LockError::Failed {
                server,
                source: source(),
            }),
            None => Err(LockError::Content {
                key: server,
                advice: "check `url` in `[reboot.fleet_lock]`: what answers there does not speak \
                         FleetLock",
                source: source(),
            }),
        }
    }

    fn unreachable(&self, error: reqwest::Error) -> LockError {
        LockError::Unreachable {
            server: self.options.url.to_string(),
            source: error.without_url().into(),
        }
    }
}

/// An answer, or as much of it as is looked at.
async fn bounded(mut answer: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut reply = Vec::new();
    while let Some(part) = answer.chunk().await? {
        reply.extend_from_slice(&part);
        if reply.len() > MAX_REPLY {
            break;
        }
    }
    Ok(reply)
}

/// Not read where no TLS is spoken.
fn authorities(
    options: &FleetOptions,
) -> Result<Vec<Certificate>, Box<dyn StdError + Send + Sync>> {
    let mut all = Vec::new();
    if options.url.scheme() != "https" {
        return Ok(all);
    }
    if let Some(path) = &options.ca {
        all = certificates(path)?;
    }
    match certificates(AUTHORITIES.as_ref()) {
        Ok(system) => all.extend(system),
        Err(error) if all.is_empty() => return Err(error),
        Err(_) => {}
    }
    Ok(all)
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Box<dyn StdError + Send + Sync>> {
    let named = |error: &dyn StdError| format!("{}: {error}", path.display());
    let pem = std::fs::read(path).map_err(|error| named(&error))?;
    Certificate::from_pem_bundle(&pem).map_err(|error| named(&error).into())
}

fn reason(rejection: &Rejection) -> String {
    format!("{} ({})", rejection.value, rejection.kind)
}

#[async_trait]
impl Lock for FleetLock {
    async fn acquire(&mut self, claim: &Claim) -> Result<Answer, LockError> {
        if let Said::No(rejection) = self.ask(Verb::PreReboot, &claim.id).await? {
            let reason = reason(&rejection);
            return Ok(Answer::Waiting(Wait::Refused { reason }));
        }
        let now = Timestamp::now();
        let known = self
            .granted
            .take()
            .filter(|known| known.claim.id == claim.id);
        let holder = Holder {
            claim: claim.clone(),
            since: known.as_ref().map_or(now, |known| known.since),
            seen: now,
            signs: known.map_or(1, |known| known.signs.wrapping_add(1)),
            other: Map::new(),
        };
        self.granted = Some(holder.clone());
        let expired = Vec::new();
        Ok(Answer::Granted(Grant { holder, expired }))
    }

    /// The protocol tells nothing: one asks again.
    async fn changed(&mut self) -> Result<(), LockError> {
        tokio::time::sleep(AGAIN).await;
        Ok(())
    }

    /// Asking for a lock that is held is how one asks whether it is.
    async fn alive(&mut self, id: &HolderId) -> Result<Standing, LockError> {
        match self.ask(Verb::PreReboot, id).await? {
            Said::Yes => Ok(Standing::Held),
            Said::No(_) => Ok(Standing::Lost),
        }
    }

    async fn release(&mut self, id: &HolderId) -> Result<Released, LockError> {
        match self.ask(Verb::SteadyState, id).await? {
            Said::Yes => {
                self.granted = None;
                Ok(Released::Given)
            }
            Said::No(rejection) => Err(LockError::Failed {
                server: self.options.url.to_string(),
                source: reason(&rejection).into(),
            }),
        }
    }

    async fn report_rollback(
        &mut self,
        _: &Report,
        _: &Version,
    ) -> Result<Option<Brake>, LockError> {
        Ok(None)
    }

    async fn view(&mut self) -> Result<Option<View>, LockError> {
        Ok(None)
    }

    fn operator(&mut self) -> Option<&mut dyn Operator> {
        None
    }
}
