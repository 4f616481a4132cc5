//! Where the clouds' own services are, and what requests to them are signed
//! with. The environment may say otherwise, by the variables of the clouds'
//! own tools.

use std::fmt;

use serde::Deserialize;
use ureq::http::Method;

use crate::log;

use super::{Call, FetchError, Fetcher, Reach};

/// Where most metadata services are (link-local, no name needed).
pub const LINK_LOCAL: &str = "http://169.254.169.254";

/// Longest token or name that is believed to be one.
const WORD_LIMIT: usize = 8 << 10;

/// The clouds, as this machine sees them.
#[derive(Debug, Clone)]
pub struct Clouds {
    /// The platform; only its own cloud is asked for credentials.
    pub platform: String,
    /// Credentials for S3 that were given; they come before the machine's own.
    pub keys: Option<Keys>,
    /// Region to ask first.
    pub region: Option<String>,
    /// An S3 of one's own; buckets are the first part of its paths.
    pub s3: Option<String>,
    /// EC2's metadata service.
    pub ec2: String,
    /// Google's metadata service.
    pub gce: String,
    /// Google Cloud Storage.
    pub gcs: String,
}

/// What S3 requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Name of the key.
    pub id: String,
    /// The key.
    pub secret: String,
    /// Of temporary keys.
    pub session: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl Clouds {
    /// What the environment says.
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let keys = |id| {
            Some(Keys {
                id,
                secret: variable("AWS_SECRET_ACCESS_KEY")?,
                session: variable("AWS_SESSION_TOKEN"),
            })
        };
        let or = |name, usual: &str| variable(name).unwrap_or_else(|| usual.to_owned());
        Self {
            platform: String::new(),
            keys: variable("AWS_ACCESS_KEY_ID").and_then(keys),
            region: variable("AWS_REGION"),
            s3: variable("AWS_ENDPOINT_URL_S3"),
            ec2: or("AWS_EC2_METADATA_SERVICE_ENDPOINT", LINK_LOCAL),
            gce: LINK_LOCAL.to_owned(),
            gcs: with_scheme(or(
                "STORAGE_EMULATOR_HOST",
                "https://storage.googleapis.com",
            )),
        }
    }
}

/// Google's tools take an emulator's address with and without a scheme.
fn with_scheme(address: String) -> String {
    if address.contains("://") {
        address
    } else {
        format!("http://{address}")
    }
}

/// EC2's metadata service: version 2, with a session token; version 1 where
/// no token is given.
pub struct Ec2<'a> {
    base: &'a str,
    token: Option<String>,
}

impl<'a> Ec2<'a> {
    /// Asks the service at `base` for a session.
    pub fn session(base: &'a str, fetcher: &Fetcher) -> Result<Self, FetchError> {
        let call = Call {
            method: Method::PUT,
            headers: vec![(
                "X-aws-ec2-metadata-token-ttl-seconds".to_owned(),
                "300".to_owned(),
            )],
            reach: Reach::Link,
            ..Call::get(format!("{base}/latest/api/token"))
        };
        let answer = match fetcher.ask(&call) {
            Err(FetchError::Status { status, .. }) => {
                log::warn(&format!(
                    "the metadata service gives no session token ({status}); asking without"
                ));
                None
            }
            answer => answer?,
        };
        let token = answer.and_then(word);
        Ok(Self { base, token })
    }

    /// What the service has at `path`.
    pub fn ask(&self, path: &str, fetcher: &Fetcher) -> Result<Option<Vec<u8>>, FetchError> {
        let token = self.token.iter();
        let header = |token: &String| ("X-aws-ec2-metadata-token".to_owned(), token.clone());
        fetcher.ask(&Call {
            headers: token.map(header).collect(),
            reach: Reach::Link,
            ..Call::get(format!("{}{path}", self.base))
        })
    }

    /// The region that this machine is in.
    pub fn region(&self, fetcher: &Fetcher) -> Result<Option<String>, FetchError> {
        let answer = self.ask("/latest/meta-data/placement/region", fetcher)?;
        Ok(answer.and_then(word))
    }

    /// Keys of the role that this machine has, if it has one.
    pub fn keys(&self, fetcher: &Fetcher) -> Result<Option<Keys>, FetchError> {
        const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
        let Some(role) = self.ask(ROLES, fetcher)?.and_then(word) else {
            return Ok(None);
        };
        let answer = self.ask(&format!("{ROLES}{role}"), fetcher)?;
        Ok(answer.and_then(|text| keys_of(&text)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleKeys {
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

/// Keys as EC2's metadata service writes them.
pub fn keys_of(text: &[u8]) -> Option<Keys> {
    let keys: RoleKeys = serde_json::from_slice(text).ok()?;
    Some(Keys {
        id: word(keys.access_key_id.into_bytes())?,
        secret: keys.secret_access_key,
        session: Some(word(keys.token.into_bytes())?),
    })
}

#[derive(Deserialize)]
struct AccessToken {
    access_token: String,
}

/// The token of a machine's service account, as Google writes it.
pub fn token_of(text: &[u8]) -> Option<String> {
    let token: AccessToken = serde_json::from_slice(text).ok()?;
    word(token.access_token.into_bytes())
}

/// The service account's token of this machine, if it is one of Google's and
/// has a service account.
pub fn google_token(fetcher: &Fetcher) -> Result<Option<String>, FetchError> {
    if fetcher.clouds.platform != "gcp" {
        return Ok(None);
    }
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    let answer = fetcher.ask(&Call {
        headers: vec![("Metadata-Flavor".to_owned(), "Google".to_owned())],
        reach: Reach::Link,
        ..Call::get(format!("{}{path}", fetcher.clouds.gce))
    })?;
    Ok(answer.and_then(|text| token_of(&text)))
}

/// A token or name, fit for a header and a path.
fn word(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    let word = text.trim();
    let sound = !word.is_empty()
        && word.len() <= WORD_LIMIT
        && word.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_read_and_never_shown() {
        let text = br#"{"Code": "Success", "AccessKeyId": "A", "SecretAccessKey": "hidden",
            "Token": "t", "Expiration": "2026-01-01T00:00:00Z"}"#;
        let keys = keys_of(text).unwrap();
        assert_eq!(
            (keys.id.as_str(), keys.session.as_deref()),
            ("A", Some("t"))
        );
        assert!(!format!("{keys:?}").contains("hidden"));
        for bad in [
            "",
            "{}",
            r#"{"AccessKeyId": "a b", "SecretAccessKey": "", "Token": "t"}"#,
        ] {
            assert!(keys_of(bad.as_bytes()).is_none(), "{bad}");
        }
        assert_eq!(
            token_of(br#"{"access_token": "x.y", "expires_in": 1}"#).unwrap(),
            "x.y"
        );
        assert_eq!(token_of(br#"{"access_token": "x\r\ny"}"#), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_judged_without_panic(text: Vec<u8>) {
            let _ = keys_of(&text);
            let _ = token_of(&text);
            let _ = word(text);
        }
    }
}
