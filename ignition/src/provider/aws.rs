//! Amazon EC2: user data of the instance.

use ureq::http::Method;

use crate::fetch::{Call, FetchError, Fetcher, Reach};
use crate::log;

use super::metadata::{LINK_LOCAL, Question};
use super::{Provider, ProviderError, Raw};

/// Longest session token that is believed to be one.
const TOKEN_LIMIT: usize = 1024;

/// EC2's metadata service: version 2, with a session token; version 1 where
/// no token is given.
#[derive(Debug, Clone)]
pub struct Aws {
    base: String,
}

impl Default for Aws {
    fn default() -> Self {
        Self::new(LINK_LOCAL.to_owned())
    }
}

impl Aws {
    /// Asks the service at `base`.
    pub fn new(base: String) -> Self {
        Self { base }
    }

    /// A question about this instance, with the session's token if there is
    /// one.
    fn question(&self, path: &str, token: Option<String>) -> Question<'static> {
        let token = token.into_iter();
        Question {
            name: "aws",
            service: "EC2 user data",
            url: format!("{}{path}", self.base),
            headers: token
                .map(|token| ("X-aws-ec2-metadata-token", token))
                .collect(),
            again: &[],
        }
    }

    /// A session's token (IMDSv2). None from a service that has only the
    /// first version.
    fn token(&self, fetcher: &Fetcher) -> Result<Option<String>, FetchError> {
        let call = Call {
            method: Method::PUT,
            headers: vec![(
                "X-aws-ec2-metadata-token-ttl-seconds".to_owned(),
                "300".to_owned(),
            )],
            reach: Reach::Link,
            ..Call::get(format!("{}/latest/api/token", self.base))
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
        Ok(answer.and_then(token_of))
    }
}

/// A header's value, which is what the token is used as.
fn token_of(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    let token = text.trim();
    let sound = !token.is_empty()
        && token.len() <= TOKEN_LIMIT
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then(|| token.to_owned())
}

impl Provider for Aws {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn config(&self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let token = self.token(fetcher).map_err(|source| ProviderError::Fetch {
            name: "aws",
            source,
        })?;
        self.question("/2019-10-01/user-data", token).ask(fetcher)
    }
}
