//! The helper functions that the model knows, and the kernel in which each appeared.

/// A helper of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Helper {
    /// Its number in calls.
    pub number: i32,
    /// Its name, without `bpf_`.
    pub name: &'static str,
    /// The first kernel that has it.
    pub since: (u8, u8),
}

const fn helper(number: i32, name: &'static str, since: (u8, u8)) -> Helper {
    Helper { number, name, since }
}

/// From include/uapi/linux/bpf.h and its history.
pub const KNOWN: &[Helper] = &[
    helper(1, "map_lookup_elem", (3, 19)),
    helper(2, "map_update_elem", (3, 19)),
    helper(3, "map_delete_elem", (3, 19)),
    helper(5, "ktime_get_ns", (4, 1)),
    helper(8, "get_smp_processor_id", (4, 1)),
    helper(14, "get_current_pid_tgid", (4, 2)),
    helper(15, "get_current_uid_gid", (4, 2)),
    helper(16, "get_current_comm", (4, 2)),
    helper(35, "get_current_task", (4, 8)),
    helper(42, "get_numa_node_id", (4, 10)),
    helper(67, "get_stack", (4, 18)),
    helper(80, "get_current_cgroup_id", (4, 18)),
    helper(112, "probe_read_user", (5, 5)),
    helper(113, "probe_read_kernel", (5, 5)),
    helper(115, "probe_read_kernel_str", (5, 5)),
    helper(118, "jiffies64", (5, 5)),
    helper(125, "ktime_get_boot_ns", (5, 8)),
    helper(130, "ringbuf_output", (5, 8)),
    helper(131, "ringbuf_reserve", (5, 8)),
    helper(132, "ringbuf_submit", (5, 8)),
    helper(133, "ringbuf_discard", (5, 8)),
    helper(158, "get_current_task_btf", (5, 11)),
    helper(175, "task_pt_regs", (5, 15)),
];

/// A helper by number.
pub fn by_number(number: i32) -> Option<&'static Helper> {
    KNOWN.iter().find(|helper| helper.number == number)
}
