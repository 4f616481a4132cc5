//! Whom to trust with a registry's name, and where it may send us.

use std::path::Path;

use reqwest::{Certificate, redirect};

use super::super::registries::Endpoint;
use super::error::RegistryError;

/// Certificates of the host's trusted authorities.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Redirections that are followed, one after the other.
const REDIRECTS: usize = 5;

/// Follows a few redirections; none from TLS to what has none.
pub fn no_downgrade() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let previous = attempt.previous();
        let secure = previous.last().is_some_and(|url| url.scheme() == "https");
        if secure && attempt.url().scheme() != "https" {
            return attempt.error("the registry redirects to where there is no TLS");
        }
        if previous.len() > REDIRECTS {
            return attempt.error(format!(
                "the registry redirects more than {REDIRECTS} times"
            ));
        }
        attempt.follow()
    })
}

/// Whom to trust with the registry's name: the host's authorities, and the policy's.
pub fn authorities(endpoint: &Endpoint) -> Result<Vec<Certificate>, RegistryError> {
    let mut all = Vec::new();
    if endpoint.plain_http {
        return Ok(all);
    }
    for path in &endpoint.ca {
        all.extend(read_certificates(path)?);
    }
    match read_certificates(Path::new(SYSTEM_CA)) {
        Ok(system) => all.extend(system),
        Err(error) if all.is_empty() => return Err(error),
        Err(_) => {}
    }
    Ok(all)
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate>, RegistryError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| RegistryError::Authorities {
        path: path.to_owned(),
        source,
    };
    let pem = std::fs::read(path).map_err(|error| failed(error.into()))?;
    let all = Certificate::from_pem_bundle(&pem).map_err(|error| failed(error.into()))?;
    match all.is_empty() {
        true => Err(failed("the file holds no certificate".into())),
        false => Ok(all),
    }
}
