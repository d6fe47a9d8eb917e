//! Which transitions start and end an attempt, and which of them are told.

use synscope_ebpf::record::kind;
use synscope_tracer::Filter;

use super::{MS, S, case, close, connect, establish, told, v4, v4_mapped, v6};
use crate::{
    case::{Case, Step, Told, state},
    things::{Packet, Socket},
    world::other_task,
};

pub(super) fn cases() -> Vec<Case> {
    [transitions(), healthy(), owners(), histories(), stacks()].concat()
}

/// Every pair of states, on sockets without an attempt and on sockets with one.
fn transitions() -> Vec<Case> {
    let from = |old: u8| {
        let pairs = || state::ALL.map(move |new| Step::State(usize::from(new), old, new));
        let sockets = vec![v4(); 14];
        let connects = state::ALL.map(|sock| connect(usize::from(sock)));
        let alone =
            case(format!("state {old} → any, no attempt under way")).with(|options| options.starts = true);
        let under_way =
            case(format!("state {old} → any, an attempt under way")).with(|options| options.starts = true);
        [
            alone.sockets(sockets.clone()).steps(pairs().collect::<Vec<_>>()),
            under_way.sockets(sockets).steps(connects.chain(pairs()).collect::<Vec<_>>()),
        ]
    };
    state::ALL.flat_map(from).collect()
}

/// The entry that a missed end left behind must not speak for another connection of the same socket.
fn missed_and_filtered_out(stacks: bool) -> Case {
    let asked = v4().peer_port;
    let filter = Filter { peer_ports: vec![asked..=asked], ..Filter::default() };
    let with_or_without = if stacks { "with" } else { "without" };
    case(format!("after a missed end the socket's next attempt is filtered out, {with_or_without} stacks"))
        .with(|options| (options.filter, options.stacks) = (filter, stacks))
        .steps([
            connect(0),
            Step::Become(0, Socket { peer_port: asked + 1, ..v4() }),
            connect(0),
            Step::Retransmit(0, 0),
            close(0),
        ])
        .tells([])
        .counts(|counters| (counters.started, counters.replaced, counters.failed) == (1, 1, 0))
}

fn healthy() -> Vec<Case> {
    let slow = |name: &str, wait: u64| case(name).steps([connect(0), Step::Wait(wait), establish(0)]);
    let other_protocol = |protocol: u16| {
        case(format!("protocol {protocol} is none of ours"))
            .sockets([Socket { protocol, ..v4() }])
            .steps([connect(0), close(0), Step::Returned(0, -101)])
            .tells([])
            .counts(|counters| counters.started == 0)
    };
    // From the first bucket to far beyond the last, at both edges.
    let durations = (0..50).flat_map(|log| {
        let edge = 1_000_u64 << log;
        [edge - 1, edge].map(|wait| [connect(0), Step::Wait(wait), establish(0)]).concat()
    });
    vec![
        slow("a quick connect is counted and not told", 3 * MS)
            .tells([])
            .counts(|counters| (counters.established, counters.quiet, counters.produced) == (1, 1, 0)),
        slow("one nanosecond short of slow is quick", S - 1).tells([]),
        slow("exactly slow is slow", S).tells([told(kind::ESTABLISHED)]),
        slow("a slow connect is told", 2 * S).tells([told(kind::ESTABLISHED)]),
        slow("every start and end is told where starts are asked for", MS)
            .with(|options| options.starts = true)
            .tells([told(kind::START), told(kind::ESTABLISHED)])
            .counts(|counters| counters.quiet == 0),
        case("a simultaneous open is a success")
            .steps([connect(0), Step::Wait(2 * S), Step::State(0, state::SYN_SENT, state::SYN_RECV)])
            .tells([told(kind::ESTABLISHED)]),
        other_protocol(262),
        other_protocol(132),
        other_protocol(17),
        case("durations fall into their powers of two")
            .with(|options| options.slow = std::time::Duration::MAX)
            .steps(durations.clone().collect::<Vec<_>>())
            .tells([])
            .counts(|counters| counters.established == 100),
        case("durations of what is told fall into the same buckets")
            .with(|options| options.slow = std::time::Duration::ZERO)
            .steps(durations.collect::<Vec<_>>())
            .tells(vec![told(kind::ESTABLISHED); 100])
            .counts(|counters| (counters.established, counters.quiet) == (100, 0)),
    ]
}

