//! Whether a node's certificate, its key and the authority fit together, now and for it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

use super::certificate::{self, Certificate};
use crate::stage::files::rfc3339;

/// How long before its end a certificate is warned about.
const SOON: Duration = Duration::from_secs(30 * DAY);

const DAY: u64 = 24 * 60 * 60;

/// How kubelets' certificates call a node.
const KUBELET: &str = "system:node:";

/// How Nomad's certificates call every client of a region.
const NOMAD: (&str, &str) = ("client.", ".nomad");

/// What there is to judge. What is not given is not judged.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// Certificates of authorities, PEM.
    pub ca: Option<Vec<u8>>,
    /// The node's certificate, and those between it and the authority, PEM.
    pub certificate: Option<Vec<u8>>,
    /// The key of that certificate, PEM.
    pub key: Option<Vec<u8>>,
    /// Whom the certificate is to name.
    pub name: Option<NodeName>,
}

/// What a node is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName {
    /// Its name.
    pub name: String,
    /// The cluster's domain: the certificate may name the node in it.
    pub domain: Option<String>,
    /// Whether the name was given. A host's own may change, and so only warns.
    pub is_given: bool,
}

/// What a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The authorities.
    Ca,
    /// The node's certificate.
    Certificate,
    /// Its key.
    Key,
}

/// What a fault is about, and so what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It will never be right.
    Wrong,
    /// It was right, before its end.
    Expired,
    /// It will be right, or the clock is wrong.
    NotYet,
    /// It works; something is to be done some time.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub part: Part,
    /// What it is about.
    pub kind: FaultKind,
    /// A sentence whose subject is the part: "expired on …". Never holds secrets.
    pub message: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// All that is wrong or will be, the worst of each part first.
    pub faults: Vec<Fault>,
    /// Whom the certificate names.
    pub names: Vec<String>,
    /// When the node's certificate ends.
    pub expires: Option<SystemTime>,
}

impl Judgement {
    /// The first fault for which the material cannot be used.
    pub fn refusal(&self) -> Option<&Fault> {
        let mut faults = self.faults.iter();
        faults.find(|fault| fault.kind != FaultKind::Warning)
    }

    fn add(&mut self, part: Part, kind: FaultKind, message: impl Into<String>) {
        let message = message.into();
        self.faults.push(Fault {
            part,
            kind,
            message,
        });
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "the authority's certificate",
            Self::Certificate => "the node's certificate",
            Self::Key => "the node's key",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.part, self.message)
    }
}

/// Judges `material` as it is at `now`.
pub fn judge(material: &Material, now: SystemTime) -> Judgement {
    let mut found = Judgement::default();
    let mut read = |part, pem: &Option<Vec<u8>>| {
        let read = certificate::read(pem.as_deref()?);
        read.map_err(|message| found.add(part, FaultKind::Wrong, message))
            .ok()
    };
    let authorities = read(Part::Ca, &material.ca);
    let chain = read(Part::Certificate, &material.certificate);
    if let Some(authorities) = &authorities {
        judge_authorities(authorities, now, &mut found);
    }
    if let Some(chain) = &chain {
        judge_times(&chain[0], now, &mut found);
        found.names.clone_from(&chain[0].names);
        found.expires = Some(chain[0].until);
        if let Some(authorities) = &authorities {
            judge_chain(chain, authorities, now, &mut found);
        }
        if let Some(name) = &material.name {
            judge_name(&chain[0], name, &mut found);
        }
    }
    if let Some(key) = &material.key {
        judge_key(key, chain.as_deref(), &mut found);
    }
    found
}

fn judge_authorities(authorities: &[Certificate], now: SystemTime, found: &mut Judgement) {
    if authorities
        .iter()
        .any(|one| one.is_authority == Some(false))
    {
        let message = "is of somebody who may not sign others: it is not an authority's";
        found.add(Part::Ca, FaultKind::Wrong, message);
    }
    // An authority that is being replaced stands beside its successor.
    let Some(last) = authorities.iter().max_by_key(|one| one.until) else {
        return;
    };
    if last.until < now {
        let message = format!("expired on {}; {}", date(last.until), clock(now));
        found.add(Part::Ca, FaultKind::Expired, message);
    } else if last.until < now + SOON {
        let message = format!("expires in {}, on {}", days(last, now), date(last.until));
        found.add(Part::Ca, FaultKind::Warning, message);
    }
}

fn judge_times(leaf: &Certificate, now: SystemTime, found: &mut Judgement) {
    let (from, until) = (date(leaf.from), date(leaf.until));
    let (kind, message) = if leaf.from > leaf.until {
        (FaultKind::Wrong, format!("ends before it begins: {until}"))
    } else if now > leaf.until {
        let message = format!("expired on {until}; {}", clock(now));
        (FaultKind::Expired, message)
    } else if now < leaf.from {
        let message = format!("is valid from {from} on; {}: is that right?", clock(now));
        (FaultKind::NotYet, message)
    } else if leaf.until < now + SOON {
        let message = format!("expires in {}, on {until}", days(leaf, now));
        (FaultKind::Warning, message)
    } else {
        return;
    };
    found.add(Part::Certificate, kind, message);
}

