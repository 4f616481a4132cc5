//! Objects on D-Bus: who calls them.

use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::BusName;

/// Who called a method: the bus says so, nothing that the caller sends does.
#[derive(Debug)]
pub struct Caller<'a> {
    connection: &'a Connection,
    header: Header<'a>,
}

/// Nobody knows who called.
#[derive(Debug, thiserror::Error)]
#[error("nobody knows who is calling")]
pub struct UnknownCaller;

impl<'a> Caller<'a> {
    /// Whoever sent the message with `header`.
    pub fn new(connection: &'a Connection, header: Header<'a>) -> Self {
        Self { connection, header }
    }

    /// The user of the caller.
    pub async fn uid(&self) -> Result<u32, UnknownCaller> {
        let credentials = if self.connection.is_bus() {
            let sender = self.header.sender().ok_or(UnknownCaller)?;
            let bus = DBusProxy::new(self.connection).await;
            let bus = bus.map_err(|_| UnknownCaller)?;
            let name = BusName::from(sender.to_owned());
            let credentials = bus.get_connection_credentials(name).await;
            credentials.map_err(|_| UnknownCaller)?.unix_user_id()
        } else {
            // The other end of the socket is the caller.
            let credentials = self.connection.peer_creds().await;
            credentials.map_err(|_| UnknownCaller)?.unix_user_id()
        };
        credentials.ok_or(UnknownCaller)
    }
}

/// Who may change something.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// The user that may, besides nobody: 0 on a host.
    pub uid: u32,
}
