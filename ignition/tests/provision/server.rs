//! A small HTTP server on loopback: plain, with TLS, or as a proxy.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What was asked.
pub struct Request {
    pub method: String,
    /// The target: a path, or what a proxy is asked for.
    pub path: String,
    headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn read(stream: impl Read) -> Option<Self> {
        let mut stream = BufReader::new(stream);
        let mut lines = stream.by_ref().lines().map_while(Result::ok);
        let first = lines.next()?;
        let mut words = first.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let headers: BTreeMap<_, _> = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect();
        let length = headers.get("content-length").map_or("0", String::as_str);
        let mut body = vec![0; length.parse().ok()?];
        stream.read_exact(&mut body).ok()?;
        Some(Self {
            method,
            path,
            headers,
            body,
        })
    }
}

/// What is answered.
pub struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    pub fn ok(body: &[u8]) -> Self {
        Self {
            head: "200 OK".to_owned(),
            body: body.to_vec(),
        }
    }

    pub fn status(code: u16) -> Self {
        Self {
            head: format!("{code} Status"),
            body: b"no".to_vec(),
        }
    }

    pub fn redirect(to: &str) -> Self {
        Self {
            head: format!("302 Found\r\nLocation: {to}"),
            body: Vec::new(),
        }
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("\r\n{name}: {value}"));
        self
    }

    fn write(&self, mut stream: impl Write) {
        let Self { head, body } = self;
        let length = body.len();
        let head =
            format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        // A client that went away is not this server's business.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        let _ = stream.flush();
    }
}

/// What a server shows to clients that speak TLS.
#[derive(Clone)]
pub struct Identity {
    config: Arc<ServerConfig>,
    /// The certificate to trust.
    pub authority: String,
}

impl Identity {
    /// A server's certificate for `name`, signed by an authority.
    pub fn signed(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Self::new(&certificate, &key, pem(issuer.der()))
    }

    /// A certificate that nobody else has signed.
    pub fn self_signed(name: &str, is_ca: IsCa) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = is_ca;
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let authority = pem(certificate.der());
        Self::new(&certificate, &key, authority)
    }

    fn new(certificate: &rcgen::Certificate, key: &KeyPair, authority: String) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Self {
            config: Arc::new(config),
            authority,
        }
    }
}

fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// Serves until the test process ends.
pub struct Server {
    scheme: &'static str,
    address: SocketAddr,
    counts: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Server {
    /// `answer` gets the request and how often its path was asked for.
    pub fn start(answer: impl Fn(&Request, u32) -> Answer + Send + 'static) -> Self {
        Self::start_with_url(|_| answer)
    }

    /// As `start`, for answers that contain the server's own URL.
    pub fn start_with_url<A>(make: impl FnOnce(&str) -> A) -> Self
    where
        A: Fn(&Request, u32) -> Answer + Send + 'static,
    {
        Self::run("http", make, |stream, answer| {
            if let Some(request) = Request::read(&stream) {
                answer(&request).write(&stream);
            }
        })
    }

    /// Speaks TLS.
    pub fn start_tls(
        identity: Identity,
        answer: impl Fn(&Request, u32) -> Answer + Send + 'static,
    ) -> Self {
        Self::run(
            "https",
            |_| answer,
            move |stream, answer| secure(&identity, stream, answer),
        )
    }

    /// A proxy. It asks nobody: what it is asked for it answers itself, in a
    /// tunnel as the server that `identity` is. `answer` is also asked
    /// whether the tunnel may be.
    pub fn start_proxy(
        identity: Identity,
        answer: impl Fn(&Request, u32) -> Answer + Send + 'static,
    ) -> Self {
        Self::run(
            "http",
            |_| answer,
            move |stream, answer| {
                let Some(request) = Request::read(&stream) else {
                    return;
                };
                let first = answer(&request);
                if request.method != "CONNECT" || first.head != "200 OK" {
                    return first.write(&stream);
                }
                let _ = (&stream).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
                secure(&identity, stream, answer);
            },
        )
    }

    fn run<A>(
        scheme: &'static str,
        make: impl FnOnce(&str) -> A,
        serve: impl Fn(TcpStream, &dyn Fn(&Request) -> Answer) + Send + 'static,
    ) -> Self
    where
        A: Fn(&Request, u32) -> Answer + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = make(&format!("{scheme}://{address}"));
        let counts = Arc::new(Mutex::new(BTreeMap::new()));
        let counted = Arc::clone(&counts);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &|request| {
                    let count = {
                        let mut counts = counted.lock().unwrap();
                        let count = counts.entry(request.path.clone()).or_insert(0);
                        *count += 1;
                        *count
                    };
                    answer(request, count)
                });
            }
        });
        Self {
            scheme,
            address,
            counts,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn count(&self, path: &str) -> u32 {
        self.counts.lock().unwrap().get(path).copied().unwrap_or(0)
    }
}

fn secure(identity: &Identity, stream: TcpStream, answer: &dyn Fn(&Request) -> Answer) {
    let session = ServerConnection::new(Arc::clone(&identity.config)).unwrap();
    let mut stream = StreamOwned::new(session, stream);
    // A client that does not like the certificate goes away here.
    if let Some(request) = Request::read(&mut stream) {
        answer(&request).write(&mut stream);
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
}
