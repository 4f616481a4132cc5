//! Providers that ask the hypervisor, against imitations of its answers.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use ignition::fetch::{Fetcher, Network};
use ignition::provider::virtualbox::{Parameter, Services, Status};
use ignition::provider::vmware::Guestinfo;
use ignition::provider::{Provider, ProviderError, Raw, VirtualBox, VmWare};

const CONFIG: &[u8] = br#"{"ignition": {"version": "3.6.0"}}"#;

fn ask(provider: &dyn Provider) -> Result<Option<Raw>, ProviderError> {
    provider.config(&Fetcher::new(Network::Absent, Duration::ZERO))
}

fn message(error: ProviderError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Variables of a VMware host.
#[derive(Debug, Default)]
struct Host(BTreeMap<&'static str, Vec<u8>>);

impl Guestinfo for Host {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(name).cloned())
    }
}

fn vmware(variables: &[(&'static str, &[u8])]) -> Result<Option<Raw>, ProviderError> {
    let variables = variables.iter().map(|(key, value)| (*key, value.to_vec()));
    ask(&VmWare::new(Arc::new(Host(variables.collect()))))
}

const DATA: &str = "guestinfo.ignition.config.data";
const ENCODING: &str = "guestinfo.ignition.config.data.encoding";
const ENVIRONMENT: &str = "guestinfo.ovfEnv";

fn environment(properties: &[(&str, &str)]) -> String {
    let properties: String = properties
        .iter()
        .map(|(key, value)| {
            let value = value.replace('"', "&quot;");
            format!("<Property oe:key=\"{key}\" oe:value=\"{value}\"/>")
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?><Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\" \
         xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\"><PropertySection>{properties}\
         </PropertySection></Environment>"
    )
}

#[test]
fn vmwares_encodings_are_undone() {
    let base64 = STANDARD.encode(CONFIG).into_bytes();
    let packed = gzip(CONFIG);
    let both = STANDARD.encode(&packed).into_bytes();
    for (encoding, data) in [
        ("", CONFIG),
        ("b64", &base64),
        ("base64", &base64),
        ("gz", &packed),
        ("gzip", &packed),
        ("gz+b64", &both),
        ("gz+base64", &both),
        ("gzip+b64", &both),
        ("gzip+base64", &both),
    ] {
        let raw = vmware(&[(DATA, data), (ENCODING, encoding.as_bytes())]);
        let raw = raw.unwrap().unwrap();
        assert_eq!(raw.bytes, CONFIG, "{encoding}");
        assert!(raw.source.contains("guestinfo"), "{}", raw.source);
    }
}

#[test]
fn what_vmwares_encodings_do_not_fit_is_named() {
    for (encoding, data, words) in [
        ("rot13", CONFIG, "\"rot13\""),
        ("base64", b"{}", "base64"),
        ("gzip", CONFIG, "expected gzip"),
        ("gzip+base64", b"aGVsbG8=", "expected gzip"),
    ] {
        let error = vmware(&[(DATA, data), (ENCODING, encoding.as_bytes())]).unwrap_err();
        assert!(matches!(error, ProviderError::Encoding { .. }));
        let message = message(error);
        assert!(message.contains(words), "{message}");
        assert!(message.contains(DATA), "{message}");
    }
}

#[test]
fn vmwares_bombs_stop_at_the_limit() {
    let error = vmware(&[(DATA, &gzip(&vec![0; 33 << 20])), (ENCODING, b"gzip")]);
    let message = message(error.unwrap_err());
    assert!(message.contains("32 MiB"), "{message}");
}

#[test]
fn variables_come_before_the_ovf_environment() {
    let text = String::from_utf8(CONFIG.to_vec()).unwrap();
    let properties = environment(&[(DATA, &text)]);
    let raw = vmware(&[(ENVIRONMENT, properties.as_bytes())]);
    let raw = raw.unwrap().unwrap();
    assert_eq!(raw.bytes, CONFIG);
    assert!(raw.source.contains("OVF environment"), "{}", raw.source);
    let both = [(ENVIRONMENT, properties.as_bytes()), (DATA, b"{}")];
    assert_eq!(vmware(&both).unwrap().unwrap().bytes, b"{}");
    let packed = STANDARD.encode(CONFIG);
    let properties = environment(&[(DATA, &packed), (ENCODING, "base64")]);
    let raw = vmware(&[(ENVIRONMENT, properties.as_bytes()), (DATA, b"")]);
    assert_eq!(raw.unwrap().unwrap().bytes, CONFIG);
}

#[test]
fn a_machine_of_vmware_without_a_config_has_none() {
    assert_eq!(vmware(&[]).unwrap(), None);
    assert_eq!(vmware(&[(DATA, b"")]).unwrap(), None);
    let broken = [(ENVIRONMENT, &b"<Environment>"[..]), (DATA, CONFIG)];
    assert_eq!(vmware(&broken).unwrap().unwrap().bytes, CONFIG);
    assert_eq!(vmware(&broken[..1]).unwrap(), None);
}

/// What a machine of VMware that is none says.
#[test]
fn platform_vmware_elsewhere_is_an_error() {
    let error = ask(&VmWare::default()).unwrap_err();
    assert!(matches!(error, ProviderError::Host { .. }));
    let message = message(error);
    assert!(message.contains("ignition.platform.id"), "{message}");
}

/// VirtualBox's property service with one property.
#[derive(Debug)]
struct Property(Option<Vec<u8>>);

impl Services for Property {
    fn call(
        &self,
        service: &str,
        function: u32,
        parameters: &mut [Parameter],
    ) -> io::Result<Status> {
        assert_eq!((service, function), ("VBoxGuestPropSvc", 1));
        let [
            Parameter::Text(name),
            Parameter::Buffer(buffer),
            Parameter::Number64(_),
            Parameter::Number32(size),
        ] = parameters
        else {
            panic!("{parameters:?}");
        };
        assert_eq!(name, "/Ignition/Config");
        let Some(value) = &self.0 else {
            return Ok(Status::NOT_FOUND);
        };
        // Value and flags, each with its zero.
        let answer = [value, &b"\0RDONLYGUEST\0"[..]].concat();
        *size = answer.len() as u32;
        if buffer.len() < answer.len() {
            return Ok(Status::BUFFER_OVERFLOW);
        }
        buffer[..answer.len()].copy_from_slice(&answer);
        Ok(Status::SUCCESS)
    }
}

fn virtualbox(value: Option<Vec<u8>>) -> Result<Option<Raw>, ProviderError> {
    ask(&VirtualBox::new(Arc::new(Property(value))))
}

#[test]
fn virtualboxs_property_is_read_whatever_its_size() {
    assert_eq!(virtualbox(None).unwrap(), None);
    for length in [0, 1, 4083, 4084, 4096, 1 << 20] {
        let value = vec![b'x'; length];
        let raw = virtualbox(Some(value.clone())).unwrap().unwrap();
        assert!(raw.bytes == value, "{length}");
        assert!(raw.source.contains("/Ignition/Config"), "{}", raw.source);
    }
    let error = virtualbox(Some(vec![b'x'; 33 << 20])).unwrap_err();
    let message = message(error);
    assert!(message.contains("32 MiB"), "{message}");
}

#[derive(Debug)]
struct Refuses;

impl Services for Refuses {
    fn call(&self, _: &str, _: u32, _: &mut [Parameter]) -> io::Result<Status> {
        Ok(Status(-2900))
    }
}

#[test]
fn what_virtualbox_refuses_is_an_error_with_its_number() {
    let error = ask(&VirtualBox::new(Arc::new(Refuses))).unwrap_err();
    let message = message(error);
    assert!(message.contains("-2900"), "{message}");
}
