//! Full maps and full rings: nothing is lost without being counted.

use synscope_ebpf::record::{Record, RecordWithStacks, kind};

use super::{case, close, connect, establish, failed, told, v4, v6};
use crate::{
    case::{Case, Step, Told},
    things::Packet,
};

/// The smallest ring that the kernel takes.
const RING: u32 = 4096;
/// What a record takes beside itself.
const HEADER: usize = 8;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = attempts();
    cases.push(ring("a full ring loses records and counts them", false, size_of::<Record>()));
    cases.push(ring(
        "a full ring loses records with stacks and counts them",
        true,
        size_of::<RecordWithStacks>(),
    ));
    cases.extend(every_kind());
    cases
}

fn attempts() -> Vec<Case> {
    vec![
        case("a full map leaves further attempts untracked, and counted")
            .sockets([v4(), v6()])
            .with(|options| options.max_attempts = 1)
            .steps([connect(0), connect(1), Step::Retransmit(1, 0), close(1), close(0)])
            .tells([failed(0)])
            .counts(|counters| (counters.started, counters.untracked, counters.failed) == (2, 1, 1)),
        case("room that an end makes is used again")
            .sockets([v4(), v6()])
            .with(|options| (options.max_attempts, options.stacks) = (1, true))
            .steps([connect(0), establish(0), connect(1), close(1), connect(0), close(0)])
            .tells([failed(0), failed(0)])
            .counts(|counters| counters.untracked == 0),
        case("a missed end is replaced in a full map as well")
            .with(|options| options.max_attempts = 1)
            .steps([connect(0), connect(0), close(0)])
            .tells([failed(0)])
            .counts(|counters| (counters.replaced, counters.untracked) == (1, 0)),
        case("an untracked start is not told")
            .sockets([v4(), v6()])
            .with(|options| (options.max_attempts, options.starts) = (1, true))
            .steps([connect(0), connect(1)])
            .tells([told(kind::START)]),
    ]
}

/// How many records of this size the ring takes.
fn room_for(record: usize) -> usize {
    (RING as usize - 1) / (record + HEADER)
}

fn ring(name: &str, stacks: bool, record: usize) -> Case {
    let fits = room_for(record);
    let challenges = vec![Step::Challenge(0); fits + 2];
    let steps = [vec![connect(0)], challenges, vec![Step::Drain, Step::Challenge(0)]].concat();
    let numbers = (1..=fits).chain([fits + 3]).map(|number| u16::try_from(number).unwrap_or(u16::MAX));
    case(name)
        .with(|options| (options.ringbuf_bytes, options.stacks) = (RING, stacks))
        .steps(steps)
        .tells(numbers.map(|challenges| Told { challenges, ..told(kind::CHALLENGE) }).collect::<Vec<_>>())
        .counts(|counters| counters.lost_ringbuf == 2 && counters.produced > 2)
}

/// Whatever is told finds the ring full, once.
fn every_kind() -> Vec<Case> {
    let kinds: [(&str, Vec<Step>, Step); 9] = [
        ("a start", vec![], connect(1)),
        ("a success", vec![connect(1)], establish(1)),
        ("a failure", vec![connect(1)], close(1)),
        ("a retransmit", vec![connect(1)], Step::Retransmit(1, 0)),
        ("a challenge", vec![connect(1)], Step::Challenge(1)),
        ("a SYN-ACK", vec![], Step::SynAck(0)),
        ("a dropped packet of an attempt", vec![connect(1)], Step::Drop(1, 2)),
        ("a dropped packet of nobody", vec![], Step::Drop(0, 2)),
        ("a failure before a SYN", vec![], Step::Returned(1, -101)),
    ];
    let sizes = [(false, size_of::<Record>()), (true, size_of::<RecordWithStacks>())];
    let full = |name: &str, before: &[Step], step: &Step, stacks: bool, record: usize| {
        // Starts are told, so that what went before takes room as well.
        let filler = vec![Step::Challenge(0); room_for(record) - 1 - before.len()];
        let after = [step.clone(), Step::Drain, Step::Challenge(0)];
        case(format!("the ring is full for {name}, {} stacks", if stacks { "with" } else { "without" }))
            .sockets([v4(), v6()])
            .requests([v6()])
            .packets([super::passive::syn(), Packet { sock: Some(1), ..super::passive::syn() }])
            .with(|options| {
                (options.ringbuf_bytes, options.stacks, options.starts) = (RING, stacks, true);
            })
            .steps([&[connect(0)], before, &filler, &after].concat())
            .counts(|counters| counters.lost_ringbuf == 1)
    };
    let all = kinds.iter().flat_map(|(name, before, step)| {
        sizes.map(|(stacks, record)| full(name, before, step, stacks, record))
    });
    let quick = case("the ring is full for a success after a challenge, where starts are not told")
        .sockets([v4(), v6()])
        .with(|options| options.ringbuf_bytes = RING)
        .steps(
            [
                vec![connect(0), connect(1)],
                vec![Step::Challenge(0); room_for(size_of::<Record>())],
                vec![Step::Challenge(1), establish(1)],
            ]
            .concat(),
        )
        .counts(|counters| counters.lost_ringbuf == 2);
    all.chain([quick]).collect()
}
