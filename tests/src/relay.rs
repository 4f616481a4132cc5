//! What stands between guests and servers of this machine: TLS, and a web proxy.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::authority::{Authority, Certified};
use crate::http::HOST_AS_SEEN_BY_GUESTS;

/// A name that no name server knows; [`Proxy`] does.
pub const KNOWN_TO_THE_PROXY: &str = "behind.invalid";

/// Longest head of a request that the proxy reads, in bytes.
const HEAD: usize = 16 << 10;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;

/// A server's certificate for this machine as guests see it, directly or through the
/// proxy, and the authority that has signed it: one that nobody knows.
pub struct Identity {
    acceptor: TlsAcceptor,
    authority: String,
}

impl Identity {
    /// Makes both.
    pub fn new() -> Result<Self> {
        let authority = Authority::new()?;
        let names = [HOST_AS_SEEN_BY_GUESTS, KNOWN_TO_THE_PROXY];
        let Certified { certificate, key } = authority.certify(HOST_AS_SEEN_BY_GUESTS, &names)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority: authority.pem(),
        })
    }

    /// The certificate to trust, as PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Speaks TLS in front of the plain server on the port `to` of this machine, until the
    /// process ends. Returns the port.
    pub fn protect(&self, to: u16) -> Result<u16> {
        let acceptor = self.acceptor.clone();
        let door = Door::new()?;
        let port = door.port;
        door.open(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut client = acceptor.accept(stream).await?;
                let mut server = connect(to).await?;
                copy_bidirectional(&mut client, &mut server).await?;
                Ok(())
            }
        })?;
        Ok(port)
    }
}

/// A web proxy for http, and for tunnels. Every name leads to this machine.
pub struct Proxy {
    port: u16,
    /// While whoever connects is refused.
    closed: Option<Door>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that has its address, and refuses whoever connects.
    pub fn closed() -> Result<Self> {
        let door = Door::new()?;
        Ok(Self {
            port: door.port,
            closed: Some(door),
            asked: Arc::default(),
        })
    }

    /// Serves from now on, until the process ends.
    pub fn open(&mut self) -> Result<()> {
        let Some(door) = self.closed.take() else {
            return Ok(());
        };
        let log = Arc::clone(&self.asked);
        door.open(move |stream| forward(stream, Arc::clone(&log)))
    }

    /// Where guests find it.
    pub fn url(&self) -> String {
        format!("http://{HOST_AS_SEEN_BY_GUESTS}:{}", self.port)
    }

    /// The first request of each connection, without the protocol's version, in order.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One client of the proxy.
async fn forward(mut client: TcpStream, log: Arc<Mutex<Vec<String>>>) -> Result<()> {
    let (head, early) = read_head(&mut client).await?;
    let (line, headers) = head.split_once("\r\n").context("no request")?;
    let request = Request::parse(line).with_context(|| format!("not for a proxy: {line}"))?;
    note(&log, format!("{} {}", request.method, request.target));
    let mut server = connect(request.port).await?;
    match request.path {
        None => client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?,
        Some(path) => {
            let head = format!("{} {path} HTTP/1.1\r\n{headers}", request.method);
            server.write_all(head.as_bytes()).await?;
        }
    }
    server.write_all(&early).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

fn note(log: &Mutex<Vec<String>>, request: String) {
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.push(request);
}

/// A request's head with the empty line behind it, and what came along.
async fn read_head(client: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    const END: &[u8] = b"\r\n\r\n";
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(END.len()).position(|window| window == END) {
            let rest = bytes.split_off(at + END.len());
            return Ok((String::from_utf8(bytes)?, rest));
        }
        anyhow::ensure!(bytes.len() < HEAD, "the head of a request has no end");
        anyhow::ensure!(client.read_buf(&mut bytes).await? > 0, "no whole request");
    }
}

/// The first line of a request to a proxy.
#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    method: &'a str,
    target: &'a str,
    port: u16,
    /// What the server is asked for; None for a tunnel.
    path: Option<&'a str>,
}

