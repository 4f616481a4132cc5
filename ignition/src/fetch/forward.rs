//! Requests to a proxy that sends them on: the request line names the whole
//! URL (RFC 9112, section 3.2.2). `ureq` itself knows only tunnels, which
//! many proxies refuse to ports other than 443.
//!
//! This stands on the part of `ureq`'s interface that may change in its minor
//! versions.

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// Puts the origin of what is wanted into request lines.
#[derive(Debug, Clone)]
pub struct WholeUrl {
    /// `http://host:port`
    pub origin: String,
}

impl<In: Transport> Connector<In> for WholeUrl {
    type Out = Forwarding<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| Forwarding {
            inner,
            origin: Some(self.origin.clone()),
        }))
    }
}

/// A connection to a proxy, for one request.
#[derive(Debug)]
pub struct Forwarding<In> {
    inner: In,
    /// None once the request line has passed.
    origin: Option<String>,
}

impl<In: Transport> Transport for Forwarding<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let Some(origin) = self.origin.take() else {
            return self.inner.transmit_output(amount, timeout);
        };
        let head = &self.inner.buffers().output()[..amount];
        for part in insert(head, &origin).chunks(4 << 10) {
            self.inner.buffers().output()[..part.len()].copy_from_slice(part);
            self.inner.transmit_output(part.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// `origin` before the target of the request that starts with `head`.
fn insert(head: &[u8], origin: &str) -> Vec<u8> {
    let method = head
        .iter()
        .position(|byte| *byte == b' ')
        .map_or(0, |at| at + 1);
    let (method, target) = head.split_at(method);
    [method, origin.as_bytes(), target].concat()
}

#[cfg(test)]
mod tests {
    use super::insert;

    #[test]
    fn the_origin_comes_before_the_path() {
        let whole = insert(b"GET /a b HTTP/1.1\r\nx: y", "http://h:1");
        assert_eq!(whole, b"GET http://h:1/a b HTTP/1.1\r\nx: y");
    }
}
