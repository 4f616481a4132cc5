//! Certificate and key of the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: pem::Error,
    },
    /// What is in the files does not fit together.
    #[error("using the certificate in {} and its key", .path.display())]
    Unfit {
        /// The certificate's file.
        path: PathBuf,
        /// What went wrong.
        source: rustls::Error,
    },
}

pub(super) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let unread = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TlsError::Read { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(unread(certificate))?;
    let chain: Result<Vec<_>, _> = chain.collect();
    let chain = chain.map_err(unread(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unread(key))?;
    let unfit = |source| TlsError::Unfit {
        path: certificate.to_path_buf(),
        source,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unfit)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