impl<'a> Request<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let (authority, path) = match method {
            "CONNECT" => (target, None),
            _ => {
                let rest = target.strip_prefix("http://")?;
                let slash = rest.find('/').unwrap_or(rest.len());
                (&rest[..slash], Some(&rest[slash..]))
            }
        };
        let (_, port) = authority.rsplit_once(':')?;
        Some(Self {
            method,
            target,
            port: port.parse().ok()?,
            path,
        })
    }
}

async fn connect(port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
}

/// A port of the loopback interface: taken, and refusing connections until it is opened.
struct Door {
    runtime: Runtime,
    socket: TcpSocket,
    port: u16,
}

impl Door {
    fn new() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("starting a runtime")?;
        let socket = TcpSocket::new_v4().context("making a socket")?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(any).context("taking a port of 127.0.0.1")?;
        let port = socket.local_addr().context("finding the port")?.port();
        Ok(Self {
            runtime,
            socket,
            port,
        })
    }

    /// Calls `serve` for every connection, on a thread of its own.
    fn open<F, S>(self, serve: F) -> Result<()>
    where
        F: Fn(TcpStream) -> S + Send + 'static,
        S: Future<Output = Result<()>> + Send + 'static,
    {
        let Self {
            runtime, socket, ..
        } = self;
        let listener = {
            let _inside = runtime.enter();
            socket.listen(BACKLOG).context("listening on 127.0.0.1")?
        };
        thread::spawn(move || {
            runtime.block_on(async {
                while let Ok((stream, _)) = listener.accept().await {
                    // A guest that breaks off, or does not like what it sees, asks again.
                    tokio::spawn(serve(stream));
                }
            });
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Server;
    use std::collections::BTreeMap;
    use std::io::ErrorKind;
    use tokio::io::{AsyncRead, AsyncWrite};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    #[test]
    fn requests_to_a_proxy_are_understood() {
        let parse = |line| Request::parse(line).map(|r| (r.method, r.port, r.path));
        let tunnel = parse("CONNECT behind.invalid:4443 HTTP/1.1");
        assert_eq!(tunnel, Some(("CONNECT", 4443, None)));
        let plain = parse("GET http://10.0.2.2:80/a?b HTTP/1.1");
        assert_eq!(plain, Some(("GET", 80, Some("/a?b"))));
        for line in ["GET /a HTTP/1.1", "GET", "", "CONNECT x HTTP/1.1"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    fn trusting(authority: &str) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let authority = pem::parse(authority).unwrap().into_contents();
        roots.add(CertificateDer::from(authority)).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, line: &str) -> String {
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // How the other side ends TLS is not looked at.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[test]
    fn a_proxy_refuses_until_it_is_open_and_leads_to_servers_with_and_without_tls() {
        let contents = BTreeMap::from([("a".to_string(), b"hello".to_vec())]);
        let server = Server::start(contents).unwrap();
        let (identity, mut proxy) = (Identity::new().unwrap(), Proxy::closed().unwrap());
        let secure = identity.protect(server.port()).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let refused = connect(proxy.port).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            proxy.open().unwrap();
            let plain = format!("GET http://{KNOWN_TO_THE_PROXY}:{}/a", server.port());
            let answer = ask(connect(proxy.port).await.unwrap(), &plain).await;
            assert!(answer.ends_with("hello"), "{answer}");
            let mut tunnel = connect(proxy.port).await.unwrap();
            let head = format!("CONNECT {KNOWN_TO_THE_PROXY}:{secure} HTTP/1.1\r\n\r\n");
            tunnel.write_all(head.as_bytes()).await.unwrap();
            let mut answer = [0; 19];
            tunnel.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n\r\n");
            let name = ServerName::try_from(KNOWN_TO_THE_PROXY).unwrap();
            let trusting = trusting(identity.authority());
            let stream = trusting.connect(name, tunnel).await.unwrap();
            assert!(ask(stream, "GET /a").await.ends_with("hello"));
            assert_eq!(
                proxy.asked(),
                [plain, format!("CONNECT {KNOWN_TO_THE_PROXY}:{secure}")]
            );
        });
        assert_eq!(server.requests(), ["a", "a"]);
    }
}
