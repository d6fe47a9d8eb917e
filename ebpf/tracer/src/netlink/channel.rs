//! One netlink socket: a question goes out, the answers that belong to it come back, and nothing waits for
//! longer than the deadline.

use std::{
    ops::ControlFlow,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
    },
};

use super::Unanswered;

/// A question and all its answers may take this long. The kernel answers within the system calls, so only a
/// dump of very many sockets comes near it.
const DEADLINE: Duration = Duration::from_millis(200);
/// `netlink_dump()` makes its packets no larger than the buffer that was last received with.
const BUFFER_LEN: usize = 16 << 10;

/// How a question is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// For one object; there is at most one answer.
    Exact,
    /// For all objects that match; answers come until the kernel says that it is done.
    Dump,
}

/// Why a question was not answered to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The kernel refused. The channel can be used on.
    Kernel(Errno),
    TimedOut,
    Malformed(String),
}

impl Failure {
    pub(super) fn unanswered(self, doing: &'static str) -> Unanswered {
        match self {
            Self::Kernel(errno) => Unanswered::Refused { doing, errno: errno as i32 },
            Self::TimedOut => Unanswered::TimedOut,
            Self::Malformed(what) => Unanswered::Malformed(what),
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

/// An open netlink socket of one protocol, in the network namespace that it was opened in.
pub(super) struct Channel {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
    /// Answers to an earlier question may still arrive.
    stale: bool,
}

impl Channel {
    /// Opens a socket in the namespace of the calling thread. Connected to the kernel, so that no other
    /// process can send to it (`netlink_getsockbyportid()` refuses those).
    pub(super) fn open(protocol: SockProtocol) -> Result<Self, Failure> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_LEN], stale: false })
    }

    /// True when the channel must not be used again: a dump was left in its middle.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Asks, and hands each answer to `take` until it breaks.
    pub(super) fn ask<Q: NetlinkSerializable, A: NetlinkDeserializable>(
        &mut self,
        question: Q,
        mode: Mode,
        take: impl FnMut(A) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + DEADLINE;
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | if mode == Mode::Dump { NLM_F_DUMP } else { 0 };
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;

        self.stale = true;
        let answered = self.collect(mode, deadline, take);
        self.stale = !matches!(answered, Ok(ControlFlow::Continue(())) | Err(Failure::Kernel(_)));
        answered.map(drop)
    }

    /// Reads packets until the answer is complete; `Break` when `take` had enough before.
    fn collect<A: NetlinkDeserializable>(
        &mut self,
        mode: Mode,
        deadline: Instant,
        mut take: impl FnMut(A) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Failure> {
        loop {
            // A dump always has its next packet ready, so waiting alone would not end a long one.
            if Instant::now() >= deadline {
                return Err(Failure::TimedOut);
            }
            let length = self.receive(deadline)?;
            let mut rest = &self.buffer[..length];
            while !rest.is_empty() {
                let message = NetlinkMessage::<A>::deserialize(rest)
                    .map_err(|error| Failure::Malformed(error.to_string()))?;
                let aligned = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(aligned..).unwrap_or_default();
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => {
                        let wish = take(answer);
                        if mode == Mode::Exact || wish.is_break() {
                            // Exact questions have one answer: nothing is left to come.
                            return Ok(if mode == Mode::Exact { ControlFlow::Continue(()) } else { wish });
                        }
                    }
                    NetlinkPayload::Done(done) => return end(done.code),
                    NetlinkPayload::Error(error) => return end(error.raw_code()),
                    _ => {}
                }
            }
        }
    }

    /// The length of the next packet, which is in the buffer then.
    fn receive(&mut self, deadline: Instant) -> Result<usize, Failure> {
        loop {
            // With MSG_TRUNC the kernel tells the whole length of a packet, whatever the buffer's.
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) if length > self.buffer.len() => {
                    return Err(Failure::Malformed(format!("a packet of {length} bytes")));
                }
                Ok(length) => return Ok(length),
                Err(Errno::EAGAIN) => self.wait(deadline)?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::Kernel(errno)),
            }
        }
    }

    fn wait(&self, deadline: Instant) -> Result<(), Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::TimedOut);
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => Err(Failure::TimedOut),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(Failure::Kernel(errno)),
        }
    }
}

