//! One transfer as a state machine: what a packet of the server means.

use super::packet::{Options, PLAIN_BLOCK_SIZE, Packet};

/// How far a transfer has come.
#[derive(Debug)]
pub struct Transfer {
    /// Whether options were asked for and nothing has come yet.
    open: bool,
    block_size: usize,
    /// Size of the file, if the server said it.
    size: Option<u64>,
    /// The block that comes next; numbers start again after 65535.
    next: u16,
    received: u64,
}

/// What a packet means.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The next bytes, to be acknowledged.
    Take {
        /// They.
        bytes: &'a [u8],
        /// Number to acknowledge.
        block: u16,
        /// Whether they are the last.
        last: bool,
    },
    /// Something to acknowledge that has no new bytes.
    Acknowledge(u16),
    /// Nothing: it is late or early.
    Ignore,
    /// The server does not know options; ask again without.
    AskPlainly,
    /// The server gives up.
    Refused {
        /// Its reason, by number.
        code: u16,
        /// Its reason, in words.
        message: String,
    },
    /// The server breaks the rules.
    Broken(String),
}

impl Transfer {
    /// A transfer that was just asked for.
    pub fn new(options: bool) -> Self {
        Self {
            open: options,
            block_size: usize::from(PLAIN_BLOCK_SIZE),
            size: None,
            next: 1,
            received: 0,
        }
    }

    /// Takes a packet in.
    pub fn on<'a>(&mut self, packet: Packet<'a>) -> Step<'a> {
        match packet {
            Packet::Data { block, bytes } => self.on_data(block, bytes),
            Packet::Options(options) => self.on_options(options),
            // 0: not defined, 4: illegal operation, 8: refused options.
            Packet::Error {
                code: 0 | 4 | 8, ..
            } if self.open => Step::AskPlainly,
            Packet::Error { code, message } => Step::Refused { code, message },
        }
    }

    fn on_data<'a>(&mut self, block: u16, bytes: &'a [u8]) -> Step<'a> {
        if block != self.next {
            // Our acknowledgement of the block before was lost.
            let repeated = self.received > 0 && block == self.next.wrapping_sub(1);
            return if repeated {
                Step::Acknowledge(block)
            } else {
                Step::Ignore
            };
        }
        if bytes.len() > self.block_size {
            return Step::Broken(format!(
                "a block of {} bytes, where {} were agreed upon",
                bytes.len(),
                self.block_size
            ));
        }
        self.open = false;
        self.next = self.next.wrapping_add(1);
        self.received += bytes.len() as u64;
        let last = bytes.len() < self.block_size;
        match self.size {
            Some(size) if self.received > size || (last && self.received < size) => Step::Broken(
                format!("{} bytes, where {size} were announced", self.received),
            ),
            _ => Step::Take { bytes, block, last },
        }
    }

    fn on_options(&mut self, options: Options) -> Step<'static> {
        if self.open {
            self.open = false;
            self.size = options.size;
            self.block_size = usize::from(options.block_size.unwrap_or(PLAIN_BLOCK_SIZE));
            return Step::Acknowledge(0);
        }
        let repeated = self.received == 0 && self.next == 1;
        if repeated {
            Step::Acknowledge(0)
        } else {
            Step::Ignore
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data(block: u16, bytes: &[u8]) -> Packet<'_> {
        Packet::Data { block, bytes }
    }

    fn options(block_size: u16, size: u64) -> Packet<'static> {
        Packet::Options(Options {
            block_size: Some(block_size),
            size: Some(size),
        })
    }

    #[test]
    fn a_short_block_is_the_last() {
        let mut transfer = Transfer::new(true);
        assert_eq!(transfer.on(options(8, 11)), Step::Acknowledge(0));
        assert_eq!(transfer.on(options(8, 11)), Step::Acknowledge(0));
        let first = Step::Take {
            bytes: b"12345678",
            block: 1,
            last: false,
        };
        assert_eq!(transfer.on(data(1, b"12345678")), first);
        assert_eq!(transfer.on(options(9, 12)), Step::Ignore);
        assert_eq!(transfer.on(data(1, b"12345678")), Step::Acknowledge(1));
        assert_eq!(transfer.on(data(3, b"")), Step::Ignore);
        let second = Step::Take {
            bytes: b"901",
            block: 2,
            last: true,
        };
        assert_eq!(transfer.on(data(2, b"901")), second);
    }

    #[test]
    fn a_server_without_options_sends_plain_blocks() {
        let mut transfer = Transfer::new(true);
        let block = [7; 512];
        assert!(matches!(
            transfer.on(data(1, &block)),
            Step::Take { last: false, .. }
        ));
        assert!(matches!(
            transfer.on(data(2, b"")),
            Step::Take { last: true, .. }
        ));
        let mut transfer = Transfer::new(true);
        let refusal = Packet::Error {
            code: 8,
            message: String::new(),
        };
        assert_eq!(transfer.on(refusal.clone()), Step::AskPlainly);
        let mut transfer = Transfer::new(false);
        assert!(matches!(
            transfer.on(refusal),
            Step::Refused { code: 8, .. }
        ));
    }

    #[test]
    fn broken_promises_are_noticed() {
        let broken = |announced, blocks: &[&[u8]]| {
            let mut transfer = Transfer::new(true);
            transfer.on(options(8, announced));
            let numbered = (1_u16..).zip(blocks);
            numbered
                .map(|(n, block)| transfer.on(data(n, block)))
                .any(|step| matches!(step, Step::Broken(_)))
        };
        assert!(broken(8, &[b"123456789"]));
        assert!(broken(8, &[b"12345678", b"9"]));
        assert!(broken(9, &[b"12345678", b""]));
        assert!(!broken(8, &[b"12345678", b""]));
    }

    proptest! {
        /// Blocks that come late, twice or not at all: what is taken is the
        /// file's beginning, whatever the order.
        #[test]
        fn only_the_files_own_order_is_taken(
            size in 0_usize..100, order in prop::collection::vec(0_u16..14, 0..60),
        ) {
            let file: Vec<u8> = (0..size).map(|n| n as u8).collect();
            let blocks: Vec<&[u8]> = file.chunks(8).collect();
            let mut transfer = Transfer::new(true);
            transfer.on(options(8, size as u64));
            let mut taken = Vec::new();
            for number in order {
                let block = number.checked_sub(1).and_then(|n| blocks.get(usize::from(n)));
                let packet = data(number, block.copied().unwrap_or_default());
                match transfer.on(packet) {
                    Step::Take { bytes, last, .. } => {
                        taken.extend(bytes);
                        if last {
                            prop_assert_eq!(taken.len(), size);
                            break;
                        }
                    }
                    Step::Broken(message) => prop_assert!(false, "{}", message),
                    _ => {}
                }
            }
            prop_assert!(file.starts_with(&taken));
        }

        #[test]
        fn numbers_start_again(start in 65530_u16..=65535) {
            let mut transfer = Transfer::new(true);
            transfer.on(Packet::Options(Options { block_size: Some(8), size: None }));
            transfer.next = start;
            for n in 0..10_u16 {
                let block = start.wrapping_add(n);
                let step = transfer.on(data(block, b"12345678"));
                prop_assert_eq!(step, Step::Take { bytes: b"12345678", block, last: false });
            }
        }
    }
}