fn owners() -> Vec<Case> {
    let other = other_task(99, "ksoftirqd/0");
    let families = [("IPv4", v4()), ("IPv6", v6()), ("v4-mapped IPv6", v4_mapped())];
    let shown = families.map(|(name, socket)| {
        case(format!("addresses and ports of {name} are shown"))
            .sockets([socket])
            .with(|options| options.starts = true)
            .steps([connect(0), close(0)])
            .tells([told(kind::START), told(kind::FAILED)])
    });
    let numbers = families.map(|(name, socket)| {
        // Every byte is another one.
        let socket = Socket { error: 0x0102_0304, soft_error: 0x0506_0708, netns: 0x090a_0b0c, ..socket };
        let packet = Packet { sock: Some(0), ..super::passive::syn() };
        case(format!("every byte of every number of {name} is shown"))
            .sockets([socket])
            .packets([packet])
            .with(|options| options.starts = true)
            .steps([
                connect(0),
                Step::Retransmit(0, 0),
                Step::Challenge(0),
                Step::Report(0),
                Step::Drop(0, 0x0d0e_0f10),
                establish(0),
                connect(0),
                Step::Exiting(4, 0x1112_1314),
                close(0),
            ])
    });
    let owner = case("the owner is who called connect(), whoever the timer interrupts")
        .steps([connect(0), Step::Switch(other), Step::Retransmit(0, 0), Step::Challenge(0), close(0)])
        .tells([
            Told { retransmits: 1, ..told(kind::RETRANSMIT) },
            Told { retransmits: 1, challenges: 1, ..told(kind::CHALLENGE) },
            Told { retransmits: 1, challenges: 1, ..told(kind::FAILED) },
        ]);
    let processors = case("attempts of two processors have different numbers")
        .sockets([v4(), v6()])
        .steps([connect(0), Step::Cpu(1), connect(1), close(0), Step::Cpu(0), close(1)])
        .tells([told(kind::FAILED), told(kind::FAILED)]);
    [shown.as_slice(), &numbers, &[owner, processors]].concat()
}

fn histories() -> Vec<Case> {
    vec![
        case("after its end, a socket's events are nobody's")
            .steps([
                connect(0),
                establish(0),
                Step::Retransmit(0, 0),
                Step::Challenge(0),
                Step::Reset(0),
                Step::Report(0),
                close(0),
            ])
            .tells([]),
        case("an attempt whose end was missed is replaced by the next of its socket")
            .steps([connect(0), Step::Retransmit(0, 0), connect(0), close(0)])
            .tells([Told { retransmits: 1, ..told(kind::RETRANSMIT) }, told(kind::FAILED)])
            .counts(|counters| (counters.started, counters.replaced, counters.untracked) == (2, 1, 0)),
        missed_and_filtered_out(false),
        missed_and_filtered_out(true),
        case("sockets do not mix")
            .sockets([v4(), v6()])
            .steps([connect(0), connect(1), Step::Challenge(1), Step::Retransmit(0, 0), close(1), close(0)])
            .tells([
                Told { challenges: 1, ..told(kind::CHALLENGE) },
                Told { retransmits: 1, ..told(kind::RETRANSMIT) },
                Told { challenges: 1, ..told(kind::FAILED) },
                Told { retransmits: 1, ..told(kind::FAILED) },
            ]),
        case("counts stop at their largest value")
            .steps([
                connect(0),
                Step::Counted(0, u16::MAX - 1),
                Step::Retransmit(0, -1),
                Step::Retransmit(0, 0),
                Step::Challenge(0),
                Step::Retransmit(0, -1),
                Step::Retransmit(0, 0),
                Step::Challenge(0),
                close(0),
            ])
            .counts(|counters| counters.failed == 1),
    ]
}

/// Deeper and shallower than what is kept; unreadable.
fn stacks() -> Vec<Case> {
    let with_stacks = |name: &str| case(name).with(|options| (options.stacks, options.starts) = (true, true));
    let tasks = [other_task(700, "shallow"), other_task(767, "deep")];
    let before_syn = with_stacks("a failure before a SYN, deep down")
        .steps([Step::Switch(tasks[1]), Step::Returned(0, -101)]);
    let mut cases: Vec<Case> = tasks
        .into_iter()
        .map(|task| {
            with_stacks(&format!("stacks of a caller {} frames deep", 3 + task.tid % 70)).steps([
                Step::Switch(task),
                connect(0),
                Step::Switch(other_task(1, "init")),
                Step::Challenge(0),
                close(0),
            ])
        })
        .collect();
    let end = |name: &str, step: Step| {
        with_stacks(&format!("{name} whose stack was not kept"))
            .packets([Packet { sock: Some(0), ..super::passive::syn() }])
            .steps([connect(0), Step::Unkept(0), step, close(0)])
    };
    cases.extend([
        before_syn,
        end("a challenge", Step::Challenge(0)),
        end("a retransmit", Step::Retransmit(0, 0)),
        end("a success", establish(0)),
        end("a failure", close(0)),
        end("a dropped packet", Step::Drop(0, 2)),
    ]);
    cases.push(with_stacks("a user stack that cannot be walked").steps([
        Step::UserStack(14),
        connect(0),
        establish(0),
        Step::UserStack(0),
        connect(0),
        establish(0),
    ]));
    cases.push(
        with_stacks("stacks of what has no caller")
            .requests([v4()])
            .steps([Step::SynAck(0), Step::Returned(0, -101)]),
    );
    cases
}
