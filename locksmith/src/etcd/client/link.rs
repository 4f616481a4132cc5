//! One connection to one endpoint.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use super::{DEADLINE, Options};
use crate::etcd::store::{Fault, StoreError};
use crate::lock::LockError;

/// Authorities that the host believes.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Most bytes of a file that the policy names.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// How often an endpoint is asked for a sign of life while a watch is open, and how long
/// it has for it. etcd takes one every 5 s.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// A connection.
pub(super) struct Link {
    client: etcd_client::Client,
}

impl Link {
    /// Connects, and logs in if there is a user.
    pub(super) async fn make(server: &str, options: &Options) -> Result<Self, StoreError> {
        let connect = settings(server, options).map_err(|error| StoreError {
            fault: Fault::Denied,
            server: server.to_owned(),
            source: error.into(),
        })?;
        let client = etcd_client::Client::connect([server], Some(connect)).await;
        let client = client.map_err(|error| super::fault::told(server.to_owned(), error))?;
        Ok(Self { client })
    }

    pub(super) fn client(&self) -> etcd_client::Client {
        self.client.clone()
    }
}

/// A file that the policy names and that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("reading {path}, which `{key}` in `[reboot.etcd]` names: {source}")]
struct FileError {
    key: &'static str,
    path: String,
    source: io::Error,
}

fn settings(server: &str, options: &Options) -> Result<ConnectOptions, FileError> {
    let mut connect = ConnectOptions::new()
        .with_connect_timeout(DEADLINE)
        .with_keep_alive(PING, PONG)
        .with_keep_alive_while_idle(false)
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if server.starts_with("https://") {
        connect = connect.with_tls(tls(options)?);
    }
    if let (Some(user), Some(file)) = (&options.user, &options.password_file) {
        let password = read("password_file", file)?;
        let password = String::from_utf8_lossy(&password).into_owned();
        connect = connect.with_user(user, password.trim_end_matches(['\r', '\n']));
    }
    Ok(connect)
}

fn tls(options: &Options) -> Result<TlsOptions, FileError> {
    let ca = options.ca.as_deref().unwrap_or(Path::new(AUTHORITIES));
    let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read("ca", ca)?));
    if let (Some(certificate), Some(key)) = (&options.certificate, &options.key) {
        let certificate = read("certificate", certificate)?;
        tls = tls.identity(Identity::from_pem(certificate, read("key", key)?));
    }
    Ok(tls)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError {
        key,
        path: path.display().to_string(),
        source,
    };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(failed(io::Error::other("it is too large")));
    }
    fs::read(path).map_err(failed)
}

/// Refuses settings that no connection can be made with.
pub(super) fn check(options: &Options) -> Result<(), LockError> {
    let wrong = |key, what: &str, why: String| {
        Err(LockError::Settings {
            key,
            what: what.to_owned(),
            source: why.into(),
        })
    };
    if options.endpoints.is_empty() {
        return wrong(
            "reboot.etcd.endpoints",
            "finding etcd",
            "there are none".to_owned(),
        );
    }
    for endpoint in &options.endpoints {
        let url = url::Url::parse(endpoint);
        let known = url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !known {
            let why = format!("{endpoint:?} is not an http or https address");
            return wrong("reboot.etcd.endpoints", "finding etcd", why);
        }
    }
    if options.certificate.is_some() != options.key.is_some() {
        let why = "certificate and key are given together or not at all".to_owned();
        return wrong("reboot.etcd.certificate", "proving who this host is", why);
    }
    if options.user.is_some() != options.password_file.is_some() {
        let why = "user and password_file are given together or not at all".to_owned();
        return wrong("reboot.etcd.user", "proving who this host is", why);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(options: &Options) -> String {
        match check(options) {
            Ok(()) => String::new(),
            Err(error) => {
                let cause = std::error::Error::source(&error).unwrap();
                format!("{error}: {cause}")
            }
        }
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let good = Options {
            endpoints: vec!["https://[::1]:2379".to_owned(), "http://a:1".to_owned()],
            ..Options::default()
        };
        assert_eq!(said(&good), "");
        let nowhere = Options::default();
        assert!(said(&nowhere).contains("endpoints"), "{}", said(&nowhere));
        for endpoint in ["", "localhost:2379", "ftp://a", "https://"] {
            let bad = Options {
                endpoints: vec![endpoint.to_owned()],
                ..Options::default()
            };
            assert!(
                said(&bad).contains("is not an http or https address"),
                "{endpoint}"
            );
        }
        let half = Options {
            key: Some("/k".into()),
            ..good.clone()
        };
        assert!(said(&half).contains("together"), "{}", said(&half));
        let half = Options {
            user: Some("u".into()),
            ..good
        };
        assert!(said(&half).contains("password_file"), "{}", said(&half));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let options = Options {
            endpoints: vec!["https://a".to_owned()],
            ca: Some("/nowhere/ca.crt".into()),
            ..Options::default()
        };
        let error = settings("https://a", &options).unwrap_err().to_string();
        assert!(error.contains("/nowhere/ca.crt"), "{error}");
        assert!(error.contains("`ca` in `[reboot.etcd]`"), "{error}");
    }
}
