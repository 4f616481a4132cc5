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

/// TLS settings that trust the system's authorities (the first bundle that
/// can be read; `SSL_CERT_FILE` takes its place) and those of `extra`.
pub fn tls(extra: &[Vec<u8>]) -> Result<TlsConfig, FetchError> {
    let paths = match std::env::var_os("SSL_CERT_FILE") {
        Some(path) => vec![PathBuf::from(path)],
        None => BUNDLES.iter().map(PathBuf::from).collect(),
    };
    let system = paths.iter().find_map(|path| std::fs::read(path).ok());
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

fn read(pem: &[u8]) -> Vec<Certificate<'static>> {
    parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}
