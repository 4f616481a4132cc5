use super::*;
use std::io::{Read, Write};
use std::sync::Mutex;

type Log = Arc<Mutex<Vec<Answer>>>;

fn serve(dir: &Path) -> (Server, Log) {
    let log = Log::default();
    let watched = Arc::clone(&log);
    let watch = move |answer: &Answer| watched.lock().unwrap().push(answer.clone());
    let server = Server::start(dir, ([127, 0, 0, 1], 0).into(), watch).unwrap();
    (server, log)
}

/// Status line, headers in lower case, body.
fn ask(server: &Server, request: &str) -> (u16, String, Vec<u8>) {
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    write!(stream, "{request}Host: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), bytes[end + 4..].to_vec())
}

fn directory() -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    std::fs::create_dir(dir.path().join("a")).unwrap();
    std::fs::write(dir.path().join("a/b+1.bin"), &content).unwrap();
    std::fs::write(dir.path().join(".lock"), "x").unwrap();
    std::fs::write(dir.path().join("empty"), "").unwrap();
    (dir, content)
}

#[test]
fn files_and_their_parts_are_served() {
    let (dir, content) = directory();
    let (server, log) = serve(dir.path());
    let (status, head, body) = ask(&server, "GET /a/b+1.bin HTTP/1.1\r\n");
    assert_eq!((status, body), (200, content.clone()));
    assert!(head.contains("accept-ranges: bytes"), "{head}");
    let part = "GET /a/b%2B1.bin HTTP/1.1\r\nRange: bytes=1000-150000\r\n";
    let (status, head, body) = ask(&server, part);
    assert_eq!((status, &body[..]), (206, &content[1000..=150_000]));
    assert!(
        head.contains("content-range: bytes 1000-150000/200000"),
        "{head}"
    );
    let (status, head, body) = ask(&server, "HEAD /a/b+1.bin HTTP/1.1\r\n");
    assert_eq!((status, body.len()), (200, 0));
    assert!(head.contains("content-length: 200000"), "{head}");
    let beyond = "GET /empty HTTP/1.1\r\nRange: bytes=0-\r\n";
    let (status, head, _) = ask(&server, beyond);
    assert_eq!(status, 416);
    assert!(head.contains("content-range: bytes */0"), "{head}");
    let validated = "GET /a/b+1.bin HTTP/1.1\r\nRange: bytes=0-1\r\nIf-Range: \"x\"\r\n";
    assert_eq!(ask(&server, validated).0, 200);
    assert_eq!(server.requests(), 5);
    assert_eq!(server.bytes(), 2 * 200_000 + 149_001);
    let log = log.lock().unwrap();
    assert_eq!(log[1].range.as_deref(), Some("bytes=1000-150000"));
    assert_eq!((log[1].status, log[1].bytes), (206, 149_001));
}

#[test]
fn nothing_outside_the_directory_is_served() {
    let (dir, _) = directory();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "x").unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
    let (server, _) = serve(dir.path());
    for path in [
        "/",
        "/a",
        "/.lock",
        "/link/secret",
        "/../secret",
        "/a/../../secret",
        "/%2e%2e/secret",
        "/a/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/a%00",
        "/%ff",
    ] {
        let (status, _, body) = ask(&server, &format!("GET {path} HTTP/1.1\r\n"));
        assert_eq!((status, body.len()), (404, 0), "{path}");
    }
    assert_eq!(
        ask(&server, "POST /a HTTP/1.1\r\nContent-Length: 0\r\n").0,
        405
    );
}

#[test]
fn a_head_without_end_is_refused() {
    let (dir, _) = directory();
    let (server, log) = serve(dir.path());
    let long = "x".repeat(64 << 10);
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    let _ = write!(stream, "GET /empty HTTP/1.1\r\nX: {long}\r\n\r\n");
    let mut answer = Vec::new();
    // The rest of the head may be met by a reset.
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert!(log.lock().unwrap().is_empty());
    assert_eq!(ask(&server, "GET /empty HTTP/1.1\r\n").0, 200);
}
