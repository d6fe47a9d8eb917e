//! MPTCP's path manager, by generic netlink.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable as _, NLM_F_ACK, NetlinkDeserializable, NetlinkHeader,
    NetlinkSerializable, Nla as _, NlasIterator,
};
use nix::net::if_::if_nametoindex;
use rustix::io::Errno;

use super::Netns;
use super::netlink::{Channel, errno};

/// An address of every namespace beside 127.0.0.1.
pub const SECOND_PATH: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

const NETLINK_GENERIC: i32 = 16;
/// The family that tells other families' numbers, and its command for that.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// `include/uapi/linux/mptcp_pm.h`
const MPTCP_PM_CMD_ADD_ADDR: u8 = 1;
const MPTCP_PM_ATTR_ADDR: u16 = 1;
const MPTCP_PM_ADDR_ATTR_FAMILY: u16 = 1;
const MPTCP_PM_ADDR_ATTR_ADDR4: u16 = 3;
const MPTCP_PM_ADDR_ATTR_FLAGS: u16 = 6;
const MPTCP_PM_ADDR_ATTR_IF_IDX: u16 = 7;
const MPTCP_PM_ADDR_FLAG_SUBFLOW: u32 = 2;
const AF_INET: u16 = 2;
const NLA_F_NESTED: u16 = 1 << 15;

impl Netns {
    /// Lets MPTCP connections of the namespace take a second path, from [`SECOND_PATH`].
    pub fn second_path(&self) -> Result<()> {
        self.run("mptcp", || {
            let channel = Channel::open(NETLINK_GENERIC)?;
            let family = path_manager(&channel)?;
            let lo = if_nametoindex("lo")?;
            let endpoint = vec![
                DefaultNla::new(MPTCP_PM_ADDR_ATTR_FAMILY, AF_INET.to_ne_bytes().to_vec()),
                DefaultNla::new(MPTCP_PM_ADDR_ATTR_ADDR4, SECOND_PATH.octets().to_vec()),
                DefaultNla::new(MPTCP_PM_ADDR_ATTR_FLAGS, MPTCP_PM_ADDR_FLAG_SUBFLOW.to_ne_bytes().to_vec()),
                DefaultNla::new(MPTCP_PM_ADDR_ATTR_IF_IDX, lo.to_ne_bytes().to_vec()),
            ];
            let address = DefaultNla::new(MPTCP_PM_ATTR_ADDR | NLA_F_NESTED, emitted(&endpoint));
            let order = Generic { family, command: MPTCP_PM_CMD_ADD_ADDR, attributes: vec![address] };
            channel.send(vec![(order, NLM_F_ACK)])?;
            ensure!(channel.receive::<Generic>()?.is_none(), "an answer in place of an acknowledgement");
            Ok(())
        })
        .context("a second path")
    }
}

/// Whether MPTCP's path manager is there.
pub fn has_path_manager() -> Result<(), Errno> {
    let found = Channel::open(NETLINK_GENERIC).and_then(|channel| path_manager(&channel));
    found.map(drop).map_err(|error| errno(&error))
}

/// The number of its family.
fn path_manager(channel: &Channel) -> Result<u16> {
    let name = DefaultNla::new(CTRL_ATTR_FAMILY_NAME, b"mptcp_pm\0".to_vec());
    let question = Generic { family: GENL_ID_CTRL, command: CTRL_CMD_GETFAMILY, attributes: vec![name] };
    channel.send(vec![(question, 0)])?;
    let answer = channel.receive::<Generic>()?.context("an acknowledgement in place of an answer")?;
    let id = answer.attributes.iter().find(|attribute| attribute.kind() == CTRL_ATTR_FAMILY_ID);
    let mut bytes = [0; 2];
    let id = id.filter(|id| id.value_len() == bytes.len()).context("a family without a number")?;
    id.emit_value(&mut bytes);
    Ok(u16::from_ne_bytes(bytes))
}

/// A message of generic netlink.
#[derive(Debug)]
struct Generic {
    family: u16,
    command: u8,
    attributes: Vec<DefaultNla>,
}

/// Command, version, and two bytes that are reserved.
const GENERIC_HEADER_LEN: usize = 4;
const VERSION: u8 = 1;

impl NetlinkSerializable for Generic {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        GENERIC_HEADER_LEN + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..GENERIC_HEADER_LEN].copy_from_slice(&[self.command, VERSION, 0, 0]);
        self.attributes.as_slice().emit(&mut buffer[GENERIC_HEADER_LEN..]);
    }
}

impl NetlinkDeserializable for Generic {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let attributes = payload.get(GENERIC_HEADER_LEN..).unwrap_or_default();
        let attributes = NlasIterator::new(attributes)
            .map(|attribute| attribute.map(|it| DefaultNla::new(it.kind(), it.value().to_vec())))
            .collect::<Result<_, _>>()?;
        let command = payload.first().copied().unwrap_or_default();
        Ok(Self { family: header.message_type, command, attributes })
    }
}

fn emitted(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}
