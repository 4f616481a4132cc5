//! The tang servers that volumes are to be bound to: there now, and known to the host on
//! later boots.

use crate::config::{Config, File, Luks, filled, list};
use crate::fetch::{FetchError, Fetcher, public_name};

use super::super::{Context, DisksError, Subject};
use super::clevis::advertisements;
use super::place;

/// The authorities that programs of the host check servers against.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Asks the servers of `volumes` whether they are there. Fails also if only an authority of
/// the config vouches for one, and the host would not know that authority when it opens
/// the volume on later boots.
pub fn ask(
    context: &Context<'_>,
    fetcher: &Fetcher,
    config: &Config,
    volumes: &[Luks],
) -> Result<(), DisksError> {
    let host = fetcher.without_own_authorities();
    let knows_all = fetcher.own_authorities().is_none() || gives_authorities(config);
    for (index, wanted) in volumes.iter().enumerate() {
        let device = wanted.device.as_deref().unwrap_or_default();
        let at = context.subject(place(index), device);
        for resource in advertisements(wanted) {
            fetcher
                .read(&resource)
                .map_err(|source| DisksError::Fetch {
                    place: at.place.clone(),
                    source,
                })?;
            // A moment ago it was there: only trust is looked at.
            let answer = match knows_all {
                true => Ok(Vec::new()),
                false => host.read(&resource),
            };
            let url = resource.source.as_deref().unwrap_or_default();
            if let Err(FetchError::Certificate { .. } | FetchError::NoAuthorities { .. }) = answer {
                return Err(unknown(&at, url));
            }
        }
    }
    Ok(())
}

fn unknown(at: &Subject<'_>, url: &str) -> DisksError {
    at.conflict(format!(
        "is to be bound to {}, for which only ignition.security.tls vouches, and later boots \
         could not open it; append the authority's certificate to {BUNDLE}, too \
         (storage.files)",
        public_name(url)
    ))
}

/// Whether `config` changes the host's authorities.
fn gives_authorities(config: &Config) -> bool {
    let files = config.storage.as_ref().map(|s| list(s.files.as_ref()));
    let changes = |file: &File| {
        let resources = file.contents.iter().chain(list(file.append.as_ref()));
        file.path == BUNDLE
            && resources
                .into_iter()
                .any(|r| filled(r.source.as_ref()).is_some())
    };
    files.unwrap_or_default().iter().any(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Network;
    use crate::stage::disks::Kernel;
    use crate::state::State;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use serde_json::{Value, json};
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Duration;

    /// Answers everything with TLS, until the process ends. Returns its address, and its
    /// certificate, which nobody has signed.
    fn serve() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(session, stream);
                // A client that does not like the certificate goes away here.
                if stream.read(&mut [0; 4096]).is_ok() {
                    let answer =
                        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
                    let _ = stream.write_all(answer.as_bytes());
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            }
        });
        let text = STANDARD.encode(certificate.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        (url, pem)
    }

    fn asked(network: Network, url: &str, pem: &str, files: Value) -> Result<(), DisksError> {
        let source = format!("data:;base64,{}", STANDARD.encode(pem));
        let authorities = match pem {
            "" => json!([]),
            _ => json!([{"source": source}]),
        };
        let tang = json!([{"url": url, "thumbprint": "x"}]);
        let config: Config = serde_json::from_value(json!({
            "ignition": {
                "version": "3.6.0",
                "security": {"tls": {"certificateAuthorities": authorities}},
            },
            "storage": {
                "luks": [{"name": "a", "device": "/dev/a", "clevis": {"tang": tang}}],
                "files": files,
            },
        }))
        .unwrap();
        let mut fetcher = Fetcher::new(network, Duration::from_secs(60));
        fetcher.configure(&config).unwrap();
        let state = State::default();
        let context = Context {
            purpose: crate::stage::disks::Purpose::Write,
            kernel: Kernel::default(),
            state: &state,
        };
        let volumes = config.storage.as_ref().and_then(|s| s.luks.as_ref());
        ask(&context, &fetcher, &config, list(volumes))
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let error = asked(Network::Absent, "http://tang.example", "", json!([])).unwrap_err();
        assert!(matches!(error, DisksError::Fetch { .. }), "{error}");
    }

    #[test]
    fn a_server_that_later_boots_would_not_trust_is_refused() {
        let (url, pem) = serve();
        let file = |more: Value| {
            let mut file = more;
            file["path"] = json!(BUNDLE);
            json!([file])
        };
        for files in [json!([]), file(json!({"mode": 420}))] {
            let error = asked(Network::Present, &url, &pem, files).unwrap_err();
            let message = error.to_string();
            assert!(message.contains(&format!("{url}/adv")), "{message}");
            assert!(
                message.contains("to /etc/ssl/certs/ca-certificates.crt, too"),
                "{message}"
            );
            assert!(error.is_final());
        }
        let source = json!({"source": "data:,x"});
        for files in [
            file(json!({"append": [source]})),
            file(json!({"overwrite": true, "contents": source})),
        ] {
            asked(Network::Present, &url, &pem, files).unwrap();
        }
        let unknown = asked(Network::Present, &url, "", json!([])).unwrap_err();
        assert!(matches!(unknown, DisksError::Fetch { .. }), "{unknown}");
    }
}
