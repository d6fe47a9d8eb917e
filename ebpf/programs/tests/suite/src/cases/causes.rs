//! The evidence of every cause of a failure.

use std::net::IpAddr;

use synscope_ebpf::record::{evidence, kind};

use super::{MS, S, case, close, connect, establish, failed, told, v4, v6};
use crate::{
    case::{Case, Step, Told},
    things::{Queued, Socket},
    world::other_task,
};

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const EADDRNOTAVAIL: i32 = 99;
const ENETUNREACH: i32 = 101;
const ECONNRESET: i32 = 104;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;

pub(super) fn cases() -> Vec<Case> {
    [answers(), soft_errors(), queued(), process(), challenges(), unsent(), before_syn()].concat()
}

fn with_errors(error: i32, soft_error: i32) -> Step {
    Step::Become(0, Socket { error, soft_error, ..v4() })
}

/// Any value but 0 says that a timer is armed.
const ARMED: [u8; 2] = [1, 0x80];

fn answers() -> Vec<Case> {
    let errors = [ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EACCES, EPERM, ECONNRESET];
    let hard: Vec<Case> = errors
        .into_iter()
        .flat_map(|error| ARMED.map(|pending| (error, pending)))
        .map(|(error, pending)| {
            case(format!("an ICMP error ends it with errno {error}, timer {pending} armed"))
                .steps([connect(0), Step::Become(0, Socket { error, pending, ..v4() }), close(0)])
                .tells([Told { evidence: evidence::RETRY_DUE, ..failed(error) }])
        })
        .collect();
    let reset = case("refused by RST")
        .steps([connect(0), Step::Reset(0), with_errors(ECONNREFUSED, 0), close(0)])
        .tells([Told { evidence: evidence::RESET, ..failed(ECONNREFUSED) }])
        .counts(|counters| (counters.failed, counters.produced) == (1, 1));
    let timeout = case("retries run out")
        .steps([
            connect(0),
            Step::Wait(S),
            Step::Retransmit(0, 0),
            Step::Wait(2 * S),
            Step::Retransmit(0, 0),
            Step::Wait(4 * S),
            with_errors(ETIMEDOUT, 0),
            close(0),
        ])
        .tells([
            Told { retransmits: 1, ..told(kind::RETRANSMIT) },
            Told { retransmits: 2, error: 0, ..told(kind::RETRANSMIT) },
            Told { retransmits: 2, ..failed(ETIMEDOUT) },
        ]);
    let late = case("it succeeds after a retransmit, and is told for that")
        .steps([connect(0), Step::Wait(MS), Step::Retransmit(0, 0), establish(0)])
        .tells([
            Told { retransmits: 1, ..told(kind::RETRANSMIT) },
            Told { retransmits: 1, ..told(kind::ESTABLISHED) },
        ])
        .counts(|counters| counters.quiet == 0);
    [hard, vec![reset, timeout, late]].concat()
}

fn soft_errors() -> Vec<Case> {
    vec![
        case("retries run out with a soft error pending")
            .steps([connect(0), with_errors(EHOSTUNREACH, EHOSTUNREACH), close(0)])
            .tells([Told { soft_error: EHOSTUNREACH, ..failed(EHOSTUNREACH) }]),
        case("a soft error that the application was given before it closed")
            .needs("inet_sk_error_report")
            .steps([connect(0), with_errors(0, ECONNREFUSED), Step::Report(0), with_errors(0, 0), close(0)])
            .tells([Told { reported: ECONNREFUSED, ..failed(0) }]),
        case("of two reported soft errors the last stays")
            .needs("inet_sk_error_report")
            .steps([
                connect(0),
                with_errors(0, EHOSTUNREACH),
                Step::Report(0),
                with_errors(0, ENETUNREACH),
                Step::Report(0),
                with_errors(ETIMEDOUT, 0),
                Step::Report(0),
                close(0),
            ])
            .tells([Told { reported: ENETUNREACH, ..failed(ETIMEDOUT) }]),
        case("a report without a soft error is none")
            .steps([connect(0), with_errors(ETIMEDOUT, 0), Step::Report(0), close(0)])
            .tells([failed(ETIMEDOUT)]),
    ]
}

