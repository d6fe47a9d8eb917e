//! Whether the kernel lists its TCP sockets.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_sock_diag::{
    AF_INET, IPPROTO_TCP, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use rustix::io::Errno;

use super::netlink::{Channel, errno};

const NETLINK_SOCK_DIAG: i32 = 4;

/// Asks for the listeners of this namespace: that there are none is an answer as well.
pub(super) fn is_there() -> Result<(), Errno> {
    let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let question = SockDiagMessage::InetRequest(InetRequest {
        family: AF_INET,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id: SocketId {
            source_port: 0,
            destination_port: 0,
            source_address: nobody,
            destination_address: nobody,
            interface_id: 0,
            cookie: [0xff; 8],
        },
    });
    let asked = Channel::open(NETLINK_SOCK_DIAG).and_then(|channel| {
        channel.send(vec![(question, NLM_F_DUMP)])?;
        channel.receive::<SockDiagMessage>()
    });
    asked.map(drop).map_err(|error| errno(&error))
}
