//! What is kept of a process's code for when the process is gone.

use synscope_ebpf::record::{Code, evidence, kind};

use super::{case, close, connect, establish, failed, told, v4, v6};
use crate::{
    case::{Case, Step, Told},
    program::Program,
    world,
};

pub(super) fn cases() -> Vec<Case> {
    [when(), what(), room()].concat()
}

fn with_stacks(name: &str) -> Case {
    case(name).sockets([v4(), v6()]).with(|options| options.stacks = true)
}

/// Another program than the task ran before.
fn runs(number: u64, mounts: &[&[&str]]) -> Step {
    Step::Runs(Some(Program::new(number, mounts)))
}

fn when() -> Vec<Case> {
    let other = world::other_task(815, "other");
    vec![
        with_stacks("code is sent once, before the first failure")
            .steps([connect(0), close(0), connect(1), close(1)])
            .tells([failed(0), failed(0)])
            .codes(1),
        with_stacks("attempts that succeed send no code, and what they kept serves the failure")
            .steps([connect(0), establish(0), connect(1), Step::Retransmit(1, 0), close(1)])
            .codes(1),
        with_stacks("each process has code of its own")
            .steps([connect(0), Step::Switch(other), connect(1), close(0), close(1)])
            .codes(2),
        with_stacks("after exec() the code is another")
            .steps([connect(0), close(0), runs(9, &[&["next", "bin"]]), connect(1), close(1)])
            .codes(2),
        with_stacks("an attempt from before exec() goes with the code of its time")
            .steps([connect(0), runs(9, &[&["next"]]), connect(1), close(1), close(0)])
            .codes(2),
        with_stacks("a thread of the kernel has no code")
            .steps([Step::Runs(None), connect(0), close(0)])
            .codes(0),
        with_stacks("a failure before a SYN is told with code")
            .steps([Step::Returned(0, -101), Step::Returned(1, -101)])
            .tells([Told { evidence: evidence::BEFORE_SYN, ..failed(101) }; 2])
            .codes(1),
        with_stacks("an attempt that is not followed keeps no code")
            .with(|options| options.max_attempts = 1)
            .steps([connect(0), Step::Switch(other), connect(1), close(1)])
            .codes(0),
        with_stacks("a failure that is not told sends no code")
            .with(|options| options.filter.local_ports = vec![1..=1])
            .steps([connect(0), close(0)])
            .tells([])
            .codes(0),
        case("without stacks no code is kept").steps([connect(0), close(0)]).codes(0),
    ]
}

fn what() -> Vec<Case> {
    let long = "n".repeat(255);
    let names = |count: usize| vec![long.as_str(); count];
    let many = |count: usize| vec!["d"; count];
    let paths: [(&str, Vec<Vec<&str>>); 8] = [
        ("a path over three mounts", vec![vec!["sh", "bin"], vec![], vec!["merged", "overlay"], vec!["var"]]),
        ("an executable that is the root of a mount", vec![vec![], vec!["init"]]),
        ("a path that just fits", vec![names(4)]),
        ("a path that is too long by a name", vec![names(5)]),
        ("a path that starts over several times", vec![names(14)]),
        ("a path that is just not too deep", vec![many(31)]),
        ("a path that is too deep by one", vec![many(32)]),
        ("a path that is far too deep", vec![many(40), vec!["mnt"]]),
    ];
    let walked = paths.into_iter().map(|(name, mounts)| {
        let mounts: Vec<&[&str]> = mounts.iter().map(Vec::as_slice).collect();
        with_stacks(name).steps([runs(5, &mounts), connect(0), close(0)]).codes(1)
    });
    let unreadable = with_stacks("an executable that cannot be read")
        .steps([runs(5, &[]), connect(0), close(0)])
        .tells([failed(0)])
        .codes(1);
    let no_stack = with_stacks("a stack that cannot be walked")
        .steps([Step::UserStack(14), connect(0), close(0)])
        .tells([failed(0)])
        .codes(1);
    let shallow = with_stacks("a stack of one frame after a deep one")
        .steps([connect(0), close(0), Step::Switch(world::other_task(67, "shallow")), connect(0), close(0)])
        .codes(2);
    walked.chain([unreadable, no_stack, shallow]).collect()
}

/// A ring that has room for code, or for records.
fn room() -> Vec<Case> {
    let ring = 4096;
    assert!(size_of::<Code>() < ring as usize, "code would never fit");
    vec![
        with_stacks("code for which there is no room is sent with the next failure")
            .with(|options| options.ringbuf_bytes = ring)
            .steps([connect(0), Step::Challenge(0), close(0), Step::Drain, connect(1), close(1)])
            .tells([Told { challenges: 1, ..told(kind::CHALLENGE) }, Told { challenges: 1, ..failed(0) }])
            .codes(1)
            .counts(|counters| (counters.code_unsent, counters.lost_ringbuf) == (1, 1)),
    ]
}
