//! Certificates and keys that are embedded are judged as the host will judge them. What is
//! at a URL is not known here.

use std::io::Read as _;
use std::time::SystemTime;

use serde_json::Value;

use crate::cluster::{FaultKind, Material, NodeName, Part, judge};
use crate::fetch::Source;

use super::{Asked, Object, Translator};

/// Longest certificate or key that is looked into, in bytes.
const PEM: u64 = 1 << 20;

/// Complains about what is wrong.
pub fn check(translator: &mut Translator<'_>, asked: &Asked<'_>) {
    if asked
        .resource("bootstrap_token")
        .and_then(embedded)
        .is_some_and(|token| {
            let token = String::from_utf8_lossy(&token).trim().to_owned();
            token.is_empty() || token.contains(char::is_whitespace)
        })
    {
        let message = "expected a token: one word";
        asked.error(translator, "bootstrap_token", message);
    }
    let part = |name: &str| asked.resource(name).and_then(embedded);
    let material = Material {
        ca: part("ca"),
        certificate: part("certificate"),
        key: part("key"),
        name: asked.text("name").map(|name| NodeName {
            name: name.to_owned(),
            domain: asked.text("domain").map(str::to_owned),
            is_given: true,
        }),
    };
    for fault in judge(&material, SystemTime::now()).faults {
        let name = match fault.part {
            Part::Ca => "ca",
            Part::Certificate => "certificate",
            Part::Key => "key",
        };
        match fault.kind {
            FaultKind::Wrong | FaultKind::Expired => {
                asked.error(translator, name, fault.to_string());
            }
            // A config may be written before its time, and the host's clock is another one.
            FaultKind::NotYet | FaultKind::Warning => {
                asked.warning(translator, name, fault.to_string());
            }
        }
    }
}

/// What is in a data URL.
fn embedded(object: &Object) -> Option<Vec<u8>> {
    let source = object.get("source")?.as_str()?;
    let Ok(Source::Data(bytes)) = Source::parse(source) else {
        return None;
    };
    if object.get("compression").and_then(Value::as_str) != Some("gzip") {
        return Some(bytes);
    }
    let mut plain = Vec::new();
    let decoder = flate2::read::GzDecoder::new(bytes.as_slice());
    decoder.take(PEM).read_to_end(&mut plain).ok()?;
    Some(plain)
}
