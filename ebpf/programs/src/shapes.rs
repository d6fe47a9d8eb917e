//! Describes in the object's BTF, for whoever reads it, the records that leave the kernel or come to it. BTF says
//! what globals are of, and the records are nothing but what passes through maps.

use synscope_ebpf::record::{Code, Counters, FilterId, RecordWithStacks};

/// Holds none of each.
#[repr(C)]
pub(crate) struct Shapes {
    filter_id: [FilterId; 0],
    record_with_stacks: [RecordWithStacks; 0],
    code: [Code; 0],
    counters: [Counters; 0],
    /// A global must have a size.
    nothing: u32,
}

#[unsafe(no_mangle)]
pub(crate) static SHAPES: Shapes =
    Shapes { filter_id: [], record_with_stacks: [], code: [], counters: [], nothing: 0 };
