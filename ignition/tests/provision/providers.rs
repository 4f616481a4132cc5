//! Providers against imitations of the services and discs that they ask.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ignition::fetch::{FetchError, Fetcher, Network};
use ignition::provider::{
    Aws, Azure, ConfigDrive, Drives, Mount, OpenStack, Provider, ProviderError, ProxmoxVe, Service,
};
use tempfile::TempDir;

use super::server::{Answer, Server};

const CONFIG: &[u8] = br#"{"ignition": {"version": "3.6.0"}}"#;

fn online() -> Fetcher {
    Fetcher::new(Network::Present, Duration::from_secs(60))
}

/// Gives everything one attempt.
fn hasty() -> Fetcher {
    Fetcher::new(Network::Present, Duration::ZERO)
}

fn offline() -> Fetcher {
    Fetcher::new(Network::Absent, Duration::ZERO)
}

/// The bytes of the provider's config.
fn given(provider: &dyn Provider, fetcher: &Fetcher) -> Option<Vec<u8>> {
    provider.config(fetcher).unwrap().map(|raw| raw.bytes)
}

fn message(error: ProviderError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

/// Directories in place of discs.
#[derive(Debug)]
struct Shelf;

impl Mount for Shelf {
    fn mount(&self, device: &Path, at: &Path, kinds: &[&str]) -> io::Result<()> {
        assert!(!kinds.is_empty());
        if device.join("unreadable").exists() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        fs::remove_dir(at)?;
        symlink(device, at)
    }

    fn unmount(&self, at: &Path) -> io::Result<()> {
        fs::remove_file(at)?;
        fs::create_dir(at)
    }
}

/// A machine's drives.
struct Machine {
    directory: TempDir,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("dev/disk/by-label")).unwrap();
        Self { directory }
    }

    /// A disc at `device` (below `/dev`) with one file.
    fn with(self, device: &str, path: &str, contents: &[u8]) -> Self {
        let file = self.directory.path().join("dev").join(device).join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, contents).unwrap();
        self
    }

    fn drives(&self) -> Drives {
        Drives {
            devices: self.directory.path().join("dev"),
            private: self.directory.path().join("run"),
            mount: Arc::new(Shelf),
        }
    }

    fn all_unmounted(&self) -> bool {
        fs::read_dir(self.directory.path().join("run"))
            .unwrap()
            .count()
            == 0
    }
}

const DRIVE: &str = "disk/by-label/config-2";
const USER_DATA: &str = "openstack/latest/user_data";

/// EC2's metadata service, version 2: a session's token for everything.
fn imds(user_data: Option<&'static [u8]>) -> Server {
    Server::start(
        move |request, count| match (request.method.as_str(), request.path.as_str()) {
            ("PUT", "/latest/api/token") => {
                match request.header("x-aws-ec2-metadata-token-ttl-seconds") {
                    None => Answer::status(400),
                    Some(_) if count == 1 => Answer::status(503),
                    Some(_) => Answer::ok(b"a-token=="),
                }
            }
            (_, "/latest/api/token") => Answer::status(405),
            ("GET", "/2019-10-01/user-data") => match request.header("x-aws-ec2-metadata-token") {
                Some("a-token==") => user_data.map_or(Answer::status(404), Answer::ok),
                _ => Answer::status(401),
            },
            _ => Answer::status(404),
        },
    )
}

#[test]
fn aws_uses_a_session() {
    let server = imds(Some(CONFIG));
    let raw = Aws::new(server.url("")).config(&online()).unwrap().unwrap();
    assert_eq!(raw.bytes, CONFIG);
    assert!(raw.source.starts_with("EC2 user data"), "{}", raw.source);
    assert_eq!(server.count("/latest/api/token"), 2);
    assert_eq!(server.count("/2019-10-01/user-data"), 1);
}