/// The end of an answer, with 0 or a negative errno.
fn end(code: i32) -> Result<ControlFlow<()>, Failure> {
    if code == 0 {
        Ok(ControlFlow::Continue(()))
    } else {
        Err(Failure::Kernel(Errno::from_raw(code.wrapping_neg())))
    }
}

/// A channel to a kernel that has its answers ready.
#[cfg(test)]
pub(super) mod fake {
    use nix::sys::socket::socketpair;

    use super::*;

    /// The packets wait to be read. Questions go nowhere; the first has sequence number 1. The second value
    /// keeps the channel open.
    pub(in super::super) fn channel(packets: &[Vec<u8>]) -> (Channel, OwnedFd) {
        let flags = SockFlag::SOCK_NONBLOCK;
        let (socket, kernel) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        for packet in packets {
            send(kernel.as_raw_fd(), packet, MsgFlags::empty()).unwrap();
        }
        (Channel { socket, sequence: 0, buffer: vec![0; 1024], stale: false }, kernel)
    }

    /// A message as the kernel makes it.
    pub(in super::super) fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([kind, 0].map(u16::to_ne_bytes).concat());
        bytes.extend([sequence, 0].map(u32::to_ne_bytes).concat());
        bytes.extend(payload);
        bytes
    }

    /// The end of an answer: 0, or why there is none.
    pub(in super::super) fn end(kind: u16, sequence: u32, errno: i32) -> Vec<u8> {
        message(kind, sequence, &errno.wrapping_neg().to_ne_bytes())
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DecodeError, NLMSG_DONE, NLMSG_ERROR};

    use super::{
        fake::{channel, end, message},
        *,
    };

    /// An answer of any content.
    struct Bytes(Vec<u8>);

    impl NetlinkDeserializable for Bytes {
        type Error = DecodeError;

        fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
            Ok(Self(payload.to_vec()))
        }
    }

    const SEQUENCE: u32 = 7;

    /// What a dump reads from these packets, and how it ends.
    fn dump(packets: &[Vec<u8>], time: Duration) -> (Vec<Vec<u8>>, Result<ControlFlow<()>, Failure>) {
        let (mut channel, _kernel) = channel(packets);
        channel.sequence = SEQUENCE;
        let mut answers = Vec::new();
        let end = channel.collect(Mode::Dump, Instant::now() + time, |Bytes(payload)| {
            answers.push(payload);
            ControlFlow::Continue(())
        });
        (answers, end)
    }

    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn answers_to_other_questions_are_left_out() {
        let mut packet = message(20, SEQUENCE - 1, b"late");
        packet.extend(message(20, SEQUENCE, b"this"));
        let packets = [packet, end(NLMSG_DONE, SEQUENCE - 1, 0), end(NLMSG_DONE, SEQUENCE, 0)];
        let (answers, end) = dump(&packets, SOON);
        assert_eq!(answers, [b"this"]);
        assert_eq!(end, Ok(ControlFlow::Continue(())));
    }

    #[test]
    fn a_refusal_is_told_by_its_number() {
        for kind in [NLMSG_DONE, NLMSG_ERROR] {
            assert_eq!(dump(&[end(kind, SEQUENCE, 13)], SOON).1, Err(Failure::Kernel(Errno::EACCES)));
        }
    }

    #[test]
    fn silence_and_endless_talk_end_at_the_deadline() {
        let packets = [message(20, SEQUENCE, b"and"), message(20, SEQUENCE, b"so on")];
        assert_eq!(dump(&packets, SOON).1, Err(Failure::TimedOut));
        assert_eq!(dump(&packets, Duration::ZERO), (Vec::new(), Err(Failure::TimedOut)));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let whole = message(20, SEQUENCE, b"payload!");
        for length in [0, 1, 15, u32::try_from(whole.len()).unwrap() + 1, u32::MAX] {
            let mut lying = whole.clone();
            lying[..4].copy_from_slice(&length.to_ne_bytes());
            let read = dump(&[lying], SOON);
            assert!(matches!(&read, (none, Err(Failure::Malformed(_))) if none.is_empty()), "{read:?}");
        }
        for length in 1..whole.len() {
            let read = dump(&[whole[..length].to_vec()], SOON);
            assert!(matches!(read.1, Err(Failure::Malformed(_))), "{length}");
        }
        assert!(matches!(dump(&[message(20, SEQUENCE, &[0; 2048])], SOON).1, Err(Failure::Malformed(_))));
    }
}
