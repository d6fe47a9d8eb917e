//! Full maps and full rings: nothing is lost without being counted.

use synscope_ebpf::record::{Record, RecordWithStacks, kind};

use super::{case, close, connect, establish, failed, told, v4, v6};
use crate::case::{Case, Step, Told};

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

fn ring(name: &str, stacks: bool, record: usize) -> Case {
    let fits = (RING as usize - 1) / (record + HEADER);
    let challenges = vec![Step::Challenge(0); fits + 2];
    let steps = [vec![connect(0)], challenges, vec![Step::Drain, Step::Challenge(0)]].concat();
    let numbers = (1..=fits).chain([fits + 3]).map(|number| u16::try_from(number).unwrap_or(u16::MAX));
    case(name)
        .with(|options| (options.ringbuf_bytes, options.stacks) = (RING, stacks))
        .steps(steps)
        .tells(numbers.map(|challenges| Told { challenges, ..told(kind::CHALLENGE) }).collect::<Vec<_>>())
        .counts(|counters| counters.lost_ringbuf == 2 && counters.produced > 2)
}