#[test]
fn aws_without_user_data_gives_no_config() {
    assert_eq!(given(&Aws::new(imds(None).url("")), &online()), None);
}

#[test]
fn aws_falls_back_to_the_first_version() {
    for status in [403, 404, 405] {
        let server = Server::start(move |request, _| match request.method.as_str() {
            "PUT" => Answer::status(status),
            _ if request.header("x-aws-ec2-metadata-token").is_some() => Answer::status(400),
            _ => Answer::ok(CONFIG),
        });
        assert_eq!(given(&Aws::new(server.url("")), &online()).unwrap(), CONFIG);
    }
}

#[test]
fn aws_sends_no_token_that_is_none() {
    let server = Server::start(|request, _| match request.method.as_str() {
        "PUT" => Answer::ok(b"bad\r\nX-Injected: yes"),
        _ if request.header("x-injected").is_some() => Answer::status(400),
        _ => Answer::ok(CONFIG),
    });
    assert_eq!(given(&Aws::new(server.url("")), &online()).unwrap(), CONFIG);
}

#[test]
fn services_with_one_question_are_asked_as_they_want() {
    for (platform, path, header) in [
        ("digitalocean", "/metadata/v1/user-data", None),
        (
            "gcp",
            "/computeMetadata/v1/instance/attributes/user-data",
            Some(("metadata-flavor", "Google")),
        ),
        ("hetzner", "/hetzner/v1/userdata", None),
        ("vultr", "/user-data/user-data", None),
    ] {
        let server = Server::start(move |request, count| {
            let allowed = header.is_none_or(|(name, value)| request.header(name) == Some(value));
            match count {
                _ if !allowed => Answer::status(403),
                1 => Answer::status(500),
                _ if request.path == path => Answer::ok(CONFIG),
                _ => Answer::status(404),
            }
        });
        let provider = Service::of_platform(platform).unwrap().at(server.url(""));
        assert_eq!(
            given(&provider, &online()).as_deref(),
            Some(CONFIG),
            "{platform}"
        );
        assert_eq!(server.count(path), 2);
        let empty = Server::start(|_, _| Answer::status(404));
        assert_eq!(given(&provider.clone().at(empty.url("")), &online()), None);
        let error = provider.config(&offline()).unwrap_err();
        let asks = matches!(
            error,
            ProviderError::Fetch {
                source: FetchError::NeedsNetwork { .. },
                ..
            }
        );
        assert!(asks, "{platform}");
    }
}

