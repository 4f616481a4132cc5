//! The certificate authorities that https servers are checked against.

use std::path::PathBuf;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::FetchError;

/// The system's bundle, as seen from a running host, from an initrd with the
/// root mounted, and from an initrd with only `/usr` mounted.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/sysroot/etc/ssl/certs/ca-certificates.crt",
    "/sysroot/usr/share/ballast/etc/ssl/certs/ca-certificates.crt",
    "/sysusr/usr/share/ballast/etc/ssl/certs/ca-certificates.crt",
];

/// TLS settings that trust the system's authorities and those of `extra`.
pub fn tls(extra: &[Vec<u8>]) -> Result<TlsConfig, FetchError> {
    let paths = paths();
    let system = system(&paths);
    let mut certificates = system.as_deref().map(read).unwrap_or_default();
    for bundle in extra {
        let more = read(bundle);
        if more.is_empty() {
            return Err(FetchError::BadAuthority);
        }
        certificates.extend(more);
    }
    if certificates.is_empty() {
        let tried: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        return Err(FetchError::NoAuthorities {
            tried: tried.join(", "),
        });
    }
    let roots = RootCerts::new_with_certs(&certificates);
    Ok(TlsConfig::builder().root_certs(roots).build())
}

/// The system's authorities and those of `extra` as one PEM bundle.
pub fn bundle(extra: &[Vec<u8>]) -> Vec<u8> {
    let mut all = system(&paths()).unwrap_or_default();
    for bundle in extra {
        // The one before may end in the middle of a line.
        all.push(b'\n');
        all.extend(bundle);
    }
    all
}

/// Where the system's bundle may be; `SSL_CERT_FILE` takes its place.
fn paths() -> Vec<PathBuf> {
    match std::env::var_os("SSL_CERT_FILE") {
        Some(path) => vec![PathBuf::from(path)],
        None => BUNDLES.iter().map(PathBuf::from).collect(),
    }
}

/// The first that can be read.
fn system(paths: &[PathBuf]) -> Option<Vec<u8>> {
    paths.iter().find_map(|path| std::fs::read(path).ok())
}

fn read(pem: &[u8]) -> Vec<Certificate<'static>> {
    parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}
