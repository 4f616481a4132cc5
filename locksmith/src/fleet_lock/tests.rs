use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use semver::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::server::{Server, ServerOptions};
use super::*;
use crate::etcd::{EtcdLock, Fault, HostClock, Terms};
use crate::lock::{
    Answer, Claim, HolderId, Lock as _, LockError, Operator as _, Released, Standing, Wait,
};
use crate::simulation::Memory;

fn group() -> GroupName {
    GroupName::new("workers").unwrap()
}

fn claim(id: &str) -> Claim {
    Claim {
        id: HolderId::new(id).unwrap(),
        host: Text::clip("node"),
        boot_id: Text::clip("b"),
        reason: Text::clip("update"),
        from: None,
        to: Some(Version::new(1, 1, 0)),
    }
}

fn client(url: &str, ca: Option<&Path>) -> FleetLock {
    let options = FleetOptions {
        url: url.parse().unwrap(),
        group: group(),
        ca: ca.map(Path::to_path_buf),
    };
    FleetLock::open(options).unwrap()
}

/// A server as others have written them: a set of IDs in memory, every request checked
/// as the protocol has it.
async fn faithful(max: usize) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let holders = Arc::new(Mutex::new(Vec::new()));
    let all = holders.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = request(&mut stream).await;
            let (status, body) = judged(&request, max, &mut all.lock().unwrap());
            let length = body.len();
            let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    (address, holders)
}

async fn request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.unwrap();
        text.extend_from_slice(&part[..read]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        if read == 0 || whole.ends_with("}}") {
            return whole;
        }
    }
}

fn judged(request: &str, max: usize, holders: &mut Vec<String>) -> (&'static str, String) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(head.contains("\r\nfleet-lock-protocol: true"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["client_params"]["group"], "workers");
    let id = body["client_params"]["id"].as_str().unwrap().to_owned();
    if head.starts_with("post /base/v1/steady-state http/1.1") {
        holders.retain(|holder| *holder != id);
        return ("200 OK", String::new());
    }
    assert!(
        head.starts_with("post /base/v1/pre-reboot http/1.1"),
        "{head}"
    );
    if !holders.contains(&id) && holders.len() >= max {
        let why = r#"{"kind":"failed_lock","value":"semaphore full"}"#;
        return ("409 Conflict", why.to_owned());
    }
    holders.retain(|holder| *holder != id);
    holders.push(id);
    ("200 OK", String::new())
}

#[tokio::test]
async fn the_client_gets_and_gives_back_the_lock_of_a_faithful_server() {
    let (address, holders) = faithful(1).await;
    let url = format!("http://{address}/base");
    let (mut a, mut b) = (client(&url, None), client(&url, None));
    let [claim_a, claim_b] = ["aa", "bb"].map(claim);
    let Answer::Granted(first) = a.acquire(&claim_a).await.unwrap() else {
        panic!("not granted");
    };
    assert_eq!(first.holder.claim, claim_a);
    let Answer::Waiting(Wait::Refused { reason }) = b.acquire(&claim_b).await.unwrap() else {
        panic!("granted twice");
    };
    assert_eq!(reason, "semaphore full (failed_lock)");
    let Answer::Granted(again) = a.acquire(&claim_a).await.unwrap() else {
        panic!("not granted again");
    };
    assert_eq!(again.holder.since, first.holder.since);
    assert_eq!(a.alive(&claim_a.id).await.unwrap(), Standing::Held);
    assert_eq!(b.alive(&claim_b.id).await.unwrap(), Standing::Lost);
    assert_eq!(a.release(&claim_a.id).await.unwrap(), Released::Given);
    assert!(holders.lock().unwrap().is_empty());
    assert!(matches!(
        b.acquire(&claim_b).await.unwrap(),
        Answer::Granted(_)
    ));
    assert_eq!(a.view().await.unwrap(), None);
    assert!(a.operator().is_none());
}

#[tokio::test]
async fn a_machine_id_is_not_told() {
    let (address, holders) = faithful(1).await;
    let mut host = client(&format!("http://{address}/base"), None);
    let machine = claim("dc62f5ae9a3a4d8a8cd0b2a1fbbd1d43");
    host.acquire(&machine).await.unwrap();
    let told = "91207b7f20d74871ba8488f22b80258e";
    assert_eq!(*holders.lock().unwrap(), [told]);
    host.release(&machine.id).await.unwrap();
    assert!(holders.lock().unwrap().is_empty());
}

