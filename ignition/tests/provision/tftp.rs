//! Files from an imitation of a TFTP server, with its faults.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::json;

use super::{Host, v3};

/// How a server behaves.
#[derive(Clone, Copy, Default)]
struct Manner {
    /// Largest block it agrees to; without it, it knows no options.
    block_size: Option<usize>,
    /// Answers requests with options by an error.
    refuses_options: bool,
    /// Sends every block only when it is asked for the second time.
    loses: bool,
    /// Sends every packet twice, and something from another port between.
    repeats: bool,
    /// Announces this size in place of the file's.
    lies: Option<usize>,
}

/// Serves `/f` in its `manner` until the test process ends.
fn serve(file: Vec<u8>, manner: Manner) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("tftp://{}/f", socket.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        let mut ignored = !manner.loses;
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let (request, file) = (buffer[..length].to_vec(), file.clone());
            if std::mem::replace(&mut ignored, true) {
                std::thread::spawn(move || answer(&request, client, &file, manner));
            }
        }
    });
    url
}

fn answer(request: &[u8], client: SocketAddr, file: &[u8], manner: Manner) {
    // Its own port for each transfer.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let words: Vec<&[u8]> = request[2..].split(|byte| *byte == 0).collect();
    assert_eq!((&request[..2], words[1]), (&b"\0\x01"[..], &b"octet"[..]));
    let with_options = words.len() > 3;
    if words[0] != b"/f" {
        return fail(&socket, client, 1, "File not found");
    }
    if with_options && manner.refuses_options {
        return fail(&socket, client, 8, "No options");
    }
    let mut transfer = Transfer {
        socket,
        client,
        manner,
        lost: BTreeSet::new(),
    };
    let block_size = match manner.block_size {
        Some(size) if with_options => {
            let announced = manner.lies.unwrap_or(file.len());
            let options = format!("\0\x06blksize\0{size}\0tsize\0{announced}\0");
            if !transfer.send(options.as_bytes(), 0) {
                return;
            }
            size
        }
        _ => 512,
    };
    let blocks = file.len() / block_size + 1;
    for number in 1..=blocks {
        let start = (number - 1) * block_size;
        let block = &file[start..file.len().min(start + block_size)];
        let wrapped = (number % 65536) as u16;
        let packet = [&[0, 3][..], &wrapped.to_be_bytes(), block].concat();
        if !transfer.send(&packet, wrapped) {
            return;
        }
    }
}

fn fail(socket: &UdpSocket, client: SocketAddr, code: u8, message: &str) {
    let packet = [&[0, 5, 0, code][..], message.as_bytes(), &[0]].concat();
    socket.send_to(&packet, client).unwrap();
}

struct Transfer {
    socket: UdpSocket,
    client: SocketAddr,
    manner: Manner,
    lost: BTreeSet<u16>,
}

impl Transfer {
    /// Sends `packet` until `block` is acknowledged. False if the client has
    /// given up.
    fn send(&mut self, packet: &[u8], block: u16) -> bool {
        if !(self.manner.loses && block > 0 && self.lost.insert(block)) {
            self.send_once(packet);
        }
        let mut buffer = [0; 1024];
        loop {
            let Ok((length, from)) = self.socket.recv_from(&mut buffer) else {
                return false;
            };
            assert_eq!(from, self.client);
            match &buffer[..length] {
                [0, 5, ..] => return false,
                [0, 4, high, low] if u16::from_be_bytes([*high, *low]) == block => return true,
                // The client asks again.
                [0, 4, ..] if self.manner.loses => self.send_once(packet),
                _ => {}
            }
        }
    }

    fn send_once(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.client).unwrap();
        if self.manner.repeats {
            let stray = UdpSocket::bind("127.0.0.1:0").unwrap();
            stray.send_to(b"\0\x03\0\x01stray", self.client).unwrap();
            stray.send_to(b"\0\x05\0\0stray\0", self.client).unwrap();
            self.socket.send_to(packet, self.client).unwrap();
        }
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 + n / 251) as u8).collect()
}

fn fetched(file: &[u8], manner: Manner) {
    let url = serve(file.to_vec(), manner);
    let mut host = Host::new();
    host.settings.fetch_timeout = Duration::from_secs(300);
    host.config(&v3(json!({"storage": {"files": [{
        "path": "/f",
        "contents": {"source": url, "verification": {"hash": super::sha256(file)}},
    }]}})));
    host.provision().unwrap();
    assert!(std::fs::read(host.path("/f")).unwrap() == file);
}

#[test]
fn files_come_in_agreed_blocks() {
    for length in [0, 1, 1427, 1428, 1429, 100_000] {
        fetched(
            &bytes(length),
            Manner {
                block_size: Some(1428),
                ..Manner::default()
            },
        );
    }
}

#[test]
fn servers_without_options_are_served_plainly() {
    for length in [0, 511, 512, 5000] {
        fetched(&bytes(length), Manner::default());
        fetched(
            &bytes(length),
            Manner {
                refuses_options: true,
                ..Manner::default()
            },
        );
    }
}

#[test]
fn lost_packets_are_asked_for_again() {
    fetched(
        &bytes(1000),
        Manner {
            loses: true,
            block_size: Some(1024),
            ..Manner::default()
        },
    );
}

#[test]
fn repeated_and_foreign_packets_change_nothing() {
    fetched(
        &bytes(9000),
        Manner {
            repeats: true,
            block_size: Some(1000),
            ..Manner::default()
        },
    );
    fetched(
        &bytes(9000),
        Manner {
            repeats: true,
            ..Manner::default()
        },
    );
}

#[test]
fn block_numbers_start_again_after_65535() {
    fetched(
        &bytes(8 * 65_540),
        Manner {
            block_size: Some(8),
            ..Manner::default()
        },
    );
}

#[test]
fn a_missing_file_is_final() {
    let url = serve(Vec::new(), Manner::default());
    let host = Host::new();
    host.config(&v3(json!({"storage": {"files": [
        {"path": "/f", "contents": {"source": format!("{url}ar")}},
    ]}})));
    let (message, is_final) = host.failure();
    assert!(
        message.contains("File not found (TFTP error 1)"),
        "{message}"
    );
    assert!(message.contains(&url), "{message}");
    assert!(is_final);
}

#[test]
fn a_server_that_lies_about_the_size_is_tried_again() {
    let manner = Manner {
        block_size: Some(1428),
        lies: Some(7),
        ..Manner::default()
    };
    let url = serve(bytes(2000), manner);
    let mut host = Host::new();
    host.settings.fetch_timeout = Duration::from_secs(2);
    host.config(&v3(
        json!({"storage": {"files": [{"path": "/f", "contents": {"source": url}}]}}),
    ));
    let (message, is_final) = host.failure();
    assert!(message.contains("where 7 were announced"), "{message}");
    assert!(!is_final);
}
