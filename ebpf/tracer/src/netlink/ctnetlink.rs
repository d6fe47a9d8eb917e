//! Questions to ctnetlink, and reading its answers.

use std::{net::SocketAddr, ops::ControlFlow, time::Duration};

use netlink_packet_core::{DefaultNla, Nla as _};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{
        ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Protocol, Tuple,
    },
};
use nix::errno::Errno;

use super::{
    FourTuple, Unanswered,
    channel::{Channel, Failure, Mode},
    conntrack::{Entry, Status, TcpState, Tracking},
};

/// Looks for the entry of a connection, given in either direction.
pub(super) fn look_up(channel: &mut Channel, tuple: FourTuple) -> Result<Tracking, Failure> {
    let family = if tuple.source.is_ipv6() { NetfilterProtoFamily::IPv6 } else { NetfilterProtoFamily::IPv4 };
    let question = ConntrackMessage::Get(vec![ConntrackAttribute::CtaTupleOrig(attributes(tuple))]);
    let mut entry = None;
    let asked = channel.ask(message(family, question), Mode::Exact, |answer: NetfilterMessage| {
        if let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = answer.inner {
            entry = decode(&attributes);
        }
        ControlFlow::Continue(())
    });
    match (asked, entry) {
        (Ok(()), Some(entry)) => Ok(Tracking::Entry(Box::new(entry))),
        (Ok(()), None) => Err(Failure::Malformed("a tracked connection without its tuples".into())),
        (Err(Failure::Kernel(Errno::ENOENT)), _) => Ok(match count(channel)? {
            0 => Tracking::NothingTracked,
            _ => Tracking::NoEntry,
        }),
        (Err(failure), _) => Err(failure),
    }
}

/// `IPCTNL_MSG_CT_GET_STATS` and its `CTA_STATS_GLOBAL_ENTRIES`, which the crate does not know.
const GET_STATS: u8 = 5;
const GLOBAL_ENTRIES: u16 = 1;

/// Connections that are tracked in the namespace.
pub(super) fn count(channel: &mut Channel) -> Result<u32, Failure> {
    let question = ConntrackMessage::Other { message_type: GET_STATS, attributes: Vec::new() };
    let mut entries = None;
    channel.ask(
        message(NetfilterProtoFamily::Unspec, question),
        Mode::Exact,
        |answer: NetfilterMessage| {
            if let NetfilterMessageInner::Conntrack(ConntrackMessage::Other { attributes, .. }) = answer.inner
            {
                entries = attributes.iter().find_map(global_entries);
            }
            ControlFlow::Continue(())
        },
    )?;
    entries.ok_or_else(|| Failure::Malformed("statistics without a count".into()))
}

fn global_entries(attribute: &DefaultNla) -> Option<u32> {
    let mut value = [0; 4];
    if attribute.kind() != GLOBAL_ENTRIES || attribute.value_len() != value.len() {
        return None;
    }
    attribute.emit_value(&mut value);
    Some(u32::from_be_bytes(value))
}

/// What a failed question to ctnetlink means.
pub(super) fn unanswered(failure: Failure) -> Unanswered {
    match failure {
        // EPROTONOSUPPORT: no nfnetlink. EINVAL: nfnetlink without ctnetlink; our own questions are valid.
        Failure::Kernel(Errno::EPROTONOSUPPORT | Errno::EINVAL) => Unanswered::NoCtnetlink,
        failure => failure.unanswered("asking for a tracked connection"),
    }
}

fn message(family: NetfilterProtoFamily, inner: ConntrackMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner)
}

fn attributes(tuple: FourTuple) -> Vec<Tuple> {
    vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(tuple.source.ip()),
            IPTuple::DestinationAddress(tuple.destination.ip()),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(Protocol::Tcp),
            ProtoTuple::SourcePort(tuple.source.port()),
            ProtoTuple::DestinationPort(tuple.destination.port()),
        ]),
    ]
}

/// `None` when a tuple is missing or not whole.
fn decode(attributes: &[ConntrackAttribute]) -> Option<Entry> {
    let (mut original, mut reply, mut timeout) = (None, None, None);
    let (mut state, mut status) = (TcpState(0), Status(0));
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(parts) => original = tuple(parts),
            ConntrackAttribute::CtaTupleReply(parts) => reply = tuple(parts),
            ConntrackAttribute::CtaStatus(bits) => status = Status(bits.bits()),
            ConntrackAttribute::CtaTimeout(seconds) => timeout = Some(Duration::from_secs((*seconds).into())),
            ConntrackAttribute::CtaProtoInfo(infos) => state = tcp_state(infos).unwrap_or(state),
            _ => {}
        }
    }
    Some(Entry { original: original?, reply: reply?, state, status, timeout })
}

fn tuple(parts: &[Tuple]) -> Option<FourTuple> {
    let (mut source, mut destination, mut source_port, mut destination_port) = (None, None, None, None);
    for part in parts {
        match part {
            Tuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(ip) => source = Some(*ip),
                        IPTuple::DestinationAddress(ip) => destination = Some(*ip),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(protocol) => {
                for part in protocol {
                    match part {
                        ProtoTuple::SourcePort(port) => source_port = Some(*port),
                        ProtoTuple::DestinationPort(port) => destination_port = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(FourTuple {
        source: SocketAddr::new(source?, source_port?),
        destination: SocketAddr::new(destination?, destination_port?),
    })
}

fn tcp_state(infos: &[ProtoInfo]) -> Option<TcpState> {
    infos.iter().find_map(|info| match info {
        ProtoInfo::TCP(parts) => parts.iter().find_map(|part| match part {
            ProtoInfoTCP::State(number) => Some(TcpState(*number)),
            _ => None,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_ctnetlink_is_told_from_one_that_refuses() {
        for errno in [Errno::EINVAL, Errno::EPROTONOSUPPORT] {
            assert_eq!(unanswered(Failure::Kernel(errno)), Unanswered::NoCtnetlink);
        }
        let refused = unanswered(Failure::Kernel(Errno::EPERM));
        assert_eq!(refused.to_string(), "asking for a tracked connection: EPERM");
    }

    #[test]
    fn an_answer_without_whole_tuples_is_no_entry() {
        let whole = |ports: &[ProtoTuple]| {
            let ip = IPTuple::SourceAddress("10.0.0.1".parse().unwrap());
            let to = IPTuple::DestinationAddress("10.0.0.2".parse().unwrap());
            vec![Tuple::Ip(vec![ip, to]), Tuple::Proto(ports.to_vec())]
        };
        let ports = [ProtoTuple::SourcePort(1), ProtoTuple::DestinationPort(2)];
        let original = ConntrackAttribute::CtaTupleOrig(whole(&ports));
        let reply = ConntrackAttribute::CtaTupleReply(whole(&ports));
        let half = ConntrackAttribute::CtaTupleReply(whole(&ports[..1]));
        assert_eq!(decode(std::slice::from_ref(&original)), None);
        assert_eq!(decode(&[original.clone(), half]), None);
        let entry = decode(&[original, reply]).unwrap();
        assert_eq!(entry.original.to_string(), "10.0.0.1:1 -> 10.0.0.2:2");
        assert_eq!(entry.state.name(), "NONE");
    }
}
