//! Calls to the host's services (HGCM), as messages to the guest device;
//! layouts are those of `linux/vboxguest.h` and `linux/vbox_vmmdev_types.h`.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;

use crate::module;

use super::Services;

/// Length of what every message starts with, in bytes.
const HEADER: usize = 24;
const HEADER_VERSION: u32 = 0x1_0001;
const INTERFACE_VERSION: u32 = 0x1_0000;
/// Where the driver puts the host's status into the header.
const STATUS: usize = 12;
/// Length of a call before its parameters, with the header.
const CALL: usize = HEADER + 16;
/// Length of a parameter.
const PARAMETER: usize = 16;
/// Longest name of a service, with its zero.
const NAME: usize = 128;
/// A call that takes longer is given up, in milliseconds.
const PATIENCE: u32 = 30_000;

/// What a service said: a status of VirtualBox (`linux/vbox_err.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub i32);

impl Status {
    /// Done.
    pub const SUCCESS: Self = Self(0);
    /// The buffer is too small; the size says what is needed.
    pub const BUFFER_OVERFLOW: Self = Self(-41);
    /// There is no such thing.
    pub const NOT_FOUND: Self = Self(-78);
}

/// A parameter of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// A text for the service; it gets a zero at its end.
    Text(String),
    /// Bytes that the service may change.
    Buffer(Vec<u8>),
    /// A number that the service may change.
    Number32(u32),
    /// A number that the service may change.
    Number64(u64),
}

/// The messages, by the number of their `ioctl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Version = 0,
    Connect = 4,
    Disconnect = 5,
    Call = 7,
}

/// The guest device of the kernel.
#[derive(Debug)]
pub struct Device {
    path: PathBuf,
}

impl Device {
    /// The device `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn open(&self) -> io::Result<File> {
        if !self.path.exists() {
            module::load("vboxguest");
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        file.map_err(|error| {
            let path = self.path.display();
            io::Error::new(error.kind(), format!("opening {path}: {error}"))
        })
    }
}

impl Services for Device {
    fn call(
        &self,
        service: &str,
        function: u32,
        parameters: &mut [Parameter],
    ) -> io::Result<Status> {
        let device = self.open()?;
        done(exchange(&device, Kind::Version, &mut version())?, "version")?;
        let mut message = connect(service)?;
        let status = exchange(&device, Kind::Connect, &mut message)?;
        done(status, "connecting to the service")?;
        let client = word(&message, HEADER);
        let result = invoke(&device, client, function, parameters);
        // The service forgets the client when the device is closed, too.
        let mut message = disconnect(client);
        exchange(&device, Kind::Disconnect, &mut message).and(result)
    }
}

fn done(status: Status, what: &str) -> io::Result<()> {
    match status {
        Status::SUCCESS => Ok(()),
        Status(code) => Err(io::Error::other(format!(
            "{what}: VirtualBox gave error {code}"
        ))),
    }
}

/// Calls `function`. The message holds addresses of `parameters`, which stay
/// where they are until the driver is done.
fn invoke(
    device: &File,
    client: u32,
    function: u32,
    parameters: &mut [Parameter],
) -> io::Result<Status> {
    for parameter in &mut *parameters {
        if let Parameter::Text(text) = parameter {
            text.push('\0');
        }
    }
    let mut message = call(client, function, parameters);
    let status = exchange(device, Kind::Call, &mut message)?;
    for (number, parameter) in parameters.iter_mut().enumerate() {
        let at = CALL + number * PARAMETER + 4;
        match parameter {
            Parameter::Number32(value) => *value = word(&message, at),
            Parameter::Number64(value) => {
                *value = u64::from(word(&message, at)) | u64::from(word(&message, at + 4)) << 32;
            }
            Parameter::Text(_) | Parameter::Buffer(_) => {}
        }
    }
    Ok(status)
}

/// Hands `message` to the driver, which changes it in place.
fn exchange(device: &File, kind: Kind, message: &mut [u8]) -> io::Result<Status> {
    let request = request(kind, message.len());
    // SAFETY: the driver reads and writes at most the number of bytes that the
    // message's header and `request` name, which is the message's length
    // (`header` is the only one that writes it). Addresses inside of a call's
    // message are those of parameters that `invoke` borrows mutably until
    // this returns, with their lengths (`call`).
    let result = unsafe { libc::ioctl(device.as_raw_fd(), request, message.as_mut_ptr()) };
    Errno::result(result)?;
    Ok(Status(word(message, STATUS).cast_signed()))
}

/// The number of the `ioctl`: both directions, the length, `V`, the kind.
fn request(kind: Kind, length: usize) -> libc::Ioctl {
    (3 << 30)
        | ((length as libc::Ioctl & 0x3fff) << 16)
        | (libc::Ioctl::from(b'V') << 8)
        | kind as libc::Ioctl
}

fn word(message: &[u8], at: usize) -> u32 {
    let bytes = message.get(at..at + 4).and_then(|b| b.try_into().ok());
    u32::from_ne_bytes(bytes.unwrap_or_default())
}

