//! Requests to one registry.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::sync::Mutex;
use url::Url;

use super::super::digest::Digest;
use super::super::manifest::{Descriptor, MAX_MANIFEST, accepted};
use super::super::registries::{Credentials, Endpoint};
use super::error::RegistryError;
use super::pauses::Pauses;
use super::tls::{authorities, no_downgrade};
use super::token::{Answer, Challenge};
use crate::names;

/// Time to make a connection, and time without a byte.
const CONNECT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(30);

/// Longest answer of a token service, and longest complaint, in bytes.
const MAX_TOKEN: u64 = 64 << 10;
const MAX_COMPLAINT: u64 = 4 << 10;

const USER_AGENT: &str = concat!("rocket/", env!("CARGO_PKG_VERSION"));

/// One place where a repository can be had.
pub struct Client {
    endpoint: Endpoint,
    http: reqwest::Client,
    base: Url,
    /// What goes with each request, once the registry has said what it wants.
    authorization: Mutex<Option<String>>,
}

impl Client {
    /// Nothing is asked yet.
    pub fn new(endpoint: Endpoint) -> Result<Self, RegistryError> {
        let scheme = if endpoint.plain_http { "http" } else { "https" };
        let address = format!("{scheme}://{}/v2/{}/", endpoint.host, endpoint.repository);
        let base = Url::parse(&address).map_err(|error| RegistryError::Address {
            host: endpoint.host.clone(),
            what: error.to_string(),
        })?;
        names::use_own_lookup().map_err(|source| RegistryError::Client {
            host: endpoint.host.clone(),
            source: source.into(),
        })?;
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(no_downgrade())
            .referer(false)
            .tls_certs_only(authorities(&endpoint)?);
        let http = builder.build().map_err(|source| RegistryError::Client {
            host: endpoint.host.clone(),
            source: source.into(),
        })?;
        Ok(Self {
            endpoint,
            http,
            base,
            authorization: Mutex::new(None),
        })
    }

    /// The registry's host.
    pub fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// A manifest, by tag or by digest; compared with the digest.
    pub async fn manifest(&self, selector: &str) -> Result<Vec<u8>, RegistryError> {
        let what = format!("manifests/{selector}");
        let bytes = self.small(&what, &accepted(), MAX_MANIFEST).await?;
        if selector.starts_with("sha256:") {
            self.compare(selector.parse()?, &bytes)?;
        }
        Ok(bytes)
    }

    /// Small content, compared with its digest.
    pub async fn content(&self, wanted: &Descriptor, most: u64) -> Result<Vec<u8>, RegistryError> {
        let what = format!("blobs/{}", wanted.digest);
        let bytes = self.small(&what, "*/*", most.min(wanted.size)).await?;
        self.compare(wanted.digest, &bytes)?;
        Ok(bytes)
    }

    /// The list of what refers to a digest; none if the registry has no such lists.
    pub async fn referrers(&self, digest: &Digest) -> Result<Option<Vec<u8>>, RegistryError> {
        let what = format!("referrers/{digest}");
        match self.small(&what, &accepted(), MAX_MANIFEST).await {
            Ok(bytes) => Ok(Some(bytes)),
            // Registries say in many ways that they do not know this.
            Err(RegistryError::Status { status, .. }) if status.is_client_error() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn compare(&self, expected: Digest, bytes: &[u8]) -> Result<(), RegistryError> {
        let found = Digest::of(bytes);
        if found == expected {
            return Ok(());
        }
        Err(RegistryError::Digest {
            host: self.endpoint.host.clone(),
            expected,
            found,
        })
    }

    /// All of an answer that must not be longer than this; asked for again if it breaks off.
    async fn small(&self, what: &str, accept: &str, most: u64) -> Result<Vec<u8>, RegistryError> {
        let mut pauses = Pauses::default();
        loop {
            let result = match self.get(what, accept, None).await {
                Ok(answer) => self.read(answer, what, most).await,
                Err(error) => Err(error),
            };
            match result {
                Err(error) => pauses.after(error).await?,
                bytes => return bytes,
            }
        }
    }

    async fn read(
        &self,
        mut answer: Response,
        what: &str,
        most: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|e| self.sending(what, e))? {
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 > most {
                return Err(RegistryError::Long {
                    host: self.endpoint.host.clone(),
                    what: what.to_owned(),
                    most,
                });
            }
        }
        Ok(bytes)
    }

    /// A good answer, from the byte `from` on if it is asked for one. Who we are is said
    /// once the registry wants to know it.
    pub async fn get(
        &self,
        what: &str,
        accept: &str,
        from: Option<u64>,
    ) -> Result<Response, RegistryError> {
        let known = self.authorization.lock().await.clone();
        let answer = self.send(what, accept, from, known.as_deref()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return self.good(answer, what).await;
        }
        let fresh = self.authorize(&answer, what, known.as_deref()).await?;
        let answer = self.send(what, accept, from, Some(&fresh)).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return Err(self.unauthorized(what, "it refuses what it has asked for"));
        }
        self.good(answer, what).await
    }

    async fn send(
        &self,
        what: &str,
        accept: &str,
        from: Option<u64>,
        authorization: Option<&str>,
    ) -> Result<Response, RegistryError> {
        // A digest has a colon, which must not be taken for a scheme.
        let address = self.base.join(&format!("./{what}"));
        let address = address.map_err(|error| RegistryError::Address {
            host: self.endpoint.host.clone(),
            what: error.to_string(),
        })?;
        let mut request = self.http.get(address).header(ACCEPT, accept);
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.map_err(|e| self.sending(what, e))
    }

