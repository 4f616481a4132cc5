//! Amazon EC2: user data of the instance.

use crate::fetch::{Ec2, Fetcher, LINK_LOCAL};

use super::{Provider, ProviderError, Raw};

const USER_DATA: &str = "/2019-10-01/user-data";

/// User data from EC2's metadata service.
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
}

impl Provider for Aws {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn config(&self, fetcher: &Fetcher) -> Result<Option<Raw>, ProviderError> {
        let session = Ec2::session(&self.base, fetcher);
        let answer = session.and_then(|session| session.ask(USER_DATA, fetcher));
        let answer = answer.map_err(|source| ProviderError::Fetch {
            name: "aws",
            source,
        })?;
        Ok(answer.map(|bytes| Raw {
            source: format!("EC2 user data ({}{USER_DATA})", self.base),
            bytes,
        }))
    }
}