/// At a moment at which the node's certificate itself is valid: what is wrong with that is
/// said already.
fn judge_chain(
    chain: &[Certificate],
    authorities: &[Certificate],
    now: SystemTime,
    found: &mut Judgement,
) {
    let (from, until) = (chain[0].from, chain[0].until);
    if from > until {
        return;
    }
    let moment = now.clamp(from, until).duration_since(UNIX_EPOCH);
    let moment = UnixTime::since_unix_epoch(moment.unwrap_or_default());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        if let Err(error) = roots.add(authority.der.clone()) {
            let message = format!("cannot be used: {error}");
            return found.add(Part::Ca, FaultKind::Wrong, message);
        }
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = match verifier {
        Ok(verifier) => verifier,
        Err(error) => {
            let message = format!("cannot be used: {error}");
            return found.add(Part::Ca, FaultKind::Wrong, message);
        }
    };
    let between: Vec<_> = chain[1..].iter().map(|one| one.der.clone()).collect();
    if let Err(error) = verifier.verify_client_cert(&chain[0].der, &between, moment) {
        let (kind, message) = reason(&error);
        found.add(Part::Certificate, kind, message);
    }
}

fn reason(error: &Error) -> (FaultKind, String) {
    use CertificateError as Why;
    let Error::InvalidCertificate(why) = error else {
        return (FaultKind::Wrong, format!("cannot be used: {error}"));
    };
    let message = match why {
        Why::UnknownIssuer => {
            "is not signed by the authority that is given as ca, or a certificate between \
             them is missing"
        }
        Why::BadSignature => {
            "is signed by another authority of the same name as the one that is given as ca"
        }
        Why::InvalidPurpose | Why::InvalidPurposeContext { .. } => {
            "is not for clients: its extended key usage lacks clientAuth"
        }
        // The node's own was judged apart.
        Why::Expired | Why::ExpiredContext { .. } => {
            let message = "was signed through a certificate that has expired".to_owned();
            return (FaultKind::Expired, message);
        }
        other => return (FaultKind::Wrong, format!("cannot be used: {other}")),
    };
    (FaultKind::Wrong, message.to_owned())
}

fn judge_name(leaf: &Certificate, node: &NodeName, found: &mut Judgement) {
    if names(&leaf.names, node) {
        return;
    }
    let named = match leaf.names.as_slice() {
        [] => "nobody".to_owned(),
        names => names.join(", "),
    };
    let (kind, called) = match node.is_given {
        true => (FaultKind::Wrong, "this node is called"),
        false => (FaultKind::Warning, "the name of this host is"),
    };
    let message = format!("names {named}, and {called} {}", node.name);
    found.add(Part::Certificate, kind, message);
}

/// Whether one of the certificate's names is the node's.
fn names(names: &[String], node: &NodeName) -> bool {
    let in_domain = node
        .domain
        .iter()
        .map(|domain| format!("{}.{domain}", node.name));
    let wanted: Vec<String> = in_domain.chain([node.name.clone()]).collect();
    names.iter().any(|name| {
        let plain = name.strip_prefix(KUBELET).unwrap_or(name);
        let of_region = name.starts_with(NOMAD.0) && name.ends_with(NOMAD.1);
        of_region || wanted.iter().any(|one| one.eq_ignore_ascii_case(plain))
    })
}

fn judge_key(pem: &[u8], chain: Option<&[Certificate]>, found: &mut Judgement) {
    let Ok(key) = PrivateKeyDer::from_pem_slice(pem) else {
        let text = String::from_utf8_lossy(pem);
        let message = if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
            "is encrypted: nobody is there to type its password; decrypt it"
        } else if text.contains("BEGIN CERTIFICATE") {
            "holds a certificate, and no private key"
        } else {
            "holds no private key in PEM"
        };
        return found.add(Part::Key, FaultKind::Wrong, message);
    };
    let provider: CryptoProvider = ring::default_provider();
    let Some(chain) = chain else {
        if provider.key_provider.load_private_key(key).is_err() {
            found.add(Part::Key, FaultKind::Wrong, UNKNOWN_KEY);
        }
        return;
    };
    let chain = chain.iter().map(|one| one.der.clone()).collect();
    match CertifiedKey::from_der(chain, key, &provider) {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let message = "is not that of the node's certificate: they are not a pair";
            found.add(Part::Key, FaultKind::Wrong, message);
        }
        Err(_) => found.add(Part::Key, FaultKind::Wrong, UNKNOWN_KEY),
        Ok(_) => {}
    }
}

const UNKNOWN_KEY: &str = "cannot be used: it is damaged, or neither RSA, ECDSA (P-256, P-384) \
                           nor Ed25519";

fn clock(now: SystemTime) -> String {
    format!("this machine's clock says {}", date(now))
}

fn days(certificate: &Certificate, now: SystemTime) -> String {
    let left = certificate.until.duration_since(now).unwrap_or_default();
    match left.as_secs() / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// A moment for people and programs.
pub(super) fn date(time: SystemTime) -> String {
    rfc3339(
        time.duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs(),
    )
}
