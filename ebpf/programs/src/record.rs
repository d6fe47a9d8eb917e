//! Records as they lie in the maps and in the ring buffer. All integers are little-endian and every
//! structure is free of implicit padding, so user space reads them in place.

#[cfg(not(target_arch = "bpf"))]
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Frames kept of a user stack. Deeper ones are cut, at the outer end.
pub const USER_FRAMES: usize = 64;
/// Frames kept of a kernel stack. Deeper ones are cut, at the outer end.
pub const KERNEL_FRAMES: usize = 48;
/// Buckets of the connect duration histogram: bucket *i* counts [2^i, 2^(i+1)) µs, the last one all above.
pub const DURATION_BUCKETS: usize = 28;
/// For so long after the reader of the ring buffer was woken, it is not woken again, ns. It looks by itself some milliseconds
/// later: a record may be submitted a little after its time was taken.
pub const WAKE_EVERY_NS: u64 = 2_000_000;

/// What happened, in [`Record::kind`].
pub mod kind {
    /// CLOSE → SYN_SENT.
    pub const START: u8 = 1;
    /// A SYN left the host again.
    pub const RETRANSMIT: u8 = 2;
    /// SYN_SENT → ESTABLISHED, or → SYN_RECV in a simultaneous open.
    pub const ESTABLISHED: u8 = 3;
    /// SYN_SENT → CLOSE.
    pub const FAILED: u8 = 4;
    /// The peer answered our SYN with an ACK that fits no connection of ours, and was reset.
    pub const CHALLENGE: u8 = 5;
    /// This host dropped a packet of the attempt; [`super::Record::error`] is the kernel's drop reason.
    pub const DROP: u8 = 6;
    /// A listener's SYN-ACK was sent again: the passive side, which belongs to no attempt of a trace.
    /// [`super::Attempt::retransmits`] counts this one.
    pub const SYNACK_RETRANSMIT: u8 = 7;
}

/// What was seen during an attempt, a bit set in [`Attempt::evidence`] and [`Record::evidence`].
pub mod evidence {
    /// The peer refused by RST (`tcp_receive_reset` in SYN_SENT).
    pub const RESET: u16 = 1;
    /// The task that ended the attempt was exiting (PF_EXITING); see [`super::Record::exit_code`].
    pub const EXITING: u16 = 1 << 1;
    /// connect() failed before SYN_SENT; [`super::Record::error`] is what it returned, as a positive errno.
    pub const BEFORE_SYN: u16 = 1 << 2;
    /// A retransmit timer was armed when the attempt ended: it was not the timer that ended it.
    pub const RETRY_DUE: u16 = 1 << 3;
}

/// Filters that a program evaluates, a bit set in the `FILTERS` global. A bit that is not set costs nothing.
pub mod filter {
    /// Thread group id.
    pub const PID: u32 = 1;
    /// Thread name.
    pub const COMM: u32 = 1 << 1;
    /// User id.
    pub const UID: u32 = 1 << 2;
    /// Cgroup id.
    pub const CGROUP: u32 = 1 << 3;
    /// Network namespace.
    pub const NETNS: u32 = 1 << 4;
    /// IPv4 only, v4-mapped included.
    pub const IPV4: u32 = 1 << 5;
    /// IPv6 only.
    pub const IPV6: u32 = 1 << 6;
    /// Peer address, by longest prefix.
    pub const PEER: u32 = 1 << 7;
    /// Peer port.
    pub const PEER_PORT: u32 = 1 << 8;
    /// Local port, checked when an event is told: at connect() it is often not chosen yet.
    pub const LOCAL_PORT: u32 = 1 << 9;
}

/// Words of one port set in the `FILTER_PORTS` map: a bit for each port, 64 a word.
pub const PORT_WORDS: u32 = 1024;
/// Where the set of peer ports starts in `FILTER_PORTS`.
pub const PEER_PORTS_AT: u32 = 0;
/// Where the set of local ports starts in `FILTER_PORTS`.
pub const LOCAL_PORTS_AT: u32 = PORT_WORDS;