/// The error queue keeps what the socket itself has lost.
fn queued() -> Vec<Case> {
    const ICMP: u8 = 2;
    const ICMP6: u8 = 3;
    let router: IpAddr = "192.0.2.77".parse().unwrap();
    let router6: IpAddr = "2001:db8::77".parse().unwrap();
    let queued = Queued { origin: ICMP, errno: EHOSTUNREACH, kind: 3, code: 13, sender: router };
    let answered = |name: &str, socket: Socket| {
        case(format!("{name}, told with what the error queue holds")).needs("HAS_ICMP").steps([
            connect(0),
            Step::Become(0, socket),
            close(0),
        ])
    };
    let other = |origin: u8| {
        let queued = Some(Queued { origin, ..queued });
        answered(&format!("an entry of origin {origin}"), Socket { queued, ..v4() }).tells([failed(0)])
    };
    let v6_queued = Queued { origin: ICMP6, errno: EACCES, kind: 1, code: 1, sender: router6 };
    [
        answered("ICMP ends it", Socket { error: EHOSTUNREACH, pending: 1, queued: Some(queued), ..v4() })
            .tells([Told { evidence: evidence::RETRY_DUE, icmp: (3, 13), ..failed(EHOSTUNREACH) }]),
        answered("ICMPv6 ends it", Socket { error: EACCES, queued: Some(v6_queued), ..v6() })
            .sockets([v6()])
            .tells([Told { icmp: (1, 1), ..failed(EACCES) }]),
        answered("the application has read the error", Socket { queued: Some(queued), ..v4() })
            .tells([Told { icmp: (3, 13), ..failed(0) }]),
        case("refused by RST, whatever came by ICMP before")
            .steps([
                connect(0),
                Step::Reset(0),
                Step::Become(0, Socket { error: ECONNREFUSED, queued: Some(queued), ..v4() }),
                close(0),
            ])
            .tells([Told { evidence: evidence::RESET, ..failed(ECONNREFUSED) }]),
    ]
    .into_iter()
    .chain([0, 1, 4, 5, 0x82].map(other))
    .collect()
}

fn process() -> Vec<Case> {
    const PF_EXITING: u32 = 0x4;
    let exiting = |name: &str, code: i32| {
        case(name)
            .steps([connect(0), Step::Exiting(PF_EXITING | 0x0040_0000, code), close(0)])
            .tells([Told { evidence: evidence::EXITING, exit_code: code, ..failed(0) }])
    };
    vec![
        case("the application gave up").steps([connect(0), Step::Wait(S), close(0)]).tells([failed(0)]),
        exiting("the process was killed", 9),
        exiting("the process left by itself", 0x300),
        case("a task that is not exiting has no exit code, whatever stands there")
            .steps([connect(0), Step::Exiting(!PF_EXITING, 9), close(0)])
            .tells([failed(0)]),
        case("the flags of the task that ends it count, not those of the one that began it")
            .steps([Step::Exiting(PF_EXITING, 9), connect(0), Step::Exiting(0, 0), close(0)])
            .tells([failed(0)]),
        case("no local port was free, told once though connect() returns it as well")
            .sockets([Socket { local_port: 0, ..v4() }])
            .steps([connect(0), close(0), Step::Returned(0, -i64::from(EADDRNOTAVAIL))])
            .tells([failed(0)])
            .counts(|counters| (counters.started, counters.failed) == (1, 1)),
        case("told once, and a later connect() of the same socket is told again")
            .steps([
                connect(0),
                with_errors(EHOSTUNREACH, 0),
                close(0),
                Step::Returned(0, -i64::from(EHOSTUNREACH)),
                Step::Returned(0, -i64::from(ENETUNREACH)),
            ])
            .tells([failed(EHOSTUNREACH), Told { evidence: evidence::BEFORE_SYN, ..failed(ENETUNREACH) }]),
        case("a socket that was closed while it waited says nothing of the next one in its place")
            .steps([connect(0), close(0), Step::Returned(0, -i64::from(ENETUNREACH))])
            .tells([failed(0), Told { evidence: evidence::BEFORE_SYN, ..failed(ENETUNREACH) }]),
        case("an error that only a sent SYN brings leaves nothing behind")
            .steps([
                connect(0),
                with_errors(ECONNREFUSED, 0),
                close(0),
                with_errors(0, 0),
                connect(0),
                with_errors(ETIMEDOUT, 0),
                close(0),
                Step::Returned(0, -i64::from(ENETUNREACH)),
            ])
            .tells([
                failed(ECONNREFUSED),
                failed(ETIMEDOUT),
                Told { evidence: evidence::BEFORE_SYN, ..failed(ENETUNREACH) },
            ]),
    ]
}