fn put(message: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = message.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// A message of `length` bytes with `given` bytes in and `taken` bytes out
/// after the header.
fn header(length: usize, given: usize, taken: usize) -> Vec<u8> {
    let mut message = vec![0; length];
    let size = |part: usize| ((HEADER + part) as u32).to_ne_bytes();
    put(&mut message, 0, &size(given));
    put(&mut message, 4, &HEADER_VERSION.to_ne_bytes());
    put(&mut message, 16, &size(taken));
    message
}

fn version() -> Vec<u8> {
    let mut message = header(HEADER + 20, 16, 20);
    put(&mut message, HEADER, &INTERFACE_VERSION.to_ne_bytes());
    put(&mut message, HEADER + 4, &INTERFACE_VERSION.to_ne_bytes());
    message
}

fn connect(service: &str) -> io::Result<Vec<u8>> {
    /// A service of the host that runs already.
    const EXISTING: u32 = 2;
    if service.len() >= NAME {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut message = header(HEADER + 4 + NAME, 4 + NAME, 4);
    put(&mut message, HEADER, &EXISTING.to_ne_bytes());
    put(&mut message, HEADER + 4, service.as_bytes());
    Ok(message)
}

fn disconnect(client: u32) -> Vec<u8> {
    let mut message = header(HEADER + 4, 4, 0);
    put(&mut message, HEADER, &client.to_ne_bytes());
    message
}

fn call(client: u32, function: u32, parameters: &mut [Parameter]) -> Vec<u8> {
    let length = CALL + parameters.len() * PARAMETER;
    let mut message = header(length, length - HEADER, length - HEADER);
    put(&mut message, HEADER, &client.to_ne_bytes());
    put(&mut message, HEADER + 4, &function.to_ne_bytes());
    put(&mut message, HEADER + 8, &PATIENCE.to_ne_bytes());
    put(
        &mut message,
        HEADER + 14,
        &(parameters.len() as u16).to_ne_bytes(),
    );
    for (number, parameter) in parameters.iter_mut().enumerate() {
        let at = CALL + number * PARAMETER;
        put(&mut message, at, &encoded(parameter));
    }
    message
}

/// Kind (4 bytes) and value, or kind, length (4 bytes) and address.
fn encoded(parameter: &mut Parameter) -> [u8; PARAMETER] {
    let (kind, length, value) = match parameter {
        Parameter::Number32(value) => (1u32, None, u64::from(*value)),
        Parameter::Number64(value) => (2, None, *value),
        Parameter::Buffer(bytes) => (4, Some(bytes.len()), bytes.as_mut_ptr() as u64),
        Parameter::Text(text) => (5, Some(text.len()), text.as_ptr() as u64),
    };
    let mut bytes = [0; PARAMETER];
    put(&mut bytes, 0, &kind.to_ne_bytes());
    match length {
        Some(length) => {
            put(&mut bytes, 4, &(length as u32).to_ne_bytes());
            put(&mut bytes, 8, &value.to_ne_bytes());
        }
        None => put(&mut bytes, 4, &value.to_ne_bytes()),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers as the C preprocessor makes them of the kernel's headers.
    #[test]
    fn requests_are_those_of_the_header() {
        for (kind, message, number) in [
            (Kind::Version, version(), 0xc02c_5600),
            (Kind::Connect, connect("x").unwrap(), 0xc09c_5604),
            (Kind::Disconnect, disconnect(1), 0xc01c_5605),
        ] {
            assert_eq!(request(kind, message.len()), number, "{kind:?}");
        }
        let mut parameters = [const { Parameter::Number32(0) }; 4];
        let message = call(1, 1, &mut parameters);
        assert_eq!(request(Kind::Call, message.len()), 0xc068_5607);
    }

    #[test]
    fn messages_are_laid_out_as_the_driver_reads_them() {
        let message = connect("VBoxGuestPropSvc").unwrap();
        let words = [0, 4, 8, 12, 16, 20, 24].map(|at| word(&message, at));
        assert_eq!(words, [156, 0x1_0001, 0, 0, 28, 0, 2]);
        assert_eq!(&message[28..45], b"VBoxGuestPropSvc\0");
        assert!(connect(&"x".repeat(128)).is_err());
        let message = disconnect(7);
        assert_eq!([0, 16, 24].map(|at| word(&message, at)), [28, 24, 7]);
        let message = version();
        assert_eq!([0, 16].map(|at| word(&message, at)), [40, 44]);
    }

    #[test]
    fn parameters_are_numbers_or_addresses() {
        let mut buffer = vec![7; 300];
        let address = buffer.as_mut_ptr() as u64;
        let mut parameters = [
            Parameter::Buffer(std::mem::take(&mut buffer)),
            Parameter::Number32(9),
            Parameter::Number64(1 << 40),
        ];
        let message = call(3, 1, &mut parameters);
        assert_eq!([24, 28, 32].map(|at| word(&message, at)), [3, 1, PATIENCE]);
        assert_eq!(&message[36..40], &[0, 0, 3, 0]);
        assert_eq!([40, 44].map(|at| word(&message, at)), [4, 300]);
        assert_eq!(&message[48..56], &address.to_ne_bytes());
        assert_eq!([56, 60].map(|at| word(&message, at)), [1, 9]);
        assert_eq!([72, 76, 80].map(|at| word(&message, at)), [2, 0, 256]);
    }

    #[test]
    fn a_machine_without_the_device_says_so() {
        let device = Device::new(PathBuf::from("/nonexistent/vboxguest"));
        let error = device.call("x", 1, &mut []).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/vboxguest"), "{error}");
    }

    #[test]
    fn a_device_that_is_another_one_is_an_error() {
        let device = Device::new(PathBuf::from("/dev/null"));
        let error = device.call("x", 1, &mut []).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY), "{error}");
    }
}
