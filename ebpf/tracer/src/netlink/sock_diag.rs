//! TCP sockets of a network namespace, by sock_diag(7).
//!
//! Of a whole four-tuple the kernel is asked for the one socket that would get a segment with it
//! (`inet_diag_find_one_icsk()`: a few hash lookups, the very ones that an incoming SYN goes through). By port
//! alone it offers only a walk through all sockets of its tables, which all namespaces share; it compares the
//! ports itself (`inet_diag_dump_icsk()`, since before 5.10), so other sockets are not even copied out.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::ControlFlow,
    time::Duration,
};

use netlink_packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader, Nla as _};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage,
    inet::{self, ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use nix::errno::Errno;

use super::{
    FourTuple, canonical,
    channel::{Channel, Failure, Mode},
    socket::{Listener, Socket, Sockets, TcpState, Timer, TimerKind},
};

/// Sockets that one answer holds at most.
pub const MAX_SOCKETS: usize = 64;

/// The socket that gets a segment with this tuple: the connection's, or a listener.
pub(super) fn look_up(channel: &mut Channel, tuple: FourTuple) -> Result<Option<Socket>, Failure> {
    let mut found = None;
    // What arrives with `tuple` is for the socket whose local end is the tuple's destination.
    let question = request(StateFlags::all(), tuple.destination, tuple.source);
    let asked = channel.ask(question, Mode::Exact, |Answer(socket)| {
        found = Some(socket);
        ControlFlow::Continue(())
    });
    match asked {
        Ok(()) => Ok(found),
        Err(Failure::Kernel(Errno::ENOENT)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The listener that would take the tuple's SYN.
pub(super) fn listener(channel: &mut Channel, tuple: FourTuple) -> Result<Option<Listener>, Failure> {
    let is_listener = |socket: &Socket| socket.state == TcpState::Listen;
    let found = match look_up(channel, tuple)? {
        // A connection has the tuple. Nobody connects from port 0: that finds the listener behind it.
        Some(socket) if !is_listener(&socket) => {
            let nobody = SocketAddr::new(unspecified(tuple.source.is_ipv6()), 0);
            look_up(channel, FourTuple { source: nobody, ..tuple })?
        }
        found => found,
    };
    Ok(found.filter(is_listener).map(Listener::new))
}

/// All sockets but listeners whose peer has this address and port.
pub(super) fn with_peer(channel: &mut Channel, peer: SocketAddr) -> Result<Sockets, Failure> {
    dump(channel, &(StateFlags::all() - StateFlags::LISTEN), 0, peer.port(), |socket| socket.peer == peer)
}

/// All sockets with this local port, listeners too.
pub(super) fn on_port(channel: &mut Channel, port: u16) -> Result<Sockets, Failure> {
    dump(channel, &StateFlags::all(), port, 0, |_| true)
}

/// Whether the kernel can be asked at all. A look-up cannot tell: `inet_diag_lock_handler()` answers ENOENT for
/// a missing module too, while a dump that finds nothing is an answer. Listeners alone are a short walk.
pub(super) fn is_there(channel: &mut Channel) -> Result<bool, Failure> {
    match dump(channel, &StateFlags::LISTEN, 1, 0, |_| false) {
        Ok(_) => Ok(true),
        Err(Failure::Kernel(Errno::ENOENT)) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Asks for IPv4 sockets, then for IPv6 ones, which include the v4-mapped. A port of 0 matches any.
fn dump(
    channel: &mut Channel,
    states: &StateFlags,
    local_port: u16,
    peer_port: u16,
    wanted: impl Fn(&Socket) -> bool,
) -> Result<Sockets, Failure> {
    let mut sockets = Sockets { found: Vec::new(), complete: true };
    for is_v6 in [false, true] {
        let [local, peer] = [local_port, peer_port].map(|port| SocketAddr::new(unspecified(is_v6), port));
        channel.ask(request(states.clone(), local, peer), Mode::Dump, |Answer(socket)| {
            if wanted(&socket) && sockets.found.len() == MAX_SOCKETS {
                sockets.complete = false;
                return ControlFlow::Break(());
            }
            sockets.found.extend(Some(socket).filter(&wanted));
            ControlFlow::Continue(())
        })?;
        if !sockets.complete {
            break;
        }
    }
    Ok(sockets)
}

/// Both ends are of the same family, which is the request's.
fn request(states: StateFlags, local: SocketAddr, peer: SocketAddr) -> SockDiagMessage {
    SockDiagMessage::InetRequest(InetRequest {
        family: if local.is_ipv6() { AF_INET6 } else { AF_INET },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id: SocketId {
            source_port: local.port(),
            destination_port: peer.port(),
            source_address: local.ip(),
            destination_address: peer.ip(),
            interface_id: 0,
            // INET_DIAG_NOCOOKIE: whichever socket it is, not one that was seen before.
            cookie: [0xff; 8],
        },
    })
}

fn unspecified(is_v6: bool) -> IpAddr {
    if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// One socket of an answer.
struct Answer(Socket);

/// Where `struct inet_diag_msg` has `idiag_expires`, which the crate drops for TIME-WAIT.
const EXPIRES: std::ops::Range<usize> = 52..56;
/// `INET_DIAG_CGROUP_ID` (include/uapi/linux/inet_diag.h), which the crate does not know.
const CGROUP_ID: u16 = 21;

impl NetlinkDeserializable for Answer {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let SockDiagMessage::InetResponse(response) = SockDiagMessage::deserialize(header, payload)? else {
            return Err("not a socket of the internet".into());
        };
        let expires = payload.get(EXPIRES).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
        Ok(Self(socket(&response, Duration::from_millis(expires.unwrap_or(0).into()))))
    }
}

fn socket(response: &InetResponse, left: Duration) -> Socket {
    let header = &response.header;
    let id = &header.socket_id;
    let timer = |kind, retransmits| Timer { kind, left, retransmits };
    Socket {
        local: canonical(SocketAddr::new(id.source_address, id.source_port)),
        peer: canonical(SocketAddr::new(id.destination_address, id.destination_port)),
        state: TcpState::from_number(header.state),
        uid: header.uid,
        inode: Some(header.inode).filter(|&inode| inode != 0),
        cgroup: response.nlas.iter().find_map(cgroup),
        timer: header.timer.as_ref().map(|running| match running {
            inet::Timer::Retransmit(_, so_far) => timer(TimerKind::Retransmit, *so_far),
            inet::Timer::KeepAlive(_) => timer(TimerKind::KeepAlive, 0),
            inet::Timer::TimeWait => timer(TimerKind::TimeWait, 0),
            inet::Timer::Probe(_) => timer(TimerKind::Probe, 0),
        }),
        receive_queue: header.recv_queue,
        send_queue: header.send_queue,
    }
}

fn cgroup(attribute: &Nla) -> Option<u64> {
    let mut value = [0; 8];
    if attribute.kind() != CGROUP_ID || attribute.value_len() != value.len() {
        return None;
    }
    attribute.emit_value(&mut value);
    Some(u64::from_ne_bytes(value)).filter(|&id| id != 0)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NLMSG_DONE, NLMSG_ERROR};
    use netlink_packet_sock_diag::SOCK_DIAG_BY_FAMILY;

    use super::{super::channel::fake, *};

    fn decode(payload: &[u8]) -> Result<Socket, DecodeError> {
        let mut header = NetlinkHeader::default();
        header.message_type = SOCK_DIAG_BY_FAMILY;
        Answer::deserialize(&header, payload).map(|Answer(socket)| socket)
    }

    /// `struct inet_diag_msg` of a FIN-WAIT-2 on 127.0.0.1:15001, with its cgroup behind another attribute.
    fn answer() -> Vec<u8> {
        let mut bytes = vec![AF_INET, 5, 3, 0];
        bytes.extend([15001_u16, 40000].map(u16::to_be_bytes).concat());
        for address in [[127, 0, 0, 1], [10, 0, 0, 1]] {
            bytes.extend(address);
            bytes.extend([0; 12]);
        }
        bytes.extend([0; 12]); // interface and cookie
        bytes.extend([42_000_u32, 1, 2, 1000, 0].map(u32::to_ne_bytes).concat());
        for (kind, value) in [(CGROUP_ID + 1, 6), (CGROUP_ID, 0x1_0000_0005_u64)] {
            bytes.extend([12, kind].map(u16::to_ne_bytes).concat());
            bytes.extend(value.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn every_field_comes_from_its_place() {
        let expected = Socket {
            local: ([127, 0, 0, 1], 15001).into(),
            peer: ([10, 0, 0, 1], 40000).into(),
            state: TcpState::FinWait2,
            uid: 1000,
            inode: None,
            cgroup: Some(0x1_0000_0005),
            timer: Some(Timer { kind: TimerKind::TimeWait, left: Duration::from_secs(42), retransmits: 0 }),
            receive_queue: 1,
            send_queue: 2,
        };
        assert_eq!(decode(&answer()).unwrap(), expected);
    }

    #[test]
    fn truncated_at_any_byte_it_is_refused_or_lacks_the_rest() {
        let whole = answer();
        for length in 0..whole.len() {
            let is_whole = [72, 84].contains(&length); // up to an attribute
            let cgroup = decode(&whole[..length]).map(|socket| socket.cgroup);
            assert_eq!(cgroup.ok(), is_whole.then_some(None), "{length}");
        }
    }
    #[test]
    fn no_such_module_is_told_from_no_such_socket() {
        let refusal = |errno: Errno| fake::channel(&[fake::end(NLMSG_ERROR, 1, errno as i32)]);
        let nothing = [fake::end(NLMSG_DONE, 1, 0), fake::end(NLMSG_DONE, 2, 0)];
        let tuple = FourTuple { source: ([127, 0, 0, 1], 1).into(), destination: ([127, 0, 0, 1], 2).into() };
        assert_eq!(is_there(&mut refusal(Errno::ENOENT).0), Ok(false));
        assert_eq!(is_there(&mut fake::channel(&nothing).0), Ok(true));
        assert_eq!(look_up(&mut refusal(Errno::ENOENT).0, tuple), Ok(None));
        assert_eq!(look_up(&mut refusal(Errno::EPERM).0, tuple), Err(Failure::Kernel(Errno::EPERM)));
    }
}