fn challenges() -> Vec<Case> {
    let challenged = |challenges| Told { challenges, ..told(kind::CHALLENGE) };
    vec![
        case("the peer holds an old connection, and every SYN is challenged")
            .steps([connect(0), Step::Challenge(0), Step::Retransmit(0, 0), Step::Challenge(0), close(0)])
            .tells([
                challenged(1),
                Told { retransmits: 1, challenges: 1, ..told(kind::RETRANSMIT) },
                Told { retransmits: 1, ..challenged(2) },
                Told { retransmits: 1, challenges: 2, ..failed(0) },
            ]),
        case("challenged once, and then it succeeds: told, however quick")
            .steps([connect(0), Step::Challenge(0), Step::Wait(MS), establish(0)])
            .tells([challenged(1), Told { challenges: 1, ..told(kind::ESTABLISHED) }]),
        case("a reset that is sent for no socket, or for no attempt's, is no challenge")
            .steps([Step::Refusal, Step::Challenge(0), connect(0), Step::Refusal, Step::Reset(0)])
            .tells([]),
    ]
}

fn unsent() -> Vec<Case> {
    let steps =
        [connect(0), Step::Retransmit(0, -16), Step::Retransmit(0, -1), Step::Retransmit(0, 0), close(0)];
    vec![
        case("a SYN that never left the host is counted apart")
            .needs("RETRANSMIT_HAS_ERROR")
            .steps(steps)
            .tells([
                Told { retransmits: 1, unsent: 2, ..told(kind::RETRANSMIT) },
                Told { retransmits: 1, unsent: 2, ..failed(0) },
            ]),
        case("SYNs that never left the host make no quick connect worth telling")
            .needs("RETRANSMIT_HAS_ERROR")
            .steps([connect(0), Step::Retransmit(0, -16), establish(0)])
            .tells([]),
    ]
}

fn before_syn() -> Vec<Case> {
    let failures = [ENETUNREACH, EHOSTUNREACH, EACCES, EPERM, EADDRNOTAVAIL, 22, 97, 511].map(|error| {
        case(format!("connect() returns errno {error} and nothing was sent"))
            .sockets([v6()])
            .steps([
                Step::Address("198.51.100.9".parse().unwrap(), 8080, 28),
                Step::Returned(0, -i64::from(error)),
            ])
            .tells([Told { evidence: evidence::BEFORE_SYN, ..failed(error) }])
            .counts(|counters| (counters.started, counters.failed) == (1, 1))
    });
    let no_failures: Vec<Case> =
        [0, 1, -4, -9, -11, -14, -88, -103, -104, -106, -110, -111, -114, -115, -512, -516]
            .into_iter()
            .map(|value| {
                case(format!("connect() returns {value}: no failure before a SYN"))
                    .steps([Step::Returned(0, value)])
                    .tells([])
                    .counts(|counters| counters.started == 0)
            })
            .collect();
    let every = case("each error that connect() can return")
        .with(|options| options.ringbuf_bytes = 1 << 20)
        .steps((0..600).map(|error| Step::Returned(0, -error)).collect::<Vec<_>>())
        .counts(|counters| counters.failed == 511 - 12);
    let under_way = case("an attempt under way is not told by what connect() returns")
        .steps([connect(0), Step::Returned(0, -i64::from(EACCES)), close(0)])
        .tells([failed(0)]);
    let no_file = case("a descriptor that was closed meanwhile belongs to nobody")
        .steps([Step::Returned(1, -i64::from(ENETUNREACH))])
        .tells([])
        .counts(|counters| counters.faults == 0);
    let addresses = [
        ("IPv6", "2001:db8::99", 28),
        ("IPv4 at the end of its page", "198.51.100.9", 16),
        ("half of an IPv6 address", "2001:db8::99", 16),
        ("no address", "198.51.100.9", 0),
    ]
    .map(|(name, address, len)| {
        case(format!("connect() was given {name}"))
            .steps([
                Step::Switch(other_task(5, "call-of-connect")),
                Step::Address(address.parse().unwrap(), 9, len),
                Step::Returned(0, -101),
            ])
            .tells([Told { evidence: evidence::BEFORE_SYN, ..failed(101) }])
    });
    [failures.as_slice(), &no_failures, &addresses, &[every, under_way, no_file]].concat()
}