#[test]
fn oracle_wraps_user_data_in_base64() {
    let serve = |text: String| {
        Server::start(
            move |request, count| match (request.header("authorization"), count) {
                (Some("Bearer Oracle"), 1) => Answer::status(429),
                (Some("Bearer Oracle"), _) => Answer::ok(text.as_bytes()),
                _ => Answer::status(401),
            },
        )
    };
    let oracle = |server: &Server| {
        Service::of_platform("oraclecloud")
            .unwrap()
            .at(server.url(""))
    };
    let server = serve(format!("{}\n", STANDARD.encode(CONFIG)));
    assert_eq!(given(&oracle(&server), &online()).unwrap(), CONFIG);
    let server = serve("{not base64 but secret}".to_owned());
    let error = message(oracle(&server).config(&online()).unwrap_err());
    assert!(
        error.contains("Oracle") && error.contains("expected base64"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
}

/// Azure's metadata service; `busy` comes first.
fn azure_service(busy: u16, user_data: &[u8]) -> Server {
    let packed = STANDARD.encode(user_data);
    Server::start(move |request, count| {
        let path = "/metadata/instance/compute/userData?api-version=2021-01-01&format=text";
        match (request.header("metadata"), count) {
            (Some("true"), 1) => Answer::status(busy),
            (Some("true"), _) if request.path == path => Answer::ok(packed.as_bytes()),
            _ => Answer::status(400),
        }
    })
}

#[test]
fn azure_waits_for_its_service() {
    for busy in [404, 410, 429, 503] {
        let server = azure_service(busy, CONFIG);
        let azure = Azure::new(server.url(""), Machine::new().drives());
        assert_eq!(given(&azure, &online()).unwrap(), CONFIG);
    }
}

#[test]
fn azure_without_user_data_reads_the_provisioning_disc() {
    let server = azure_service(503, b"");
    let machine = Machine::new()
        .with("sr0", "unreadable", b"")
        .with("sr1", "CustomData.bin", b"of somebody else")
        .with("sr2", "ovf-env.xml", b"<x/>")
        .with("sr2", "CustomData.bin", CONFIG)
        .with("sr2x", "ovf-env.xml", b"<x/>");
    let azure = Azure::new(server.url(""), machine.drives());
    let raw = azure.config(&online()).unwrap().unwrap();
    assert_eq!(raw.bytes, CONFIG);
    assert!(raw.source.contains("CustomData.bin on"), "{}", raw.source);
    assert!(raw.source.ends_with("sr2)"), "{}", raw.source);
    let machine = Machine::new().with("sr0", "ovf-env.xml", b"<x/>");
    let azure = Azure::new(server.url(""), machine.drives());
    assert_eq!(given(&azure, &online()), None);
}

#[test]
fn azure_without_its_service_reads_the_disc_or_fails() {
    let server = Server::start(|_, _| Answer::status(503));
    let machine =
        Machine::new()
            .with("sr0", "ovf-env.xml", b"<x/>")
            .with("sr0", "CustomData.bin", CONFIG);
    let azure = Azure::new(server.url(""), machine.drives());
    assert_eq!(given(&azure, &hasty()).unwrap(), CONFIG);
    let azure = Azure::new(server.url(""), Machine::new().drives());
    let error = message(azure.config(&hasty()).unwrap_err());
    assert!(error.contains("gave up"), "{error}");
}

#[test]
fn openstack_takes_the_drive_while_the_service_is_down() {
    let server = Server::start(|_, _| Answer::status(503));
    let machine = Machine::new().with(DRIVE, USER_DATA, CONFIG);
    let provider = OpenStack::new(server.url(""), machine.drives());
    let raw = provider.config(&online()).unwrap().unwrap();
    assert_eq!(raw.bytes, CONFIG);
    assert!(raw.source.starts_with("config drive"), "{}", raw.source);
    assert!(machine.all_unmounted());
}

#[test]
fn openstack_takes_the_service_where_there_is_no_drive() {
    let server = Server::start(|request, count| match (request.path.as_str(), count) {
        ("/openstack/latest/user_data", 1) => Answer::status(500),
        ("/openstack/latest/user_data", _) => Answer::ok(CONFIG),
        _ => Answer::status(404),
    });
    let provider = OpenStack::new(server.url(""), Machine::new().drives());
    assert_eq!(given(&provider, &online()).unwrap(), CONFIG);
}

#[test]
fn openstack_prefers_a_config_to_none() {
    let empty = Server::start(|_, _| Answer::status(404));
    let machine = Machine::new().with("disk/by-label/CONFIG-2", USER_DATA, CONFIG);
    let provider = OpenStack::new(empty.url(""), machine.drives());
    assert_eq!(given(&provider, &online()).unwrap(), CONFIG);
    let provider = OpenStack::new(empty.url(""), Machine::new().drives());
    assert_eq!(given(&provider, &online()), None);
}

#[test]
fn openstack_with_neither_says_what_the_service_said() {
    let server = Server::start(|_, _| Answer::status(503));
    let provider = OpenStack::new(server.url(""), Machine::new().drives());
    let error = message(provider.config(&hasty()).unwrap_err());
    assert!(error.contains("/openstack/latest/user_data"), "{error}");
    assert!(error.contains("gave up"), "{error}");
}

#[test]
fn openstack_needs_no_network_for_a_drive_that_is_there() {
    let machine = Machine::new().with(DRIVE, USER_DATA, CONFIG);
    let provider = OpenStack::new("http://127.0.0.1:1".to_owned(), machine.drives());
    assert_eq!(given(&provider, &offline()).unwrap(), CONFIG);
    let provider = OpenStack::new("http://127.0.0.1:1".to_owned(), Machine::new().drives());
    let error = message(provider.config(&offline()).unwrap_err());
    assert!(error.contains("needs the network"), "{error}");
}

#[test]
fn config_drives_are_read_and_unmounted() {
    for make in [ConfigDrive::kubevirt, ConfigDrive::nutanix] {
        let machine = Machine::new().with(DRIVE, USER_DATA, CONFIG);
        let provider = make(machine.drives());
        assert_eq!(given(&provider, &offline()).unwrap(), CONFIG);
        assert!(machine.all_unmounted());
        let machine = Machine::new().with(DRIVE, "openstack/latest/meta_data.json", b"{}");
        assert_eq!(given(&make(machine.drives()), &offline()), None);
        let error = message(
            make(Machine::new().drives())
                .config(&offline())
                .unwrap_err(),
        );
        assert!(error.contains("no disc config-2"), "{error}");
        assert!(error.contains("attach"), "{error}");
    }
}

#[test]
fn a_disc_cannot_point_elsewhere() {
    let machine = Machine::new().with(DRIVE, "openstack/other", b"");
    let drive = machine.directory.path().join("dev").join(DRIVE);
    for (link, target) in [("latest", "/etc"), ("latest", "../../../..")] {
        let link = drive.join("openstack").join(link);
        symlink(target, &link).unwrap();
        let error = ConfigDrive::kubevirt(machine.drives())
            .config(&offline())
            .unwrap_err();
        assert!(matches!(error, ProviderError::Read { .. }), "{error}");
        fs::remove_file(link).unwrap();
    }
    fs::create_dir_all(drive.join(USER_DATA)).unwrap();
    let error = ConfigDrive::kubevirt(machine.drives())
        .config(&offline())
        .unwrap_err();
    assert!(message(error).contains("not a plain file"));
    assert!(machine.all_unmounted());
}

#[test]
fn a_disc_cannot_fill_the_memory() {
    let machine = Machine::new().with(DRIVE, USER_DATA, b"");
    let file = machine
        .directory
        .path()
        .join("dev")
        .join(DRIVE)
        .join(USER_DATA);
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(1 << 40).unwrap();
    let error = ConfigDrive::nutanix(machine.drives())
        .config(&offline())
        .unwrap_err();
    assert!(message(error).contains("larger than the limit of 32 MiB"));
}

#[test]
fn proxmox_passes_over_what_cloud_init_is_for() {
    type Text = &'static [u8];
    let cases: [(Text, Option<Text>, Option<Text>); 5] = [
        (CONFIG, Some(b"{}"), Some(CONFIG)),
        (b"#cloud-config\nx: y\n", Some(CONFIG), Some(CONFIG)),
        (b"#cloud-config\n", None, None),
        (b"", Some(CONFIG), Some(CONFIG)),
        // With a mistake; its message must reach people.
        (
            b"  {\"ignition\": ",
            Some(CONFIG),
            Some(b"  {\"ignition\": "),
        ),
    ];
    for (user, vendor, expected) in cases {
        let cidata = "disk/by-label/cidata";
        let mut machine = Machine::new().with(cidata, "user-data", user);
        if let Some(vendor) = vendor {
            machine = machine.with(cidata, "vendor-data", vendor);
        }
        let provider = ProxmoxVe::new(machine.drives());
        assert_eq!(given(&provider, &offline()).as_deref(), expected);
        assert!(machine.all_unmounted());
    }
    assert_eq!(
        given(&ProxmoxVe::new(Machine::new().drives()), &offline()),
        None
    );
}
