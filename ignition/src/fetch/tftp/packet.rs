//! Packets of TFTP (RFC 1350) and its options (RFC 2347 to 2349).

/// Largest data in one packet that is asked for: with all headers it fits
/// into an Ethernet frame, also through a tunnel.
pub const BLOCK_SIZE: u16 = 1428;

/// What it is without options.
pub const PLAIN_BLOCK_SIZE: u16 = 512;

/// Longest text of a server that is repeated.
const MESSAGE: usize = 200;

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A block of the file; one shorter than the block size is the last.
    Data {
        /// Its number, modulo 65536; the first is 1.
        block: u16,
        /// Its contents.
        bytes: &'a [u8],
    },
    /// The server gives up.
    Error {
        /// Its reason, by number.
        code: u16,
        /// Its reason, in words.
        message: String,
    },
    /// The options that it accepts.
    Options(Options),
}

/// Options that a server accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Size of all blocks but the last.
    pub block_size: Option<u16>,
    /// Size of the file.
    pub size: Option<u64>,
}

impl<'a> Packet<'a> {
    /// Takes a datagram apart; says what is wrong with it.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, &'static str> {
        let (operation, rest) = number(datagram).ok_or("a packet without an operation")?;
        match operation {
            3 => {
                let (block, bytes) = number(rest).ok_or("data without a block number")?;
                Ok(Self::Data { block, bytes })
            }
            5 => {
                let (code, text) = number(rest).ok_or("an error without a code")?;
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = String::from_utf8_lossy(text);
                let printable = text.chars().filter(|c| !c.is_control());
                Ok(Self::Error {
                    code,
                    message: printable.take(MESSAGE).collect(),
                })
            }
            6 => Options::parse(rest).map(Self::Options),
            _ => Err("a packet that no server sends"),
        }
    }
}

impl Options {
    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes = bytes.strip_suffix(&[0]).ok_or("options without an end")?;
        let mut words = bytes.split(|byte| *byte == 0);
        let mut options = Self::default();
        while let Some(name) = words.next() {
            let value = words.next().ok_or("an option without a value")?;
            let value = std::str::from_utf8(value).map_err(|_| "an option that is no text")?;
            match name.to_ascii_lowercase().as_slice() {
                b"blksize" => {
                    let size = value
                        .parse()
                        .ok()
                        .filter(|size| (8..=BLOCK_SIZE).contains(size));
                    options.block_size = Some(size.ok_or("a block size that was not asked for")?);
                }
                b"tsize" => {
                    let size = value.parse().map_err(|_| "a file size that is no number")?;
                    options.size = Some(size);
                }
                _ => return Err("an option that was not asked for"),
            }
        }
        Ok(options)
    }
}

/// Asks for the file `path`, with or without options.
pub fn request(path: &[u8], options: bool) -> Vec<u8> {
    let mut packet = vec![0, 1];
    packet.extend(path);
    packet.extend(b"\0octet\0");
    if options {
        packet.extend(format!("blksize\0{BLOCK_SIZE}\0tsize\x000\0").bytes());
    }
    packet
}

/// Says that everything up to `block` is here.
pub fn acknowledgement(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 4, high, low]
}

/// Tells a server that this transfer is over.
pub fn refusal(code: u16, message: &str) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    let mut packet = vec![0, 5, high, low];
    packet.extend(message.bytes());
    packet.push(0);
    packet
}

fn number(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_those_of_the_rfc() {
        assert_eq!(request(b"/a b", false), b"\0\x01/a b\0octet\0");
        let all = request(b"x", true);
        assert_eq!(all, b"\0\x01x\0octet\0blksize\x001428\0tsize\x000\0");
        assert_eq!(acknowledgement(0x1234), [0, 4, 0x12, 0x34]);
    }

    #[test]
    fn servers_packets_are_understood() {
        let parse = Packet::parse;
        assert_eq!(
            parse(b"\0\x03\0\x01ab"),
            Ok(Packet::Data {
                block: 1,
                bytes: b"ab"
            })
        );
        assert_eq!(
            parse(b"\0\x03\xff\xff"),
            Ok(Packet::Data {
                block: 65535,
                bytes: b""
            })
        );
        let error = Packet::Error {
            code: 1,
            message: "File not found".to_owned(),
        };
        assert_eq!(parse(b"\0\x05\0\x01File not\x1b found\0"), Ok(error));
        let options = |text: &[u8]| {
            Packet::parse(&[b"\0\x06", text].concat()).map(|packet| match packet {
                Packet::Options(options) => (options.block_size, options.size),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(
            options(b"blksize\x001024\0TSIZE\x0070000\0"),
            Ok((Some(1024), Some(70000)))
        );
        for bad in [
            &b""[..],
            b"\0",
            b"\0\x03\0",
            b"\0\x05\0",
            b"\0\x01x\0octet\0",
            b"\0\x06",
            b"\0\x06blksize\0",
            b"\0\x06blksize\x001429\0",
            b"\0\x06blksize\x007\0",
            b"\0\x06tsize\0-1\0",
            b"\0\x06windowsize\x004\0",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_datagram_is_judged_without_panic(datagram: Vec<u8>, operation in 0_u8..8) {
            let _ = Packet::parse(&datagram);
            let _ = Packet::parse(&[vec![0, operation], datagram].concat());
        }

        #[test]
        fn data_comes_out_as_it_went_in(block: u16, bytes: Vec<u8>) {
            let datagram = [&[0, 3][..], &block.to_be_bytes(), &bytes].concat();
            prop_assert_eq!(Packet::parse(&datagram), Ok(Packet::Data { block, bytes: &bytes }));
        }
    }
}
