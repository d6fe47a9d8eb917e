//! Random histories of many sockets, as a kernel could show them: sockets go through TCP's states, are asked
//! for by several tasks on several processors, and what happens to one mixes with what happens to others. Now
//! and then the end of an attempt is missed, a read fails, or the ring is not read for a while.

use std::time::Duration;

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
};
use synscope_tracer::{Family, Filter, Options};

use crate::{
    case::{Case, Step, state},
    cases::{self, MS, NETNS},
    things::{Packet, Queued, Socket},
    world,
};

/// Sockets of a history.
const SOCKETS: usize = 4;
/// Errors that a socket can be left with.
const ERRORS: [i32; 7] = [0, 0, 1, 101, 104, 110, 111];
const SOFT_ERRORS: [i32; 4] = [0, 0, 111, 113];

/// What may happen next; whether it can, the socket's state says.
#[derive(Clone, Debug)]
enum Event {
    /// connect(), by one of the tasks.
    Connect(usize, u32),
    /// The attempt ends: in this state, with these errors.
    End(usize, u8, i32, i32, u8),
    /// It ends, and nobody sees it.
    Missed(usize),
    Retransmit(usize, i32),
    Challenge(usize),
    Reset(usize),
    Report(usize, i32),
    Dropped(usize, i32),
    SynAck(usize),
    Returned(usize, i64),
    Wait(u64),
    Cpu(u32),
    Exiting(bool),
    FailRead(usize),
    Drain,
}