    async fn good(&self, answer: Response, what: &str) -> Result<Response, RegistryError> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let after = answer.headers().get(RETRY_AFTER);
        let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
        // Why it says so may be interesting; if it cannot be had, that is not.
        let said = self.read(answer, what, MAX_COMPLAINT).await;
        Err(RegistryError::Status {
            host: self.endpoint.host.clone(),
            status,
            what: what.to_owned(),
            complaint: complaint(&said.unwrap_or_default()),
            after: after.map(Duration::from_secs),
        })
    }

    /// Gets what the registry asks for, unless somebody else got it meanwhile.
    async fn authorize(
        &self,
        answer: &Response,
        what: &str,
        refused: Option<&str>,
    ) -> Result<String, RegistryError> {
        let headers = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenge = Challenge::parse(headers.filter_map(|value| value.to_str().ok()));
        let mut kept = self.authorization.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| refused != Some(kept)) {
            return Ok(kept.clone());
        }
        let fresh = match challenge {
            None => Err(self.unauthorized(what, "it asks for nothing that we have")),
            Some(Challenge::Basic) => self.basic(what),
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => self.token(what, &realm, service, scope).await,
        }?;
        *kept = Some(fresh.clone());
        Ok(fresh)
    }

    fn basic(&self, what: &str) -> Result<String, RegistryError> {
        match &self.endpoint.credentials {
            Credentials::Basic { user, password } => Ok(basic(user, password)),
            _ => Err(self.unauthorized(what, "it wants a name and a password")),
        }
    }

    async fn token(
        &self,
        what: &str,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
    ) -> Result<String, RegistryError> {
        let realm = Url::parse(realm);
        let realm = realm.map_err(|_| self.unauthorized(what, "it names no token service"))?;
        // Whoever can change an unprotected answer must not get what protects the others.
        let allowed = match realm.scheme() {
            "https" => true,
            "http" => self.endpoint.plain_http,
            _ => false,
        };
        if !allowed {
            return Err(self.unauthorized(what, "its token service has no TLS"));
        }
        let pull = format!("repository:{}:pull", self.endpoint.repository);
        let scope = scope.unwrap_or(pull);
        let request = self.token_request(realm, service, scope);
        let answer = request
            .send()
            .await
            .map_err(|e| self.sending("a token", e))?;
        if matches!(answer.status().as_u16(), 400..=403) {
            return Err(self.unauthorized(what, "its token service does not know us"));
        }
        let answer = self.good(answer, "a token").await?;
        let bytes = self.read(answer, "a token", MAX_TOKEN).await?;
        let token = serde_json::from_slice::<Answer>(&bytes).ok();
        let token = token.and_then(Answer::token);
        let token = token.ok_or_else(|| self.unauthorized(what, "there is no token for us"))?;
        Ok(format!("Bearer {token}"))
    }

    fn token_request(
        &self,
        mut realm: Url,
        service: Option<String>,
        scope: String,
    ) -> RequestBuilder {
        let service = service.unwrap_or_default();
        let mut fields = vec![("service", service.as_str()), ("scope", &scope)];
        if let Credentials::Identity(token) = &self.endpoint.credentials {
            fields.push(("grant_type", "refresh_token"));
            fields.push(("client_id", "rocket"));
            fields.push(("refresh_token", token));
            let mut body = url::form_urlencoded::Serializer::new(String::new());
            let body = body.extend_pairs(fields).finish();
            const FORM: &str = "application/x-www-form-urlencoded";
            let request = self.http.post(realm).body(body);
            return request.header(reqwest::header::CONTENT_TYPE, FORM);
        }
        realm.query_pairs_mut().extend_pairs(fields);
        let request = self.http.get(realm);
        match &self.endpoint.credentials {
            Credentials::Basic { user, password } => {
                request.header(AUTHORIZATION, basic(user, password))
            }
            _ => request,
        }
    }

    /// What went wrong on the way.
    pub fn sending(&self, what: &str, source: reqwest::Error) -> RegistryError {
        RegistryError::Send {
            host: self.endpoint.host.clone(),
            what: what.to_owned(),
            // The address is in the message already, or is that of a store with a secret
            // in it to which the registry sent us.
            source: source.without_url(),
        }
    }

    fn unauthorized(&self, what: &str, why: &str) -> RegistryError {
        RegistryError::Unauthorized {
            host: self.endpoint.host.clone(),
            what: what.to_owned(),
            why: why.to_owned(),
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let text = format!("{user}:{password}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    format!("Basic {encoded}")
}

/// What a registry says about a failure, in one line.
fn complaint(bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Said {
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        message: String,
    }
    let said: Option<Said> = serde_json::from_slice(bytes).ok();
    let first = said.and_then(|said| said.errors.into_iter().next());
    let plain = |c: &char| !c.is_control();
    match first.map(|one| one.message) {
        Some(message) if !message.is_empty() => {
            let text: String = message.chars().filter(plain).take(200).collect();
            format!(": {text}")
        }
        _ => String::new(),
    }
}

/// A short text from an https address.
pub async fn text(address: &str) -> Result<String, RegistryError> {
    let wrong = |what: &str| RegistryError::Address {
        host: address.to_owned(),
        what: what.to_owned(),
    };
    let url = Url::parse(address).map_err(|error| wrong(&error.to_string()))?;
    let host = url.host_str().ok_or_else(|| wrong("there is no host"))?;
    let client = Client::new(Endpoint {
        host: host.to_owned(),
        repository: String::new(),
        plain_http: false,
        ca: Vec::new(),
        credentials: Credentials::Anonymous,
    })?;
    let answer = client.http.get(url.clone()).send().await;
    let answer = answer.map_err(|error| client.sending("a key", error))?;
    let answer = client.good(answer, "a key").await?;
    let bytes = client.read(answer, "a key", MAX_TOKEN).await?;
    String::from_utf8(bytes).map_err(|_| wrong("it is no text"))
}