/// Key of `FILTER_IDS`: one value that one of the numeric filters lets pass.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterId {
    /// The filter's own bit, from [`filter`].
    pub filter: u32,
    /// Always 0.
    pub padding: u32,
    /// Process id, user id, cgroup id or namespace number.
    pub value: u64,
}

/// One attempt under way: value of the `ATTEMPTS` map, keyed by the address of its `struct sock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, Immutable, KnownLayout))]
pub struct Attempt {
    /// Unique within a trace: processor << 40 | its count of attempts.
    pub id: u64,
    /// Boot-time clock at CLOSE → SYN_SENT, ns.
    pub start_ns: u64,
    /// Cgroup v2 id of the caller.
    pub cgroup: u64,
    /// Address of the caller's `struct mm_struct`: see [`Program`]. 0 without one, or without stacks.
    pub mm: u64,
    /// Thread group id of the caller, initial pid namespace.
    pub tgid: u32,
    /// Thread id of the caller, initial pid namespace.
    pub tid: u32,
    /// User id of the caller.
    pub uid: u32,
    /// The last `sk_err_soft` that an error report showed (errno, positive), or 0.
    pub reported_soft_error: i32,
    /// Thread name of the caller.
    pub comm: [u8; 16],
    /// SYNs that left the host again.
    pub retransmits: u16,
    /// SYNs that were to leave again and never left the host (reported from kernel 6.17 on).
    pub unsent: u16,
    /// Unacceptable ACKs with which the peer answered.
    pub challenges: u16,
    /// Bits from [`evidence`].
    pub evidence: u16,
}

/// An ICMP error, all zeros when there was none. Aligned, so that it is copied in words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, Immutable, KnownLayout))]
pub struct Icmp {
    /// Who sent it; IPv4 as `::ffff:a.b.c.d`.
    pub sender: [u8; 16],
    /// What the kernel made of it, a positive errno.
    pub errno: i32,
    /// 1 for ICMPv6.
    pub is_v6: u8,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Always 0.
    pub padding: u8,
}

/// No ICMP error.
pub const NO_ICMP: Icmp = Icmp { sender: [0; 16], errno: 0, is_v6: 0, kind: 0, code: 0, padding: 0 };

/// One event of an attempt, as sent through the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, Immutable, KnownLayout))]
pub struct Record {
    /// Boot-time clock at the event, ns.
    pub time_ns: u64,
    /// The attempt that it belongs to, as of this event.
    pub attempt: Attempt,
    /// The ICMP error that the attempt was last answered with, told with its end.
    pub icmp: Icmp,
    /// Local address; IPv4 as `::ffff:a.b.c.d`.
    pub local_addr: [u8; 16],
    /// Peer address; IPv4 as `::ffff:a.b.c.d`.
    pub peer_addr: [u8; 16],
    /// Local port, 0 while none is chosen.
    pub local_port: u16,
    /// Peer port.
    pub peer_port: u16,
    /// Number of the socket's network namespace.
    pub netns: u32,
    /// `sk_err` at the event; some kinds and evidence give it another meaning.
    pub error: i32,
    /// `sk_err_soft` at the event.
    pub soft_error: i32,
    /// `task_struct.exit_code` of the task that ended the attempt, when it was exiting.
    pub exit_code: i32,
    /// From [`kind`].
    pub kind: u8,
    /// Always 0.
    pub padding: [u8; 3],
}

/// A stack of return addresses, innermost first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, Immutable, KnownLayout))]
pub struct Stack<const N: usize> {
    /// Bytes used of `frames`, or the negative errno with which the kernel refused.
    pub length: i64,
    /// Return addresses.
    pub frames: [u64; N],
}

/// A [`Record`] with both stacks: what a trace with stacks sends instead.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, Immutable, KnownLayout))]
pub struct RecordWithStacks {
    /// The event.
    pub record: Record,
    /// User stack of the caller at connect().
    pub user: Stack<USER_FRAMES>,
    /// Kernel stack at the event.
    pub kernel: Stack<KERNEL_FRAMES>,
}

