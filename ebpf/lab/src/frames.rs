//! How much stack a program uses: its own frame and those of the functions that it calls. The kernel gives
//! all of them together 512 bytes.

use crate::{
    insn::{Insn, call, class, op},
    object::Program,
};

/// What the kernel allows.
pub const LIMIT: usize = 512;

const R10: u8 = 10;
/// The verifier rounds every frame up to a multiple of this (check_max_stack_depth; 5.10, kernel/bpf/verifier.c).
const FRAME_UNIT: usize = 32;
/// Frames that may be active at once (MAX_CALL_FRAMES).
const MAX_FRAMES: usize = 8;

/// Bytes of stack that a program takes with its deepest chain of calls. `None` when it recurses.
pub fn depth(program: &Program) -> Option<usize> {
    depth_of(program, 0, 1)
}

fn depth_of(program: &Program, function: usize, frames: usize) -> Option<usize> {
    if frames > MAX_FRAMES {
        return None;
    }
    let start = program.functions[function].0;
    let end = program.functions.get(function + 1).map_or(program.insns.len(), |(next, _)| *next);
    let body = &program.insns[start..end];
    let mut deepest = 0;
    for (at, insn) in body.iter().enumerate() {
        if insn.op == op::CALL && insn.src == call::LOCAL {
            let target =
                isize::try_from(insn.imm).ok().and_then(|far| (start + at + 1).checked_add_signed(far));
            let callee = program.functions.iter().position(|(first, _)| Some(*first) == target)?;
            deepest = deepest.max(depth_of(program, callee, frames + 1)?);
        }
    }
    Some(own_frame(body).next_multiple_of(FRAME_UNIT) + deepest)
}

/// The lowest byte that a function addresses below its frame pointer. Follows copies of the frame pointer
/// with a constant added, as compilers write them, in the order of the text.
fn own_frame(body: &[Insn]) -> usize {
    let mut offsets: [Option<i64>; 11] = [None; 11];
    offsets[usize::from(R10)] = Some(0);
    let mut lowest = 0;
    for insn in body {
        let (dst, src) = (usize::from(insn.dst), usize::from(insn.src));
        match insn.class() {
            class::LDX => {
                lowest = lowest.min(offsets[src].map_or(0, |at| at + i64::from(insn.off)));
                offsets[dst] = None;
            }
            class::ST | class::STX => {
                lowest = lowest.min(offsets[dst].map_or(0, |at| at + i64::from(insn.off)));
            }
            class::ALU64 if insn.op == op::MOV64_REG => offsets[dst] = offsets[src],
            // add an immediate
            class::ALU64 if insn.op == 0x07 => {
                offsets[dst] = offsets[dst].map(|at| at + i64::from(insn.imm));
                lowest = lowest.min(offsets[dst].unwrap_or(0));
            }
            class::ALU | class::ALU64 | class::LD => offsets[dst] = None,
            _ => {}
        }
    }
    usize::try_from(-lowest).unwrap_or(0)
}
