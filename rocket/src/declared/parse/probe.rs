//! Probes.

use super::super::model::{Check, Probe};
use super::super::reader::{At, Fields, Keys, Reader};
use super::container::command;
use super::environment::required;
use super::pod::{DAY, address};

/// A port of the container that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    pub number: u16,
}

const PROBE: Keys = Keys {
    known: &[
        "exec",
        "httpGet",
        "tcpSocket",
        "initialDelaySeconds",
        "periodSeconds",
        "timeoutSeconds",
        "successThreshold",
        "failureThreshold",
    ],
    refused: &[
        ("grpc", "use exec with a client, or tcpSocket"),
        ("terminationGracePeriodSeconds", "the pod's counts"),
    ],
};

const HTTP: Keys = Keys {
    known: &["host", "path", "port", "scheme", "httpHeaders"],
    refused: &[],
};

const HEADER: Keys = Keys {
    known: &["name", "value"],
    refused: &[],
};

const TCP: Keys = Keys {
    known: &["host", "port"],
    refused: &[],
};

/// Nothing if it is wrong.
pub fn read(reader: &mut Reader<'_>, at: &At<'_>, ports: &[Port]) -> Option<Probe> {
    let fields = reader.map(at, PROBE)?;
    let ways: Vec<&str> = ["exec", "httpGet", "tcpSocket"]
        .into_iter()
        .filter(|way| fields.get(way).is_some())
        .collect();
    let check = match ways.as_slice() {
        [way] => fields
            .get(way)
            .and_then(|at| check(reader, &at, way, ports)),
        several => {
            let count = several.len();
            reader.refuse(
                at,
                format!("expected one of exec, httpGet, tcpSocket, found {count}"),
            );
            None
        }
    };
    let mut number = |key: &str, least: i64, usual: i64| {
        let number = reader.number_of(&fields, key, least, DAY);
        number.unwrap_or(usual).unsigned_abs()
    };
    let (delay, period) = (
        number("initialDelaySeconds", 0, 0),
        number("periodSeconds", 1, 10),
    );
    let timeout = number("timeoutSeconds", 1, 1);
    let (successes, failures) = (
        number("successThreshold", 1, 1),
        number("failureThreshold", 1, 3),
    );
    Some(Probe {
        check: check?,
        delay,
        period,
        timeout,
        successes: u32::try_from(successes).unwrap_or(u32::MAX),
        failures: u32::try_from(failures).unwrap_or(u32::MAX),
    })
}

fn check(reader: &mut Reader<'_>, at: &At<'_>, way: &str, ports: &[Port]) -> Option<Check> {
    if way == "exec" {
        return command(reader, at).map(Check::Exec);
    }
    let is_http = way == "httpGet";
    let own = reader.map(at, if is_http { HTTP } else { TCP })?;
    let host = match own.get("host") {
        Some(at) => Some(address(reader, &at)?),
        None => None,
    };
    let port = port(reader, at, &own, ports);
    if !is_http {
        return Some(Check::Tcp { host, port: port? });
    }
    if let Some(scheme) = own.get("scheme")
        && reader.text(&scheme)? != "HTTP"
    {
        reader.refuse(
            &scheme,
            "not supported; only HTTP is, probe by exec or tcpSocket",
        );
    }
    let path = own.get("path").and_then(|at| path(reader, &at));
    let mut headers = Vec::new();
    for at in reader.list_of(&own, "httpHeaders") {
        headers.extend(header(reader, &at));
    }
    Some(Check::Http {
        host,
        port: port?,
        path: path.unwrap_or_else(|| "/".into()),
        headers,
    })
}

fn path(reader: &mut Reader<'_>, at: &At<'_>) -> Option<String> {
    let text = reader.text(at)?;
    if text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic()) {
        return Some(text);
    }
    reader.refuse(at, "expected a path that begins with / and has no spaces");
    None
}

/// By number, or by the name that the container's ports give it.
fn port(reader: &mut Reader<'_>, at: &At<'_>, own: &Fields<'_>, ports: &[Port]) -> Option<u16> {
    let Some(at) = own.get("port") else {
        reader.refuse(at, "port is missing");
        return None;
    };
    let text = reader.words(&at)?;
    let named = ports
        .iter()
        .find(|port| port.name == text)
        .map(|port| port.number);
    let number = named.or_else(|| text.parse().ok()).filter(|port| *port > 0);
    if number.is_none() {
        let message = format!("{text:?} is neither a port nor the name of one of the container's");
        reader.refuse(&at, message);
    }
    number
}

fn header(reader: &mut Reader<'_>, at: &At<'_>) -> Option<(String, String)> {
    let own = reader.map(at, HEADER)?;
    let name = required(reader, at, &own, "name")?;
    let value = required(reader, at, &own, "value")?;
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if is_name && !value.chars().any(char::is_control) {
        return Some((name, value));
    }
    reader.refuse(at, "expected the name and the value of a header");
    None
}