/// A server that answers every request with these bytes.
async fn saying(reply: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            request(&mut stream).await;
            let _ = stream.write_all(reply.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn no_odd_answer_is_taken_for_the_lock() {
    let reply = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let asked = async |reply: String| {
        let url = saying(reply).await;
        client(&url, None).acquire(&claim("a")).await
    };
    for body in ["", "no", "{}", r#"{"kind":1}"#] {
        let answer = asked(reply("500 Oops", body)).await;
        assert!(
            matches!(answer, Err(LockError::Failed { .. })),
            "{body}: {answer:?}"
        );
        let answer = asked(reply("404 Not Found", body)).await;
        assert!(
            matches!(answer, Err(LockError::Content { .. })),
            "{body}: {answer:?}"
        );
        let answer = asked(reply("302 Found\r\nlocation: /elsewhere", body)).await;
        assert!(
            matches!(answer, Err(LockError::Content { .. })),
            "{body}: {answer:?}"
        );
    }
    let answer = asked(reply("403 Forbidden", "")).await;
    assert!(
        matches!(answer, Err(LockError::NotAllowed { .. })),
        "{answer:?}"
    );
    let terminal = r#"{"kind":"k","value":"\u001b[2Jgone"}"#;
    let answer = asked(reply("500 Oops", terminal)).await.unwrap();
    let reason = " [2Jgone (k)".to_owned();
    assert_eq!(answer, Answer::Waiting(Wait::Refused { reason }));
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".to_owned();
    assert!(asked(cut).await.is_err(), "an answer that was cut off");
    let endless = reply("500 Oops", &"x".repeat(1 << 20));
    assert!(matches!(
        asked(endless).await,
        Err(LockError::Failed { .. })
    ));
    let nobody = client("http://127.0.0.1:1", None)
        .acquire(&claim("a"))
        .await;
    assert!(nobody.unwrap_err().is_outage());
}

/// A server of ours over an etcd in memory.
async fn ours(options: ServerOptions) -> (SocketAddr, Memory) {
    let memory = Memory::default();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(any, memory.clone(), options).await.unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.serve());
    (address, memory)
}

fn host(memory: &Memory) -> EtcdLock<Memory, HostClock> {
    let terms = Terms {
        group: group(),
        brake_threshold: 1,
        expire_after: None,
    };
    EtcdLock::new(memory.clone(), HostClock::default(), terms)
}

#[tokio::test]
async fn hosts_of_both_kinds_share_one_lock() {
    let (address, memory) = ours(ServerOptions::default()).await;
    let mut fleet = client(&format!("http://{address}"), None);
    let mut host = host(&memory);
    let [theirs, own] = ["aa", "bb"].map(claim);
    assert!(matches!(
        host.acquire(&own).await.unwrap(),
        Answer::Granted(_)
    ));
    let Answer::Waiting(Wait::Refused { reason }) = fleet.acquire(&theirs).await.unwrap() else {
        panic!("granted to both");
    };
    assert!(
        reason.contains("taken, by bb; place 1 in the queue"),
        "{reason}"
    );
    // It keeps its place, without being there.
    let view = host.view().await.unwrap().unwrap();
    assert_eq!(view.queue[0].claim.id.as_str(), "fleet-lock:aa");
    assert_eq!(view.waiting, 1);
    let again = fleet.acquire(&theirs).await.unwrap();
    assert!(matches!(again, Answer::Waiting(_)));
    let later = host.view().await.unwrap().unwrap();
    assert_eq!(later.queue, view.queue);
    host.release(&own.id).await.unwrap();
    let next = host.acquire(&own).await.unwrap();
    assert!(
        matches!(next, Answer::Waiting(_)),
        "others came first: {next:?}"
    );
    assert!(matches!(
        fleet.acquire(&theirs).await.unwrap(),
        Answer::Granted(_)
    ));
    assert_eq!(fleet.release(&theirs.id).await.unwrap(), Released::Given);
    assert!(matches!(
        host.acquire(&own).await.unwrap(),
        Answer::Granted(_)
    ));
    // What a host holds by itself is out of reach for clients.
    fleet.release(&own.id).await.unwrap();
    assert_eq!(host.alive(&own.id).await.unwrap(), Standing::Held);
}

#[tokio::test]
async fn an_outage_of_etcd_is_not_a_yes() {
    let (address, memory) = ours(ServerOptions::default()).await;
    let mut fleet = client(&format!("http://{address}"), None);
    for fault in [
        Fault::Unreachable,
        Fault::NoLeader,
        Fault::Denied,
        Fault::Failed,
    ] {
        memory.fail(Some(fault));
        let answer = fleet.acquire(&claim("a")).await.unwrap();
        assert!(matches!(answer, Answer::Waiting(_)), "{fault:?}");
        assert!(fleet.release(&claim("a").id).await.is_err(), "{fault:?}");
    }
    memory.fail(None);
    assert!(matches!(
        fleet.acquire(&claim("a")).await.unwrap(),
        Answer::Granted(_)
    ));
}

async fn said(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(request).await;
    let mut reply = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut reply)).await;
    String::from_utf8_lossy(&reply).into_owned()
}

fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        .into_bytes()
}

