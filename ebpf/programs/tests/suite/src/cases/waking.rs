//! Which records wake the reader of the ring buffer: the first, and then one in each while, on any processor; none while
//! the reader looks by itself.

use synscope_ebpf::record::WAKE_EVERY_NS;

use super::{S, case, close, connect, establish, v4};
use crate::{
    case::{Case, Step},
    things::Packet,
};

/// Sockets of a case: each tells once.
const SOCKETS: usize = 5;

/// What has the socket with this number, or the packet, told.
type Tell = fn(usize) -> Step;

pub(super) fn cases() -> Vec<Case> {
    let told = kinds();
    told.into_iter().chain([promised()]).collect()
}

/// While the reader looks by itself, nobody wakes it; then the next one does, and one in each while from then on.
fn promised() -> Case {
    const PROMISED: u64 = 4 * WAKE_EVERY_NS;
    let told = [
        Step::Wait(2 * S),
        Step::Promise(PROMISED),
        connect(0),
        Step::Wait(PROMISED - 1),
        connect(1),
        Step::Wait(1),
        connect(2),
        Step::Wait(WAKE_EVERY_NS - 1),
        connect(3),
        Step::Wait(1),
        connect(4),
    ];
    case("a reader that looks by itself is not woken")
        .sockets(vec![v4(); SOCKETS])
        .with(|options| options.starts = true)
        .steps(told)
        .counts(|counters| counters.produced == 5)
}

fn kinds() -> Vec<Case> {
    let kinds: [(&str, Tell); 8] = [
        ("a start", connect),
        ("a retransmit", |sock| Step::Retransmit(sock, 0)),
        ("a challenge", Step::Challenge),
        ("a success", establish),
        ("a failure", close),
        ("a dropped packet", |packet| Step::Drop(packet, 2)),
        ("a SYN-ACK", Step::SynAck),
        ("a failure before a SYN", |sock| Step::Returned(sock, -101)),
    ];
    kinds.iter().flat_map(|(name, step)| [false, true].map(|stacks| wakes(name, *step, stacks))).collect()
}

fn wakes(name: &str, tell: Tell, stacks: bool) -> Case {
    let under_way: Vec<Step> = match tell(0) {
        Step::State(_, 7, _) | Step::Returned(..) => Vec::new(),
        _ => (0..SOCKETS).map(connect).collect(),
    };
    let told = [
        Step::Wait(2 * S),
        tell(0),
        Step::Wait(WAKE_EVERY_NS - 1),
        tell(1),
        // Not since the last record: since the last that woke.
        Step::Wait(1),
        tell(2),
        Step::Cpu(1),
        tell(3),
        Step::Cpu(0),
        tell(4),
    ];
    let is_start = tell(0) == connect(0);
    case(format!("{name} wakes once in a while, {} stacks", if stacks { "with" } else { "without" }))
        .sockets(vec![v4(); SOCKETS])
        .requests(vec![v4(); SOCKETS])
        .packets([0, 1, 2, 3, 4].map(|sock| Packet { sock: Some(sock), ..super::passive::syn() }))
        .with(|options| (options.stacks, options.starts) = (stacks, is_start))
        .steps([under_way.as_slice(), &told].concat())
        .counts(|counters| counters.produced == 5)
}
