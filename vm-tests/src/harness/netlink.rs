//! Speaking netlink where no tool may be there to do it.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result};
use netlink_packet_core::{
    NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

const AF_NETLINK: i32 = 16;
/// The kernel answers within the system call that asks.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is answered here fits in a page.
const ANSWER_LIMIT: usize = 4096;

/// A socket in the namespace of the thread that opened it.
pub(super) struct Channel(Socket);

impl Channel {
    /// Opens one: `NETLINK_NETFILTER`, `NETLINK_GENERIC`.
    pub(super) fn open(protocol: i32) -> Result<Self> {
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(protocol)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Sends requests with their flags, all at once.
    pub(super) fn send<M: NetlinkSerializable>(&self, requests: Vec<(M, u16)>) -> Result<()> {
        let mut bytes = Vec::new();
        for (request, flags) in requests {
            let mut header = NetlinkHeader::default();
            header.flags = NLM_F_REQUEST | flags;
            let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
            message.finalize();
            let start = bytes.len();
            bytes.resize(start + message.buffer_len(), 0);
            message.serialize(&mut bytes[start..]);
        }
        self.0.send(&bytes)?;
        Ok(())
    }

    /// The next answer, or `None` for an acknowledgement or the end of a list. A refusal is the kernel's [`Errno`].
    pub(super) fn receive<M: NetlinkDeserializable>(&self) -> Result<Option<M>> {
        let mut bytes = [0; ANSWER_LIMIT];
        let length = (&self.0).read(&mut bytes).context("the kernel does not answer")?;
        let message = NetlinkMessage::<M>::deserialize(&bytes[..length])?;
        match message.payload {
            NetlinkPayload::InnerMessage(answer) => Ok(Some(answer)),
            NetlinkPayload::Error(error) => match error.code {
                Some(code) => Err(Errno::from_raw_os_error(-code.get()).into()),
                None => Ok(None),
            },
            NetlinkPayload::Done(_) => Ok(None),
            _ => anyhow::bail!("neither an answer nor an acknowledgement"),
        }
    }
}

/// What the kernel refused with, if it was the kernel that did.
pub(super) fn errno(error: &anyhow::Error) -> Errno {
    let of_io = || Errno::from_io_error(error.downcast_ref::<std::io::Error>()?);
    error.downcast_ref::<Errno>().copied().or_else(of_io).unwrap_or(Errno::OPNOTSUPP)
}
