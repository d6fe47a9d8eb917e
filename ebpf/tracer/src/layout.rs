//! Where the running kernel keeps what the programs read: BTF offsets, and which tracepoints there are.

use synscope_ebpf::{OBJECT, placeholder};

use crate::btf::{self, Btf, Kind};

/// An offset that a program reads from one of its globals: global, structure, member.
type Offset = (&'static str, &'static str, &'static str);

/// Offsets that every program shares.
const SHARED: &[Offset] = &[
    ("OFF_DADDR", "sock_common", "skc_daddr"),
    ("OFF_SADDR", "sock_common", "skc_rcv_saddr"),
    ("OFF_DPORT", "sock_common", "skc_dport"),
    ("OFF_NUM", "sock_common", "skc_num"),
    ("OFF_FAMILY", "sock_common", "skc_family"),
    ("OFF_NET", "sock_common", "skc_net.net"),
    ("OFF_V6_DADDR", "sock_common", "skc_v6_daddr"),
    ("OFF_V6_SADDR", "sock_common", "skc_v6_rcv_saddr"),
    ("OFF_ERR", "sock", "sk_err"),
    ("OFF_ERR_SOFT", "sock", "sk_err_soft"),
    ("OFF_PROTOCOL", "sock", "sk_protocol"),
    ("OFF_SPORT", "inet_sock", "inet_sport"),
    ("OFF_PENDING", "inet_connection_sock", "icsk_pending"),
    ("OFF_NETNS_INUM", "net", "ns.inum"),
    ("OFF_TASK_FLAGS", "task_struct", "flags"),
    ("OFF_TASK_EXIT_CODE", "task_struct", "exit_code"),
];

const FOR_CONNECT_EXIT: &[Offset] = &[
    ("OFF_TASK_FILES", "task_struct", "files"),
    ("OFF_FILES_FDT", "files_struct", "fdt"),
    ("OFF_FDT_FD", "fdtable", "fd"),
    ("OFF_FILE_PRIVATE", "file", "private_data"),
    ("OFF_SOCKET_SK", "socket", "sk"),
];

/// For what is kept of a process's code, in traces with stacks.
const FOR_CODE: &[Offset] = &[
    ("OFF_TASK_MM", "task_struct", "mm"),
    ("OFF_MM_EXE_FILE", "mm_struct", "exe_file"),
    ("OFF_MM_START_CODE", "mm_struct", "start_code"),
    ("OFF_MM_END_CODE", "mm_struct", "end_code"),
    ("OFF_FILE_MNT", "file", "f_path.mnt"),
    ("OFF_FILE_DENTRY", "file", "f_path.dentry"),
    ("OFF_DENTRY_INODE", "dentry", "d_inode"),
    ("OFF_DENTRY_PARENT", "dentry", "d_parent"),
    ("OFF_DENTRY_NAME", "dentry", "d_name.name"),
    ("OFF_INODE_INO", "inode", "i_ino"),
    ("OFF_INODE_SB", "inode", "i_sb"),
    ("OFF_SB_DEV", "super_block", "s_dev"),
    ("OFF_VFSMOUNT_ROOT", "vfsmount", "mnt_root"),
    ("OFF_MOUNT_MNT", "mount", "mnt"),
    ("OFF_MOUNT_PARENT", "mount", "mnt_parent"),
    ("OFF_MOUNT_MOUNTPOINT", "mount", "mnt_mountpoint"),
];

/// For the ICMP error that ended an attempt.
const FOR_ICMP: &[Offset] = &[
    ("OFF_ERROR_QUEUE", "sock", "sk_error_queue"),
    ("OFF_ERROR_QUEUE_PREV", "sock", "sk_error_queue.prev"),
    ("OFF_SKB_CB", "sk_buff", "cb"),
    ("OFF_EXTERR_EE", "sock_exterr_skb", "ee"),
    ("OFF_SKB_HEAD", "sk_buff", "head"),
    ("OFF_SKB_NETWORK_HEADER", "sk_buff", "network_header"),
];

const FOR_DROP: &[Offset] = &[
    ("OFF_SKB_SK", "sk_buff", "sk"),
    ("OFF_SKB_DEV", "sk_buff", "dev"),
    ("OFF_SKB_HEAD", "sk_buff", "head"),
    ("OFF_SKB_NETWORK_HEADER", "sk_buff", "network_header"),
    ("OFF_SKB_TRANSPORT_HEADER", "sk_buff", "transport_header"),
    ("OFF_DEV_NET", "net_device", "nd_net.net"),
];

/// How a program hangs on the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A raw tracepoint, of this name.
    Raw(&'static str),
    /// The return of a system call: the tracepoint `syscalls:sys_exit_` and this name.
    SyscallExit(&'static str),
}

/// One of our programs and the hook that it hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Name of the program in the object.
    pub program: &'static str,
    /// Where it hangs.
    pub hook: Hook,
    /// Without it there is nothing to tell.
    pub required: bool,
    /// What cannot be told without it.
    pub tells: &'static str,
    offsets: &'static [Offset],
}

impl Probe {
    const fn raw(program: &'static str, tracepoint: &'static str, tells: &'static str) -> Self {
        Self { program, hook: Hook::Raw(tracepoint), required: true, tells, offsets: &[] }
    }

    const fn optional(self, offsets: &'static [Offset]) -> Self {
        Self { required: false, offsets, ..self }
    }

    /// The hook as people know it.
    pub fn name(&self) -> String {
        match self.hook {
            Hook::Raw(tracepoint) => tracepoint.into(),
            Hook::SyscallExit(call) => format!("sys_exit_{call}"),
        }
    }

    /// True when the kernel has it, and all that its program reads.
    fn is_in(&self, btf: &Btf) -> bool {
        let hook = match self.hook {
            Hook::Raw(tracepoint) => btf.tracepoint_args(tracepoint).is_some(),
            // Found out by attaching: BTF does not describe system calls.
            Hook::SyscallExit(_) => syscall_arguments(btf).is_some(),
        };
        hook && has_all(btf, self.offsets)
    }
}

fn has_all(btf: &Btf, offsets: &[Offset]) -> bool {
    offsets.iter().all(|(_, structure, member)| btf.offset_of(structure, member).is_ok())
}

/// Name of the program that only a trace with `drops` loads.
pub(crate) const DROP: &str = "drop";

/// Every program of the object.
pub const PROBES: &[Probe] = &[
    Probe::raw("set_state", "inet_sock_set_state", "where an attempt starts and ends"),
    Probe::raw("retransmit", "tcp_retransmit_skb", "each SYN retransmit"),
    Probe::raw("receive_reset", "tcp_receive_reset", "a refusal by RST, apart from one by ICMP"),
    Probe::raw("challenge", "tcp_send_reset", "a peer that still holds an old connection on the four-tuple"),
    Probe::raw(
        "error_report",
        "inet_sk_error_report",
        "an ICMP error that the application read before it closed",
    )
    .optional(&[]),
    Probe::raw("synack", "tcp_retransmit_synack", "the passive side: a SYN-ACK that is not answered")
        .optional(&[("OFF_REQ_RETRANS", "request_sock", "num_retrans")]),
    Probe::raw(DROP, "kfree_skb", "packets of an attempt that this host dropped (traces with `drops`)")
        .optional(FOR_DROP),
    Probe {
        program: "connect_exit",
        hook: Hook::SyscallExit("connect"),
        required: false,
        tells: "a connect() that fails before a SYN is sent: no route, or a policy",
        offsets: FOR_CONNECT_EXIT,
    },
];

/// What the tracer knows of a kernel. Made once, then shared by every trace.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a kernel has or lacks")]
pub struct Layout {
    /// Value of each offset global. Those of a missing optional probe are left out: nobody reads them.
    pub(crate) offsets: Vec<(&'static str, u32)>,
    /// `tcp_retransmit_skb` carries the error of a SYN that could not be sent (6.17 and later).
    pub(crate) retransmit_has_error: bool,
    /// `kfree_skb` says why (6.1 at the latest).
    pub(crate) drop_has_reason: bool,
    /// The helper `bpf_task_pt_regs` exists (5.15 and later).
    pub(crate) has_task_pt_regs: bool,
    /// The kernel shows what the programs keep of a process's code.
    pub(crate) has_code: bool,
    /// The kernel shows the ICMP error that ended an attempt.
    pub(crate) has_icmp: bool,
    /// Numbers of the functions by which programs disable preemption and enable it, where nobody does it for them.
    preempt: Option<[u32; 2]>,
    /// Names of the drop reasons, by number.
    pub(crate) drop_reasons: Vec<(i32, String)>,
    missing: Vec<Probe>,
}

impl Layout {
    /// Looks everything up in a kernel's BTF. The first required thing that is missing is the error.
    pub fn resolve(btf: &Btf) -> Result<Self, btf::Error> {
        let (present, missing): (Vec<Probe>, Vec<Probe>) = PROBES.iter().partition(|probe| probe.is_in(btf));
        if let Some(probe) = missing.iter().find(|probe| probe.required) {
            return Err(btf::Error::NoType(format!("btf_trace_{}", probe.name())));
        }
        let (has_code, has_icmp) = (has_all(btf, FOR_CODE), has_all(btf, FOR_ICMP));
        let of_probes = present.iter().flat_map(|probe| probe.offsets);
        let mut offsets = SHARED
            .iter()
            .chain(of_probes)
            .chain(if has_code { FOR_CODE } else { &[] })
            .chain(if has_icmp { FOR_ICMP } else { &[] })
            .map(|&(global, structure, member)| Ok((global, btf.offset_of(structure, member)?)))
            .collect::<Result<Vec<_>, btf::Error>>()?;
        if let Some([first, second]) = syscall_arguments(btf) {
            offsets.extend([("OFF_REGS_ARG0", first), ("OFF_REGS_ARG1", second)]);
        }
        Ok(Self {
            offsets,
            retransmit_has_error: btf.tracepoint_args("tcp_retransmit_skb") >= Some(3),
            drop_has_reason: btf.tracepoint_args("kfree_skb") >= Some(3),
            has_task_pt_regs: has_helper(btf, "task_pt_regs"),
            has_code,
            has_icmp,
            preempt: preemption(btf),
            drop_reasons: drop_reasons(btf),
            missing,
        })
    }

    /// True when the code of processes that are gone can be told.
    pub fn has_code(&self) -> bool {
        self.has_code
    }

    /// True when type, code and sender of an ICMP error can be told.
    pub fn has_icmp(&self) -> bool {
        self.has_icmp
    }

    /// The object with the functions of this kernel in the places of their placeholders, as words: that is what
    /// instructions are, and how they lie in the file. The second says whether there are such functions: only programs
    /// that are compiled, as they are `with_jit`, can call them.
    pub fn object(&self, with_jit: bool) -> (Vec<u64>, bool) {
        let preempt = self.preempt.filter(|_| with_jit);
        let functions = preempt.into_iter().flatten();
        let helpers = [placeholder::PREEMPT_DISABLE, placeholder::PREEMPT_ENABLE];
        let places: Vec<(u64, u64)> = helpers
            .into_iter()
            .zip(functions)
            .map(|(helper, function)| (call(OF_HELPER, helper), call(OF_KERNEL, function)))
            .collect();
        let replaced = |word| places.iter().find(|(place, _)| *place == word).map_or(word, |(_, call)| *call);
        let (words, rest) = OBJECT.as_chunks();
        let mut last = [0; size_of::<u64>()];
        last[..rest.len()].copy_from_slice(rest);
        let object = words.iter().chain([&last]).map(|word| replaced(u64::from_le_bytes(*word))).collect();
        (object, preempt.is_some())
    }

    /// Programs whose hook the kernel does not have; what they tell, this kernel cannot.
    pub fn missing(&self) -> &[Probe] {
        &self.missing
    }

    /// Takes optional probes out that turn out not to work.
    pub(crate) fn forget(&mut self, gone: impl Fn(&Probe) -> bool) {
        let gone = PROBES.iter().filter(|probe| !probe.required && gone(probe));
        self.missing.extend(gone);
    }

    /// Programs that this kernel takes.
    pub fn present(&self) -> impl DoubleEndedIterator<Item = &'static Probe> + '_ {
        PROBES.iter().filter(|probe| !self.missing.contains(probe))
    }

    /// The kernel's own name of a drop reason, without its prefix: `NEIGH_FAILED`.
    pub fn drop_reason(&self, reason: i32) -> Option<&str> {
        self.drop_reasons.iter().find(|(value, _)| *value == reason).map(|(_, name)| name.as_str())
    }
}

/// What an instruction `call` calls: a helper, or a function of the kernel by its number in BTF
/// (`BPF_PSEUDO_KFUNC_CALL`).
const OF_HELPER: u64 = 0;
const OF_KERNEL: u64 = 2;

const fn call(kind: u64, number: u32) -> u64 {
    0x85 | kind << 12 | (number as u64) << 32
}

/// Up to 6.19 tracepoints disable preemption themselves; from 7.0 on an SRCU domain protects them instead, of which every
/// processor has its part (kernel/tracepoint.c). Up to 6.12 it had that domain for something else, and until the verifier
/// knew which functions may sleep (`might_sleep`, not yet in 6.12 and there in 6.16) a program with preemption disabled
/// could call none of the global ones, which ours have. Of a kernel that describes no such variables at all, nobody knows.
fn preemption(btf: &Btf) -> Option<[u32; 2]> {
    let is_left_to_programs =
        !btf.has_any(Kind::Var) || btf.id_of(Kind::Var, "tracepoint_srcu_srcu_data").is_some();
    if !is_left_to_programs || !btf.has_member("bpf_subprog_info", "might_sleep") {
        return None;
    }
    let number = |function| btf.id_of(Kind::Func, function);
    Some([number("bpf_preempt_disable")?, number("bpf_preempt_enable")?])
}

fn has_helper(btf: &Btf, helper: &str) -> bool {
    let wanted = format!("BPF_FUNC_{helper}");
    btf.enum_values("bpf_func_id").is_ok_and(|helpers| helpers.iter().any(|(name, _)| *name == wanted))
}

fn drop_reasons(btf: &Btf) -> Vec<(i32, String)> {
    let values = btf.enum_values("skb_drop_reason").unwrap_or_default();
    let short =
        |name: String| name.trim_start_matches("SKB_DROP_REASON_").trim_start_matches("SKB_").to_owned();
    values.into_iter().map(|(name, value)| (value, short(name))).collect()
}

/// Where a system call's first two arguments stand in `pt_regs` when it returns. On arm64 the return value has
/// taken the first one's register, and a copy is kept (arch/arm64/include/asm/ptrace.h).
fn syscall_arguments(btf: &Btf) -> Option<[u32; 2]> {
    let offset = |member| btf.offset_of("pt_regs", member).ok();
    match (offset("di"), offset("si")) {
        (Some(first), Some(second)) => Some([first, second]),
        _ => Some([offset("orig_x0")?, offset("regs")? + 8]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The types of a kernel that describes these functions and variables, and of `struct bpf_subprog_info` one bit.
    fn kernel(functions: &[&str], variables: &[&str], bit: &str) -> Btf {
        let mut strings = vec![0];
        let mut types: Vec<u32> = Vec::new();
        let kinds = [(Kind::Func, functions), (Kind::Var, variables)];
        for (kind, name) in
            kinds.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| (kind, name)))
        {
            types.extend([u32::try_from(strings.len()).unwrap(), (kind as u32) << 24, 0]);
            // A variable's linkage stands behind it.
            types.extend((kind == Kind::Var).then_some(0));
            strings.extend(name.bytes().chain([0]));
        }
        let len = |len: usize| u32::try_from(len).unwrap();
        let structure = len(strings.len());
        strings.extend(b"bpf_subprog_info\0");
        // With one member; the highest bit says that it may be a bit field, whose width stands above its place.
        types.extend([
            structure,
            1 << 31 | (Kind::Struct as u32) << 24 | 1,
            4,
            len(strings.len()),
            0,
            1 << 24,
        ]);
        strings.extend(bit.bytes().chain([0]));
        let header = [0x1_eb9f, 24, 0, len(types.len() * 4), len(types.len() * 4), len(strings.len())];
        let words = header.into_iter().chain(types).flat_map(u32::to_le_bytes);
        Btf::parse(words.chain(strings).collect()).unwrap()
    }

    #[test]
    fn preemption_is_disabled_where_tracepoints_leave_it_to_programs() {
        let functions = ["bpf_preempt_disable", "bpf_preempt_enable"];
        let of = |functions: &[&str], variables: &[&str], bit: &str| {
            preemption(&kernel(functions, variables, bit))
        };
        let (domain, other) = ("tracepoint_srcu_srcu_data", "vclock_srcu_srcu_data");
        assert_eq!(of(&functions, &[domain], "might_sleep"), Some([1, 2]), "7.0");
        assert_eq!(of(&functions, &[other], "might_sleep"), None, "6.18");
        assert_eq!(of(&functions, &[domain], "is_cb"), None, "6.12");
        assert_eq!(of(&functions, &[], "might_sleep"), Some([1, 2]), "variables are not described");
        assert_eq!(of(&[], &[domain], "is_cb"), None, "6.1");
    }
}
