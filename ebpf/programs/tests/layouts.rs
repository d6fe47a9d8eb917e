//! The tracer's reader of BTF, asked about the kernels of the fixtures, and compared with what those kernels'
//! own tools say.

use bytecode_suite::fixtures::{KERNELS, Kernel};

/// Global, and its value on 5.10, 6.1, 6.18 and 7.3, as `pahole` shows them.
const OFFSETS: &[(&str, [u32; 4])] = &[
    ("OFF_DADDR", [0; 4]),
    ("OFF_SADDR", [4; 4]),
    ("OFF_DPORT", [12; 4]),
    ("OFF_NUM", [14; 4]),
    ("OFF_FAMILY", [16; 4]),
    ("OFF_NET", [48; 4]),
    ("OFF_V6_DADDR", [56; 4]),
    ("OFF_V6_SADDR", [72; 4]),
    ("OFF_ERR", [568, 544, 284, 284]),
    ("OFF_ERR_SOFT", [572, 548, 372, 372]),
    ("OFF_PROTOCOL", [540, 516, 532, 540]),
    ("OFF_SPORT", [784, 804, 814, 830]),
    ("OFF_NETNS_INUM", [144, 144, 176, 280]),
    ("OFF_SKB_SK", [24; 4]),
    ("OFF_SKB_HEAD", [192, 200, 200, 200]),
    ("OFF_SKB_TRANSPORT_HEADER", [178, 182, 182, 182]),
    ("RETRANSMIT_HAS_ERROR", [0, 0, 1, 1]),
    ("DROP_HAS_REASON", [0, 1, 1, 1]),
    ("HAS_TASK_PT_REGS", [0, 1, 1, 1]),
];

#[test]
fn offsets_are_those_that_the_kernels_have() {
    for (kernel, column) in KERNELS.iter().zip(0..) {
        for (global, values) in OFFSETS {
            assert_eq!(kernel.globals().get(*global), Some(&values[column]), "{global} on {}", kernel.name);
        }
    }
}

#[test]
fn a_probe_is_missing_only_where_the_kernel_has_no_such_tracepoint() {
    let missing = |kernel: &Kernel| -> Vec<&str> {
        synscope_tracer::PROBES
            .iter()
            .map(|probe| probe.program)
            .filter(|program| !kernel.runs(program))
            .collect()
    };
    assert_eq!(missing(&KERNELS[0]), ["error_report"], "on 5.10");
    for kernel in &KERNELS[1..] {
        assert_eq!(missing(kernel), [""; 0], "on {}", kernel.name);
    }
}

#[test]
fn the_two_readers_of_btf_agree_on_every_member() {
    for kernel in KERNELS.iter() {
        let mut compared = 0;
        for (structure, member, offset) in kernel.members() {
            assert_eq!(
                kernel.tracer_offset(&structure, &member),
                Ok(offset),
                "{structure}.{member} on {}",
                kernel.name
            );
            compared += 1;
        }
        assert!(compared > 500, "{compared} members of {}", kernel.name);
    }
}