/// Which program a process runs: key of the `CODE` map. Addresses of memory descriptors are used again, and so are
/// process ids, but hardly both at once; exec() changes the first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, Immutable, KnownLayout))]
pub struct Program {
    /// Address of the `struct mm_struct`.
    pub mm: u64,
    /// Thread group id, initial pid namespace.
    pub tgid: u32,
    /// Always 0.
    pub padding: u32,
}

/// Where a return address lies, as the kernel tells: `struct bpf_stack_build_id` (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, Immutable, KnownLayout))]
pub struct Place {
    /// [`Self::KNOWN`], or something else when the kernel could not tell.
    pub status: i32,
    /// GNU build id of the file, shorter ones with zeros behind.
    pub build_id: [u8; 20],
    /// Where in the file, in bytes; the return address itself when the kernel could not tell.
    pub offset: u64,
}

impl Place {
    /// `BPF_STACK_BUILD_ID_VALID`
    pub const KNOWN: i32 = 1;
}

/// What is kept of a process's code for when the process is gone: value of the `CODE` map. It is sent as it is, once,
/// before the first failure of the process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, Immutable, KnownLayout))]
pub struct Code {
    /// Whose code it is.
    pub program: Program,
    /// Where the executable's code is mapped: `mm_struct.start_code`.
    pub start_code: u64,
    /// First address behind: `mm_struct.end_code`.
    pub end_code: u64,
    /// Inode number of the executable.
    pub inode: u64,
    /// Device that it is on: `super_block.s_dev`, the minor number in the lower 20 bits.
    pub device: u32,
    /// 1 once it was sent.
    pub is_sent: u32,
    /// Bytes used of `path`; more than [`PATH_ROOM`] when it is too long to be told.
    pub path_len: u32,
    /// 1 when the path goes up to the root of the mount namespace.
    pub path_is_whole: u32,
    /// User stack at the first attempt.
    pub addresses: Stack<USER_FRAMES>,
    /// Bytes used of `places`, or a negative errno.
    pub places_len: i64,
    /// Where each of `addresses` lies.
    pub places: [Place; USER_FRAMES],
    /// Names of the executable and of its directories, innermost first, each ended by a zero.
    pub path: [u8; PATH_ROOM + NAME_ROOM],
}

/// Where [`Code`] is put together, and how far up the path of the executable has been followed: value of the
/// `CODE_SCRATCH` map.
#[repr(C)]
pub struct CodeScratch {
    /// What is known so far.
    pub code: Code,
    /// Address of the `struct dentry` whose name comes next.
    pub dentry: u64,
    /// Address of the `struct mount` that it lies in.
    pub mount: u64,
    /// Address of the root `struct dentry` of that mount.
    pub root: u64,
}

/// Bytes of an executable's path that are told. A power of two.
pub const PATH_ROOM: usize = 1024;
/// Bytes of one name of a path, with the zero at its end (NAME_MAX, include/uapi/linux/limits.h).
pub const NAME_ROOM: usize = 256;

/// What the programs count, per processor: the only value of the `COUNTERS` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, Immutable, KnownLayout))]
pub struct Counters {
    /// Records that were to be sent.
    pub produced: u64,
    /// Records for which the ring buffer had no room.
    pub lost_ringbuf: u64,
    /// Attempts that passed the filters.
    pub started: u64,
    /// Attempts that reached ESTABLISHED or SYN_RECV.
    pub established: u64,
    /// Attempts that returned to CLOSE.
    pub failed: u64,
    /// Established quickly and never told.
    pub quiet: u64,
    /// Attempts that found the attempt map full, and of which nothing is known.
    pub untracked: u64,
    /// Entries whose end was never seen and which a new attempt of the same socket replaced.
    pub replaced: u64,
    /// Kernel memory that could not be read; the event was given up.
    pub faults: u64,
    /// Times that the ring buffer had no room for [`Code`]: it is tried again at the next failure.
    pub code_unsent: u64,
    /// Durations of the established attempts, see [`DURATION_BUCKETS`].
    pub durations: [u64; DURATION_BUCKETS],
}