#[tokio::test]
async fn hostile_requests_change_nothing_and_get_an_answer_of_the_protocol() {
    let patience = Duration::from_millis(300);
    let options = ServerOptions {
        patience,
        ..ServerOptions::default()
    };
    let (address, memory) = ours(options).await;
    let mark = "fleet-lock-protocol: true\r\n";
    let good = r#"{"client_params":{"id":"a","group":"workers"}}"#;
    let path = "/v1/pre-reboot";
    let group = good.replace("workers", "../x");
    let id = good.replace("\"a\"", "\"a/b\"");
    let empty = good.replace("\"a\"", "\"\"");
    let long = good.replace("\"a\"", &format!("\"{}\"", "x".repeat(200)));
    for (request, status) in [
        (post(path, "", good), "400"),
        (post(path, "fleet-lock-protocol: yes\r\n", good), "400"),
        (post(path, mark, ""), "400"),
        (post(path, mark, "{}"), "400"),
        (post(path, mark, &"[".repeat(4000)), "400"),
        (post(path, mark, &group), "400"),
        (post(path, mark, &id), "400"),
        (post(path, mark, &empty), "400"),
        (post(path, mark, &long), "400"),
        (post(path, mark, &" ".repeat(100_000)), "413"),
        (post("/v1/pre-reboot/", mark, good), "404"),
        (post("/", mark, good), "404"),
        (
            b"GET /v1/pre-reboot HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_vec(),
            "405",
        ),
        (
            format!("POST {path} HTTP/1.1\r\nhost: a\r\n{mark}content-length: 50\r\n\r\n{{")
                .into_bytes(),
            "408",
        ),
    ] {
        let reply = said(address, &request).await;
        let shown: String = String::from_utf8_lossy(&request).chars().take(60).collect();
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status} ")),
            "{shown}: {reply}"
        );
        let body = reply.split_once("\r\n\r\n").unwrap().1;
        assert!(
            Rejection::parse(body.as_bytes()).is_some(),
            "{shown}: {reply}"
        );
    }
    // A head that does not end, or is no HTTP, ends the connection.
    let huge = format!("POST {path} HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    for head in [b"POST / HT".to_vec(), vec![0; 10], huge.into_bytes()] {
        let reply = said(address, &head).await;
        assert!(!reply.contains(" 200 "), "{reply}");
    }
    let view = host(&memory).view().await.unwrap().unwrap();
    assert!(view.holders.is_empty() && view.waiting == 0);
    let reply = said(address, &post(path, mark, good)).await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
}

fn pem_of(what: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(what, der))
}

#[tokio::test]
async fn tls_is_spoken_where_there_is_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file("crt"), pem_of("CERTIFICATE", own.cert.der())).unwrap();
    std::fs::write(
        file("key"),
        pem_of("PRIVATE KEY", &own.signing_key.serialize_der()),
    )
    .unwrap();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file("other"), pem_of("CERTIFICATE", other.cert.der())).unwrap();
    let options = ServerOptions {
        tls: Some((file("crt"), file("key"))),
        ..ServerOptions::default()
    };
    let (address, _) = ours(options).await;
    let url = format!("https://{address}");
    let mut trusting = client(&url, Some(&file("crt")));
    assert!(matches!(
        trusting.acquire(&claim("a")).await.unwrap(),
        Answer::Granted(_)
    ));
    let mut doubting = client(&url, Some(&file("other")));
    assert!(doubting.acquire(&claim("b")).await.is_err());
    let mut plain = client(&format!("http://{address}"), None);
    assert!(plain.acquire(&claim("b")).await.is_err());
}

#[tokio::test]
async fn a_server_without_its_files_does_not_start() {
    let nowhere = || Some(("/nowhere.crt".into(), "/nowhere.key".into()));
    let options = ServerOptions {
        tls: nowhere(),
        ..ServerOptions::default()
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let Err(error) = Server::bind(any, Memory::default(), options).await else {
        panic!("it started");
    };
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "reading /nowhere.crt");
}

#[tokio::test]
async fn operators_see_and_unlock_clients() {
    let (address, memory) = ours(ServerOptions::default()).await;
    let mut fleet = client(&format!("http://{address}"), None);
    fleet.acquire(&claim("a")).await.unwrap();
    let mut host = host(&memory);
    let id = HolderId::new("fleet-lock:a").unwrap();
    let known = host.unlock(&id).await.unwrap().unwrap();
    assert_eq!(known.claim.reason.as_str(), "FleetLock client at 127.0.0.1");
    assert_eq!(host.unlock(&id).await.unwrap(), None);
}

proptest! {
    #[test]
    fn bodies_are_read_as_they_were_written(
        id in "[a-zA-Z0-9]{1,40}", group in "[a-zA-Z0-9.-]{1,40}",
    ) {
        let params = ClientParams {
            id: Text::new(id).unwrap(),
            group: GroupName::new(group).unwrap(),
        };
        prop_assert_eq!(ClientParams::parse(&params.print().unwrap()).unwrap(), params);
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (ClientParams::parse(&bytes), Rejection::parse(&bytes));
    }
}
