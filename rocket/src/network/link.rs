//! Devices, addresses and routes, over netlink.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sched::{CloneFlags, setns};

/// A conversation with the kernel about the devices of one network namespace.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
    sequence: u32,
}

impl Links {
    /// About this process's own.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn here() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// About that of another process. This thread is in it for the time of the call.
    ///
    /// # Errors
    /// The process is gone, or the socket cannot be made.
    pub fn of(pid: i32) -> io::Result<Self> {
        let own = File::open("/proc/thread-self/ns/net")?;
        let theirs = File::open(format!("/proc/{pid}/ns/net"))?;
        setns(&theirs, CloneFlags::CLONE_NEWNET)?;
        let links = Self::here();
        setns(&own, CloneFlags::CLONE_NEWNET)?;
        links
    }

    /// The device of this name, if there is one.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn find(&mut self, name: &str) -> io::Result<Option<Device>> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        match self.request(RouteNetlinkMessage::GetLink(message), 0) {
            Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(Some(Device {
                index: link.header.index,
                is_up: link.header.flags.contains(LinkFlags::Up),
            })),
            Ok(_) => Err(ErrorKind::InvalidData.into()),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A bridge.
    ///
    /// # Errors
    /// It is there already, or the kernel refuses it.
    pub fn add_bridge(&mut self, name: &str, mtu: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.extend([
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ]);
        self.create(RouteNetlinkMessage::NewLink(message))
    }

    /// A pair of devices: `name` here, below `bridge`, and `peer` in the namespace of `pid`.
    ///
    /// # Errors
    /// One is there already, or the kernel refuses them.
    pub fn add_pair(
        &mut self,
        name: &str,
        bridge: u32,
        mtu: u32,
        peer: Peer<'_>,
    ) -> io::Result<()> {
        let mut inside = LinkMessage::default();
        inside.attributes.extend([
            LinkAttribute::IfName(peer.name.to_owned()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::NetNsPid(peer.pid.unsigned_abs()),
        ]);
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.extend([
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::Controller(bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inside))),
            ]),
        ]);
        self.create(RouteNetlinkMessage::NewLink(message))
    }

    /// Switches a device on.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)
            .map(drop)
    }

    /// Gives a device an address. That it has it already is no error.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn add_address(&mut self, index: u32, address: IpNet) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = address.prefix_len();
        message.header.family = family(address.addr());
        // Nobody else has it: the pod need not wait until neighbours were asked.
        if let IpNet::V6(_) = address {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        message
            .attributes
            .push(AddressAttribute::Address(address.addr()));
        if let IpNet::V4(network) = address {
            message.attributes.extend([
                AddressAttribute::Local(address.addr()),
                AddressAttribute::Broadcast(network.broadcast()),
            ]);
        }
        match self.create(RouteNetlinkMessage::NewAddress(message)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    /// Sends what nothing else takes through `gateway`.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn add_default_route(&mut self, gateway: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(gateway);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Boot;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        let address = match gateway {
            IpAddr::V4(address) => RouteAddress::Inet(address),
            IpAddr::V6(address) => RouteAddress::Inet6(address),
        };
        message.attributes.push(RouteAttribute::Gateway(address));
        self.create(RouteNetlinkMessage::NewRoute(message))
    }

    fn create(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.request(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)
            .map(drop)
    }

    /// Asks, and waits for the answer: a message, or an acknowledgement.
    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::Error(error) if error.code.is_none() => Ok(None),
                NetlinkPayload::Error(error) => Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
                _ => Err(ErrorKind::InvalidData.into()),
            };
        }
    }
}

/// A device as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub index: u32,
    /// Whether it is switched on.
    pub is_up: bool,
}

/// The other end of a pair.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Its name.
    pub name: &'a str,
    /// A process in the namespace that it is put into.
    pub pid: i32,
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