fn event() -> impl Strategy<Value = Event> {
    let sock = || 0..SOCKETS;
    let end =
        prop_oneof![Just(state::ESTABLISHED), Just(state::SYN_RECV), Just(state::CLOSE), Just(state::CLOSE)];
    prop_oneof![
        6 => (sock(), 0..3_u32).prop_map(|(sock, task)| Event::Connect(sock, task)),
        6 => (sock(), end, select(&ERRORS[..]), select(&SOFT_ERRORS[..]), 0..2_u8)
            .prop_map(|(sock, end, error, soft, pending)| Event::End(sock, end, error, soft, pending)),
        1 => sock().prop_map(Event::Missed),
        3 => (sock(), select(&[0, 0, -16, -1][..])).prop_map(|(sock, error)| Event::Retransmit(sock, error)),
        2 => sock().prop_map(Event::Challenge),
        2 => sock().prop_map(Event::Reset),
        2 => (sock(), select(&SOFT_ERRORS[..])).prop_map(|(sock, soft)| Event::Report(sock, soft)),
        2 => (0..SOCKETS + 2, 0..80).prop_map(|(packet, reason)| Event::Dropped(packet, reason)),
        1 => sock().prop_map(Event::SynAck),
        2 => (sock(), select(&[0, -115, -101, -13, -111][..])).prop_map(|(sock, value)| Event::Returned(sock, value)),
        3 => (0..40_u32).prop_map(|log| Event::Wait(1 << log)),
        1 => (0..2_u32).prop_map(Event::Cpu),
        1 => any::<bool>().prop_map(Event::Exiting),
        1 => (0..24_usize).prop_map(Event::FailRead),
        1 => Just(Event::Drain),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let task = world::task();
    let none = Filter::default;
    let filters = vec![
        none(),
        none(),
        none(),
        Filter { pids: vec![task.tgid], ..none() },
        Filter { uids: vec![world::other_task(1, "").uid], ..none() },
        Filter { netns: vec![NETNS], ..none() },
        Filter { family: Some(Family::Ipv4), ..none() },
        Filter { family: Some(Family::Ipv6), ..none() },
        Filter { peer_ports: vec![443..=443], ..none() },
        Filter { local_ports: vec![1..=40_123], ..none() },
        Filter { peers: vec!["2001:db8::/32".parse().expect("a network")], ..none() },
    ];
    select(filters)
}

fn options() -> impl Strategy<Value = Options> {
    let slow = select(&[0, 1, 100][..]).prop_map(Duration::from_millis);
    let rooms = (select(&[1_u32, 2, 64][..]), select(&[4096_u32, 1 << 16][..]));
    (filter(), slow, any::<bool>(), any::<bool>(), rooms).prop_map(
        |(filter, slow, starts, stacks, (max_attempts, ringbuf_bytes))| Options {
            filter,
            slow,
            starts,
            stacks,
            max_attempts,
            ringbuf_bytes,
            ..Options::default()
        },
    )
}

/// A history and what a trace asks of it.
pub fn history() -> impl Strategy<Value = Case> {
    (options(), vec(event(), 1..60)).prop_map(|(options, events)| {
        let sockets = sockets();
        let packet = |sock: Option<usize>, socket: &Socket| Packet {
            sock,
            source: socket.local,
            destination: socket.peer,
            ports: (socket.local_port, socket.peer_port),
            flags: 2,
            protocol: 6,
            version: if socket.peer.is_ipv4() { 4 } else { 6 },
            has_transport: true,
            device: Some(socket.netns),
        };
        let owned = sockets.iter().enumerate().map(|(sock, socket)| packet(Some(sock), socket));
        let packets = owned.chain(sockets[..2].iter().map(|socket| packet(None, socket))).collect();
        Case {
            options,
            requests: sockets.clone(),
            packets,
            steps: possible(&events, sockets.clone()),
            sockets,
            ..cases::case("a random history")
        }
    })
}

fn sockets() -> Vec<Socket> {
    let elsewhere = Socket { netns: 9, peer_port: 80, local_port: 50_000, ..cases::v4() };
    vec![cases::v4(), cases::v6(), cases::v4_mapped(), elsewhere]
}

/// Keeps what each socket's state allows, and moves the states.
fn possible(events: &[Event], mut sockets: Vec<Socket>) -> Vec<Step> {
    let mut states = [state::CLOSE; SOCKETS];
    let mut steps = Vec::new();
    for event in events {
        let connecting = |sock: usize| states[sock] == state::SYN_SENT;
        match *event {
            Event::Connect(sock, task) if states[sock] == state::CLOSE => {
                let task = if task == 0 { world::task() } else { world::other_task(task, "other") };
                sockets[sock] = Socket { error: 0, soft_error: 0, pending: 0, queued: None, ..sockets[sock] };
                let close_to_syn_sent = Step::State(sock, state::CLOSE, state::SYN_SENT);
                steps.extend([Step::Become(sock, sockets[sock]), Step::Switch(task), close_to_syn_sent]);
                states[sock] = state::SYN_SENT;
            }
            Event::End(sock, end, error, soft_error, pending) if connecting(sock) => {
                let errno = if error == 0 { soft_error } else { error };
                let answer = Queued { origin: 2, errno, kind: 3, code: pending, sender: sockets[sock].peer };
                let queued = (errno != 0 && sockets[sock].peer.is_ipv4()).then_some(answer);
                sockets[sock] = Socket { error, soft_error, pending, queued, ..sockets[sock] };
                steps.extend([Step::Become(sock, sockets[sock]), Step::State(sock, state::SYN_SENT, end)]);
                states[sock] = end;
            }
            // What was established is closed some time.
            Event::End(sock, ..) if states[sock] != state::CLOSE => {
                steps.push(Step::State(sock, states[sock], state::CLOSE));
                states[sock] = state::CLOSE;
            }
            Event::Missed(sock) => states[sock] = state::CLOSE,
            Event::Retransmit(sock, error) => steps.push(Step::Retransmit(sock, error)),
            Event::Challenge(sock) => steps.push(Step::Challenge(sock)),
            Event::Reset(sock) => steps.push(Step::Reset(sock)),
            Event::Report(sock, soft_error) => {
                sockets[sock].soft_error = soft_error;
                steps.extend([Step::Become(sock, sockets[sock]), Step::Report(sock)]);
            }
            Event::Dropped(packet, reason) => steps.push(Step::Drop(packet, reason)),
            Event::SynAck(request) => steps.push(Step::SynAck(request)),
            Event::Returned(sock, value) => {
                let to = sockets[sock];
                steps.extend([Step::Address(to.peer, to.peer_port, 28), Step::Returned(sock, value)]);
            }
            Event::Wait(ns) => steps.push(Step::Wait(ns.min(1000 * MS))),
            Event::Cpu(cpu) => steps.push(Step::Cpu(cpu)),
            Event::Exiting(exiting) => steps.push(Step::Exiting(if exiting { 4 } else { 0 }, 9)),
            Event::FailRead(nth) => steps.push(Step::FailRead(nth)),
            Event::Drain => steps.push(Step::Drain),
            Event::Connect(..) | Event::End(..) => {}
        }
    }
    steps
}
