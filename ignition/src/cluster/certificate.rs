//! One certificate: when it is valid, whom it names.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What the judge wants to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// As it came.
    pub der: CertificateDer<'static>,
    /// The first moment at which it counts.
    pub from: SystemTime,
    /// The last one.
    pub until: SystemTime,
    /// Common names, names and addresses.
    pub names: Vec<String>,
    /// Whether it may sign others; nothing where it does not say.
    pub is_authority: Option<bool>,
}

/// All certificates of `pem`, in their order; what else is in it is not looked at.
///
/// # Errors
/// What is wrong with it, as a part of a sentence.
pub fn read(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let has_key = String::from_utf8_lossy(pem).contains("PRIVATE KEY-----");
    let mut found = Vec::new();
    for item in CertificateDer::pem_slice_iter(pem) {
        let number = found.len() + 1;
        let der = item.map_err(|error| format!("is no PEM that can be read: {error}"))?;
        let certificate = parse(der.into_owned());
        found.push(certificate.ok_or_else(|| {
            format!("is no certificate that can be read (number {number} in the file)")
        })?);
    }
    match (found.is_empty(), has_key) {
        (true, true) => Err("holds a private key, and no certificate".to_owned()),
        (true, false) => Err("holds no certificate in PEM".to_owned()),
        (false, true) => {
            let message = "holds a private key, too, and is for everybody to read";
            Err(message.to_owned())
        }
        (false, false) => Ok(found),
    }
}

fn parse(der: CertificateDer<'static>) -> Option<Certificate> {
    let (rest, parsed) = X509Certificate::from_der(&der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let validity = parsed.validity();
    let constraints = parsed.basic_constraints().ok()?;
    Some(Certificate {
        from: moment(validity.not_before.timestamp()),
        until: moment(validity.not_after.timestamp()),
        names: names(&parsed)?,
        is_authority: constraints.map(|constraints| constraints.value.ca),
        der: der.clone(),
    })
}

fn names(parsed: &X509Certificate<'_>) -> Option<Vec<String>> {
    let common = parsed.subject().iter_common_name();
    let mut names: Vec<String> = common
        .filter_map(|name| name.as_str().ok())
        .map(str::to_owned)
        .collect();
    let alternative = parsed.subject_alternative_name().ok()?;
    for name in alternative
        .iter()
        .flat_map(|names| &names.value.general_names)
    {
        let text = match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(address) => address,
                None => continue,
            },
            _ => continue,
        };
        if !names.contains(&text) {
            names.push(text);
        }
    }
    Some(names)
}

fn address(bytes: &[u8]) -> Option<String> {
    let address: std::net::IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        _ => <[u8; 16]>::try_from(bytes).ok()?.into(),
    };
    Some(address.to_string())
}

/// Certificates may be older than 1970.
fn moment(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let found = match seconds {
        ..0 => UNIX_EPOCH.checked_sub(distance),
        _ => UNIX_EPOCH.checked_add(distance),
    };
    found.unwrap_or(UNIX_EPOCH)
}
