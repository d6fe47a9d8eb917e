//! This host's own firewall: rules of nf_tables on the way out, by netlink.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, Expressions, Hook, Immediate, InetHookNumber,
    NfTablesMessage, Operator, Payload, Register, RuleAttribute, RuleMessage, TableAttribute, TableMessage,
    Verdict, VerdictAttribute,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rustix::io::Errno;

use super::Netns;
use super::netlink::{Channel, errno};

const NETLINK_NETFILTER: i32 = 12;
/// A batch names the subsystem that it is for.
const NFNL_SUBSYS_NFTABLES: u16 = 10;

const TABLE: &str = "scenario";
/// A chain's name is also its type.
const FILTER: (&str, i32) = ("filter", 0);
const NAT: (&str, i32) = ("nat", -100);

/// Which packets a rule is for.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// Those to an address.
    To(Ipv4Addr),
    /// Those to a TCP port.
    Port(u16),
    /// TCP resets.
    Reset,
}

/// What becomes of them.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// They vanish.
    Dropped,
    /// The sender is told by a TCP reset.
    RejectedByReset,
    /// The sender is told by ICMP: host unreachable.
    RejectedByIcmp,
    /// They go to a port of this host.
    RedirectedTo(u16),
}

impl Netns {
    /// Lets all packets that leave the namespace pass, but for those that some rule is for.
    pub fn firewall(&self, rules: &[(&[Which], Fate)]) -> Result<()> {
        self.run("firewall", || set_up(rules)).with_context(|| format!("a firewall with {rules:?}"))
    }
}

/// Whether the kernel has all that [`Netns::firewall`] needs.
pub fn is_there() -> Result<(), Errno> {
    let rules: &[(&[Which], Fate)] = &[
        (&[Which::Port(1), Which::Reset], Fate::RejectedByReset),
        (&[Which::To(Ipv4Addr::LOCALHOST), Which::Port(2)], Fate::RedirectedTo(2)),
    ];
    let made = Netns::new().and_then(|netns| netns.run("firewall", || set_up(rules)));
    made.map_err(|error| errno(&error))
}

fn set_up(rules: &[(&[Which], Fate)]) -> Result<()> {
    let channel = Channel::open(NETLINK_NETFILTER)?;
    let mut orders = vec![NfTablesMessage::NewTable(TableMessage {
        attributes: vec![TableAttribute::Name(TABLE.to_owned())],
    })];
    // Not every kernel that has nf_tables translates addresses: the chain is made if it is needed.
    let uses_nat = rules.iter().any(|(_, fate)| fate.chain() == NAT);
    orders.push(chain(FILTER));
    orders.extend(uses_nat.then(|| chain(NAT)));
    orders.extend(rules.iter().map(|(which, fate)| rule(which, *fate)));
    let count = orders.len();
    let mut batch = vec![(batch(ControlMessage::BatchBegin), 0)];
    let flags = NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK;
    batch.extend(orders.into_iter().map(|order| (message(0, order), flags)));
    batch.push((self::batch(ControlMessage::BatchEnd), 0));
    channel.send(batch)?;
    for _ in 0..count {
        channel.receive::<NetfilterMessage>()?;
    }
    Ok(())
}

fn batch(part: ControlMessage) -> NetfilterMessage {
    message(NFNL_SUBSYS_NFTABLES, part)
}

fn message(subsystem: u16, inner: impl Into<NetfilterMessageInner>) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, subsystem), inner)
}

fn chain((name, priority): (&str, i32)) -> NfTablesMessage {
    let hook = vec![Hook::Number(InetHookNumber::LocalOut.into()), Hook::Priority(priority.cast_unsigned())];
    NfTablesMessage::NewChain(ChainMessage {
        attributes: vec![
            ChainAttribute::Table(TABLE.to_owned()),
            ChainAttribute::Name(name.to_owned()),
            ChainAttribute::Type(name.to_owned()),
            ChainAttribute::Hook(hook),
        ],
    })
}

fn rule(which: &[Which], fate: Fate) -> NfTablesMessage {
    let conditions = which.iter().flat_map(|which| which.expressions());
    let expressions = conditions.chain(fate.expressions()).map(Into::into).collect();
    NfTablesMessage::NewRule(RuleMessage {
        attributes: vec![
            RuleAttribute::Table(TABLE.to_owned()),
            RuleAttribute::Chain(fate.chain().0.to_owned()),
            RuleAttribute::Expressions(expressions),
        ],
    })
}

/// `enum nft_payload_bases`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

impl Which {
    /// Loads a field into a register and compares it there.
    fn expressions(self) -> Vec<Expressions> {
        match self {
            Self::To(address) => vec![load(NETWORK_HEADER, 16, 4), equals(&address.octets())],
            Self::Port(port) => vec![load(TRANSPORT_HEADER, 2, 2), equals(&port.to_be_bytes())],
            Self::Reset => vec![load(TRANSPORT_HEADER, 13, 1), mask(4), equals(&[4])],
        }
    }
}

fn load(base: u32, offset: u32, length: u32) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
}

fn mask(bits: u8) -> Expressions {
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(Register::Reg1),
        Bitwise::DestinationRegister(Register::Reg1),
        Bitwise::Length(1),
        Bitwise::Mask(DataAttribute::Value(vec![bits])),
        Bitwise::Xor(DataAttribute::Value(vec![0])),
    ])
}

fn equals(value: &[u8]) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(Operator::Equal),
        Cmp::Data(DataAttribute::Value(value.to_vec())),
    ])
}

impl Fate {
    fn chain(self) -> (&'static str, i32) {
        match self {
            Self::Dropped | Self::RejectedByReset | Self::RejectedByIcmp => FILTER,
            Self::RedirectedTo(_) => NAT,
        }
    }

    fn expressions(self) -> Vec<Expressions> {
        match self {
            // NF_DROP
            Self::Dropped => vec![set(
                Register::Verdict,
                DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Other(0))]),
            )],
            // NFTA_REJECT_TYPE: NFT_REJECT_TCP_RST
            Self::RejectedByReset => vec![other("reject", &[(1, &1_u32.to_be_bytes())])],
            // NFT_REJECT_ICMP_UNREACH, and NFTA_REJECT_ICMP_CODE: ICMP_HOST_UNREACH
            Self::RejectedByIcmp => vec![other("reject", &[(1, &0_u32.to_be_bytes()), (2, &[1])])],
            // NFTA_REDIR_REG_PROTO_MIN: the register that has the port
            Self::RedirectedTo(port) => vec![
                set(Register::Reg1, DataAttribute::Value(port.to_be_bytes().to_vec())),
                other("redir", &[(1, &u32::from(Register::Reg1).to_be_bytes())]),
            ],
        }
    }
}

fn set(register: Register, value: DataAttribute) -> Expressions {
    Expressions::Immediate(vec![Immediate::DestinationRegister(register), Immediate::Data(value)])
}

/// An expression that the crate does not know.
fn other(name: &str, attributes: &[(u16, &[u8])]) -> Expressions {
    let attributes = attributes.iter().map(|(kind, value)| DefaultNla::new(*kind, value.to_vec())).collect();
    Expressions::Other { expression_type: name.to_owned(), attributes }
}
