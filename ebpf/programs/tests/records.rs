//! Layer 1: the records in the object's own type information are laid out as the Rust types that user space
//! reads them with.

use std::mem::offset_of;

use bpf_lab::{Object, btf::Btf};
use synscope_ebpf::{
    OBJECT,
    record::{
        Attempt, Code, Counters, FilterId, Icmp, KERNEL_FRAMES, NAME_ROOM, PATH_ROOM, Place, Program, Record,
        RecordWithStacks, Stack, USER_FRAMES,
    },
};

struct Shape {
    name: &'static str,
    size: usize,
    members: Vec<(&'static str, usize)>,
}

macro_rules! shape {
    ($name:literal, $type:ty { $($member:ident)* }) => {
        Shape {
            name: $name,
            size: size_of::<$type>(),
            members: vec![$((stringify!($member), offset_of!($type, $member))),*],
        }
    };
}

/// Every type that crosses from the kernel to user space or back. BTF writes `<` as `_3C_`, `>` as `_3E_`.
fn shapes() -> Vec<Shape> {
    vec![
        shape!("FilterId", FilterId { filter padding value }),
        shape!("Attempt", Attempt {
            id start_ns cgroup mm tgid tid uid reported_soft_error comm retransmits unsent challenges evidence
        }),
        shape!("Icmp", Icmp { sender errno is_v6 kind code padding }),
        shape!("Record", Record {
            time_ns attempt icmp local_addr peer_addr local_port peer_port netns error soft_error exit_code kind
            padding
        }),
        shape!("Stack_3C_64_3E_", Stack<USER_FRAMES> { length frames }),
        shape!("Stack_3C_48_3E_", Stack<KERNEL_FRAMES> { length frames }),
        shape!("RecordWithStacks", RecordWithStacks { record user kernel }),
        shape!("Counters", Counters {
            produced lost_ringbuf started established failed quiet untracked replaced faults code_unsent durations
        }),
        shape!("Program", Program { mm tgid padding }),
        shape!("Place", Place { status build_id offset }),
        shape!("Code", Code {
            program start_code end_code inode device is_sent path_len path_is_whole addresses places_len places path
        }),
    ]
}

#[test]
fn records_are_laid_out_as_user_space_reads_them() {
    let btf = Btf::parse(&Object::parse(OBJECT).unwrap().btf.unwrap()).unwrap();
    for shape in shapes() {
        let found = btf.layout(shape.name);
        let found = found.unwrap_or_else(|| panic!("{} is not described: see src/shapes.rs", shape.name));
        let members: Vec<(&str, usize)> = found.members.iter().map(|&(name, at, _)| (name, at)).collect();
        assert_eq!((found.size, members), (shape.size, shape.members), "{}", shape.name);
    }
}

#[test]
fn no_record_has_bytes_that_belong_to_no_member() {
    macro_rules! assert_tight {
        ($type:ty: $($size:expr),*) => { assert_eq!(size_of::<$type>(), 0 $(+ $size)*, stringify!($type)) };
    }
    assert_tight!(FilterId: 4, 4, 8);
    assert_tight!(Program: 8, 4, 4);
    assert_tight!(Place: 4, 20, 8);
    assert_tight!(
        Code: size_of::<Program>(), 3 * 8, 4 * 4, size_of::<Stack<USER_FRAMES>>(), 8,
        USER_FRAMES * size_of::<Place>(), PATH_ROOM, NAME_ROOM
    );
    assert_tight!(Attempt: 4 * 8, 4 * 4, 16, 4 * 2);
    assert_tight!(Icmp: 16, 4, 1, 1, 1, 1);
    assert_tight!(Record: 8, size_of::<Attempt>(), size_of::<Icmp>(), 16, 16, 2, 2, 4, 4, 4, 4, 1, 3);
    assert_tight!(Stack<USER_FRAMES>: 8, 8 * USER_FRAMES);
    assert_tight!(RecordWithStacks: size_of::<Record>(), 8 + 8 * USER_FRAMES, 8 + 8 * KERNEL_FRAMES);
}
