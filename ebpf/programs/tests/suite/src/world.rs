//! What surrounds the modelled programs, where a case does not say otherwise.

use bpf_lab::{Mapping, Task};

use crate::{program::Program, settings::padded};

/// When every case starts, in nanoseconds since boot.
pub const START_NS: u64 = 1_000_000_000_000;

/// What every counter starts from.
pub const COUNTED: u64 = 0xffff_ffff;

/// The task that runs first. Its name is as long as names can be.
pub fn task() -> Task {
    other_task(4711, "curl-of-letters")
}

/// Some task.
pub fn other_task(tgid: u32, comm: &str) -> Task {
    Task {
        tgid,
        tid: tgid + 1,
        uid: 1000 + tgid % 7,
        gid: 77,
        comm: padded(comm),
        cgroup: 0x0001_0000_0000 + u64::from(tgid),
        ..Task::default()
    }
}

/// The user stack of a task: of another depth for each, some deeper than what is kept.
pub fn user_stack(task: Task, error: i32) -> Result<Vec<u64>, i32> {
    let frames = (0..3 + task.tid % 70)
        .map(|frame| 0x0055_0000_0000 + u64::from(task.tid) * 0x1000 + u64::from(frame));
    if error == 0 { Ok(frames.collect()) } else { Err(error) }
}

/// What a task's user stack is mapped from: the executable, code of no file that says which build it is, a library.
pub fn mappings(task: Task) -> Vec<Mapping> {
    let start = 0x0055_0000_0000 + u64::from(task.tid) * 0x1000;
    let own = [task.tgid.to_le_bytes()[0]; 20];
    let mapping = |start, end, offset, build_id| Mapping { start, end, offset, build_id };
    vec![
        mapping(start, start + 2, 0x400, Some(own)),
        mapping(start + 2, start + 4, 0x9000, None),
        mapping(start + 5, start + 0x1000, 0x1_0000_0000, Some([0x5a; 20])),
    ]
}

/// What a task runs where nothing else is said.
pub fn program(task: Task) -> Program {
    Program::new(task.tgid.into(), &[&["curl", "bin"], &["usr"]])
}

/// The kernel's stack: deeper than what is kept.
pub fn kernel_stack() -> Result<Vec<u64>, i32> {
    Ok((0..60).map(|frame| 0xffff_ffff_8100_0000 + frame * 16).collect())
}
